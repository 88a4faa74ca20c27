//! When to leave an upstream alone: after failures in a row it is not asked for a while, then by
//! one request at a time until it answers again. A pure function of what happened and of the time.

use std::time::{Duration, SystemTime};

/// So many failures in a row open the breaker. In a row, because under load a fixed number within a
/// time would open it at a rate of failures that nobody notices.
const FAILURES: u32 = 5;
/// For so long nothing is asked then.
const PAUSE: Duration = Duration::from_secs(30);

/// Whether an upstream is asked, from the best state to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerState {
    /// Always.
    Closed,
    /// By one request, which decides.
    HalfOpen,
    /// Not now.
    Open,
}

impl BreakerState {
    /// The word of diagnostics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// What an admitted request found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The upstream answers, if only to refuse.
    Answered,
    /// It does not.
    Failed,
    /// The request was given up before that was known.
    Nothing,
}

/// The upstream is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOpen {
    /// Until when, from now; at least a second.
    pub retry_after: Duration,
}

/// One upstream's breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    opened_at: Option<SystemTime>,
    probing: bool,
}

impl Breaker {
    /// Asks for leave. Whoever gets it must [`Breaker::report`] once, with what is returned here.
    ///
    /// # Errors
    /// [`BreakerOpen`] while it is open, or while another request probes.
    pub fn admit(&mut self, now: SystemTime) -> Result<BreakerPermit, BreakerOpen> {
        match (self.left(now), self.opened_at) {
            (_, None) => Ok(BreakerPermit { probes: false }),
            (Some(left), Some(_)) => Err(BreakerOpen {
                retry_after: left.max(Duration::from_secs(1)),
            }),
            (None, Some(_)) if self.probing => Err(BreakerOpen {
                retry_after: Duration::from_secs(1),
            }),
            (None, Some(_)) => {
                self.probing = true;
                Ok(BreakerPermit { probes: true })
            }
        }
    }

    /// What came of an admitted request. While the breaker is open only the probe's word counts:
    /// others were sent before.
    pub fn report(&mut self, pass: BreakerPermit, finding: CallOutcome, now: SystemTime) {
        if pass.probes {
            self.probing = false;
        } else if self.opened_at.is_some() {
            return;
        }
        match finding {
            CallOutcome::Answered => *self = Self::default(),
            CallOutcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                if pass.probes || self.failures >= FAILURES {
                    self.opened_at = Some(now);
                }
            }
            CallOutcome::Nothing => {}
        }
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self, now: SystemTime) -> BreakerState {
        match (self.opened_at, self.left(now)) {
            (None, _) => BreakerState::Closed,
            (Some(_), Some(_)) => BreakerState::Open,
            (Some(_), None) => BreakerState::HalfOpen,
        }
    }

    /// What is left of the pause. A clock that was set back ends it: probing once too often is the
    /// smaller evil.
    fn left(&self, now: SystemTime) -> Option<Duration> {
        let since = now.duration_since(self.opened_at?).ok()?;
        PAUSE.checked_sub(since).filter(|left| !left.is_zero())
    }
}

/// Leave to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "whoever was admitted must report"]
pub struct BreakerPermit {
    probes: bool,
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000 + seconds)
    }

    fn ask(breaker: &mut Breaker, finding: CallOutcome, seconds: u64) {
        let pass = breaker.admit(at(seconds)).unwrap();
        breaker.report(pass, finding, at(seconds));
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            ask(&mut breaker, CallOutcome::Failed, 0);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..FAILURES {
                ask(&mut breaker, CallOutcome::Failed, 0);
            }
            ask(&mut breaker, CallOutcome::Answered, 0);
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        let mut breaker = opened();
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
    fn after_the_pause_one_request_probes_and_decides() {
        let mut breaker = opened();
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
        ask(&mut breaker, CallOutcome::Failed, 61);
        assert_eq!(
            breaker.state(at(61)),
            BreakerState::Closed,
            "it counts anew"
        );
    }

    #[test]
    fn a_probe_that_was_given_up_lets_the_next_one_through() {
        let mut breaker = opened();
        let probe = breaker.admit(at(30)).unwrap();
        breaker.report(probe, CallOutcome::Nothing, at(30));
        assert!(breaker.admit(at(30)).is_ok());
    }

    #[test]
    fn requests_from_before_the_opening_change_nothing() {
        let mut breaker = Breaker::default();
        let early = breaker.admit(at(0)).unwrap();
        let late = breaker.admit(at(0)).unwrap();
        for _ in 0..FAILURES {
            ask(&mut breaker, CallOutcome::Failed, 0);
        }
        breaker.report(early, CallOutcome::Answered, at(1));
        breaker.report(late, CallOutcome::Failed, at(29));
        assert_eq!(
            (breaker.state(at(29)), breaker.state(at(30))),
            (BreakerState::Open, BreakerState::HalfOpen)
        );
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_keep_it_open() {
        assert_eq!(opened().state(UNIX_EPOCH), BreakerState::HalfOpen);
    }

    proptest! {
        #[test]
        fn it_never_stays_open_for_longer_than_the_pause(steps in prop::collection::vec((0..3_u8, 0..40_u64), 1..50)) {
            let (mut breaker, mut seconds) = (Breaker::default(), 0);
            for (step, wait) in steps {
                seconds += wait;
                if let Ok(pass) = breaker.admit(at(seconds)) {
                    let finding = match step { 0 => CallOutcome::Answered, 1 => CallOutcome::Failed, _ => CallOutcome::Nothing };
                    breaker.report(pass, finding, at(seconds));
                }
                prop_assert_ne!(breaker.state(at(seconds + 30)), BreakerState::Open);
                prop_assert!(!breaker.probing);
            }
        }
    }
}
