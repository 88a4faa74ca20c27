//! Handlers of a few lines in place of the program, and the app that they belong to.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::host::headers::Headers;
use crate::host::journal::DEADLINE;
use crate::host::process::{Program, Start};
use crate::host::stream::{Framing, Reader};
use crate::host::timing::Timing;
use crate::host::{Host, Mode, Setup};

/// A request that reached a handler.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// As it came.
    pub head: Vec<u8>,
    /// Without its chunks, and as far as it came.
    pub body: Vec<u8>,
    /// Which process of the handler it reached.
    pub process: u32,
}

impl Arrival {
    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.head)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    pub fn headers(&self) -> Headers {
        let end = self
            .head
            .windows(2)
            .position(|window| window == b"\r\n")
            .unwrap();
        Headers::parse(&self.head[end + 2..]).unwrap()
    }
}

/// What a handler does with a request.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// Answers with these bytes, and keeps the connection if the client can tell where they end.
    Bytes(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Neither answers nor closes.
    Wait,
    /// Begins an answer, and does not go on.
    BytesAndWait(Vec<u8>),
    /// Says `ok` once the test releases it.
    OkWhenReleased,
    /// Writes a line of output, and says `ok`.
    Print,
    /// Ends the process with this exit code.
    Exit(i32),
}

/// What all processes of a handler have seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub arrivals: Vec<Arrival>,
    /// The ports that the processes were told to listen on.
    pub ports: Vec<u16>,
    /// How many connections with a request on them were closed by the host.
    pub closed: usize,
    /// What waits for the test may go on.
    pub released: bool,
}

/// What a handler does; it never sees the requests of the host itself.
type React = Arc<dyn Fn(&Arrival) -> Reaction + Send + Sync>;

/// A handler that records.
#[derive(Clone)]
pub struct Handler {
    pub seen: Arc<watch::Sender<Seen>>,
    react: React,
    /// What the process does before it listens.
    before: Arc<dyn Fn(u32) -> Before + Send + Sync>,
}

/// What a process does before it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// Never comes so far.
    Hang,
    /// Comes so far once the test releases it.
    UntilReleased,
}

impl Handler {
    pub fn new(react: impl Fn(&Arrival) -> Reaction + Send + Sync + 'static) -> Self {
        Self {
            seen: Arc::new(watch::Sender::default()),
            react: Arc::new(react),
            before: Arc::new(|_| Before::Nothing),
        }
    }

    /// With processes that do something before they listen, by their number.
    pub fn with_start(mut self, before: impl Fn(u32) -> Before + Send + Sync + 'static) -> Self {
        self.before = Arc::new(before);
        self
    }

    pub fn program(&self) -> Program {
        let handler = self.clone();
        Program::Task(Arc::new(move |start| handler.clone().run(start).boxed()))
    }

    /// Waits until the test says so.
    async fn released(&self) {
        self.seen
            .subscribe()
            .wait_for(|seen| seen.released)
            .await
            .unwrap();
    }

    /// Lets everything go on that waits for it.
    pub fn release(&self) {
        self.seen.send_modify(|seen| seen.released = true);
    }

    /// Waits until what was seen is enough.
    pub async fn until(&self, condition: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        let in_time = timeout(DEADLINE, seen.wait_for(|seen| condition(seen)))
            .await
            .is_ok();
        assert!(
            in_time,
            "the handler waited in vain: {:#?}",
            *self.seen.borrow()
        );
    }

    /// The requests so far, each as its first line and the process that it reached.
    pub fn arrivals(&self) -> Vec<(String, u32)> {
        self.seen
            .borrow()
            .arrivals
            .iter()
            .map(|arrival| (arrival.line(), arrival.process))
            .collect()
    }

    async fn run(self, start: Start) -> i32 {
        self.seen
            .send_modify(|seen| seen.ports.push(start.address.port()));
        match (self.before)(start.id) {
            Before::Nothing => {}
            Before::Hang => std::future::pending().await,
            Before::UntilReleased => self.released().await,
        }
        let listener = listen(start.address).await;
        let start = Arc::new(start);
        let (exit, mut exits) = mpsc::unbounded_channel();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                code = exits.recv() => {
                    drop(listener);
                    connections.shutdown().await;
                    return code.unwrap();
                }
                accepted = listener.accept() => {
                    let (handler, start, exit) = (self.clone(), Arc::clone(&start), exit.clone());
                    connections.spawn(async move {
                        handler.converse(accepted.unwrap().0, &start, exit).await;
                    });
                }
            }
        }
    }

    /// One connection, until either side closes it.
    async fn converse(
        &self,
        stream: TcpStream,
        start: &Start,
        exit: UnboundedSender<i32>,
    ) -> Option<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = Reader::new(reader);
        while let Ok(Some(head)) = reader.head(1 << 20).await {
            let mut arrival = Arrival {
                head,
                body: Vec::new(),
                process: start.id,
            };
            if arrival.line() == "GET / HTTP/1.1" {
                writer
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    .await
                    .ok()?;
                continue;
            }
            let headers = arrival.headers();
            let mut framing = match headers
                .text("content-length")
                .and_then(|length| length.parse().ok())
            {
                Some(length) => Framing::Length(length),
                None if headers.contains("transfer-encoding") => Framing::CHUNKED,
                None => Framing::NONE,
            };
            let mut is_whole = true;
            loop {
                match reader.piece(&mut framing).await {
                    Ok(Some(piece)) => arrival.body.extend(piece),
                    Ok(None) => break,
                    Err(_) => {
                        is_whole = false;
                        break;
                    }
                }
            }
            self.seen
                .send_modify(|seen| seen.arrivals.push(arrival.clone()));
            let reaction = (self.react)(&arrival);
            if let Reaction::BytesAndWait(bytes) = &reaction {
                writer.write_all(bytes).await.ok()?;
            }
            let bytes = match reaction {
                _ if !is_whole => return None,
                Reaction::Close => return None,
                Reaction::Exit(code) => {
                    exit.send(code).unwrap();
                    // Closed by the end of the process, together with everything else.
                    std::future::pending().await
                }
                Reaction::Wait | Reaction::BytesAndWait(_) => {
                    reader.closed().await;
                    self.seen.send_modify(|seen| seen.closed += 1);
                    return None;
                }
                Reaction::OkWhenReleased => {
                    self.released().await;
                    OK.to_vec()
                }
                Reaction::Print => {
                    start.print("a line");
                    OK.to_vec()
                }
                Reaction::Bytes(bytes) => bytes,
            };
            writer.write_all(&bytes).await.ok()?;
            if !is_bounded(&bytes) {
                return None;
            }
        }
        None
    }
}

/// Listens where the process before has listened. A process that another test is just starting has
/// a copy of that socket until it runs its own program.
async fn listen(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::task::yield_now().await,
            listener => return listener.unwrap(),
        }
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// Whether the end of an answer can be told without closing.
fn is_bounded(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let announced = format!("Content-Length: {}", body.len());
    head.starts_with("HTTP/1.1 ")
        && head.lines().any(|line| line == announced)
        && !head.contains("Connection: close")
}

/// An answer that says `ok`.
pub fn ok() -> Reaction {
    Reaction::Bytes(OK.to_vec())
}

/// A host over the app that the exchanges were recorded with, with changes to its `host.json`.
pub async fn host(
    mode: Mode,
    handler: &Handler,
    timing: Timing,
    changes: &[(&str, Value)],
) -> Host {
    let folder = tempfile::tempdir().unwrap();
    let mut host_json = json!({
        "customHandler": { "enableForwardingHttpRequest": true, "enableProxyingHttpRequest": true, "description": { "defaultExecutablePath": "task" } },
        "functionTimeout": "00:05:00",
        "extensions": { "http": { "customHeaders": { "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff" } } },
    });
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        host_json.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    std::fs::write(folder.path().join("host.json"), host_json.to_string()).unwrap();
    let all = [
        "get", "post", "put", "delete", "patch", "head", "options", "trace",
    ];
    for (name, route, methods) in [
        ("aaa", "aaa/only", &["post"][..]),
        ("token", "token", &all),
        ("web", "{*path}", &all),
    ] {
        let trigger = json!({ "type": "httpTrigger", "authLevel": "anonymous", "route": route, "methods": methods });
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let function = json!({ "bindings": [trigger, { "type": "http" }] });
        std::fs::write(
            folder.path().join(name).join("function.json"),
            function.to_string(),
        )
        .unwrap();
    }
    let setup = Setup {
        root: folder.path().to_owned(),
        mode,
        program: handler.program(),
        timing,
        homepage_disabled: true,
    };
    Host::run(setup, folder).await
}
