//! The delay after a failed fetch, which grows with each failure in a row.

use std::time::Duration;

/// The longest delay after the first failure; it doubles with each further one.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest delay between two attempts.
pub const LAST_RETRY: Duration = Duration::from_mins(1);
/// Returns the delay after `failures` failures in a row, one or more.
///
/// A random byte takes off up to a quarter (jitter), so that instances that failed together do not
/// retry together.
#[must_use]
pub fn pause(failures: u32, random: u8) -> Duration {
    let longest = FIRST_RETRY
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(LAST_RETRY);
    longest.saturating_sub(longest / 4 * u32::from(random) / 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_delay_doubles_up_to_a_minute_and_jitter_takes_off_up_to_a_quarter() {
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
