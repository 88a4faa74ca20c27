//! One connection: its phases, and a stream that ends when one of them lasts too long.
//!
//! hyper's own head timer also counts the idle time between requests, and nothing in it bounds a body or an answer that the
//! client does not take. So the stream under hyper keeps the time: 5 s for a head from its first byte, 75 s of silence between
//! requests. What happens while a request is served is bounded where it is served, in [`super::dispatch`].

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::edge::Edge;
use crate::app::App;
use crate::clock::Stopwatch;

/// How long, and for how many bytes, a closing connection reads on: closing over unread bytes makes the kernel send a reset,
/// which can destroy the answer that explains the closing.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// What a connection's requests and its stream know of each other. Only the connection's own task writes to it.
pub struct Connection {
    /// The parts that handlers use.
    pub app: Arc<App>,
    /// What all connections share.
    pub edge: Arc<Edge>,
    /// The other end.
    pub peer: IpAddr,
    /// Whether it came past the bound, so that every request gets 503.
    pub is_refused: bool,
    life: Stopwatch,
    /// The phase in the two lowest bits, above them its begin in milliseconds of the connection's life.
    phase: AtomicU64,
    lingers: AtomicBool,
}

const IDLE: u64 = 0;
const HEAD: u64 = 1;
const REQUEST: u64 = 2;
const PHASE: u64 = 3;

impl Connection {
    /// A connection that is idle from now on.
    pub fn new(app: Arc<App>, edge: Arc<Edge>, peer: IpAddr, is_refused: bool) -> Self {
        Self { app, edge, peer, is_refused, life: Stopwatch::start(), phase: AtomicU64::new(IDLE), lingers: AtomicBool::new(false) }
    }

    /// A head is complete and its request begins. Returns how long it may still take.
    pub fn begin_request(&self) -> Duration {
        let (phase, began) = self.phase();
        // A request that came along with the one before it has no first byte of its own.
        let began = if phase == HEAD { began } else { self.life.elapsed() };
        self.enter(REQUEST, began);
        self.edge.bounds.request.saturating_sub(self.life.elapsed().saturating_sub(began))
    }

    /// The answer is ready.
    pub fn end_request(&self) {
        self.enter(IDLE, self.life.elapsed());
    }

    /// The answer will close the connection although the client may still be sending.
    pub fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    fn bytes_arrived(&self) {
        if self.phase().0 == IDLE {
            self.enter(HEAD, self.life.elapsed());
        }
    }

    /// When the present phase is over, in the connection's life.
    fn deadline(&self) -> Option<Duration> {
        match self.phase() {
            (IDLE, began) => Some(began + self.edge.bounds.idle),
            (HEAD, began) => Some(began + self.edge.bounds.head),
            _ => None,
        }
    }

    fn phase(&self) -> (u64, Duration) {
        let phase = self.phase.load(Ordering::Relaxed);
        (phase & PHASE, Duration::from_millis(phase >> 2))
    }

    fn enter(&self, phase: u64, began: Duration) {
        let milliseconds = u64::try_from(began.as_millis()).unwrap_or(u64::MAX >> 2);
        self.phase.store(milliseconds << 2 | phase, Ordering::Relaxed);
    }
}

/// The bytes of a connection, with its deadlines.
pub struct PacedStream {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Set lazily: it may go off early, and is then set anew. A request that arrives whole never touches it.
    reading: Pin<Box<Sleep>>,
    /// There while the client takes no bytes, or while lingering.
    writing: Option<Pin<Box<Sleep>>>,
    lingered: usize,
}

impl PacedStream {
    /// Watches over a stream.
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        let reading = Box::pin(sleep(connection.edge.bounds.head));
        Self { stream, connection, reading, writing: None, lingered: 0 }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.connection.deadline() else { return Poll::Pending };
        let at = Instant::from_std(self.connection.life.moment(deadline));
        if self.reading.deadline() > at {
            self.reading.as_mut().reset(at);
        }
        while self.connection.life.elapsed() < deadline {
            ready!(self.reading.as_mut().poll(context));
            self.reading.as_mut().reset(at);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Lets a write wait for as long as a whole request may take.
    fn watch_write<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let patience = self.connection.edge.bounds.request;
        ready!(self.writing.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.bytes_arrived();
        }
        if read.is_pending() { self.poll_deadline(context) } else { read }
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        let mut scratch = [0; 2_048];
        while self.connection.lingers.load(Ordering::Relaxed) && self.lingered < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.lingered += buffer.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.writing.get_or_insert_with(|| Box::pin(sleep(LINGER))).as_mut().poll(context));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
