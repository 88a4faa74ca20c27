//! The lifetime of TURN credentials.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::requests::fields::Requirement;

/// Shortest lifetime in seconds: what a browser needs to gather candidates on a slow network.
const MIN_SECONDS: u32 = 60;
/// Longest lifetime in seconds, which is Cloudflare's: 48 hours.
const MAX_SECONDS: u32 = 172_800;
/// The lifetime where the operator sets none, in seconds. Cloudflare ends a relayed call with its
/// credentials, so that minutes would be too short.
const DEFAULT_SECONDS: u32 = 3_600;

/// A lifetime of TURN credentials: 60 to 172,800 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLifetime(u32);

impl TurnLifetime {
    /// Reads the operator's setting.
    ///
    /// # Errors
    /// The rule, when it is not a whole number of seconds from 60 to 172,800.
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

    /// Returns the end of credentials that are issued now, in whole seconds since 1970.
    #[must_use]
    pub fn expiry(self, now: SystemTime) -> u64 {
        let issued_at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        issued_at + u64::from(self.0)
    }

    /// Returns the lifetime in seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl Default for TurnLifetime {
    fn default() -> Self {
        Self(DEFAULT_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lifetime_outside_the_bounds_is_rejected() {
        for text in [
            "",
            "0",
            "-1",
            "59",
            "172801",
            "1000000000",
            "4294967296",
            "+60",
            "60s",
            "60.0",
            "1h",
        ] {
            let requirement = TurnLifetime::parse(text).unwrap_err();
            assert_eq!(
                &*requirement, "must be a whole number of seconds from 60 to 172800",
                "{text:?}"
            );
        }
        for (text, seconds) in [("60", 60), ("3600", 3_600), ("172800", 172_800)] {
            assert_eq!(TurnLifetime::parse(text).unwrap().seconds(), seconds);
        }
        assert_eq!(TurnLifetime::default().seconds(), 3_600);
    }

    #[test]
    fn an_expiry_is_never_later_than_the_lifetime_allows() {
        let lifetime = TurnLifetime::parse("60").unwrap();
        for (millis, expiry) in [(0, 60), (1_999, 61), (1_700_000_000_123, 1_700_000_060)] {
            assert_eq!(
                lifetime.expiry(UNIX_EPOCH + Duration::from_millis(millis)),
                expiry
            );
        }
        assert_eq!(lifetime.expiry(UNIX_EPOCH - Duration::from_secs(9)), 60);
    }
}
