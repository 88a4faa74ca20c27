//! The only source of time. Everything else gets the time as a parameter, so that tests can fix it.

use std::time::{Duration, Instant, SystemTime};

/// A source of the time of day.
pub trait Clock: Send + Sync {
    /// Returns the current time. A request reads it once and derives every time in its response
    /// from that value.
    fn now(&self) -> SystemTime;
}

/// The clock of the system. Verifiers of tokens allow 10 to 60 s of skew, so the machine needs NTP.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the home of now()")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Measures elapsed time, independent of corrections to the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the home of now()")]
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Returns the moment at which [`Stopwatch::elapsed`] reaches the given time, for timers.
    #[must_use]
    pub fn moment(&self, elapsed: Duration) -> Instant {
        self.0 + elapsed
    }
}

/// A clock that always returns the same time, for tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct FixedClock(pub(crate) SystemTime);

#[cfg(test)]
impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        self.0
    }
}
