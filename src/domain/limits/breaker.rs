//! A circuit breaker: after failures in a row an upstream gets no calls for a while, then one call
//! at a time until one succeeds.
//!
//! It is a pure function of the reported outcomes and of the time.

use std::time::{Duration, SystemTime};

/// The number of failures in a row that opens the breaker. Failures in a row rather than within a
/// period, because under load a fixed number per period would open it at an error rate that nobody
/// notices.
const MAX_FAILURES: u32 = 5;
/// The time for which an open breaker admits no call.
const COOLDOWN: Duration = Duration::from_secs(30);

/// The state of a breaker, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerState {
    /// Every call is admitted.
    Closed,
    /// One call is admitted, and its outcome decides.
    HalfOpen,
    /// No call is admitted.
    Open,
}

impl BreakerState {
    /// Returns the name that diagnostics show.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// The outcome of an admitted call, as far as the upstream's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The upstream answered, even if only to refuse.
    Answered,
    /// The upstream did not answer, or failed.
    Failed,
    /// The call was given up before its outcome was known.
    Unknown,
}

/// The error for a call that the breaker does not admit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker of the upstream is open")]
pub struct BreakerOpen {
    /// The time until the breaker may admit another call; at least a second.
    pub retry_after: Duration,
}

/// The circuit breaker of one upstream.
///
/// # Examples
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
///
/// use roomkey::domain::limits::breaker::{Breaker, BreakerOpen, BreakerState, CallOutcome};
///
/// let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// let mut breaker = Breaker::default();
/// for _ in 0..5 {
///     let permit = breaker.admit(now)?;
///     breaker.report(permit, CallOutcome::Failed, now);
/// }
/// assert_eq!(breaker.state(now), BreakerState::Open);
/// assert_eq!(breaker.admit(now).unwrap_err().retry_after, Duration::from_secs(30));
///
/// let later = now + Duration::from_secs(30);
/// let probe = breaker.admit(later)?;
/// breaker.report(probe, CallOutcome::Answered, later);
/// assert_eq!(breaker.state(later), BreakerState::Closed);
/// # Ok::<(), BreakerOpen>(())
/// ```
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    opened_at: Option<SystemTime>,
    is_probing: bool,
}

impl Breaker {
    /// Requests permission for one call. The permit must be given back once, with the outcome of
    /// the call, to [`Breaker::report`].
    ///
    /// # Errors
    /// [`BreakerOpen`] while the breaker is open, or while another call probes the upstream.
    pub fn admit(&mut self, now: SystemTime) -> Result<BreakerPermit, BreakerOpen> {
        match (self.remaining_cooldown(now), self.opened_at) {
            (_, None) => Ok(BreakerPermit { is_probe: false }),
            (Some(remaining), Some(_)) => Err(BreakerOpen {
                retry_after: remaining.max(Duration::from_secs(1)),
            }),
            (None, Some(_)) if self.is_probing => Err(BreakerOpen {
                retry_after: Duration::from_secs(1),
            }),
            (None, Some(_)) => {
                self.is_probing = true;
                Ok(BreakerPermit { is_probe: true })
            }
        }
    }

    /// Records the outcome of an admitted call. While the breaker is open only the probe counts:
    /// the other calls began before it opened.
    pub fn report(&mut self, permit: BreakerPermit, outcome: CallOutcome, now: SystemTime) {
        if permit.is_probe {
            self.is_probing = false;
        } else if self.opened_at.is_some() {
            return;
        }
        match outcome {
            CallOutcome::Answered => *self = Self::default(),
            CallOutcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                if permit.is_probe || self.failures >= MAX_FAILURES {
                    self.opened_at = Some(now);
                }
            }
            CallOutcome::Unknown => {}
        }
    }

    /// Returns the state at a moment.
    #[must_use]
    pub fn state(&self, now: SystemTime) -> BreakerState {
        match (self.opened_at, self.remaining_cooldown(now)) {
            (None, _) => BreakerState::Closed,
            (Some(_), Some(_)) => BreakerState::Open,
            (Some(_), None) => BreakerState::HalfOpen,
        }
    }

    /// Returns the rest of the cooldown. A clock that was set back ends it: one probe too many is
    /// better than a breaker that stays open.
    fn remaining_cooldown(&self, now: SystemTime) -> Option<Duration> {
        let elapsed = now.duration_since(self.opened_at?).ok()?;
        COOLDOWN
            .checked_sub(elapsed)
            .filter(|remaining| !remaining.is_zero())
    }
}

/// The permission for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the outcome of the call must be reported with it"]
pub struct BreakerPermit {
    is_probe: bool,
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000 + seconds)
    }

    fn call(breaker: &mut Breaker, outcome: CallOutcome, seconds: u64) {
        let permit = breaker.admit(at(seconds)).unwrap();
        breaker.report(permit, outcome, at(seconds));
    }

    fn open_breaker() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..MAX_FAILURES {
            call(&mut breaker, CallOutcome::Failed, 0);
        }
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_the_breaker() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..MAX_FAILURES {
                call(&mut breaker, CallOutcome::Failed, 0);
            }
            call(&mut breaker, CallOutcome::Answered, 0);
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        let mut breaker = open_breaker();
        assert_eq!(
            (
                breaker.state(at(0)),
                breaker.state(at(29)),
                breaker.state(at(30))
            ),
            (
                BreakerState::Open,
                BreakerState::Open,
                BreakerState::HalfOpen
            )
        );
        assert_eq!(
            breaker.admit(at(12)),
            Err(BreakerOpen {
                retry_after: Duration::from_secs(18)
            })
        );
    }

    #[test]
    fn after_the_cooldown_one_probe_decides() {
        let mut breaker = open_breaker();
        let probe = breaker.admit(at(30)).unwrap();
        assert!(breaker.admit(at(30)).is_err(), "one at a time");
        breaker.report(probe, CallOutcome::Failed, at(31));
        assert_eq!(
            (breaker.state(at(60)), breaker.state(at(61))),
            (BreakerState::Open, BreakerState::HalfOpen)
        );
        let probe = breaker.admit(at(61)).unwrap();
        breaker.report(probe, CallOutcome::Answered, at(61));
        assert_eq!(breaker.state(at(61)), BreakerState::Closed);
        call(&mut breaker, CallOutcome::Failed, 61);
        assert_eq!(
            breaker.state(at(61)),
            BreakerState::Closed,
            "the count starts again"
        );
    }

    #[test]
    fn an_abandoned_probe_lets_the_next_one_through() {
        let mut breaker = open_breaker();
        let probe = breaker.admit(at(30)).unwrap();
        breaker.report(probe, CallOutcome::Unknown, at(30));
        assert!(breaker.admit(at(30)).is_ok());
    }

    #[test]
    fn calls_from_before_the_opening_change_nothing() {
        let mut breaker = Breaker::default();
        let early = breaker.admit(at(0)).unwrap();
        let late = breaker.admit(at(0)).unwrap();
        for _ in 0..MAX_FAILURES {
            call(&mut breaker, CallOutcome::Failed, 0);
        }
        breaker.report(early, CallOutcome::Answered, at(1));
        breaker.report(late, CallOutcome::Failed, at(29));
        assert_eq!(
            (breaker.state(at(29)), breaker.state(at(30))),
            (BreakerState::Open, BreakerState::HalfOpen)
        );
    }

    #[test]
    fn a_clock_that_was_set_back_ends_the_cooldown() {
        assert_eq!(open_breaker().state(UNIX_EPOCH), BreakerState::HalfOpen);
    }

    proptest! {
        #[test]
        fn the_breaker_never_stays_open_for_longer_than_the_cooldown(
            steps in prop::collection::vec((0..3_u8, 0..40_u64), 1..50),
        ) {
            let (mut breaker, mut seconds) = (Breaker::default(), 0);
            for (step, wait) in steps {
                seconds += wait;
                if let Ok(permit) = breaker.admit(at(seconds)) {
                    let outcome = match step {
                        0 => CallOutcome::Answered,
                        1 => CallOutcome::Failed,
                        _ => CallOutcome::Unknown,
                    };
                    breaker.report(permit, outcome, at(seconds));
                }
                prop_assert_ne!(breaker.state(at(seconds + 30)), BreakerState::Open);
                prop_assert!(!breaker.is_probing);
            }
        }
    }
}
