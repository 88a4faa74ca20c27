//! What the host knows and would show: log lines with their levels, starts, exits, invocations.
//! Tests wait for entries here.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

/// Far beyond what anything here takes, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_mins(2);

/// As the host's log has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Information,
    Warning,
    Error,
}

/// The two pipes of a process.
#[derive(Debug, Clone, Copy)]
pub enum Pipe {
    Stdout,
    Stderr,
}

#[derive(Debug, Default)]
pub struct Entries {
    /// What the handler wrote.
    pub lines: Vec<(Level, String)>,
    /// The process id of every handler that became ready.
    pub starts: Vec<u32>,
    /// The exit codes of handlers that ended by themselves and are no errors.
    pub ends: Vec<i32>,
    /// Why a handler that should have lived did not. What the host ended itself is not here.
    pub exits: Vec<String>,
    /// Each request that a function took, and the function's name.
    pub invocations: Vec<(Uuid, String)>,
    /// How many requests have run into `functionTimeout`.
    pub timeouts: usize,
    /// How many tasks have taken the place of a process.
    pub tasks: u32,
    /// How many handlers were replaced and have ended.
    pub retired: usize,
    /// There were too many errors.
    pub gave_up: bool,
    /// For that reason the host listens no more.
    pub stopped: bool,
}

#[derive(Clone)]
pub struct Journal(watch::Sender<Entries>);

impl Level {
    /// How the host takes a line: by its pipe, and on stderr by the word in it. `None` for what
    /// goes elsewhere.
    pub fn of(pipe: Pipe, line: &str) -> Option<Self> {
        let line = line.to_ascii_lowercase();
        if ["languageworkerconsolelog", "azfuncjsonlog:"]
            .iter()
            .any(|prefix| line.starts_with(prefix))
        {
            return None;
        }
        Some(match pipe {
            Pipe::Stdout => Self::Information,
            Pipe::Stderr if line.contains("warn") => Self::Warning,
            Pipe::Stderr => Self::Error,
        })
    }
}

impl Journal {
    pub fn new() -> Self {
        Self(watch::Sender::new(Entries::default()))
    }

    pub fn note(&self, entry: impl FnOnce(&mut Entries)) {
        self.0.send_modify(entry);
    }

    /// A number in place of a process id.
    pub fn next_task_id(&self) -> u32 {
        self.note(|entries| entries.tasks += 1);
        self.read(|entries| entries.tasks)
    }

    /// What the entries say now.
    pub fn read<T>(&self, question: impl FnOnce(&Entries) -> T) -> T {
        question(&self.0.borrow())
    }

    /// Waits, without a limit, for too many errors.
    pub async fn gave_up(&self) {
        self.0
            .subscribe()
            .wait_for(|entries| entries.gave_up)
            .await
            .unwrap();
    }

    /// Waits, without a limit, for output of a handler.
    pub async fn more_lines_than(&self, lines: usize) {
        self.0
            .subscribe()
            .wait_for(|entries| entries.lines.len() > lines)
            .await
            .unwrap();
    }

    /// Waits until the entries say so.
    pub async fn until(&self, condition: impl Fn(&Entries) -> bool) {
        let mut entries = self.0.subscribe();
        let in_time = timeout(DEADLINE, entries.wait_for(|entries| condition(entries)))
            .await
            .is_ok();
        assert!(in_time, "the host waited in vain: {:#?}", *self.0.borrow());
    }
}

#[test]
fn a_line_is_classified_by_its_pipe_and_the_word_in_it() {
    for (pipe, line, level) in [
        (Pipe::Stdout, "WARNING: an error", Some(Level::Information)),
        (Pipe::Stderr, r#"{"level":"WARN"}"#, Some(Level::Warning)),
        (
            Pipe::Stderr,
            "LIVEKIT_URL: must be a URL",
            Some(Level::Error),
        ),
        (Pipe::Stdout, "azfuncjsonlog:{}", None),
        (Pipe::Stderr, "LanguageWorkerConsoleLogx", None),
    ] {
        assert_eq!(Level::of(pipe, line), level, "{line}");
    }
}
