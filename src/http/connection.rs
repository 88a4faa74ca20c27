//! The state of one connection, and its stream with time and memory limits.
//!
//! hyper's own head timer includes the idle time between requests, and hyper does not limit the
//! time of a body or of a response that the client does not read. So the stream under hyper has the
//! time limits: 5 s for a head from its first byte, 75 s of idle time between requests.
//! [`super::dispatch`] limits the time of a request that is being served.
//!
//! The stream limits memory too. hyper continues to parse, serve and buffer while the client does
//! not read responses; here nothing more is read and no further request of the connection is served
//! until they were sent. And only some of the heads that are longer than most are held at once.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::{Instant, Sleep, sleep};

use super::edge::Edge;
use crate::app::App;
use crate::clock::Stopwatch;

/// Most bytes that a closing connection reads and discards: closing with unread bytes makes the
/// kernel send a reset, which can destroy the response that explains the closing. Twice the
/// documented 8 MiB, for the bytes in the kernel's buffers.
const LINGER_BYTES: usize = 16 << 20;

/// Shortest time for which a closing connection reads, if the request has used up its own time.
const LINGER: Duration = Duration::from_secs(1);

/// Most bytes of a head that needs no permit of [`Edge::long_heads`].
const SHORT_HEAD: usize = 8 * 1024;

/// Most bytes of one read. hyper doubles its buffer whenever a read fills 8 KiB, and would keep it.
const READ: usize = 4 * 1024;

/// The state that a connection's requests and its stream share. Only the connection's own task uses
/// it.
pub struct Connection {
    /// The services that handlers use.
    pub app: Arc<App>,
    /// The limits and permits that all connections share.
    pub edge: Arc<Edge>,
    /// The address of the other end.
    pub peer: IpAddr,
    /// True if the server was at capacity when it came, so that every request gets 503.
    pub is_refused: bool,
    /// Runs since the connection was accepted. All times below are its readings.
    life: Stopwatch,
    progress: Mutex<Progress>,
}

struct Progress {
    phase: Phase,
    /// When the closing connection stops reading; `None` while it is not closing.
    lingers_until: Option<Duration>,
    /// True if the client does not read the responses that wait for it.
    is_blocked: bool,
}

/// The phase of a connection, with the time at which it began.
#[derive(Clone, Copy)]
enum Phase {
    /// No byte of a request has arrived.
    Idle(Duration),
    /// The head has begun.
    Head(Duration),
    /// The request, which began with the first byte of its head, is being served.
    Request(Duration),
}

impl Connection {
    /// Creates the state of a connection that is idle from now on.
    pub fn new(app: Arc<App>, edge: Arc<Edge>, peer: IpAddr, is_refused: bool) -> Self {
        Self {
            app,
            edge,
            peer,
            is_refused,
            life: Stopwatch::start(),
            progress: Mutex::new(Progress {
                phase: Phase::Idle(Duration::ZERO),
                lingers_until: None,
                is_blocked: false,
            }),
        }
    }

    /// Returns the time since the connection was accepted.
    pub fn elapsed(&self) -> Duration {
        self.life.elapsed()
    }

    /// Starts a request, whose head is complete. Returns the deadline of its response.
    pub fn begin_request(&self, now: Duration) -> Instant {
        let mut progress = self.progress();
        // A request that arrived together with the one before it has no first byte of its own.
        let began = match progress.phase {
            Phase::Head(began) => began,
            Phase::Idle(_) | Phase::Request(_) => now,
        };
        progress.phase = Phase::Request(began);
        Instant::from_std(self.life.moment(began + self.edge.limits.request))
    }

    /// Ends a request, whose response is ready.
    pub fn end_request(&self, now: Duration) {
        self.progress().phase = Phase::Idle(now);
    }

    /// Waits until the client has read the responses before this one. The stream wakes the
    /// connection's task then.
    pub async fn writable(&self) {
        poll_fn(|_| {
            if self.progress().is_blocked {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Records that the response will close the connection although the client may still be
    /// sending: further bytes are read and discarded for as long as the request might have taken.
    /// Must be called before [`Connection::end_request`].
    pub fn linger(&self) {
        let now = self.life.elapsed();
        let mut progress = self.progress();
        let began = match progress.phase {
            Phase::Head(began) | Phase::Request(began) => began,
            Phase::Idle(_) => now,
        };
        progress.lingers_until = Some((began + self.edge.limits.request).max(now + LINGER));
    }

    /// Returns the time at which reading ends. A head that hyper refused was not read to its end
    /// either.
    fn lingers_until(&self) -> Option<Duration> {
        let is_in_head = matches!(self.progress().phase, Phase::Head(_));
        if is_in_head && self.progress().lingers_until.is_none() {
            self.linger();
        }
        self.progress().lingers_until
    }

    fn bytes_arrived(&self) {
        let mut progress = self.progress();
        if let Phase::Idle(_) = progress.phase {
            progress.phase = Phase::Head(self.life.elapsed());
        }
    }

    /// Returns the time at which the current phase ends.
    fn deadline(&self) -> Option<Duration> {
        match self.progress().phase {
            Phase::Idle(began) => Some(began + self.edge.limits.idle),
            Phase::Head(began) => Some(began + self.edge.limits.head),
            Phase::Request(_) => None,
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream of a connection, with its time and memory limits.
pub struct LimitedStream {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// The timer of the phase. It is reset lazily: it may fire early and is then reset. A request
    /// that arrives whole never uses it.
    read_timer: Pin<Box<Sleep>>,
    /// The timer while the client reads nothing, or while the connection lingers.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Bytes of the head that has begun.
    head_bytes: usize,
    /// The permit for a head that is longer than most, until its request is answered.
    long_head: Option<LongHead>,
    lingered_bytes: usize,
}

/// The permit for one of the long heads.
enum LongHead {
    Waiting(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>),
    Permitted(#[expect(dead_code, reason = "is released when dropped")] OwnedSemaphorePermit),
}

impl LimitedStream {
    /// Puts a stream under its limits.
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        let read_timer = Box::pin(sleep(connection.edge.limits.head));
        Self {
            stream,
            connection,
            read_timer,
            write_timer: None,
            head_bytes: 0,
            long_head: None,
            lingered_bytes: 0,
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.connection.deadline() else {
            return Poll::Pending;
        };
        let at = Instant::from_std(self.connection.life.moment(deadline));
        if self.read_timer.deadline() > at {
            self.read_timer.as_mut().reset(at);
        }
        while self.connection.life.elapsed() < deadline {
            ready!(self.read_timer.as_mut().poll(context));
            self.read_timer.as_mut().reset(at);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Returns the size of the next read, once there is memory for it.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        let phase = self.connection.progress().phase;
        match phase {
            Phase::Idle(_) => (self.head_bytes, self.long_head) = (0, None),
            Phase::Head(_) if self.head_bytes < SHORT_HEAD => {
                return Poll::Ready(READ.min(SHORT_HEAD - self.head_bytes));
            }
            Phase::Head(_) => {
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
            Phase::Request(_) => {}
        }
        Poll::Ready(READ)
    }

    /// Lets a write wait for as long as a whole request may take, and blocks the connection's next
    /// request meanwhile.
    fn limit_write<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.write_timer.take().is_some() {
                self.connection.progress().is_blocked = false;
                // Reads and the next request were blocked, and nothing else would wake them.
                context.waker().wake_by_ref();
            }
            return written;
        }
        self.connection.progress().is_blocked = true;
        let time_limit = self.connection.edge.limits.request;
        ready!(
            self.write_timer
                .get_or_insert_with(|| Box::pin(sleep(time_limit)))
                .as_mut()
                .poll(context)
        );
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.write_timer.is_some() {
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

impl AsyncWrite for LimitedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.limit_write(context, written)
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
        while self.lingered_bytes < LINGER_BYTES && self.connection.life.elapsed() < until {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.lingered_bytes += buffer.filled().len();
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    // One second at a time, so that a stop does not wait for the client.
                    let left = until
                        .saturating_sub(self.connection.life.elapsed())
                        .min(LINGER);
                    ready!(
                        self.write_timer
                            .get_or_insert_with(|| Box::pin(sleep(left)))
                            .as_mut()
                            .poll(context)
                    );
                    self.write_timer = None;
                    if self.connection.edge.is_stopping() {
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
