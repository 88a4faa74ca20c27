//! A simulator of the Azure Functions host, which runs the packaged app as a custom handler.
//!
//! | part | stands for | leaves out |
//! |---|---|---|
//! | `app_folder` | `host.json` and the function folders of the unpacked package; without a switch for the mode, with other bindings or with keys it stops | other sections, comments, overriding by app settings, `%VAR%`, extension bundles, programs found on the PATH |
//! | `routes` | functions in the order of their names, first match on route and method, else an empty 404; the prefix; `{*path}` | constraints, defaults and optional parts of routes |
//! | `kestrel`, `path` | the host's server: what it refuses (400, 414, 431), how it reads a target and writes an answer; no time in `Date` | limits of time and speed, HTTP/2, trailers |
//! | `forwarding` | a host that copies: path, query, headers and body by the host's rules, the answer read whole, 500 | redirects and cookies of .NET's client |
//! | `proxying` | a newer host that streams: hop-by-hop headers dropped, `X-Forwarded-*` set, 10 tries in 1.9 s, 500 | an upgrade that the handler accepts (101) |
//! | `dot_net`, `source` | one line for all values of a header, pooled connections that end after 60 s without use, four sends of what has no body, `Expect: 100-continue` | every other habit of that client |
//! | `process`, `journal` | environment, working directory, pipes and how their lines are taken, exit messages, SIGKILL and 1 s | what Azure itself puts into the environment, sanitizing of secrets in the log |
//! | `worker` | one port for all its processes, `GET /` every 25 ms until any answer, the limit for that, restarts, the third error, exit code 0; early requests wait | another program that takes the port first; newer hosts, which start another process after exit code 0 |
//! | `front`, here | listening, `customHeaders`, `/`, `/admin`, `/runtime` (401), `functionTimeout`, a changed `host.json`: an old and a new process side by side | CORS by the platform, TLS, Easy Auth, scaling, what an instance does when its host stopped |
//!
//! Source: exchanges recorded at a running host (`exchanges.json`, replayed by
//! `host_tests/replay.rs`), its code (github.com/Azure/azure-functions-host, 4.1037 and newer),
//! YARP's and .NET's.

pub mod app_folder;
mod dot_net;
mod forwarding;
mod front;
pub mod headers;
pub mod journal;
mod kestrel;
mod path;
pub mod process;
mod proxying;
mod routes;
mod source;
pub mod stream;
pub mod timing;
mod worker;

use std::any::Any;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use roomkey::entropy::{Entropy, SystemEntropy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use self::app_folder::AppFolder;
use self::front::Front;
use self::journal::{DEADLINE, Journal};
use self::process::Program;
use self::timing::Timing;
use self::worker::Worker;
use crate::package::App;
use crate::reserved_port::ReservedPort;

pub const VERSION: &str = "4.1037.0.0";
const HOST_VERSION: &str = "X-Azure-Functions-HostVersion";
const INVOCATION_ID: &str = "X-Azure-Functions-InvocationId";

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
    _port: ReservedPort,
    _tasks: JoinSet<()>,
    _folder: Box<dyn Any + Send + Sync>,
}

/// What a host is started with.
pub struct Setup {
    pub root: PathBuf,
    pub mode: Mode,
    pub program: Program,
    pub timing: Timing,
    /// Whether `GET /` is empty, as `AzureWebJobsDisableHomepage` makes it.
    pub homepage_disabled: bool,
}

impl Host {
    /// What the host says in place of the time.
    pub const DATE: &str = kestrel::DATE;

    /// Starts a host for an unpacked app, with app settings. Requests may come at once: they wait
    /// for the handler.
    pub async fn start(app: App, mode: Mode, settings: &[(&str, &str)]) -> Self {
        let settings: Arc<[_]> = settings
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let homepage_disabled =
            settings.contains(&("AzureWebJobsDisableHomepage".to_owned(), "true".to_owned()));
        let program = Program::Executable(settings);
        let setup = Setup {
            root: app.folder().to_owned(),
            mode,
            program,
            timing: Timing::MEASURED,
            homepage_disabled,
        };
        Self::run(setup, app).await
    }

    /// Starts a host for a folder, which is kept for as long as the host runs.
    pub async fn run(setup: Setup, folder: impl Any + Send + Sync) -> Self {
        let Setup {
            root,
            mode,
            program,
            timing,
            homepage_disabled,
        } = setup;
        let app = Arc::new(AppFolder::read(&root, mode));
        let worker = Arc::new(Worker::new(Arc::clone(&app), timing));
        let journal = Journal::new();
        let current = Mutex::new((Arc::clone(&app), Arc::clone(&worker)));
        let front = Arc::new(Front {
            mode,
            journal: journal.clone(),
            homepage_disabled,
            current,
        });
        let port = ReservedPort::new();
        let address = port.address;
        let listener = TcpListener::bind(address).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&front).serve(listener));
        tasks.spawn(follow(app, worker, Arc::clone(&front), program));
        Self {
            address,
            url: format!("http://{address}"),
            journal,
            front,
            _port: port,
            _tasks: tasks,
            _folder: Box::new(folder),
        }
    }

    /// Changes `host.json`, and waits until the process before has ended.
    pub async fn replace(&self) {
        let retired = self.journal.read(|entries| entries.retired);
        self.change_host_json();
        self.journal
            .until(|entries| entries.retired > retired)
            .await;
    }

    /// Changes `host.json` in a way that means nothing.
    pub fn change_host_json(&self) {
        let root = self.front.current.lock().unwrap().0.root.clone();
        let text = std::fs::read_to_string(root.join("host.json")).unwrap();
        std::fs::write(root.join("host.json.new"), text + "\n").unwrap();
        std::fs::rename(root.join("host.json.new"), root.join("host.json")).unwrap();
    }

    /// Waits until nothing listens on one of the host's ports any more. A process that another test
    /// is just starting has a copy of the listening socket until it runs its own program.
    pub async fn until_refused(&self, address: SocketAddr) {
        let refused = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        assert!(
            timeout(DEADLINE, refused).await.is_ok(),
            "something still listens on {address}"
        );
    }

    /// Where the handler of the moment listens.
    pub fn handler(&self) -> SocketAddr {
        self.front.current.lock().unwrap().1.address
    }

    /// Whether the handler answers the host's health ping.
    pub async fn ping(&self) -> bool {
        let worker = Arc::clone(&self.front.current.lock().unwrap().1);
        worker.is_ready().await && worker.ping().await.is_ok()
    }
}

/// Runs the app's worker, and another one for each change of `host.json`. Requests go over to the
/// new one at once; the old one ends behind its last request.
async fn follow(
    mut app: Arc<AppFolder>,
    mut worker: Arc<Worker>,
    front: Arc<Front>,
    program: Program,
) {
    let mut workers = JoinSet::new();
    // Their ports stay reserved.
    let mut retired = Vec::new();
    loop {
        workers.spawn(Arc::clone(&worker).live(program.clone(), front.journal.clone()));
        let path = app.root.join("host.json");
        while std::fs::read_to_string(&path).is_ok_and(|text| text == app.host_json) {
            sleep(worker.timing.file_poll).await;
        }
        app = Arc::new(AppFolder::read(&app.root, front.mode));
        worker = Arc::new(Worker::new(Arc::clone(&app), worker.timing));
        let current = (Arc::clone(&app), Arc::clone(&worker));
        let (_, old) = std::mem::replace(&mut *front.current.lock().unwrap(), current);
        retired.push(Arc::clone(&old));
        let journal = front.journal.clone();
        let lines = journal.read(|entries| entries.lines.len());
        workers.spawn(async move {
            old.retire(&journal, lines).await;
            journal.note(|entries| entries.retired += 1);
        });
    }
}

fn fresh_id() -> Uuid {
    (&SystemEntropy as &dyn Entropy).uuid()
}
