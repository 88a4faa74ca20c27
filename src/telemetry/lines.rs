//! Where log lines go, and when.
//!
//! A line of its own for every request, each with a system call and a reader to wake, would cost as much as the request. Lines
//! about requests therefore wait until the worker that wrote them has nothing else to do, or until there are many, and leave
//! together. A process that is killed loses those that wait. All other lines
//! leave at once.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::{AUDIT, REQUEST};

/// So many bytes leave without waiting any longer. Linux's pipes hold 64 KiB, so that a reader that is not far behind stops
/// nobody.
const MANY: usize = 16 * 1024;

/// The process's two streams, and the lines that wait for stdout.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Writes out what waits. A reader that went away is no reason to stop.
    pub fn flush(&self) {
        self.write_and_flush(&[]);
    }

    fn write_and_flush(&self, line: &[u8]) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend_from_slice(line);
        if !waiting.is_empty() {
            let _ = io::stdout().lock().write_all(&waiting);
            waiting.clear();
        }
    }

    fn wait(&self, line: &[u8]) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend_from_slice(line);
        let many = waiting.len() >= MANY;
        drop(waiting);
        if many {
            self.flush();
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Destination<'a>;

    fn make_writer(&'a self) -> Destination<'a> {
        Destination::Stdout(self)
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Destination<'a> {
        if *line.level() <= Level::WARN {
            Destination::Stderr
        } else if matches!(line.target(), REQUEST | AUDIT) {
            Destination::Waiting(self)
        } else {
            Destination::Stdout(self)
        }
    }
}

/// Where one line goes.
pub enum Destination<'a> {
    /// To stderr, at once.
    Stderr,
    /// To stdout at once, behind what waits.
    Stdout(&'a Lines),
    /// To stdout, with others.
    Waiting(&'a Lines),
}

impl Write for Destination<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => return io::stderr().write(line),
            Self::Stdout(lines) => lines.write_and_flush(line),
            Self::Waiting(lines) => lines.wait(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
