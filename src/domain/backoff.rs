//! When to ask again somebody who brings what requests need: after a failure ever less often, and sooner because somebody rings.

use std::time::Duration;

/// The longest time after the first failure; it doubles with each that follows.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest time between two tries.
pub const LAST_RETRY: Duration = Duration::from_mins(1);
/// Rings cause one try in this time, however many there are: an upstream may refuse what is the newest.
const BETWEEN_RINGS: Duration = Duration::from_secs(30);

/// How long to rest after so many failures in a row, one or more. A random byte takes off up to a quarter, so that instances which
/// failed together do not return together.
#[must_use]
pub fn pause(failures: u32, random: u8) -> Duration {
    let whole = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LAST_RETRY);
    whole.saturating_sub(whole / 4 * u32::from(random) / 255)
}

/// When it is asked in any case; all times are since the start.
#[derive(Debug, Default)]
pub struct Rhythm {
    due_at: Duration,
    /// Nobody is asked because of a ring before this.
    deaf_until: Duration,
    rung: bool,
}

impl Rhythm {
    /// Whether it is time to ask.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.due_at
    }

    /// It is asked now, and again after `pause`.
    pub fn ask(&mut self, now: Duration, pause: Duration) {
        if std::mem::take(&mut self.rung) {
            self.deaf_until = now + BETWEEN_RINGS;
        }
        self.due_at = now + pause;
    }

    /// Somebody wants it to be asked: now, or when the time after the last ring has passed.
    pub fn ring(&mut self, now: Duration) {
        self.due_at = self.due_at.min(now.max(self.deaf_until));
        self.rung = true;
    }

    /// The time until it is due, or until `retry_at` if that comes first.
    #[must_use]
    pub fn pause(&self, now: Duration, retry_at: Option<Duration>) -> Duration {
        retry_at.map_or(self.due_at, |retry_at| retry_at.min(self.due_at)).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn failures_are_tried_again_ever_less_often_and_instances_not_in_step() {
        let seconds: Vec<_> = (0..9).map(|failures| pause(failures, 0).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX, 0), LAST_RETRY);
        assert_eq!((pause(1, 255), pause(60, 255)), (Duration::from_millis(750), at(45)));
    }

    #[test]
    fn a_ring_is_answered_at_once_and_many_are_answered_every_30_s() {
        let mut rhythm = Rhythm::default();
        assert!(rhythm.is_due(at(0)), "a start asks");
        rhythm.ask(at(0), at(600));
        assert_eq!((rhythm.is_due(at(5)), rhythm.pause(at(5), None)), (false, at(595)));
        let mut asked_at = Vec::new();
        for now in (5..100).map(at) {
            rhythm.ring(now);
            if rhythm.is_due(now) {
                asked_at.push(now);
                rhythm.ask(now, at(600));
            }
        }
        assert_eq!(asked_at, [at(5), at(35), at(65), at(95)]);
        assert_eq!(rhythm.pause(at(99), None), at(26), "the last ring is not forgotten");
    }

    #[test]
    fn what_fails_is_tried_again_in_its_own_time_whoever_rings() {
        let mut rhythm = Rhythm::default();
        rhythm.ring(at(0));
        rhythm.ask(at(0), at(600));
        assert_eq!(rhythm.pause(at(10), Some(at(12))), at(2));
        rhythm.ring(at(11));
        assert_eq!((rhythm.pause(at(11), Some(at(12))), rhythm.is_due(at(12))), (at(1), false));
        assert_eq!(rhythm.pause(at(11), None), at(19));
        assert_eq!(rhythm.pause(at(700), None), Duration::ZERO);
    }
}
