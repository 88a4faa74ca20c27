//! How long a key lives, and when its holder should ask for the next one.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::domain::requests::fields::Requirement;
use crate::domain::requests::json::Json;

/// Shortest lifetime that a caller may ask for, in seconds. Below it LiveKit's clients would ask
/// for a new token per call.
pub const MIN_SECONDS: u32 = 60;
/// Longest lifetime that a caller may ask for, in seconds: one day.
pub const MAX_SECONDS: u32 = 86_400;
/// The lifetime where the caller asks for none, in seconds.
const DEFAULT_SECONDS: u32 = 3_600;
/// A holder refreshes this long before the end.
const REFRESH_MARGIN: Duration = Duration::from_secs(10);

/// The operator's upper limit: 60 to 86,400 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxLifetime(u32);

impl MaxLifetime {
    /// Reads the limit.
    ///
    /// # Errors
    /// The rule, when it is not a whole number of seconds from 60 to 86,400.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(seconds @ MIN_SECONDS..=MAX_SECONDS) if digits => Ok(Self(seconds)),
            _ => Err(format!(
                "must be a whole number of seconds from {MIN_SECONDS} to {MAX_SECONDS}"
            )
            .into()),
        }
    }

    /// The limit in seconds.
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

/// A lifetime in whole seconds, never above the ceiling it was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(u32);

impl Lifetime {
    /// Reads what the caller asks for. Above the ceiling is an error, never silently less.
    ///
    /// # Errors
    /// The rule, when it is not a whole number from 60 to the ceiling.
    pub fn parse(value: &Json<'_>, ceiling: MaxLifetime) -> Result<Self, Requirement> {
        match value {
            Json::Unsigned(seconds)
                if (u64::from(MIN_SECONDS)..=u64::from(ceiling.0)).contains(seconds) =>
            {
                Ok(Self(u32::try_from(*seconds).unwrap_or(ceiling.0)))
            }
            _ => Err(format!(
                "must be a whole number of seconds from {MIN_SECONDS} to {}",
                ceiling.0
            )
            .into()),
        }
    }

    /// An hour, or the ceiling where that is less.
    #[must_use]
    pub fn default_below(ceiling: MaxLifetime) -> Self {
        Self(DEFAULT_SECONDS.min(ceiling.0))
    }

    /// Ten minutes, LiveKit's own advice for its standard endpoint, or the ceiling where that is
    /// less.
    #[must_use]
    pub fn standard_endpoint(ceiling: MaxLifetime) -> Self {
        Self(600.min(ceiling.0))
    }
}

/// The times of one key, all from one clock reading, in whole seconds since 1970 (`NumericDate`,
/// RFC 7519 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When it was issued; the fraction of a second is dropped.
    pub issued_at: u64,
    /// The first second in which it is no longer valid.
    pub expires_at: u64,
}

impl Validity {
    /// From `now` for `lifetime`. A clock before 1970 counts as 1970: such a key is long expired,
    /// so nobody gets in by it.
    #[must_use]
    pub fn starting_at(now: SystemTime, lifetime: Lifetime) -> Self {
        let issued_at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            issued_at,
            expires_at: issued_at + u64::from(lifetime.0),
        }
    }

    /// From `now` until a moment that somebody else chose; one before `now` counts as `now`.
    #[must_use]
    pub fn until(expires_at: u64, now: SystemTime) -> Self {
        let issued_at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            issued_at,
            expires_at: expires_at.max(issued_at),
        }
    }

    /// When the holder should ask for the next key: 10 s before the end, but never before half of
    /// the lifetime has passed.
    #[must_use]
    pub fn refresh_at(&self) -> SystemTime {
        let half = Duration::from_secs(self.expires_at - self.issued_at) / 2;
        instant(self.expires_at) - half.min(REFRESH_MARGIN)
    }
}

/// A moment as RFC 3339 in UTC with milliseconds and `Z`; one before 1970 is shown as 1970.
#[derive(Debug)]
pub struct Rfc3339(humantime::Rfc3339Timestamp);

impl Rfc3339 {
    /// Takes a moment.
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

/// The moment of a `NumericDate`.
#[must_use]
pub fn instant(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lifetimes_outside_the_bounds_or_not_whole_are_refused() {
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
    fn a_ceiling_is_a_plain_whole_number_within_the_bounds() {
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
    fn a_clock_before_1970_yields_an_expired_key() {
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
        fn the_refresh_comes_before_the_end_and_not_before_half_time(issued_at in 0_u64..4_000_000_000, seconds in 1_u32..=86_400) {
            let validity = Validity { issued_at, expires_at: issued_at + u64::from(seconds) };
            let refresh_at = validity.refresh_at();
            prop_assert!(refresh_at < instant(validity.expires_at));
            prop_assert!(refresh_at >= instant(issued_at) + Duration::from_secs(seconds.into()) / 2);
            prop_assert_eq!(refresh_at == instant(validity.expires_at) - REFRESH_MARGIN, seconds >= 20);
        }
    }
}
