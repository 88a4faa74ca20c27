//! The settings of rate limits: the limit, the trusted proxies, and where requests are counted.

use super::reader::SettingsReader;
use super::secret::read_checked;
use crate::domain::callers::client_address::TrustedProxies;
use crate::domain::limits::rate_limit::RateLimit;
use crate::domain::settings::redis_url;
use crate::domain::settings::secrets::{self, SecretSource};

/// The setting with the key that hashes callers. It ends dev mode.
pub const HASH_KEY: &str = "ROOMKEY_HASH_KEY";
/// The setting with the address of the shared counters. It ends dev mode.
pub const REDIS_URL: &str = "ROOMKEY_REDIS_URL";

/// The rate limits that the operator has set.
#[derive(Debug)]
pub struct RateLimitSettings {
    /// The limit of each caller. `None` means that the operator has turned it off.
    pub rate_limit: Option<RateLimit>,
    /// Proxies trusted to report the client address, outside Azure.
    pub trusted_proxies: TrustedProxies,
    /// The key that hashes callers. `None` means a random key at each start; it is always set
    /// with Redis.
    pub hash_key: Option<SecretSource>,
    /// The address of the Redis server that instances share. It may contain a password.
    pub redis_url: Option<SecretSource>,
}

impl RateLimitSettings {
    /// Describes the limits in the start lines and in `--check`.
    #[must_use]
    pub fn summary(&self) -> String {
        match (self.rate_limit, &self.redis_url) {
            (None, _) => "off (ROOMKEY_RATE_LIMIT)".to_owned(),
            (Some(limit), None) => format!(
                "{limit} per caller; limits are per instance (set {REDIS_URL} to share them)"
            ),
            (Some(limit), Some(_)) => format!("{limit} per caller, shared through Redis"),
        }
    }
}

/// Reads the settings. A wrong setting is recorded as a fault and left out of the result.
pub fn read(reader: &mut SettingsReader<'_>) -> RateLimitSettings {
    let rate_limit = reader
        .parsed_or(
            "ROOMKEY_RATE_LIMIT",
            Some(RateLimit::default()),
            RateLimit::parse_or_off,
        )
        .flatten();
    let trusted_proxies = reader
        .parsed("ROOMKEY_TRUSTED_PROXIES", TrustedProxies::parse)
        .unwrap_or_default();
    let hash_key = read_checked(reader, HASH_KEY, secrets::hash_key);
    let redis_url = read_checked(reader, REDIS_URL, redis_url::check);
    if reader.is_secret_set(REDIS_URL) && !reader.is_secret_set(HASH_KEY) {
        reader.fault(
            HASH_KEY,
            format!("must be set with {REDIS_URL}: all instances must hash a caller alike"),
        );
    }
    RateLimitSettings {
        rate_limit,
        trusted_proxies,
        hash_key,
        redis_url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reader::read_settings;

    const HASH: (&str, &str) = (HASH_KEY, "canary-hash-key-of-at-least-32-bytes");
    const REDIS: (&str, &str) = (
        REDIS_URL,
        "rediss://:canary%20password@cache.example.com:6380",
    );

    fn read_all(settings: &[(&str, &str)]) -> (RateLimitSettings, Vec<String>) {
        read_settings(settings, read)
    }

    #[test]
    fn each_bad_value_is_refused_by_name_and_not_repeated() {
        let repeated = "x".repeat(64);
        for (name, values) in [
            (
                "ROOMKEY_RATE_LIMIT",
                &["", "canary", "100", "0/15m", "100/15", "OFF"][..],
            ),
            (
                "ROOMKEY_TRUSTED_PROXIES",
                &["", "canary", "10.0.0.0/8,", "0.0.0.0/0", "10.0.0.1/8"],
            ),
            (
                HASH_KEY,
                &[
                    "",
                    "canary-canary",
                    "changeme-changeme-changeme-changeme",
                    &repeated,
                    "@Microsoft.KeyVault(SecretUri=https://canary)",
                ],
            ),
            (
                REDIS_URL,
                &[
                    "",
                    "canary",
                    "canary:6379",
                    "redis:",
                    "redis://",
                    "redis://:canary@",
                    "redis:///0",
                    "http://canary",
                    "unix:///canary",
                    "redis+unix:///canary",
                    "valkey://canary",
                    "redis://canary:0",
                    "redis://canary:65536",
                    "redis://canary/x",
                    "redis://canary/-1",
                    "redis://canary/0/1",
                    "redis://canary/00000",
                    "redis://canary?protocol=resp3",
                    "redis://canary/?x",
                    "rediss://canary#insecure",
                    "rediss://canary/#",
                    "redis://0.0.0.0",
                    "redis://[::]",
                    "redis://:%ff@canary",
                    "redis://%e4@canary",
                    "redis://:100%@canary",
                    "redis://:changeme@canary",
                ],
            ),
        ] {
            for value in values {
                let settings: Vec<_> = [HASH]
                    .into_iter()
                    .filter(|(other, _)| *other != name)
                    .chain([(name, *value)])
                    .collect();
                let (_, faults) = read_all(&settings);
                assert_eq!(faults.len(), 1, "{name}={value:?} {faults:?}");
                assert!(
                    faults[0].starts_with(&format!("{name}: ")) && !faults[0].contains("canary"),
                    "{faults:?}"
                );
            }
        }
    }

    #[test]
    fn without_settings_each_instance_limits_on_its_own() {
        let (limits, faults) = read_all(&[]);
        assert!(faults.is_empty());
        assert_eq!(limits.rate_limit, Some(RateLimit::default()));
        assert!(
            limits.trusted_proxies.is_empty()
                && limits.hash_key.is_none()
                && limits.redis_url.is_none()
        );
        assert_eq!(
            limits.summary(),
            "100/15m per caller; limits are per instance (set ROOMKEY_REDIS_URL to share them)"
        );
    }

    #[test]
    fn limits_are_turned_off_only_by_the_word_off() {
        let (limits, faults) = read_all(&[("ROOMKEY_RATE_LIMIT", "off")]);
        assert_eq!((limits.rate_limit, faults.len()), (None, 0));
        assert_eq!(limits.summary(), "off (ROOMKEY_RATE_LIMIT)");
    }

    #[test]
    fn redis_needs_a_hash_key() {
        let (_, faults) = read_all(&[REDIS]);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("ROOMKEY_HASH_KEY: must be set"),
            "{faults:?}"
        );
        let (limits, faults) = read_all(&[REDIS, HASH, ("ROOMKEY_RATE_LIMIT", "5/1s")]);
        assert!(faults.is_empty() && limits.hash_key.is_some() && limits.redis_url.is_some());
        assert_eq!(limits.summary(), "5/1s per caller, shared through Redis");
        assert!(!format!("{limits:?}").contains("canary"), "{limits:?}");
    }

    #[tokio::test]
    async fn every_accepted_address_can_be_used() {
        for url in [
            "redis://localhost",
            "redis://localhost/",
            "redis://127.0.0.1:6379",
            "redis://127.0.0.1:6379/15",
            "redis://[::1]:6379/0",
            "redis://:p%40ss%2Fw%25rd=@cache.example.com",
            "redis://user:canary-password@cache.example.com:6379",
            "rediss://:canary-password@cache.example.com:6380",
            "rediss://cache",
            "redis://a:b:c@h",
            "redis://:ä%C3%BC@h",
        ] {
            let (limits, faults) = read_all(&[HASH, (REDIS_URL, url)]);
            assert!(faults.is_empty(), "{url} {faults:?}");
            let Some(SecretSource::Given(url)) = limits.redis_url else {
                panic!("{url}")
            };
            assert!(crate::store::counters::Counters::shared(url).is_ok());
        }
    }
}
