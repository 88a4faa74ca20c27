//! Writes log lines to stdout and stderr, each through its own queue and thread: a reader of one
//! that stops reading delays neither a request nor the lines of the other.

use std::io::{self, Write};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::queue::{MAX_BYTES, Queue};
use crate::clock::Stopwatch;

/// The longest time that a stop waits for the readers of both streams.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The part of that time that is reserved for stderr where nobody reads stdout.
const STDERR_FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// Writes lines to stdout and stderr without waiting for their readers.
#[derive(Clone)]
pub struct LogLines {
    stdout: Queue,
    stderr: Queue,
}

impl LogLines {
    pub(super) fn start() -> Self {
        Self {
            stdout: Queue::start("stdout", MAX_BYTES, io::stdout(), log_dropped),
            stderr: Queue::start("stderr", MAX_BYTES, io::stderr(), log_dropped),
        }
    }

    /// Writes a line to stdout that is not a log line.
    pub fn print_line(&self, line: &str) {
        self.stdout.push(format!("{line}\n").as_bytes());
    }

    /// Writes a line to stderr that is not a log line.
    pub fn print_error(&self, line: &str) {
        self.stderr.push(format!("{line}\n").as_bytes());
    }

    /// Returns the number of lines dropped since the start, by stream.
    pub(super) fn dropped(&self) -> [(&'static str, u64); 2] {
        [
            ("stdout", self.stdout.dropped()),
            ("stderr", self.stderr.dropped()),
        ]
    }

    /// Waits at most one second until all lines are written. It reports dropped lines that were not
    /// reported before.
    pub fn finish(&self) {
        let stopwatch = Stopwatch::start();
        self.stdout
            .drain(FLUSH_TIMEOUT.saturating_sub(STDERR_FLUSH_TIMEOUT));
        let unreported = self.stdout.take_unreported();
        if unreported > 0 {
            log_dropped("stdout", unreported);
        }
        self.stderr
            .drain(FLUSH_TIMEOUT.saturating_sub(stopwatch.elapsed()));
    }
}

/// Logs that lines were dropped. A warning goes to stderr, where operators look for problems.
fn log_dropped(stream: &'static str, dropped: u64) {
    tracing::warn!(
        stream,
        dropped,
        "log lines were dropped because nobody read them in time"
    );
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = LineDestination<'a>;

    fn make_writer(&'a self) -> LineDestination<'a> {
        LineDestination(&self.stdout)
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> LineDestination<'a> {
        LineDestination(if *line.level() <= Level::WARN {
            &self.stderr
        } else {
            &self.stdout
        })
    }
}

/// The stream that one line is written to.
pub struct LineDestination<'a>(&'a Queue);

impl Write for LineDestination<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
