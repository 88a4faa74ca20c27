//! How much the edge bears at once and how long it waits. Past a bound the answer comes at once, so
//! that whoever is within it does not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::unlogged::UnloggedRefusals;

/// The bounds; [`ConnectionLimits::default`] has those in force.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// From the first byte of a request to its answer; also how long a client may refuse to take an
    /// answer.
    pub request: Duration,
    /// How long a connection may be silent between requests. The Functions host keeps idle ones for
    /// 60 s and must not find one closed under a request.
    pub idle: Duration,
    /// How long requests in flight may go on after a stop was asked for. Orchestrators kill after
    /// 10 s.
    pub drain: Duration,
    /// Connections that are served at once.
    pub connections: usize,
    /// Requests that are served at once.
    pub requests: usize,
    /// How often a summary is written of the requests that leave no log lines of their own.
    pub summary: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            request: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(8),
            connections: 4_096,
            requests: 2_048,
            summary: Duration::from_mins(1),
        }
    }
}

/// Longest request body in bytes, which bounds the memory that one request can hold; the largest
/// sensible request is about a tenth of it.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Permits of [`Edge::long_heads`]. Easy Auth makes heads of honest requests long, and each is
/// served within a millisecond.
const LONG_HEADS: usize = 512;
/// Requests with many header fields that are held at once, about 20 MB of them.
const MANY_FIELDS: usize = 512;

/// What all connections share.
#[derive(Debug)]
pub struct Edge {
    /// The bounds in force.
    pub bounds: ConnectionLimits,
    /// Connections that are served.
    pub connections: Semaphore,
    /// Connections past those, which are told so.
    pub refusals: Semaphore,
    /// Requests that are served.
    pub requests: Semaphore,
    /// Heads longer than most that are held at once; the others wait within the time that a head
    /// may take. With up to 36 KiB each, one for each connection would take more memory than
    /// everything else together.
    pub long_heads: Arc<Semaphore>,
    /// Requests with many header fields that are held at once; the others are refused.
    pub many_fields: Semaphore,
    /// Requests that leave no log lines of their own.
    pub unlogged: UnloggedRefusals,
    stopping: AtomicBool,
}

impl Edge {
    /// Nobody is served yet.
    #[must_use]
    pub fn new(bounds: ConnectionLimits) -> Self {
        Self {
            bounds,
            connections: Semaphore::new(bounds.connections),
            // Enough to tell a crowd that it is one; past them connections are closed without a
            // word.
            refusals: Semaphore::new(bounds.connections / 16 + 1),
            requests: Semaphore::new(bounds.requests),
            long_heads: Arc::new(Semaphore::new(LONG_HEADS)),
            many_fields: Semaphore::new(MANY_FIELDS),
            unlogged: UnloggedRefusals::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on readiness says no.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
