//! One process of the handler: started as the host starts it, read line by line, waited for, killed.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::app_folder::AppFolder;
use super::fresh_id;
use super::journal::{Journal, Level, Pipe};

/// How long the host waits for a killed process to be gone.
const KILL_WAIT: Duration = Duration::from_secs(1);

/// How many of its last error lines explain an exit.
const LAST_ERRORS: usize = 3;

/// A process. It is killed when this is dropped.
pub struct Process {
    child: Child,
    name: String,
    readers: Vec<JoinHandle<()>>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn start(app: &AppFolder, settings: &[(String, String)], address: SocketAddr, journal: &Journal) -> Self {
        let (port, id, root) = (address.port().to_string(), fresh_id().to_string(), app.root.to_str().unwrap());
        let from_host = [
            ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
            ("FUNCTIONS_HTTPWORKER_PORT", &port),
            ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id),
            ("FUNCTIONS_HTTPWORKER_ID", &id),
            ("FUNCTIONS_APP_ROOT_PATH", root),
        ];
        let mut command = Command::new(&app.executable);
        command.args(&app.arguments).current_dir(&app.working_directory).env_clear().envs(settings.iter().cloned()).envs(from_host);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let errors = Arc::default();
        let stdout = read(Pipe::Stdout, child.stdout.take().unwrap(), journal.clone(), Arc::clone(&errors));
        let stderr = read(Pipe::Stderr, child.stderr.take().unwrap(), journal.clone(), Arc::clone(&errors));
        Self { child, name: app.executable.display().to_string(), readers: vec![stdout, stderr], errors }
    }

    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits for an end that the host did not ask for. `None`: the host starts another and counts nothing. Else the host counts
    /// it, for the given reason.
    pub async fn exit(&mut self) -> Option<String> {
        let status = self.child.wait().await.unwrap();
        while let Some(reader) = self.readers.last_mut() {
            reader.await.unwrap();
            self.readers.pop();
        }
        // .NET's word for a signal.
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        let errors = self.errors.lock().unwrap();
        let last = errors.split_at(errors.len().saturating_sub(LAST_ERRORS)).1.join(",");
        (![0, 200].contains(&code)).then(|| format!("{} exited with code {code} (0x{code:X}): {last}", self.name))
    }

    /// SIGKILL, as every stop by the host is.
    pub async fn kill(&mut self) {
        // Fails if it ended by itself a moment ago.
        let _ = self.child.start_kill();
        assert!(timeout(KILL_WAIT, self.child.wait()).await.is_ok(), "a killed process was not gone within a second");
    }
}

/// Writes a pipe's lines into the journal until it closes.
fn read(pipe: Pipe, stream: impl AsyncRead + Unpin + Send + 'static, journal: Journal, errors: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let Some(level) = Level::of(pipe, &line) else { continue };
            if level == Level::Error {
                errors.lock().unwrap().push(line.clone());
            }
            journal.note(|entries| entries.lines.push((level, line)));
        }
    })
}
