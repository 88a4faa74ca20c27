//! The host's side towards clients: connections, what the host answers itself, and the way to the
//! handler.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::app_folder::AppFolder;
use super::dot_net::Failure;
use super::journal::Journal;
use super::kestrel::{Answer, Request};
use super::source::Source;
use super::stream::{Framing, Reader};
use super::worker::{InFlight, Worker};
use super::{Mode, forwarding, fresh_id, proxying};

/// For how long the server reads what is left of a body behind an answer.
const DRAIN: Duration = Duration::from_secs(5);

/// What every connection shares.
pub struct Front {
    pub mode: Mode,
    pub journal: Journal,
    /// Whether `AzureWebJobsDisableHomepage` is set.
    pub homepage_disabled: bool,
    /// The app and its worker of the moment. One lock for both with the replacing, so that no
    /// request reaches a worker that retires.
    pub current: Mutex<(Arc<AppFolder>, Arc<Worker>)>,
}

impl Front {
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let accepting = async {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(Arc::clone(&self).converse(stream, peer));
            }
        };
        tokio::select! {
            () = self.journal.gave_up() => {}
            () = accepting => {}
        }
        drop(listener);
        self.journal.note(|entries| entries.stopped = true);
    }

    /// One connection, request by request, until either side closes.
    async fn converse(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let (reader, mut writer) = stream.into_split();
        let mut reader = Reader::new(reader);
        while let Ok(Some(request)) = Request::read(&mut reader, peer.ip()).await {
            let request = match request {
                Ok(request) => request,
                Err(status) => {
                    let _ = Answer::refuse(status, &mut writer).await;
                    let _ = writer.shutdown().await;
                    // What is unread at the end would reset the connection, and the refusal be
                    // lost.
                    let _ = timeout(DRAIN, reader.drain(Framing::UntilClosed)).await;
                    return;
                }
            };
            let mut source = Source::new(&mut reader, request.framing);
            if request.headers.lists("expect", "100-continue") {
                source = source.announced_by(&mut writer);
            }
            let Ok((answer, _in_flight)) = self.answer(&request, &mut source).await else {
                return;
            };
            let rest = source.rest();
            let Ok(keep_alive) = answer.write(&request, &mut reader, &mut writer).await else {
                return;
            };
            let is_drained = match rest {
                Some(rest) => timeout(DRAIN, reader.drain(rest)).await.unwrap_or(false),
                None => false,
            };
            if !keep_alive || !is_drained {
                let _ = writer.shutdown().await;
                return;
            }
        }
    }

    /// The answer, and what keeps its worker from retiring until the last byte is written.
    async fn answer(
        &self,
        request: &Request,
        source: &mut Source<'_>,
    ) -> Result<(Answer, Option<InFlight>), Failure> {
        let (app, worker, in_flight) = self.enter();
        let (mut answer, in_flight) = match self.own_answer(&app, request) {
            Some(answer) => (answer, None),
            None => (
                self.passed_on(&app, &worker, request, source).await?,
                Some(in_flight),
            ),
        };
        for (name, value) in app.custom_headers.iter() {
            if !answer.headers.contains(name) {
                answer.headers.append(name, value);
            }
        }
        Ok((answer, in_flight))
    }

    /// What the host answers without a function.
    fn own_answer(&self, app: &AppFolder, request: &Request) -> Option<Answer> {
        let first = request
            .path
            .split('/')
            .nth(1)
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !request.has_host() {
            return Some(Answer::own(500));
        }
        if request.path == "/" {
            return Some(Answer::own(if self.homepage_disabled { 204 } else { 200 }));
        }
        if ["admin", "runtime"].contains(&first.as_str()) {
            let mut answer = Answer::own(401);
            answer.headers.append("WWW-Authenticate", "Bearer");
            return Some(answer);
        }
        app.functions
            .find(&request.method, &request.path)
            .is_none()
            .then(|| Answer::own(404))
    }

    async fn passed_on(
        &self,
        app: &AppFolder,
        worker: &Worker,
        request: &Request,
        source: &mut Source<'_>,
    ) -> Result<Answer, Failure> {
        let invocation = fresh_id();
        let function = app
            .functions
            .find(&request.method, &request.path)
            .map(|function| function.name.clone());
        self.journal.note(|entries| {
            entries
                .invocations
                .extend(function.map(|function| (invocation, function)));
        });
        let passing = async {
            match self.mode {
                _ if !worker.is_ready().await => Ok(None),
                Mode::Forwarding => Ok(forwarding::pass(worker, request, source, invocation).await),
                Mode::Proxying => proxying::pass(worker, request, source, invocation).await,
            }
        };
        let expired = async {
            sleep(app.function_timeout).await;
            let process = worker.process();
            self.journal.note(|entries| entries.timeouts += 1);
            sleep(worker.timing.timeout_grace).await;
            worker.replace(process);
        };
        let answer = tokio::select! {
            answer = passing => answer?,
            () = expired => None,
        };
        Ok(answer.unwrap_or_else(|| Answer::own(500)))
    }

    fn enter(&self) -> (Arc<AppFolder>, Arc<Worker>, InFlight) {
        let current = self.current.lock().unwrap();
        let (app, worker) = &*current;
        (Arc::clone(app), Arc::clone(worker), worker.enter())
    }
}
