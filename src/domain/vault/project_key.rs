//! A project's own API key for the upstream, and its keyed fingerprint.

use std::fmt;

use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::callers::caller_hash::HashKey;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::setting_text;

/// The fewest and most characters of a key.
const MIN_CHARACTERS: usize = 20;
const MAX_CHARACTERS: usize = 512;

/// The purpose that makes fingerprints different from every other hash with the same key.
const FINGERPRINT_PURPOSE: &str = "vault-fingerprint";

/// The key with which an upstream mints a project's client secrets: 20 to 512 visible ASCII
/// characters. Zeroized when dropped, and never printed.
#[derive(Debug, Clone)]
pub struct ProjectKey(SecretString);

impl ProjectKey {
    /// Reads a key. Nothing is trimmed: a key with a trailing line break is rejected.
    ///
    /// # Errors
    /// The requirement that it does not meet. It never quotes the key.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let visible = text.bytes().all(|b| b.is_ascii_graphic());
        if !visible || !(MIN_CHARACTERS..=MAX_CHARACTERS).contains(&text.len()) {
            return Err("must be 20 to 512 visible ASCII characters".into());
        }
        if setting_text::is_in_quotes(text) {
            return Err("must not be in quotes".into());
        }
        if setting_text::is_placeholder(text) || setting_text::is_unresolved_reference(text) {
            return Err("must be a key, not a placeholder for one".into());
        }
        Ok(Self(text.into()))
    }

    /// Returns the key, for a request to the upstream.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

/// A keyed fingerprint of a project key: 32 hex digits that are equal for equal keys. Without the
/// hash key nobody can test a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFingerprint([u8; 16]);

impl KeyFingerprint {
    /// Computes the fingerprint.
    #[must_use]
    pub fn of(hash_key: &HashKey, key: &ProjectKey) -> Self {
        Self(hash_key.tag(FINGERPRINT_PURPOSE, key.as_bytes()))
    }

    /// Reads a stored fingerprint: 32 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "sk-proj-canary-project-key-0123";

    #[test]
    fn what_cannot_be_a_project_key_is_refused_without_a_quote_of_it() {
        let (long, short) = (format!("sk-{}", "ab1".repeat(170)), &GOOD[..19]);
        for text in [
            "",
            short,
            &long,
            &"k9".repeat(5_000),
            &format!(" {GOOD}"),
            &format!("{GOOD} "),
            &format!("{GOOD}\n"),
            &format!("{GOOD}\0"),
            &format!("{GOOD}ä"),
            &format!("\u{feff}{GOOD}"),
            "sk-proj canary project key 0123",
            "\"sk-proj-canary-project-key-0123\"",
            "'sk-proj-canary-project-key-0123'",
            "`sk-proj-canary-project-key-0123`",
            "sk-your-openai-api-key-goes-here",
            "changeme-changeme-changeme",
            "<your-openai-key-of-this-project>",
            "${OPENAI_API_KEY_OF_THE_PROJECT}",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-****************************abcd",
            "@Microsoft.KeyVault(VaultName=v;SecretName=s)",
        ] {
            let rule = ProjectKey::parse(text).unwrap_err();
            assert!(!rule.contains("canary"), "{text:?}: {rule}");
        }
        let longest: String = (0..512)
            .map(|i: u16| char::from(b'!' + u8::try_from(i * 7 % 89).unwrap()))
            .collect();
        for text in [GOOD, &GOOD[..20], &longest] {
            assert_eq!(
                ProjectKey::parse(text).unwrap().secret().expose_secret(),
                text
            );
        }
    }

    /// Computed with Python:
    /// `hmac.new(key, b"vault-fingerprint\0" + text, "sha256").hexdigest()[:32]`.
    #[test]
    fn the_fingerprint_is_keyed_and_reads_back() {
        let key = ProjectKey::parse(GOOD).unwrap();
        let hash_key = HashKey::new(b"a-throw-away-hash-key-of-32-bytes");
        let fingerprint = KeyFingerprint::of(&hash_key, &key);
        assert_eq!(fingerprint.to_string(), "2a04617a332922fbdd2e02d438c20779");
        assert_eq!(
            KeyFingerprint::parse(&fingerprint.to_string()),
            Some(fingerprint)
        );
        let other = HashKey::new(b"another-throw-away-key-of-32-bytes");
        assert_ne!(KeyFingerprint::of(&other, &key), fingerprint);
        assert_ne!(
            hash_key.hash("token", GOOD.as_bytes()).to_string(),
            fingerprint.to_string()
        );
        for text in ["", "00", &"0".repeat(31), &"g".repeat(32), &"A".repeat(32)] {
            assert_eq!(KeyFingerprint::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_project_key_is_never_printed() {
        let printed = format!("{:?}", ProjectKey::parse(GOOD).unwrap());
        assert!(!printed.contains("canary"), "{printed}");
    }
}
