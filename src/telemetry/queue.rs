//! A bounded queue of log lines and the thread that writes them to one stream.
//!
//! Logging never waits for the reader of the stream: the line is copied into memory, or dropped and
//! counted where the queue is full. tracing-appender works alike, but bounds its queue in lines
//! instead of bytes and wakes its thread for each line. This thread wakes at most once per
//! millisecond and writes all waiting lines in one system call.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The largest number of bytes that wait for one stream. Under full load they cover a pause of the
/// reader of about a tenth of a second.
pub const MAX_BYTES: usize = 4 << 20;

/// The time for which lines are collected before they are written together.
const COLLECT_PERIOD: Duration = Duration::from_millis(1);

/// The capacity that a buffer keeps after a burst.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Reports the number of lines that were dropped while the queue was full. It is called on the
/// writer's thread when the queue has room again.
pub type DropReport = fn(stream: &'static str, dropped: u64);

/// The queue of one stream.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    stream: &'static str,
    max_bytes: usize,
    waiting: Mutex<Waiting>,
    /// Notified when a line is added while the writer is idle.
    filled: Condvar,
    /// Notified when no line waits and none is being written.
    drained: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    is_idle: bool,
    is_writing: bool,
    /// Lines dropped since the last report.
    unreported: u64,
    /// Lines dropped since the start.
    dropped: u64,
}

impl Queue {
    /// Starts the thread that writes to `output`. If it cannot be started, lines are dropped and
    /// counted once the queue is full.
    pub fn start(
        stream: &'static str,
        max_bytes: usize,
        output: impl Write + Send + 'static,
        report: DropReport,
    ) -> Self {
        let shared = Arc::new(Shared {
            stream,
            max_bytes,
            waiting: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        let _ = thread::Builder::new()
            .name(format!("log-{stream}"))
            .spawn(move || writer.run(output, report));
        Self(shared)
    }

    /// Adds one line with its line break, or drops it if the queue is full.
    pub fn push(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.lines.len() + line.len() > self.0.max_bytes {
            waiting.unreported += 1;
            waiting.dropped += 1;
            return;
        }
        waiting.lines.extend_from_slice(line);
        if waiting.is_idle {
            waiting.is_idle = false;
            drop(waiting);
            self.0.filled.notify_one();
        }
    }

    /// Waits at most `timeout` until all lines are written. Returns whether they are.
    pub fn drain(&self, timeout: Duration) -> bool {
        let (waiting, _) = self
            .0
            .drained
            .wait_timeout_while(self.0.lock(), timeout, |waiting| !waiting.is_drained())
            .unwrap_or_else(PoisonError::into_inner);
        waiting.is_drained()
    }

    /// Returns the number of lines dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Returns the number of dropped lines that were not reported yet, and resets it.
    pub fn take_unreported(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unreported)
    }
}

impl Waiting {
    fn is_drained(&self) -> bool {
        self.lines.is_empty() && !self.is_writing
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: impl Write, report: DropReport) {
        let mut batch = Vec::new();
        loop {
            let mut waiting = self.lock();
            while waiting.lines.is_empty() {
                waiting.is_idle = true;
                waiting = self
                    .filled
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(waiting);
            thread::sleep(COLLECT_PERIOD);
            let mut waiting = self.lock();
            std::mem::swap(&mut waiting.lines, &mut batch);
            waiting.is_writing = true;
            drop(waiting);
            let dropped = write_all(&mut output, &batch);
            batch.clear();
            batch.shrink_to(KEPT_CAPACITY);
            let mut waiting = self.lock();
            waiting.dropped += dropped;
            let unreported = std::mem::take(&mut waiting.unreported);
            drop(waiting);
            if unreported > 0 {
                report(self.stream, unreported);
            }
            // This comes last, so that a drained queue includes the report.
            let mut waiting = self.lock();
            waiting.is_writing = false;
            if waiting.is_drained() {
                self.drained.notify_all();
            }
        }
    }
}

/// Writes a batch and returns how many lines could not be written. A reader that has gone away is
/// ignored. A stream that another process has set to non-blocking is retried.
fn write_all(output: &mut impl Write, batch: &[u8]) -> u64 {
    let mut rest = batch;
    while !rest.is_empty() {
        match output.write(rest) {
            Ok(0) => break,
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(COLLECT_PERIOD);
            }
            Err(_) => break,
        }
    }
    let _: io::Result<()> = output.flush();
    rest.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// A stream that accepts one batch per permit.
    struct Stuck {
        permits: Receiver<()>,
        written: SyncSender<String>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.written
                .send(String::from_utf8_lossy(bytes).into_owned())
                .map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stuck(report: DropReport) -> (Queue, SyncSender<()>, Receiver<String>) {
        let (permit, permits) = sync_channel(100);
        let (written, batches) = sync_channel(100);
        (
            Queue::start("stdout", 10, Stuck { permits, written }, report),
            permit,
            batches,
        )
    }

    #[test]
    fn lines_beyond_the_capacity_are_dropped_counted_and_reported_once() {
        static REPORTED: Mutex<Vec<(&str, u64)>> = Mutex::new(Vec::new());
        let (queue, permit, batches) =
            stuck(|stream, dropped| REPORTED.lock().unwrap().push((stream, dropped)));
        // The writer takes the first line and blocks.
        queue.push(b"first\n");
        while queue.0.lock().is_drained() || !queue.0.lock().is_writing {
            thread::yield_now();
        }
        for line in [&b"12345\n"[..], b"123\n", b"1\n", b"2\n"] {
            queue.push(line);
        }
        assert_eq!(queue.dropped(), 2, "the queue holds ten bytes");
        assert!(!queue.drain(Duration::from_millis(1)));
        assert!(
            REPORTED.lock().unwrap().is_empty(),
            "the queue is still full"
        );
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        assert!(queue.drain(TIMEOUT));
        let batches: Vec<_> = batches.try_iter().collect();
        assert_eq!(batches, ["first\n", "12345\n123\n"]);
        assert_eq!(*REPORTED.lock().unwrap(), [("stdout", 2)]);
        assert_eq!((queue.dropped(), queue.take_unreported()), (2, 0));
    }

    #[test]
    fn lines_for_a_reader_that_has_gone_away_are_counted_as_dropped() {
        let (queue, permit, _) = stuck(|_, _| {});
        drop(permit);
        for _ in 0..100 {
            queue.push(b"line\n");
            assert!(queue.drain(TIMEOUT));
        }
        assert_eq!((queue.dropped(), queue.take_unreported()), (100, 0));
    }

    /// Accepts three bytes at every other call, as a non-blocking pipe with a slow reader does.
    #[derive(Clone, Default)]
    struct NonBlocking(Arc<Mutex<(bool, Vec<u8>)>>);

    impl Write for NonBlocking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (is_full, written) = &mut *self.0.lock().unwrap();
            *is_full = !*is_full;
            if *is_full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(3);
            written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_non_blocking_stream_gets_every_line() {
        let output = NonBlocking::default();
        let queue = Queue::start("stdout", MAX_BYTES, output.clone(), |_, _| {});
        queue.push(b"first\n");
        queue.push(b"second\n");
        assert!(queue.drain(TIMEOUT));
        assert_eq!(
            (output.0.lock().unwrap().1.as_slice(), queue.dropped()),
            (&b"first\nsecond\n"[..], 0)
        );
    }
}
