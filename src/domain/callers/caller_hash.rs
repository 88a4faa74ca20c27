//! Callers as counters, logs and safety identifiers know them: by a keyed hash, which identifies
//! nobody without the key.
//!
//! # Source
//! HMAC (RFC 2104) with SHA-256; the first 16 bytes are kept (RFC 2104 §5).

use std::fmt;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};

/// The key that all callers are hashed with. Instances that share counters share it.
///
/// # Examples
/// ```
/// use roomkey::domain::callers::caller_hash::HashKey;
///
/// let key = HashKey::new(b"a-throw-away-hash-key-of-32-bytes");
/// let hash = key.hash("token", b"https://id.example\0alice");
/// assert_eq!(hash.to_string().len(), 32);
/// assert_ne!(hash, key.hash("log", b"https://id.example\0alice"));
/// ```
pub struct HashKey(hmac::Key);

impl HashKey {
    /// Creates the key from a secret of the operator's or from random bytes, 32 bytes or more.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Hashes a name for one purpose. Hashes for different purposes cannot be matched with each
    /// other.
    ///
    /// `purpose` must not contain a zero byte, so that the hashed text is unambiguous.
    #[must_use]
    pub fn hash(&self, purpose: &'static str, name: &[u8]) -> CallerHash {
        CallerHash(self.tag(purpose, name))
    }

    /// Returns the 16 bytes of [`HashKey::hash`], for names that are not callers.
    pub(in crate::domain) fn tag(&self, purpose: &'static str, name: &[u8]) -> [u8; 16] {
        let tag = self.sign(purpose, name);
        let mut hash = [0; 16];
        hash.iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        hash
    }

    /// Derives a separate HMAC key for one purpose.
    pub(in crate::domain) fn derive(&self, purpose: &'static str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.sign(purpose, b"").as_ref())
    }

    fn sign(&self, purpose: &'static str, name: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(name);
        context.sign()
    }
}

impl From<SecretString> for HashKey {
    fn from(secret: SecretString) -> Self {
        Self::new(secret.expose_secret().as_bytes())
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(..)")
    }
}

/// The keyed hash of a caller: 16 bytes, shown as 32 hex digits and safe to log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallerHash([u8; 16]);

impl fmt::Display for CallerHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        HEXLOWER.encode_mut(&self.0, &mut text);
        formatter.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for CallerHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const KEY: &[u8] = b"a-throw-away-hash-key-of-32-bytes";

    /// Computed with Python: `hmac.new(key, b"token\0" + name, "sha256").hexdigest()[:32]`.
    #[test]
    fn the_hash_is_that_of_another_implementation() {
        assert_eq!(
            HashKey::new(KEY).hash("token", b"alice").to_string(),
            "ec7a5de3f26041f41917d7e2a9314242"
        );
    }

    #[test]
    fn another_key_purpose_or_name_gives_another_hash() {
        let (key, other) = (
            HashKey::new(KEY),
            HashKey::new(b"another-throw-away-key-of-32-bytes"),
        );
        let hashes = [
            key.hash("token", b"alice"),
            other.hash("token", b"alice"),
            key.hash("log", b"alice"),
            key.hash("token", b"bob"),
            key.hash("token", b""),
            key.hash("tok", b"enalice"),
            key.hash("", b"token\0alice"),
        ];
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        assert_eq!(
            key.hash("token", b"alice"),
            HashKey::new(KEY).hash("token", b"alice")
        );
    }

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{:?}", HashKey::new(KEY)), "HashKey(..)");
    }
}
