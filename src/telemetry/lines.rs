//! The process's two streams, each behind a queue and a writer of its own: a reader of one that
//! stops reading delays neither a request nor the lines of the other.

use std::io::{self, Write};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::queue::{MAX_BYTES, Queue};
use crate::clock::Stopwatch;

/// Longest time that the end of the process waits for the readers of both streams.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Share of that time which is left for stderr where nobody reads stdout.
const LAST_ERRORS: Duration = Duration::from_millis(200);

/// Writes lines to stdout and stderr without waiting for their readers.
#[derive(Clone)]
pub struct LogLines {
    stdout: Queue,
    stderr: Queue,
}

impl LogLines {
    pub(super) fn start() -> Self {
        Self {
            stdout: Queue::start("stdout", MAX_BYTES, io::stdout(), report),
            stderr: Queue::start("stderr", MAX_BYTES, io::stderr(), report),
        }
    }

    /// Writes a line to stdout that is no log line.
    pub fn say(&self, line: &str) {
        self.stdout.push(format!("{line}\n").as_bytes());
    }

    /// Writes a line to stderr that is no log line.
    pub fn complain(&self, line: &str) {
        self.stderr.push(format!("{line}\n").as_bytes());
    }

    /// Returns the number of lines dropped since the start, by stream.
    pub(super) fn dropped(&self) -> [(&'static str, u64); 2] {
        [
            ("stdout", self.stdout.dropped()),
            ("stderr", self.stderr.dropped()),
        ]
    }

    /// Waits until all lines are written, for at most one second. What was dropped and not reported
    /// is reported now.
    pub fn finish(&self) {
        let began = Stopwatch::start();
        self.stdout.drain(LAST_LINES.saturating_sub(LAST_ERRORS));
        let unreported = self.stdout.take_unreported();
        if unreported > 0 {
            report("stdout", unreported);
        }
        self.stderr
            .drain(LAST_LINES.saturating_sub(began.elapsed()));
    }
}

/// Logs that lines were dropped. It goes to stderr, which is where an operator looks for trouble.
fn report(stream: &'static str, dropped: u64) {
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

/// The queue that takes one line.
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
