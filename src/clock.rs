//! The only place that asks what time it is. Everything else is handed the answer, so that tests
//! can fix it.

use std::time::{Duration, Instant, SystemTime};

/// Where the time of day comes from.
pub trait Clock: Send + Sync {
    /// The present moment. A request reads it once and derives every time in its answer from that
    /// one value.
    fn now(&self) -> SystemTime;
}

/// The system's clock. Verifiers allow 10 to 60 s of skew, so the machine needs NTP.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the home of now()")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Measures how long something took, unmoved by corrections of the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the home of now()")]
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The moment at which [`Stopwatch::elapsed`] reaches a time, for timers.
    #[must_use]
    pub fn moment(&self, elapsed: Duration) -> Instant {
        self.0 + elapsed
    }
}

/// A clock that stands still, for tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct FixedClock(pub(crate) SystemTime);

#[cfg(test)]
impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        self.0
    }
}
