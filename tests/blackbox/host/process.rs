//! One process of the handler: started as the host starts it, read line by line, waited for,
//! killed.
//!
//! It is the executable that `host.json` names, or a task of the test that takes its place: a task
//! listens on the same port, ends with an exit code, and loses its connections when it is killed.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::app_folder::AppFolder;
use super::fresh_id;
use super::journal::{DEADLINE, Journal, Level, Pipe};

/// How many of its last error lines explain an exit.
const LAST_ERRORS: usize = 3;

/// What the host starts as the handler.
#[derive(Clone)]
pub enum Program {
    /// The executable of the app, with these settings in its environment.
    Executable(Arc<[(String, String)]>),
    /// A task of the test. What it returns is the exit code.
    Task(Arc<dyn Fn(Start) -> BoxFuture<'static, i32> + Send + Sync>),
}

/// What a task is told at its start.
pub struct Start {
    /// Where to listen.
    pub address: SocketAddr,
    /// The process id.
    pub id: u32,
    journal: Journal,
}

/// A process. It is killed when this is dropped.
pub struct Process {
    id: u32,
    name: String,
    running: Running,
    errors: Arc<Mutex<Vec<String>>>,
}

enum Running {
    Child {
        child: Box<Child>,
        readers: Vec<JoinHandle<()>>,
    },
    Task(JoinHandle<i32>),
}

impl Start {
    /// Writes a line to stdout.
    pub fn print(&self, line: &str) {
        self.journal
            .note(|entries| entries.lines.push((Level::Information, line.to_owned())));
    }
}

impl Process {
    pub fn start(
        app: &AppFolder,
        program: &Program,
        address: SocketAddr,
        journal: &Journal,
    ) -> Self {
        let settings = match program {
            Program::Executable(settings) => settings,
            Program::Task(task) => {
                let id = journal.next_task_id();
                let running = tokio::spawn(task(Start {
                    address,
                    id,
                    journal: journal.clone(),
                }));
                return Self {
                    id,
                    name: "task".to_owned(),
                    running: Running::Task(running),
                    errors: Arc::default(),
                };
            }
        };
        let (port, id, root) = (
            address.port().to_string(),
            fresh_id().to_string(),
            app.root.to_str().unwrap(),
        );
        let from_host = [
            ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
            ("FUNCTIONS_HTTPWORKER_PORT", &port),
            ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id),
            ("FUNCTIONS_HTTPWORKER_ID", &id),
            ("FUNCTIONS_APP_ROOT_PATH", root),
        ];
        let mut command = Command::new(&app.executable);
        command
            .args(&app.arguments)
            .current_dir(&app.working_directory)
            .env_clear()
            .envs(settings.iter().cloned())
            .envs(from_host);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let errors = Arc::default();
        let stdout = read(
            Pipe::Stdout,
            child.stdout.take().unwrap(),
            journal.clone(),
            Arc::clone(&errors),
        );
        let stderr = read(
            Pipe::Stderr,
            child.stderr.take().unwrap(),
            journal.clone(),
            Arc::clone(&errors),
        );
        let (id, name) = (child.id().unwrap(), app.executable.display().to_string());
        Self {
            id,
            name,
            running: Running::Child {
                child: Box::new(child),
                readers: vec![stdout, stderr],
            },
            errors,
        }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits for an end that the host did not ask for, and returns the exit code.
    pub async fn exit(&mut self) -> i32 {
        match &mut self.running {
            // A panic counts as an abort.
            Running::Task(task) => task.await.unwrap_or(134),
            Running::Child { child, .. } => {
                let status = child.wait().await.unwrap();
                // .NET's word for a signal.
                status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap())
            }
        }
    }

    /// The host's message about an exit code, once all output has been read.
    pub async fn exit_message(&mut self, code: i32) -> String {
        if let Running::Child { readers, .. } = &mut self.running {
            while let Some(reader) = readers.last_mut() {
                reader.await.unwrap();
                readers.pop();
            }
        }
        let errors = self.errors.lock().unwrap();
        let last = errors
            .split_at(errors.len().saturating_sub(LAST_ERRORS))
            .1
            .join(",");
        format!("{} exited with code {code} (0x{code:X}): {last}", self.name)
    }

    /// SIGKILL, as every stop by the host is.
    pub async fn kill(&mut self) {
        let gone = async {
            match &mut self.running {
                Running::Child { child, .. } => {
                    // Fails if it ended by itself a moment ago.
                    let _ = child.start_kill();
                    let _ = child.wait().await;
                }
                Running::Task(task) => {
                    task.abort();
                    let _ = task.await;
                }
            }
        };
        assert!(
            timeout(DEADLINE, gone).await.is_ok(),
            "a killed process is not gone"
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Running::Task(task) = &self.running {
            task.abort();
        }
    }
}

/// Writes a pipe's lines into the journal until it closes.
fn read(
    pipe: Pipe,
    stream: impl AsyncRead + Unpin + Send + 'static,
    journal: Journal,
    errors: Arc<Mutex<Vec<String>>>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let Some(level) = Level::of(pipe, &line) else {
                continue;
            };
            if level == Level::Error {
                errors.lock().unwrap().push(line.clone());
            }
            journal.note(|entries| entries.lines.push((level, line)));
        }
    })
}
