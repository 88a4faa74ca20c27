//! The limits of the server and the state that all connections share. Past a limit the response is
//! immediate, so that requests within it are not delayed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::unlogged::UnloggedRefusals;

/// Longest request body in bytes, which bounds the memory that one request can hold; the largest
/// realistic request is about a tenth of it.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Permits of [`Edge::long_heads`]. Legitimate requests have long heads under Easy Auth, and each
/// is served within a millisecond.
const LONG_HEADS: usize = 512;

/// Permits of [`Edge::many_fields`]: such requests hold about 20 MB together.
const MANY_FIELDS: usize = 512;

/// The time limits and counts of connections and requests.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// From the first byte of a request to its response; also how long a client may delay reading a
    /// response.
    pub request: Duration,
    /// The idle time of a connection between requests. The Functions host keeps idle ones for 60 s
    /// and must not find one closed while it sends a request.
    pub idle: Duration,
    /// The time for requests in flight after a stop was requested. Orchestrators kill after 10 s.
    pub drain: Duration,
    /// Connections that are served at once.
    pub connections: usize,
    /// Requests that are served at once.
    pub requests: usize,
    /// The interval between summaries of the requests that are not logged on their own.
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

/// The limits and their permits, shared by all connections.
#[derive(Debug)]
pub struct Edge {
    /// The limits in force.
    pub limits: ConnectionLimits,
    /// Permits for connections that are served.
    pub connections: Semaphore,
    /// Permits for connections past those, whose requests get 503.
    pub refusals: Semaphore,
    /// Permits for requests that are served.
    pub requests: Semaphore,
    /// Permits for heads longer than most; a head without one waits within the time that a head may
    /// take. With up to 36 KiB each, one for each connection would take more memory than everything
    /// else together.
    pub long_heads: Arc<Semaphore>,
    /// Permits for requests with many header fields; a request without one is refused.
    pub many_fields: Semaphore,
    /// Counts the requests that are not logged on their own.
    pub unlogged: UnloggedRefusals,
    is_stopping: AtomicBool,
}

impl Edge {
    /// Creates the permits.
    #[must_use]
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            connections: Semaphore::new(limits.connections),
            // Enough to tell many clients why; past them connections are closed without a response.
            refusals: Semaphore::new(limits.connections / 16 + 1),
            requests: Semaphore::new(limits.requests),
            long_heads: Arc::new(Semaphore::new(LONG_HEADS)),
            many_fields: Semaphore::new(MANY_FIELDS),
            unlogged: UnloggedRefusals::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Makes readiness report that the process stops.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Returns whether a stop was requested.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

#[test]
fn clients_and_the_functions_host_rely_on_these_limits() {
    let limits = ConnectionLimits::default();
    let times = [limits.head, limits.request, limits.idle, limits.drain];
    assert_eq!(times.map(|time| time.as_secs()), [5, 10, 75, 8]);
    assert_eq!((limits.connections, limits.requests), (4_096, 2_048));
}
