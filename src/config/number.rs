//! Numbers in settings.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::domain::digits::parse_digits;
use crate::domain::requests::fields::Requirement;

/// Parses a time in whole seconds.
///
/// # Errors
/// The requirement, for anything that is not a number in the range.
pub fn seconds(text: &str, range: RangeInclusive<u64>) -> Result<Duration, Requirement> {
    whole(text, range, "seconds").map(Duration::from_secs)
}

/// Parses a time in whole milliseconds.
///
/// # Errors
/// The requirement, for anything that is not a number in the range.
pub fn milliseconds(text: &str, range: RangeInclusive<u64>) -> Result<Duration, Requirement> {
    whole(text, range, "milliseconds").map(Duration::from_millis)
}

fn whole(text: &str, range: RangeInclusive<u64>, unit: &str) -> Result<u64, Requirement> {
    parse_digits(text)
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (min, max) = range.into_inner();
            format!("must be a whole number of {unit} from {min} to {max}").into()
        })
}
