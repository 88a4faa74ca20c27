//! Runs the program as an operator or the Functions host would: a process with an environment of
//! its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// Longer than anything that a test waits for; only a fault lasts as long.
const PATIENCE: Duration = Duration::from_mins(2);

/// A started program whose output is collected.
pub struct Roomkey {
    child: Child,
    /// `http://…`, as the start line says.
    pub url: String,
    stdout: Collected,
    stderr: Collected,
}

/// Lines as they come, and those that were seen.
struct Collected {
    coming: Receiver<String>,
    seen: String,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The time for a script to say where it serves. One that takes longer is started again: Node.js
/// has been seen to stop in its own start, before it ran a line of the script.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(30);

/// Starts a script that serves, and returns it with the first lines that it prints.
pub fn start_script(command: &mut Command, lines: usize) -> (Child, Vec<String>) {
    for _ in 0..3 {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?}: {error}; `make tools` says what the tests need")
            });
        let printed = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in printed.take(lines).map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut first = Vec::new();
        while first.len() < lines {
            match said.recv_timeout(SCRIPT_PATIENCE) {
                Ok(line) => first.push(line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{command:?} ended before it served")
                }
            }
        }
        if first.len() == lines {
            return (child, first);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("{command:?} does not say where it serves");
}

/// The program with nothing in its environment but the given settings.
pub fn command(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn run(program: &Path, folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let output = command(program, folder, settings)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        status: output.status,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A client that talks to the program and to no proxy in between.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Roomkey {
    /// Starts the program and waits for the line that says where it listens.
    pub fn start(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::started(&mut command(program, folder, settings))
    }

    /// As [`Roomkey::start`], for a command that a test has made.
    pub fn started(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let mut roomkey = Self {
            child,
            url: String::new(),
            stdout: Collected::new(stdout),
            stderr: Collected::new(stderr),
        };
        let Some(line) = roomkey.stdout.until("listens on ") else {
            panic!("it did not start: {}", roomkey.stderr.rest())
        };
        let (_, url) = line.split_once("listens on ").unwrap();
        url.trim_end_matches(['\n', '}', '"'])
            .clone_into(&mut roomkey.url);
        roomkey
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.url.trim_start_matches("http://").parse().unwrap()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on stdout and returns it.
    pub fn wait_for(&mut self, part: &str) -> String {
        let line = self.stdout.until(part);
        line.unwrap_or_else(|| {
            panic!(
                "it ended without a line that holds {part}: {}",
                self.stdout.seen
            )
        })
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Ended {
        let (stdout, stderr) = (self.stdout.rest(), self.stderr.rest());
        Ended {
            status: self.child.wait().unwrap(),
            stdout,
            stderr,
        }
    }

    /// Sends a signal and waits for the end.
    pub fn stop(self, signal: &str) -> Ended {
        self.signal(signal);
        self.ended()
    }
}

impl Drop for Roomkey {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collected {
    /// Reads on in a thread of its own, so that the program never waits for a reader.
    fn new(source: impl Read + Send + 'static) -> Self {
        let (sink, coming) = mpsc::channel();
        std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = String::new();
            while source.read_line(&mut line).is_ok_and(|read| read > 0)
                && sink.send(std::mem::take(&mut line)).is_ok()
            {}
        });
        Self {
            coming,
            seen: String::new(),
        }
    }

    /// The next line that holds a text; nothing when the program closed its output before.
    fn until(&mut self, part: &str) -> Option<String> {
        while let Ok(line) = self.coming.recv_timeout(PATIENCE) {
            self.seen.push_str(&line);
            if line.contains(part) {
                return Some(line);
            }
        }
        None
    }

    /// Everything, to the end.
    fn rest(&mut self) -> String {
        self.until("\0");
        std::mem::take(&mut self.seen)
    }
}
