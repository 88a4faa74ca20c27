//! The pause after a failed fetch: it grows with each failure in a row.

use std::time::Duration;

/// The longest time after the first failure; it doubles with each that follows.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest time between two tries.
pub const LAST_RETRY: Duration = Duration::from_mins(1);
/// How long to rest after so many failures in a row, one or more. A random byte takes off up to a
/// quarter, so that instances which failed together do not return together.
#[must_use]
pub fn pause(failures: u32, random: u8) -> Duration {
    let whole = FIRST_RETRY
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(LAST_RETRY);
    whole.saturating_sub(whole / 4 * u32::from(random) / 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn failures_are_tried_again_ever_less_often_and_instances_not_in_step() {
        let seconds: Vec<_> = (0..9)
            .map(|failures| pause(failures, 0).as_secs())
            .collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX, 0), LAST_RETRY);
        assert_eq!(
            (pause(1, 255), pause(60, 255)),
            (Duration::from_millis(750), at(45))
        );
    }
}
