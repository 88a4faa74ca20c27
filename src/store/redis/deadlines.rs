//! The limits on the time that Redis may take.

use std::time::Duration;

/// The time limits for a Redis server.
#[derive(Debug, Clone, Copy)]
pub struct RedisDeadlines {
    /// The time limit for a call; in one network a response takes less than 1 ms.
    pub call: Duration,
    /// The time limit for a call that fails its request if it fails. Such a call waits longer, so
    /// that a short pause of the server or a connection that is only being opened fails no request.
    pub patient_call: Duration,
    /// The time limit for opening a connection; TLS to another zone takes about 20 ms.
    pub connect: Duration,
}

impl Default for RedisDeadlines {
    fn default() -> Self {
        Self {
            call: Duration::from_millis(50),
            patient_call: Duration::from_millis(500),
            connect: Duration::from_secs(1),
        }
    }
}

#[test]
fn a_request_waits_for_redis_for_50_ms_or_for_500_if_it_would_fail() {
    let deadlines = RedisDeadlines::default();
    assert_eq!(deadlines.call.as_millis(), 50, "docs/operations.md says so");
    assert_eq!(deadlines.patient_call.as_millis(), 500);
}
