//! Numbers in settings.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::requests::fields::Requirement;

/// Parses a number that is written in digits only, without a sign.
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.parse()
        .ok()
        .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// Parses a time in whole seconds.
///
/// # Errors
/// The requirement, for anything that is not a number in the range.
pub fn seconds(text: &str, range: RangeInclusive<u64>) -> Result<Duration, Requirement> {
    digits(text)
        .filter(|seconds| range.contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            let (min, max) = range.into_inner();
            format!("must be a whole number of seconds from {min} to {max}").into()
        })
}
