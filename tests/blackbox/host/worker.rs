//! The life of a handler under one host: its port, when it is ready, and what follows when a
//! process ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock, watch};
use tokio::time::{Instant, interval, sleep, timeout};

use super::app_folder::AppFolder;
use super::dot_net::{Client, Failure, Request};
use super::headers::Headers;
use super::journal::Journal;
use super::process::{Process, Program};
use super::source::Source;
use super::timing::{EARLY_REQUESTS_WAIT, ERRORS_TO_STOP, Timing};
use crate::reserved_port::ReservedPort;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    Over,
}

/// What follows when a process ends.
enum End {
    /// Another one.
    Restart,
    /// Another one, and an error that counts.
    Error(String),
    /// Nothing: the host does not notice.
    Silence,
    /// Nothing: the host wanted it.
    Retired,
}

/// A handler, whichever process it is at the moment.
pub struct Worker {
    app: Arc<AppFolder>,
    pub address: SocketAddr,
    pub timing: Timing,
    pub client: Arc<Client>,
    state: watch::Sender<State>,
    in_flight: Arc<RwLock<()>>,
    /// How many processes have been started.
    starts: AtomicU64,
    retired: Notify,
    expired: Notify,
    _port: ReservedPort,
}

/// Held while a request is under way.
pub type InFlight = OwnedRwLockReadGuard<()>;

impl Worker {
    pub fn new(app: Arc<AppFolder>, timing: Timing) -> Self {
        // The host closes the socket by which it found a free port. Here it stays reserved, so that
        // no other test is given the port before the handler listens.
        let port = ReservedPort::new();
        let address = port.address;
        Self {
            app,
            address,
            timing,
            client: Client::new(address, timing),
            state: watch::Sender::new(State::Starting),
            in_flight: Arc::default(),
            starts: AtomicU64::new(0),
            retired: Notify::new(),
            expired: Notify::new(),
            _port: port,
        }
    }

    /// To be called before the worker is told to retire.
    pub fn enter(&self) -> InFlight {
        Arc::clone(&self.in_flight).try_read_owned().unwrap()
    }

    /// Waits for a process that answers; false if there will be none.
    pub async fn is_ready(&self) -> bool {
        let mut state = self.state.subscribe();
        let settled = timeout(
            self.app.initialization_timeout * EARLY_REQUESTS_WAIT,
            state.wait_for(|state| *state != State::Starting),
        )
        .await;
        settled.is_ok_and(|state| *state.unwrap() == State::Ready)
    }

    /// The request by which the host sees that a handler is ready, and later that it is well.
    pub async fn ping(&self) -> Result<(), Failure> {
        let mut headers = Headers::default();
        headers.append("Host", self.address.to_string());
        let request = Request {
            method: "GET".to_owned(),
            target: "/".to_owned(),
            headers,
        };
        self.client
            .send(&request, &mut Source::none())
            .await?
            .whole()
            .await
            .map(drop)
    }

    /// The number of the process that runs or starts now.
    pub fn process(&self) -> u64 {
        self.starts.load(Ordering::Acquire)
    }

    /// Puts another process in place of one that let a request wait for too long. Its successor is
    /// left alone.
    pub fn replace(&self, process: u64) {
        if self.process() == process {
            self.expired.notify_one();
        }
    }

    /// Lets the requests that are under way finish, then kills the process, once some handler has
    /// written more than so many lines.
    pub async fn retire(&self, journal: &Journal, lines: usize) {
        let _none = self.in_flight.write().await;
        journal.more_lines_than(lines).await;
        self.retired.notify_one();
        self.state
            .subscribe()
            .wait_for(|state| *state == State::Over)
            .await
            .unwrap();
    }

    /// Runs processes until the worker retires or there were too many errors.
    pub async fn live(self: Arc<Self>, program: Program, journal: Journal) {
        let mut errors: Vec<Instant> = Vec::new();
        while errors.len() < ERRORS_TO_STOP {
            self.starts.fetch_add(1, Ordering::AcqRel);
            let mut process = Process::start(&self.app, &program, self.address, &journal);
            let end = tokio::select! {
                end = self.run(&mut process, &journal) => end,
                end = self.ordered_end() => {
                    process.kill().await;
                    end
                }
            };
            let end = if matches!(end, End::Silence) {
                self.ordered_end().await
            } else {
                end
            };
            if matches!(end, End::Retired) {
                self.state.send_replace(State::Over);
                return;
            }
            self.state.send_replace(State::Starting);
            if let End::Error(error) = end {
                self.count(error, &mut errors, &journal);
            }
            if errors.len() < ERRORS_TO_STOP {
                sleep(self.timing.restart_pause).await;
            }
        }
        self.state.send_replace(State::Over);
        journal.note(|entries| entries.gave_up = true);
    }

    fn count(&self, error: String, errors: &mut Vec<Instant>, journal: &Journal) {
        if errors
            .last()
            .is_some_and(|last| last.elapsed() > self.timing.errors_are_forgotten)
        {
            errors.clear();
        }
        errors.push(Instant::now());
        journal.note(|entries| entries.exits.push(error));
    }

    async fn ordered_end(&self) -> End {
        tokio::select! {
            () = self.retired.notified() => End::Retired,
            () = self.expired.notified() => End::Restart,
        }
    }

    /// One process, from its start to an end that the host did not ask for.
    async fn run(&self, process: &mut Process, journal: &Journal) -> End {
        let in_time = tokio::select! {
            code = process.exit() => return self.end_of(process, code, journal).await,
            answered = timeout(self.app.initialization_timeout, self.until_answered()) => answered.is_ok(),
        };
        if !in_time {
            process.kill().await;
            return End::Error("Initializing HttpWorker timed out.".to_owned());
        }
        journal.note(|entries| entries.starts.push(process.id()));
        self.state.send_replace(State::Ready);
        let code = process.exit().await;
        self.end_of(process, code, journal).await
    }

    /// Any answer will do, and only a connection that cannot be made means "not yet".
    async fn until_answered(&self) {
        let mut ticks = interval(self.timing.readiness_poll);
        ticks.tick().await;
        while self.ping().await == Err(Failure::Refused) {
            ticks.tick().await;
        }
    }

    /// Exit code 0 is no error and brings no other process, so the host goes on sending to it; 200
    /// asks for another.
    async fn end_of(&self, process: &mut Process, code: i32, journal: &Journal) -> End {
        if code == 0 {
            journal.note(|entries| entries.ends.push(code));
            return End::Silence;
        }
        self.state.send_replace(State::Starting);
        if code == 200 {
            journal.note(|entries| entries.ends.push(code));
            return End::Restart;
        }
        End::Error(process.exit_message(code).await)
    }
}
