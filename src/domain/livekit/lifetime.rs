//! The lifetime of a credential, and the time at which its holder should refresh it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::domain::digits::parse_digits;
use crate::domain::requests::fields::Requirement;
use crate::domain::requests::json::Json;

/// The shortest lifetime that a caller may request, in seconds. With a shorter one LiveKit's
/// clients would fetch a token for each call.
pub const MIN_SECONDS: u32 = 60;
/// The longest lifetime that a caller may request, in seconds: one day.
pub const MAX_SECONDS: u32 = 86_400;
/// The lifetime if the caller requests none, in seconds.
const DEFAULT_SECONDS: u32 = 3_600;
/// The lifetime at LiveKit's standard endpoint, in seconds. It is LiveKit's own advice.
const STANDARD_ENDPOINT_SECONDS: u32 = 600;
/// The time before the expiry at which a holder should refresh.
const REFRESH_MARGIN: Duration = Duration::from_secs(10);

/// The operator's upper limit for lifetimes: 60 to 86,400 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxLifetime(u32);

impl MaxLifetime {
    /// Reads the limit.
    ///
    /// # Errors
    /// The requirement, if it is not a whole number of seconds from 60 to 86,400.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        match parse_digits(text) {
            Some(seconds @ MIN_SECONDS..=MAX_SECONDS) => Ok(Self(seconds)),
            _ => Err(must_be_seconds_up_to(MAX_SECONDS)),
        }
    }

    /// Returns the limit in seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl Default for MaxLifetime {
    fn default() -> Self {
        Self(MAX_SECONDS)
    }
}

/// A lifetime in whole seconds, never longer than the limit it was created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(u32);

impl Lifetime {
    /// Reads the lifetime that the caller requests. A longer one than the limit is an error, and
    /// never reduced silently.
    ///
    /// # Errors
    /// The requirement, if it is not a whole number from 60 to the limit.
    pub fn parse(value: &Json<'_>, limit: MaxLifetime) -> Result<Self, Requirement> {
        let seconds = match value {
            Json::Unsigned(seconds) => u32::try_from(*seconds).ok(),
            _ => None,
        };
        seconds
            .filter(|seconds| (MIN_SECONDS..=limit.0).contains(seconds))
            .map(Self)
            .ok_or_else(|| must_be_seconds_up_to(limit.0))
    }

    /// Returns an hour, or the limit if that is shorter.
    #[must_use]
    pub fn default_below(limit: MaxLifetime) -> Self {
        Self(DEFAULT_SECONDS.min(limit.0))
    }

    /// Returns the ten minutes that LiveKit advises for its standard endpoint, or the limit if that
    /// is shorter.
    #[must_use]
    pub fn standard_endpoint(limit: MaxLifetime) -> Self {
        Self(STANDARD_ENDPOINT_SECONDS.min(limit.0))
    }
}

fn must_be_seconds_up_to(limit: u32) -> Requirement {
    format!("must be a whole number of seconds from {MIN_SECONDS} to {limit}").into()
}

/// The times of one credential, all derived from one clock reading, in whole seconds since 1970
/// (`NumericDate`, RFC 7519 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The time of issue, without the fraction of a second.
    pub issued_at: u64,
    /// The first second in which the credential is no longer valid.
    pub expires_at: u64,
}

impl Validity {
    /// Returns the validity from `now` for `lifetime`. A clock before 1970 counts as 1970: the
    /// credential has then expired long ago and admits nobody.
    #[must_use]
    pub fn starting_at(now: SystemTime, lifetime: Lifetime) -> Self {
        let issued_at = epoch_seconds(now);
        Self {
            issued_at,
            expires_at: issued_at + u64::from(lifetime.0),
        }
    }

    /// Returns the time at which the holder should refresh the credential.
    #[must_use]
    pub fn refresh_at(&self) -> SystemTime {
        refresh_at(instant(self.issued_at), instant(self.expires_at))
    }
}

/// Returns the time at which the holder of a credential should refresh it: 10 s before its expiry,
/// but never before half of its lifetime has passed, in the milliseconds of responses too.
#[must_use]
pub fn refresh_at(issued_at: SystemTime, expires_at: SystemTime) -> SystemTime {
    let half = expires_at.duration_since(issued_at).unwrap_or_default() / 2;
    let whole_millis = Duration::new(half.as_secs(), half.subsec_millis() * 1_000_000);
    expires_at - whole_millis.min(REFRESH_MARGIN)
}

/// A time written by RFC 3339 in UTC with milliseconds and `Z`. A time before 1970 is written as
/// 1970.
#[derive(Debug)]
pub struct Rfc3339(humantime::Rfc3339Timestamp);

impl Rfc3339 {
    /// Creates the written form of a time.
    #[must_use]
    pub fn of(at: SystemTime) -> Self {
        Self(humantime::format_rfc3339_millis(at.max(UNIX_EPOCH)))
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Converts a `NumericDate` to a time.
#[must_use]
pub fn instant(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn epoch_seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lifetimes_outside_the_bounds_or_not_whole_are_rejected() {
        let other = Json::Text("3600".into());
        for value in [
            Json::Unsigned(0),
            Json::Unsigned(59),
            Json::Unsigned(86_401),
            Json::Unsigned(u64::MAX),
            Json::Negative,
            Json::Float(60.0),
            Json::Bool(true),
            other,
        ] {
            assert!(
                Lifetime::parse(&value, MaxLifetime::default()).is_err(),
                "{value:?}"
            );
        }
        assert!(Lifetime::parse(&Json::Unsigned(121), MaxLifetime(120)).is_err());
    }

    #[test]
    fn lifetimes_at_the_bounds_are_exact() {
        for seconds in [60, 61, 3_600, 86_400] {
            let lifetime =
                Lifetime::parse(&Json::Unsigned(seconds), MaxLifetime::default()).unwrap();
            let validity =
                Validity::starting_at(instant(1_000) + Duration::from_millis(999), lifetime);
            assert_eq!(
                (validity.issued_at, validity.expires_at),
                (1_000, 1_000 + seconds)
            );
        }
        assert_eq!(Lifetime::default_below(MaxLifetime(120)), Lifetime(120));
        assert_eq!(
            Lifetime::standard_endpoint(MaxLifetime(86_400)),
            Lifetime(600)
        );
        assert_eq!(Lifetime::standard_endpoint(MaxLifetime(120)), Lifetime(120));
    }

    #[test]
    fn a_limit_outside_the_bounds_or_not_of_digits_is_rejected() {
        for text in [
            "",
            "59",
            "86401",
            "+60",
            "-60",
            "60.0",
            "1e3",
            " 60",
            "60 ",
            "0x60",
            "sixty",
            "99999999999999999999",
        ] {
            assert!(MaxLifetime::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(MaxLifetime::parse("60"), Ok(MaxLifetime(60)));
        assert_eq!(MaxLifetime::parse("86400"), Ok(MaxLifetime(86_400)));
    }

    #[test]
    fn a_clock_before_1970_yields_an_expired_credential() {
        let validity = Validity::starting_at(UNIX_EPOCH - Duration::from_secs(5), Lifetime(60));
        assert_eq!((validity.issued_at, validity.expires_at), (0, 60));
    }

    #[test]
    fn times_are_written_with_milliseconds_in_utc() {
        assert_eq!(
            Rfc3339::of(instant(1_700_000_000) + Duration::from_micros(4_999)).to_string(),
            "2023-11-14T22:13:20.004Z"
        );
        assert_eq!(
            Rfc3339::of(UNIX_EPOCH - Duration::from_secs(1)).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
    }

    proptest! {
        #[test]
        fn the_refresh_is_before_the_expiry_and_not_in_the_first_half(
            issued_at in 0_u64..4_000_000_000,
            micros in 0_u64..1_000_000,
            seconds in prop_oneof![1_u64..=40, 1_u64..=86_400],
        ) {
            let expires_at = instant(issued_at + seconds);
            let issued_at = instant(issued_at) + Duration::from_micros(micros);
            let lifetime = Duration::from_secs(seconds).saturating_sub(Duration::from_micros(micros));
            let refresh_at = refresh_at(issued_at, expires_at);
            prop_assert!(refresh_at <= expires_at);
            prop_assert!(refresh_at >= issued_at + lifetime / 2);
            let is_whole = refresh_at
                .duration_since(UNIX_EPOCH)
                .is_ok_and(|since| since.subsec_nanos() % 1_000_000 == 0);
            prop_assert!(is_whole, "the written form is not earlier");
            let is_long = lifetime >= 2 * REFRESH_MARGIN;
            prop_assert_eq!(refresh_at == expires_at - REFRESH_MARGIN, is_long);
        }
    }
}
