//! Runs the program as an operator or the Functions host would: a process with an environment of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A started program whose output is collected.
pub struct Roomkey {
    child: Child,
    /// `http://…`, as the start line says.
    pub url: String,
    output: Vec<Collected>,
}

struct Collected {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The program with nothing in its environment but the given settings.
pub fn command(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().envs(settings.iter().copied()).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn run(program: &Path, folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let output = command(program, folder, settings).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Roomkey {
    /// Starts the program and waits for the line that says where it listens.
    pub fn start(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = command(program, folder, settings).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let Some((_, url)) = first.split_once("listens on ") else {
            let mut faults = String::new();
            stderr.read_to_string(&mut faults).unwrap();
            panic!("it did not start: {first}{faults}");
        };
        let url = url.trim_end_matches(['\n', '}', '"']).to_owned();
        Self { child, url, output: vec![Collected::new(first, stdout), Collected::new(String::new(), stderr)] }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, such as `TERM`, and waits for the end.
    pub fn stop(mut self, signal: &str) -> Ended {
        let sent = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = self.child.wait().unwrap();
        let mut texts = self.output.iter_mut().map(Collected::whole);
        Ended { status, stdout: texts.next().unwrap(), stderr: texts.next().unwrap() }
    }
}

impl Drop for Roomkey {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collected {
    fn new(first: String, mut rest: impl BufRead + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(first));
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while rest.read_line(&mut line).is_ok_and(|read| read > 0) {
                sink.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text.lock().unwrap().clone()
    }
}
