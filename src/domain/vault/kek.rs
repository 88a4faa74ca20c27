//! Key-encryption keys (KEKs): the operator's keys that seal data keys, with labels `v1`, `v2` …

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::domain::digits::parse_digits;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::secrets;

/// The bytes of a KEK, as AES-256 and HKDF-SHA256 require.
pub const KEK_BYTES: usize = 32;
/// The characters of a KEK in base64url without padding.
const KEK_CHARACTERS: usize = 43;
/// The highest version. Four digits suffice for a rotation every week.
const MAX_VERSION: u32 = 9_999;

/// The label of a KEK: `v1` to `v9999`, ordered by number.
///
/// ```
/// use roomkey::domain::vault::kek::KekVersion;
///
/// let version = KekVersion::parse("v10").unwrap();
/// assert!(version > KekVersion::parse("v9").unwrap());
/// assert_eq!(version.to_string(), "v10");
/// assert!(KekVersion::parse("v01").is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KekVersion(u32);

impl KekVersion {
    /// The first version, `v1`.
    pub const FIRST: Self = Self(1);

    /// Reads a label: `v` and a number from 1 to 9999 without leading zeros.
    ///
    /// # Errors
    /// The requirement, for any other text.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        text.strip_prefix('v')
            .filter(|digits| !digits.starts_with('0'))
            .and_then(parse_digits)
            .and_then(Self::from_number)
            .ok_or_else(|| "must be a version of the key-encryption key, such as v1".into())
    }

    /// Returns the version with this number, 1 to 9999.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        (1..=MAX_VERSION).contains(&number).then_some(Self(number))
    }

    /// Returns the number after the `v`.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for KekVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "v{}", self.0)
    }
}

/// A key-encryption key: 32 bytes that are zeroized when dropped and never printed.
pub struct KeyEncryptionKey(Zeroizing<[u8; KEK_BYTES]>);

impl KeyEncryptionKey {
    /// Reads a KEK: 32 random bytes in base64url, with or without padding.
    ///
    /// # Errors
    /// The requirement that it does not meet. It never quotes the key.
    pub fn parse(text: &SecretString) -> Result<Self, Requirement> {
        secrets::check(text, KEK_CHARACTERS)?;
        let wrong = || Requirement::from("must be 32 random bytes in base64url (43 characters)");
        let text = text.expose_secret();
        let text = text.strip_suffix('=').unwrap_or(text).as_bytes();
        if text.len() != KEK_CHARACTERS {
            return Err(wrong());
        }
        let mut bytes = Zeroizing::new([0; KEK_BYTES]);
        match BASE64URL_NOPAD.decode_mut(text, bytes.as_mut_slice()) {
            // A key of zeros was never generated at random.
            Ok(KEK_BYTES) if bytes.iter().any(|byte| *byte != 0) => Ok(Self(bytes)),
            _ => Err(wrong()),
        }
    }

    /// Creates a key from 32 random bytes, for development.
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; KEK_BYTES]>) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyEncryptionKey(..)")
    }
}

/// The KEKs that are known at one moment. They are cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct KeyEncryptionKeys(BTreeMap<KekVersion, Arc<KeyEncryptionKey>>);

/// The error for a KEK that is not known, or not any more or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The key-encryption key {0} is not available.")]
pub struct MissingKek(pub KekVersion);

impl KeyEncryptionKeys {
    /// Returns the key of a version.
    ///
    /// # Errors
    /// [`MissingKek`] if it is not known.
    pub fn get(&self, version: KekVersion) -> Result<&KeyEncryptionKey, MissingKek> {
        self.0
            .get(&version)
            .map(AsRef::as_ref)
            .ok_or(MissingKek(version))
    }

    /// Returns the known versions, lowest first.
    pub fn versions(&self) -> impl Iterator<Item = KekVersion> + '_ {
        self.0.keys().copied()
    }
}

impl FromIterator<(KekVersion, Arc<KeyEncryptionKey>)> for KeyEncryptionKeys {
    fn from_iter<I: IntoIterator<Item = (KekVersion, Arc<KeyEncryptionKey>)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg";

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "v",
            "1",
            "v0",
            "v01",
            "V1",
            "v1 ",
            " v1",
            "v-1",
            "v+1",
            "v1.0",
            "vv1",
            "v10000",
            "v99999999999999999999",
            "v١",
            "v1\n",
        ] {
            assert!(KekVersion::parse(text).is_err(), "{text:?}");
        }
        for (text, number) in [("v1", 1), ("v2", 2), ("v10", 10), ("v9999", 9_999)] {
            let version = KekVersion::parse(text).unwrap();
            assert_eq!(
                (version.number(), version.to_string()),
                (number, text.to_owned())
            );
        }
        assert_eq!(KekVersion::from_number(0), None);
    }

    #[test]
    fn what_is_no_kek_is_refused_without_a_quote_of_it() {
        for text in [
            "",
            &CANARY[1..],
            &format!("{CANARY}A"),
            &format!("{CANARY}=="),
            &format!("{CANARY}\n"),
            &format!("\"{CANARY}\""),
            &CANARY.replace('5', "+"),
            &CANARY.replace('5', "/"),
            // The last character carries two bits that must be zero.
            &format!("{}9", &CANARY[..42]),
            &"A".repeat(43),
            &"ab".repeat(32),
            "changeme-changeme-changeme-changeme-changem",
            "@Microsoft.KeyVault(VaultName=v;SecretName=kek-v1-of-roomkey)",
        ] {
            let rule = KeyEncryptionKey::parse(&text.into()).unwrap_err();
            assert!(!rule.contains("Y2Fu"), "{text:?}: {rule}");
        }
        let padded = format!("{CANARY}=");
        for text in [CANARY, &padded] {
            let key = KeyEncryptionKey::parse(&text.into()).unwrap();
            assert_eq!(key.as_bytes(), b"canary-kek-of-32-bytes-012345678");
        }
    }

    #[test]
    fn keks_are_found_by_version_and_never_printed() {
        let key = Arc::new(KeyEncryptionKey::parse(&CANARY.into()).unwrap());
        let [one, two, three] = [1, 2, 3].map(|n| KekVersion::from_number(n).unwrap());
        let keys: KeyEncryptionKeys = [(three, Arc::clone(&key)), (one, key)]
            .into_iter()
            .collect();
        assert_eq!(keys.versions().collect::<Vec<_>>(), [one, three]);
        assert!(keys.get(one).is_ok() && keys.get(three).is_ok());
        let missing = keys.get(two).unwrap_err();
        assert_eq!(missing, MissingKek(two));
        assert_eq!(
            missing.to_string(),
            "The key-encryption key v2 is not available."
        );
        let printed = format!("{keys:?}");
        assert!(
            !printed.contains("canary") && !printed.contains("99"),
            "{printed}"
        );
    }
}
