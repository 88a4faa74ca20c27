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
    parse_digits(text)
        .filter(|seconds| range.contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            let (min, max) = range.into_inner();
            format!("must be a whole number of seconds from {min} to {max}").into()
        })
}
