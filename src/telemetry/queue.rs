//! A bounded queue of log lines and the thread that writes them to one stream.
//!
//! Whoever logs a line never waits for the reader of the stream: the line is copied into memory, or
//! dropped and counted where the queue is full. tracing-appender's writer is built alike, but its
//! queue is bounded in lines and not in bytes, and it wakes its thread for each line; here the
//! thread wakes at most once a millisecond and writes all lines that wait in one system call.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Largest number of bytes that wait for one stream. Lines are longer than 50 bytes, so this bounds
/// their number too. A reader may pause for about a tenth of a second under full load.
pub const MAX_BYTES: usize = 4 << 20;

/// Time for which lines are collected before they leave together.
const COLLECT: Duration = Duration::from_millis(1);

/// A buffer that grew past this size in a burst is given back.
const KEPT_BYTES: usize = 64 * 1024;

/// Called on the writer's thread with the number of lines that were dropped while the queue was
/// full, once it is not full anymore.
pub type DropReport = fn(stream: &'static str, dropped: u64);

/// The lines that wait for one stream.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    stream: &'static str,
    max_bytes: usize,
    waiting: Mutex<Waiting>,
    /// Notified when a line comes while the writer is idle.
    filled: Condvar,
    /// Notified when nothing waits and nothing is being written.
    drained: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    is_idle: bool,
    is_writing: bool,
    /// Lines dropped since the last report, and since the start.
    unreported: u64,
    dropped: u64,
}

impl Queue {
    /// Starts the thread that writes to `output`. Where the system gives no thread, lines are
    /// dropped and counted once the queue is full.
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

    /// Adds one line, with its end, or drops it where the queue is full.
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

    /// Waits until everything is written, for at most `patience`. Returns whether it is.
    pub fn drain(&self, patience: Duration) -> bool {
        let (waiting, _) = self
            .0
            .drained
            .wait_timeout_while(self.0.lock(), patience, |waiting| !waiting.is_drained())
            .unwrap_or_else(PoisonError::into_inner);
        waiting.is_drained()
    }

    /// Returns the number of lines dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Takes the number of lines that were dropped and not reported yet.
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
            thread::sleep(COLLECT);
            let mut waiting = self.lock();
            std::mem::swap(&mut waiting.lines, &mut batch);
            waiting.is_writing = true;
            drop(waiting);
            let lost = write_all(&mut output, &batch);
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            let mut waiting = self.lock();
            waiting.dropped += lost;
            let unreported = std::mem::take(&mut waiting.unreported);
            drop(waiting);
            if unreported > 0 {
                report(self.stream, unreported);
            }
            // Last, so that whoever waits for the end of the queue has the report too.
            let mut waiting = self.lock();
            waiting.is_writing = false;
            if waiting.is_drained() {
                self.drained.notify_all();
            }
        }
    }
}

/// Writes a batch and returns how many lines were lost. A reader that went away is no reason to
/// stop; a stream that does not block, because another process has set it so, is waited for.
fn write_all(output: &mut impl Write, batch: &[u8]) -> u64 {
    let mut rest = batch;
    while !rest.is_empty() {
        match output.write(rest) {
            Ok(0) => break,
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(COLLECT),
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

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A stream whose reader takes one batch for each permit.
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
    fn lines_that_find_no_room_are_dropped_counted_and_reported_once() {
        static REPORTED: Mutex<Vec<(&str, u64)>> = Mutex::new(Vec::new());
        let (queue, permit, batches) =
            stuck(|stream, dropped| REPORTED.lock().unwrap().push((stream, dropped)));
        // The writer takes the first line with it and is stuck.
        queue.push(b"first\n");
        while queue.0.lock().is_drained() || !queue.0.lock().is_writing {
            thread::yield_now();
        }
        for line in [&b"12345\n"[..], b"123\n", b"1\n", b"2\n"] {
            queue.push(line);
        }
        assert_eq!(queue.dropped(), 2, "ten bytes have room");
        assert!(!queue.drain(Duration::from_millis(1)));
        assert!(REPORTED.lock().unwrap().is_empty(), "it has not ended");
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        assert!(queue.drain(PATIENCE));
        let batches: Vec<_> = batches.try_iter().collect();
        assert_eq!(batches, ["first\n", "12345\n123\n"]);
        assert_eq!(*REPORTED.lock().unwrap(), [("stdout", 2)]);
        assert_eq!((queue.dropped(), queue.take_unreported()), (2, 0));
    }

    #[test]
    fn a_reader_that_went_away_stops_nobody_and_its_lines_are_counted() {
        let (queue, permit, _) = stuck(|_, _| {});
        drop(permit);
        for _ in 0..100 {
            queue.push(b"line\n");
            assert!(queue.drain(PATIENCE));
        }
        assert_eq!((queue.dropped(), queue.take_unreported()), (100, 0));
    }

    /// Takes three bytes at every other call, as a pipe does that does not block and whose reader
    /// is slow.
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
    fn a_stream_that_does_not_block_gets_every_line_in_the_end() {
        let output = NonBlocking::default();
        let queue = Queue::start("stdout", MAX_BYTES, output.clone(), |_, _| {});
        queue.push(b"first\n");
        queue.push(b"second\n");
        assert!(queue.drain(PATIENCE));
        assert_eq!(
            (output.0.lock().unwrap().1.as_slice(), queue.dropped()),
            (&b"first\nsecond\n"[..], 0)
        );
    }
}
