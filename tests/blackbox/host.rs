//! A stand-in for the Azure Functions host, which runs the packaged app as a custom handler.
//!
//! | part | stands for | leaves out |
//! |---|---|---|
//! | `app_folder` | `host.json` and the function folders of the unpacked package; without a switch for the mode, with other bindings or with keys it stops | other sections, comments, overriding by app settings, `%VAR%`, extension bundles, programs found on the PATH |
//! | `routes` | functions in the order of their names, first match on route and method, else an empty 404; the prefix; `{*path}` | constraints, defaults and optional parts of routes, `/admin`, `/runtime`, the page at `/` (all 404 here) |
//! | `forwarding` | a host that copies: headers, query and body by the host's rules, the answer read whole, one try, 500 | redirects and cookies of .NET's client; the 500 with which .NET may refuse a chunked request (here it arrives without its body) |
//! | `proxying` | a newer host that streams: hop-by-hop headers dropped, `X-Forwarded-*` set, 10 tries in 1.9 s, 500 | trailers, upgrades, `Expect` |
//! | `dot_net` | one line for all values of a header, pooled connections that end after 60 s without use | every other habit of that client |
//! | `process`, `journal` | environment, working directory, pipes and how their lines are taken, exit messages, SIGKILL and 1 s | what Azure itself puts into the environment, sanitizing of secrets in the log |
//! | `worker` | one port for all its processes, `GET /` every 25 ms until any answer, the limit for that, restarts, the third error; early requests wait | another program that takes the port first; older hosts, which leave nothing running after exit code 0 |
//! | here | listening, `customHeaders`, an old and a new process side by side | `functionTimeout` and every other limit of time or size, CORS by the platform, TLS, Easy Auth, scaling, what an instance does when its host stopped |
//!
//! Source: the host's code (github.com/Azure/azure-functions-host, 4.1037 and newer), YARP's and .NET's. Written after reading it, and
//! never compared with a running host.

pub mod app_folder;
pub mod dot_net;
pub mod forwarding;
pub mod journal;
pub mod process;
pub mod proxying;
pub mod routes;
pub mod worker;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roomkey::entropy::{Entropy, SystemEntropy};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::app_folder::AppFolder;
use self::dot_net::{Body, empty};
use self::journal::Journal;
use self::worker::{InFlight, Worker};
use crate::package::App;

const VERSION: &str = "4.1037.0.0";
const HOST_VERSION: HeaderName = HeaderName::from_static("x-azure-functions-hostversion");
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");

/// How requests reach the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What a host does that does not know the newer switch.
    Forwarding,
    /// What a newer host prefers.
    Proxying,
}

/// A running host. It ends with its handler when this is dropped.
pub struct Host {
    /// Where clients ask.
    pub address: SocketAddr,
    pub url: String,
    pub journal: Journal,
    front: Arc<Front>,
    settings: Arc<[(String, String)]>,
    tasks: Mutex<JoinSet<()>>,
    _app: App,
}

struct Front {
    app: Arc<AppFolder>,
    mode: Mode,
    journal: Journal,
    worker: Mutex<Arc<Worker>>,
}

impl Host {
    /// Starts a host for an unpacked app, with app settings. Requests may come at once: they wait for the handler.
    pub async fn start(app: App, mode: Mode, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let folder = Arc::new(AppFolder::read(app.folder(), mode));
        let worker = Arc::new(Worker::new(Arc::clone(&folder)));
        let journal = Journal::new();
        let front = Arc::new(Front { app: folder, mode, journal: journal.clone(), worker: Mutex::new(Arc::clone(&worker)) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Mutex::new(JoinSet::from_iter([Arc::clone(&front).serve(listener)]));
        let host = Self { address, url: format!("http://{address}"), journal, front, settings, tasks, _app: app };
        host.bring_to_life(worker);
        host
    }

    fn bring_to_life(&self, worker: Arc<Worker>) {
        self.tasks.lock().unwrap().spawn(worker.live(Arc::clone(&self.settings), self.journal.clone()));
    }

    /// Starts a new process, lets it serve once it is ready, and ends the old one when its last request is answered.
    pub async fn replace(&self) {
        let new = Arc::new(Worker::new(Arc::clone(&self.front.app)));
        self.bring_to_life(Arc::clone(&new));
        assert!(new.is_ready().await);
        let old = std::mem::replace(&mut *self.front.worker.lock().unwrap(), new);
        old.retire().await;
    }

    /// Whether the handler answers the host's health ping.
    pub async fn ping(&self) -> bool {
        let (worker, _in_flight) = self.front.enter();
        worker.is_ready().await && worker.ping().await.is_ok()
    }
}

impl Front {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let accepting = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let front = Arc::clone(&self);
                let service = service_fn(move |request| {
                    let front = Arc::clone(&front);
                    async move { Ok::<_, Infallible>(front.answer(request).await) }
                });
                // Ends with an error when the client goes away or an answer breaks off, which the client sees.
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).map(drop));
            }
        };
        tokio::select! {
            () = self.journal.gave_up() => {}
            () = accepting => {}
        }
        drop(listener);
        self.journal.note(|entries| entries.stopped = true);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let mut answer = self.passed_on(request).await;
        for (name, value) in &self.app.custom_headers {
            answer.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        answer
    }

    async fn passed_on(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(function) = self.app.functions.find(request.method(), &routes::decoded(request.uri().path())) else {
            return status(StatusCode::NOT_FOUND);
        };
        let (invocation, (worker, in_flight)) = (fresh_id(), self.enter());
        self.journal.note(|entries| entries.invocations.push((invocation, function.name.clone())));
        let answer = match self.mode {
            _ if !worker.is_ready().await => None,
            Mode::Forwarding => forwarding::pass(&worker, request, invocation).await,
            Mode::Proxying => proxying::pass(&worker, request, invocation).await,
        };
        let Some(answer) = answer else { return status(StatusCode::INTERNAL_SERVER_ERROR) };
        // A request is under way until its answer's last byte.
        answer.map(|body| body.map_frame(move |frame| (frame, &in_flight).0).boxed())
    }

    /// The worker of the moment. One lock with the replacing, so that no request reaches a worker that retires.
    fn enter(&self) -> (Arc<Worker>, InFlight) {
        let worker = self.worker.lock().unwrap();
        (Arc::clone(&worker), worker.enter())
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(empty());
    *answer.status_mut() = status;
    answer
}

fn fresh_id() -> Uuid {
    (&SystemEntropy as &dyn Entropy).uuid()
}

fn value(text: &impl ToString) -> HeaderValue {
    text.to_string().try_into().unwrap()
}

fn header_map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn listed(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let mut listed: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    listed.sort_unstable();
    listed
}
