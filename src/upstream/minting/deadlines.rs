//! The limits on mints: their time, and their number.

use std::time::Duration;

/// Mints in flight at all upstreams together. Fewer than the requests that are served at once, so
/// that an upstream that hangs leaves room for LiveKit's tokens.
pub const MAX_MINTS_IN_FLIGHT: usize = 2_000;

/// The time limits of one mint.
#[derive(Debug, Clone, Copy)]
pub struct MintDeadlines {
    /// The time limit for the whole mint, both attempts included.
    pub total: Duration,
    /// The longest pause before the second attempt. A random part of it is taken ("full jitter"),
    /// so that callers whose mints failed together do not retry together.
    pub max_pause: Duration,
    /// The least time that must be left for a second attempt.
    pub min_attempt: Duration,
}

impl Default for MintDeadlines {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(3),
            max_pause: Duration::from_millis(250),
            min_attempt: Duration::from_millis(500),
        }
    }
}

impl MintDeadlines {
    /// Returns the pause before the second attempt, or `None` if too little time would be left.
    pub(super) fn retry_pause(&self, elapsed: Duration, random: [u8; 2]) -> Option<Duration> {
        let part = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
        let pause = self.max_pause.mul_f64(part);
        (elapsed + pause + self.min_attempt <= self.total).then_some(pause)
    }

    /// Returns the time that the preparation of a second attempt may take.
    pub(super) fn time_to_prepare_retry(&self, elapsed: Duration) -> Duration {
        self.total.saturating_sub(elapsed + self.min_attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_attempt_that_the_deadline_would_cut_off_is_not_made() {
        let deadlines = MintDeadlines::default();
        let pause = |millis, random| deadlines.retry_pause(Duration::from_millis(millis), random);
        assert_eq!(pause(2_500, [0, 0]), Some(Duration::ZERO));
        assert_eq!(pause(2_501, [0, 0]), None);
        assert_eq!(pause(2_250, [255, 255]), Some(Duration::from_millis(250)));
        assert_eq!(pause(2_251, [255, 255]), None);
    }
}
