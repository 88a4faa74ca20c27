//! The life of a handler under one host: its port, when it is ready, and what follows when a process ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper_util::client::legacy::Error;
use tokio::net::TcpSocket;
use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock, watch};
use tokio::time::{Instant, interval, timeout};
use url::Url;

use super::app_folder::AppFolder;
use super::dot_net::{Client, client, empty};
use super::journal::Journal;
use super::process::Process;

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// The host stops at this many errors, unless so much time lies between two that the earlier ones are forgotten.
const ERRORS_TO_STOP: usize = 3;
const ERRORS_ARE_FORGOTTEN_AFTER: Duration = Duration::from_mins(30);

/// For how many times the limit of a start early requests wait.
const EARLY_REQUESTS_WAIT: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    Over,
}

/// A handler, whichever process it is at the moment.
pub struct Worker {
    app: Arc<AppFolder>,
    address: SocketAddr,
    pub client: Client,
    state: watch::Sender<State>,
    in_flight: Arc<RwLock<()>>,
    retired: Notify,
    _port: TcpSocket,
}

/// Held while a request is under way.
pub type InFlight = OwnedRwLockReadGuard<()>;

impl Worker {
    pub fn new(app: Arc<AppFolder>) -> Self {
        // The host closes the socket by which it found a free port. Here it stays bound, so that no other test is given the
        // port before the handler listens; only the handler, which is told the number, can.
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, state) = (port.local_addr().unwrap(), watch::Sender::new(State::Starting));
        Self { app, address, client: client(), state, in_flight: Arc::default(), retired: Notify::new(), _port: port }
    }

    pub fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).unwrap()
    }

    /// To be called before the worker is told to retire.
    pub fn enter(&self) -> InFlight {
        Arc::clone(&self.in_flight).try_read_owned().unwrap()
    }

    /// Waits for a process that answers; false if there will be none.
    pub async fn is_ready(&self) -> bool {
        let mut state = self.state.subscribe();
        let settled =
            timeout(self.app.initialization_timeout * EARLY_REQUESTS_WAIT, state.wait_for(|state| *state != State::Starting)).await;
        settled.is_ok_and(|state| *state.unwrap() == State::Ready)
    }

    /// The request by which the host sees that a handler is ready, and later that it is well.
    pub async fn ping(&self) -> Result<(), Error> {
        let request = Request::get(self.url().as_str()).body(empty()).unwrap();
        self.client.request(request).await.map(drop)
    }

    /// Lets the requests that are under way finish, then kills the process.
    pub async fn retire(&self) {
        let _none = self.in_flight.write().await;
        self.retired.notify_one();
        self.state.subscribe().wait_for(|state| *state == State::Over).await.unwrap();
    }

    /// Runs processes until the worker retires or there were too many errors.
    pub async fn live(self: Arc<Self>, settings: Arc<[(String, String)]>, journal: Journal) {
        let mut errors: Vec<Instant> = Vec::new();
        while errors.len() < ERRORS_TO_STOP {
            let mut process = Process::start(&self.app, &settings, self.address, &journal);
            let error = tokio::select! {
                error = self.run(&mut process, &journal) => error,
                () = self.retired.notified() => {
                    process.kill().await;
                    self.state.send_replace(State::Over);
                    return;
                }
            };
            self.state.send_replace(State::Starting);
            let Some(error) = error else { continue };
            if errors.last().is_some_and(|last| last.elapsed() > ERRORS_ARE_FORGOTTEN_AFTER) {
                errors.clear();
            }
            errors.push(Instant::now());
            journal.note(|entries| entries.exits.push(error));
        }
        self.state.send_replace(State::Over);
        journal.note(|entries| entries.gave_up = true);
    }

    /// One process, from its start to an end that the host did not ask for.
    async fn run(&self, process: &mut Process, journal: &Journal) -> Option<String> {
        let id = process.id();
        let in_time = tokio::select! {
            error = process.exit() => return error,
            answered = timeout(self.app.initialization_timeout, self.until_answered()) => answered.is_ok(),
        };
        if !in_time {
            process.kill().await;
            return Some("Initializing HttpWorker timed out.".to_owned());
        }
        journal.note(|entries| entries.starts.push(id));
        self.state.send_replace(State::Ready);
        process.exit().await
    }

    /// Any answer will do, and only a connection that cannot be made means "not yet".
    async fn until_answered(&self) {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.tick().await;
        while self.ping().await.is_err_and(|error| error.is_connect()) {
            ticks.tick().await;
        }
    }
}
