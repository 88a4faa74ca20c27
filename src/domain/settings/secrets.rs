//! Secrets: their names in Key Vault, and checks for values that cannot be a secret, wherever they
//! come from.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::setting_text;
use crate::domain::callers::admin_key::{AdminKeys, MIN_CHARACTERS};
use crate::domain::invisible::is_invisible;
use crate::domain::requests::fields::Requirement;

/// The fewest bytes of a LiveKit API secret. HS256 needs a key as long as its hash (RFC 7518 §3.2),
/// and LiveKit's server warns about shorter ones.
pub const MIN_LIVEKIT_SECRET_BYTES: usize = 32;
/// The fewest bytes of a vendor's API key. Real ones have 32 characters or more; a much shorter one
/// was truncated.
const MIN_API_KEY_BYTES: usize = 16;

/// The fewest bytes of the hash key. A key for HMAC-SHA256 is as long as its hash (RFC 2104 §3).
const MIN_HASH_KEY_BYTES: usize = 32;
/// Whoever holds a TURN credential can test secrets against it offline, so a TURN secret is as long
/// as every other that signs.
const MIN_TURN_SECRET_BYTES: usize = 32;

/// The requirement for a value in quotes.
pub const IN_QUOTES: &str = "is in quotes; write the value alone";
/// The requirement for an unresolved reference to Key Vault or App Configuration.
pub const UNRESOLVED: &str = "is a Key Vault or App Configuration reference that the platform \
                              could not resolve; see the app's identity and its role, or the \
                              name of the secret";

/// The name of a secret in Key Vault. It is safe in the path of a URL, which Key Vault's client
/// library does not escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretName(String);

impl SecretName {
    /// Reads a name: 1 to 127 letters, digits or `-`, as Key Vault itself requires.
    ///
    /// # Errors
    /// The requirement, for any other text.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        if (1..=127).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be the name of a secret in Key Vault: 1 to 127 letters, digits or '-'".into())
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The place of a secret's value.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// The value itself, given with the settings.
    Given(SecretString),
    /// The name of a secret in Key Vault, whose value may change there.
    InVault(SecretName),
}

/// The place of an API key and its secret, which change together. They are never in two places:
/// nobody could change both at the same time.
#[derive(Debug, Clone)]
pub enum PairSource {
    /// The key and the secret themselves, given with the settings.
    Given(SecretString, SecretString),
    /// The names of the key and the secret in Key Vault.
    InVault(SecretName, SecretName),
}

/// The state of a value that comes from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DependencyState {
    /// The last fetch succeeded.
    Fresh,
    /// The last fetch failed, but an earlier value is still in use.
    Stale,
    /// There is no usable value.
    Missing,
}

impl DependencyState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Stale, Self::Missing];

    /// Returns the name that responses and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

/// A check whether a value can be a certain secret.
pub type SecretCheck = fn(&SecretString) -> Result<(), Requirement>;

/// Checks a LiveKit API key.
///
/// # Errors
/// The requirement that it does not meet.
pub fn livekit_key(value: &SecretString) -> Result<(), Requirement> {
    check(value, 1)
}

/// Checks a LiveKit API secret.
///
/// # Errors
/// The requirement that it does not meet.
pub fn livekit_secret(value: &SecretString) -> Result<(), Requirement> {
    check(value, MIN_LIVEKIT_SECRET_BYTES)
}

/// Checks a vendor's API key, which is sent in a header.
///
/// # Errors
/// The requirement that it does not meet.
pub fn api_key(value: &SecretString) -> Result<(), Requirement> {
    let scheme = value.expose_secret().split(' ').next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") || scheme.ends_with(':') {
        return Err("is a whole header; write the key alone".into());
    }
    check(value, MIN_API_KEY_BYTES)?;
    let visible = value.expose_secret().bytes().all(|b| b.is_ascii_graphic());
    if visible {
        Ok(())
    } else {
        Err("must have visible ASCII characters only".into())
    }
}

/// Checks the key that callers are hashed with.
///
/// # Errors
/// The requirement that it does not meet.
pub fn hash_key(value: &SecretString) -> Result<(), Requirement> {
    check(value, MIN_HASH_KEY_BYTES)
}

/// Checks the secret that TURN servers share with this service.
///
/// # Errors
/// The requirement that it does not meet.
pub fn turn_secret(value: &SecretString) -> Result<(), Requirement> {
    check(value, MIN_TURN_SECRET_BYTES)
}

/// Reads the admin keys.
///
/// # Errors
/// The requirement that one of them, or their list, does not meet.
pub fn admin_keys(value: &SecretString) -> Result<AdminKeys, Requirement> {
    if setting_text::is_in_quotes(value.expose_secret()) {
        return Err(IN_QUOTES.into());
    }
    for key in value.expose_secret().split(',') {
        check(&key.into(), MIN_CHARACTERS)?;
    }
    AdminKeys::parse(value.expose_secret())
}

/// Checks that a value can be a secret of at least `min_bytes` bytes.
///
/// # Errors
/// The requirement that it does not meet.
pub fn check(value: &SecretString, min_bytes: usize) -> Result<(), Requirement> {
    let value = value.expose_secret();
    if setting_text::is_unresolved_reference(value) {
        return Err(UNRESOLVED.into());
    }
    if setting_text::is_in_quotes(value) {
        return Err(IN_QUOTES.into());
    }
    if value.contains(is_invisible) {
        return Err(
            "has an invisible character in it, such as a byte order mark; write the value alone"
                .into(),
        );
    }
    if setting_text::is_placeholder(value) {
        return Err("is a placeholder; put the real value there".into());
    }
    if value.len() < min_bytes {
        return Err(format!("is too short; it must have {min_bytes} bytes or more").into());
    }
    // Pasting often leaves a line break at the end, and a key with one makes invalid signatures.
    if value.trim() != value || value.contains(char::is_control) {
        return Err("has white space around it or a control character in it".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_a_secret_are_rejected() {
        let repeated = "x".repeat(64);
        for value in [
            "",
            "x",
            "changeme",
            "ChangeMe",
            "changeme-changeme-changeme-changeme",
            "your-secret-goes-here-your-secret-goes",
            "YOUR_API_SECRET_OF_AT_LEAST_32_BYTES",
            "<your livekit secret, 32 characters>",
            "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/s)",
            "@microsoft.keyvault(VaultName=v;SecretName=a-name-that-is-long)",
            "31-bytes-is-one-byte-too-short!",
            "32-bytes-is-exactly-long-enough!\n",
            " 32-bytes-is-exactly-long-enough!",
            "\"32-bytes-is-exactly-long-enough\"",
            "'32-bytes-is-exactly-long-enough!'",
            "“32-bytes-is-exactly-long-enough!”",
            "@Microsoft.AppConfiguration(Endpoint=https://c.example;Key=k)",
            "32-bytes-is-exactly\0-long-enough!",
            repeated.as_str(),
        ] {
            assert!(livekit_secret(&value.into()).is_err(), "{value:?}");
        }
        assert_eq!(
            livekit_secret(&"32-bytes-is-exactly-long-enough!".into()),
            Ok(())
        );
        assert_eq!(livekit_key(&"APIkey".into()), Ok(()));
    }

    #[test]
    fn an_invisible_character_is_rejected_in_every_secret() {
        for value in [
            "\u{feff}canary-secret-of-at-least-32-bytes",
            "canary-secret-of-at-least-32-bytes\u{200b}",
            "canary-secret\u{2060}-of-at-least-32-bytes",
            "\u{feff}",
        ] {
            let admin: SecretCheck = |value| admin_keys(value).map(drop);
            for check in [livekit_key, livekit_secret, api_key, hash_key, admin] {
                let requirement = check(&value.into()).unwrap_err();
                assert!(
                    requirement.contains("an invisible character")
                        && !requirement.contains("canary"),
                    "{value:?}: {requirement}"
                );
            }
        }
    }

    #[test]
    fn an_api_key_that_does_not_fit_into_a_header_is_rejected() {
        for value in [
            "",
            "sk-short",
            "sk-with a space in it",
            "sk-with-an-umlaut-ä",
            "your-openai-api-key-here",
            "sk-canary-0123456789\n",
        ] {
            assert!(api_key(&value.into()).is_err(), "{value:?}");
        }
        for value in [
            "Bearer sk-canary-0123456789",
            "api-key: sk-canary-0123456789",
        ] {
            assert_eq!(
                &*api_key(&value.into()).unwrap_err(),
                "is a whole header; write the key alone"
            );
        }
        assert_eq!(api_key(&"sk-canary-0123456789".into()), Ok(()));
    }

    #[test]
    fn one_bad_admin_key_rejects_the_whole_list() {
        let good = "canary-admin-key-0123456789-0123";
        for value in [
            "",
            ",",
            &format!("{good},"),
            &format!("{good},{good}"),
            &format!("{good}\n"),
            &format!("{good},{}", "x".repeat(32)),
            &format!("\"{good}\""),
            &format!("'{good},{good}4'"),
        ] {
            assert!(admin_keys(&value.into()).is_err(), "{value:?}");
        }
        assert_eq!(
            admin_keys(&good.into()).map(|keys| keys.ids().count()),
            Ok(1)
        );
    }

    #[test]
    fn a_secret_name_that_could_change_the_url_is_rejected() {
        let long = "a".repeat(128);
        for name in [
            "",
            "../keys/x",
            "a/b",
            "a.b",
            "a_b",
            "a b",
            "a\n",
            "ä",
            "%2e",
            "a?b",
            long.as_str(),
        ] {
            assert!(SecretName::parse(name).is_err(), "{name:?}");
        }
        for name in ["livekit-api-key", "A1", "-", &long[..127]] {
            assert_eq!(SecretName::parse(name).unwrap().as_str(), name);
        }
    }
}
