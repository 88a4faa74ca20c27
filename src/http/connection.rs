//! One connection: its phases, and a stream that ends when one of them lasts too long.
//!
//! hyper's own head timer also counts the idle time between requests, and nothing in it bounds a
//! body or an answer that the client does not take. So the stream under hyper keeps the time: 5 s
//! for a head from its first byte, 75 s of silence between requests. What happens while a request
//! is served is bounded where it is served, in [`super::dispatch`].
//!
//! It bounds memory too. hyper goes on parsing, answering and buffering while the client takes no
//! answers; here nothing more is read and no further request of the connection is served until they
//! have left. And of the heads that are longer than most, only some are held at once.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::{Instant, Sleep, sleep};

use super::edge::Edge;
use crate::app::App;
use crate::clock::Stopwatch;

/// Most bytes that a closing connection reads on and throws away: closing over unread bytes makes
/// the kernel send a reset, which can destroy the answer that explains the closing. Twice the 8 MiB
/// that are promised, for what the kernel holds meanwhile.
const LINGER_BYTES: usize = 16 << 20;

/// Shortest time for which it reads on, where the request has used up its own.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of a head that every connection may hold; a longer one needs a permit of
/// [`Edge::long_heads`].
const SHORT_HEAD: usize = 8 * 1024;

/// Most bytes of one read. hyper doubles its buffer whenever a read fills 8 KiB, and would keep it.
const READ: usize = 4 * 1024;

/// What a connection's requests and its stream know of each other. Only the connection's own task
/// writes to it.
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
    /// The phase in the two lowest bits, above them its begin in milliseconds of the connection's
    /// life.
    phase: AtomicU64,
    /// Until when it reads on before it closes, in milliseconds of the connection's life; 0 where
    /// it does not.
    lingers_until: AtomicU64,
    /// Whether the client does not take the answers that wait for it.
    is_blocked: AtomicBool,
}

const IDLE: u64 = 0;
const HEAD: u64 = 1;
const REQUEST: u64 = 2;
const PHASE: u64 = 3;

impl Connection {
    /// A connection that is idle from now on.
    pub fn new(app: Arc<App>, edge: Arc<Edge>, peer: IpAddr, is_refused: bool) -> Self {
        Self {
            app,
            edge,
            peer,
            is_refused,
            life: Stopwatch::start(),
            phase: AtomicU64::new(IDLE),
            lingers_until: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
        }
    }

    /// A head is complete and its request begins. Returns how long it may still take.
    pub fn begin_request(&self) -> Duration {
        let (phase, began) = self.phase();
        // A request that came along with the one before it has no first byte of its own.
        let began = if phase == HEAD {
            began
        } else {
            self.life.elapsed()
        };
        self.enter(REQUEST, began);
        self.edge
            .bounds
            .request
            .saturating_sub(self.life.elapsed().saturating_sub(began))
    }

    /// The answer is ready.
    pub fn end_request(&self) {
        self.enter(IDLE, self.life.elapsed());
    }

    /// Waits until the client has taken the answers before this one. The stream wakes the
    /// connection's task then.
    pub async fn writable(&self) {
        poll_fn(|_| {
            if self.is_blocked.load(Ordering::Relaxed) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Notes that the answer will close the connection although the client may still be sending:
    /// what comes is read and thrown away for as long as the request might have taken. Must be
    /// called before [`Connection::end_request`].
    pub fn linger(&self) {
        let now = self.life.elapsed();
        let (phase, began) = self.phase();
        let began = if phase == IDLE { now } else { began };
        let until = (began + self.edge.bounds.request).max(now + LINGER);
        self.lingers_until
            .store(milliseconds(until), Ordering::Relaxed);
    }

    /// When reading on ends, in the connection's life. A head that hyper refused was not read to
    /// its end either.
    fn lingers_until(&self) -> Option<Duration> {
        if self.phase().0 == HEAD && self.lingers_until.load(Ordering::Relaxed) == 0 {
            self.linger();
        }
        Some(self.lingers_until.load(Ordering::Relaxed))
            .filter(|until| *until > 0)
            .map(Duration::from_millis)
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
        self.phase
            .store(milliseconds(began) << 2 | phase, Ordering::Relaxed);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(u64::MAX)
        .min(u64::MAX >> 2)
}

/// The bytes of a connection, with its deadlines and bounds.
pub struct PacedStream {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Set lazily: it may go off early, and is then set anew. A request that arrives whole never
    /// touches it.
    reading: Pin<Box<Sleep>>,
    /// There while the client takes no bytes, or while lingering.
    writing: Option<Pin<Box<Sleep>>>,
    /// Bytes of the head that has begun.
    head_bytes: usize,
    /// There while a head is longer than most, and until its request is answered.
    long_head: Option<LongHead>,
    lingered: usize,
}

/// One of the long heads that may be held at once.
enum LongHead {
    Waiting(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>),
    Permitted(#[expect(dead_code, reason = "is given back when dropped")] OwnedSemaphorePermit),
}

impl PacedStream {
    /// Watches over a stream.
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        let reading = Box::pin(sleep(connection.edge.bounds.head));
        Self {
            stream,
            connection,
            reading,
            writing: None,
            head_bytes: 0,
            long_head: None,
            lingered: 0,
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.connection.deadline() else {
            return Poll::Pending;
        };
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

    /// Returns how many bytes the next read may bring, once there is room for them.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        match self.connection.phase().0 {
            IDLE => (self.head_bytes, self.long_head) = (0, None),
            HEAD if self.head_bytes < SHORT_HEAD => {
                return Poll::Ready(READ.min(SHORT_HEAD - self.head_bytes));
            }
            HEAD => {
                let edge = &self.connection.edge;
                let head = self.long_head.get_or_insert_with(|| {
                    LongHead::Waiting(Box::pin(Arc::clone(&edge.long_heads).acquire_owned()))
                });
                if let LongHead::Waiting(permit) = head {
                    // The semaphore is never closed.
                    if let Ok(permit) = ready!(permit.as_mut().poll(context)) {
                        *head = LongHead::Permitted(permit);
                    }
                }
            }
            _ => {}
        }
        Poll::Ready(READ)
    }

    /// Lets a write wait for as long as a whole request may take, and holds the connection's next
    /// request meanwhile.
    fn watch_write<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.writing.take().is_some() {
                self.connection.is_blocked.store(false, Ordering::Relaxed);
                // Reading, and the next request, did not go on before, and nothing else would wake
                // them.
                context.waker().wake_by_ref();
            }
            return written;
        }
        self.connection.is_blocked.store(true, Ordering::Relaxed);
        let patience = self.connection.edge.bounds.request;
        ready!(
            self.writing
                .get_or_insert_with(|| Box::pin(sleep(patience)))
                .as_mut()
                .poll(context)
        );
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.writing.is_some() {
            return Poll::Pending;
        }
        let Poll::Ready(room) = self.poll_room(context) else {
            return self.poll_deadline(context);
        };
        let before = buffer.filled().len();
        let read = Pin::new(&mut (&mut self.stream).take(room as u64)).poll_read(context, buffer);
        let arrived = buffer.filled().len() - before;
        if arrived > 0 {
            self.head_bytes += arrived;
            self.connection.bytes_arrived();
        }
        if read.is_pending() {
            self.poll_deadline(context)
        } else {
            read
        }
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
        self.long_head = None;
        let Some(until) = self.connection.lingers_until() else {
            return Poll::Ready(Ok(()));
        };
        let mut scratch = [MaybeUninit::uninit(); READ];
        while self.lingered < LINGER_BYTES && self.connection.life.elapsed() < until {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.lingered += buffer.filled().len();
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    // A second at a time, so that a stop does not wait for a client that stays.
                    let left = until
                        .saturating_sub(self.connection.life.elapsed())
                        .min(LINGER);
                    ready!(
                        self.writing
                            .get_or_insert_with(|| Box::pin(sleep(left)))
                            .as_mut()
                            .poll(context)
                    );
                    self.writing = None;
                    if self.connection.edge.is_stopping() {
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
