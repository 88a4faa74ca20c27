//! The public keys of an identity provider (JSON Web Key Set, RFC 7517).
//!
//! Only asymmetric signing keys are used. Everything else in a document is skipped, because
//! providers publish keys for other purposes too. Nothing here fetches anything.

mod algorithm;
mod jwk;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

pub use self::algorithm::Algorithm;
use self::jwk::{Jwk, SkipReason};
pub use self::jwk::{MAX_KEY_ID_BYTES, VerifyingKey, is_key_id};
use crate::domain::requests::json;

/// The most bytes of a document. Entra's has about 20 KiB with its certificates; 100 keys with one
/// certificate each have about 200 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// The most usable keys of a document that are kept.
const MAX_KEYS: usize = 100;
/// The most keys that are tried for a token whose key id does not select one, since each try costs
/// a signature verification.
const MAX_CANDIDATES: usize = 8;

/// The error for a document that is not a key set with at least one usable key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document is not a key set with at least one usable key")]
pub struct KeySetError;

/// The reason why a key set has no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySelectionError {
    /// No key has this id, and none without an id can be meant. A newer key set may have one.
    #[error("the key set has no key with this id")]
    UnknownId,
    /// The named key is for another algorithm, or every key is.
    #[error("the key set has no such key for this algorithm")]
    OtherAlgorithm,
}

/// The keys that may have signed a token: one to eight, all for its algorithm.
#[derive(Debug, Clone)]
pub struct Candidates {
    keys: Vec<Arc<VerifyingKey>>,
    /// True if the token and the key set both name the key. Otherwise a signature that none of the
    /// keys made may be by a newer key.
    pub are_named: bool,
}

impl Candidates {
    /// Returns the keys to try, in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter().map(AsRef::as_ref)
    }
}

/// The usable keys of one document.
///
/// # Examples
/// ```
/// use roomkey::domain::callers::key_set::{Algorithm, KeySelectionError, KeySet};
///
/// // RFC 8037, appendix A.2.
/// let document = br#"{ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k1",
///     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] }"#;
/// let key_set = KeySet::parse(document)?;
///
/// let candidates = key_set.find(Some("k1"), Algorithm::EdDsa).unwrap();
/// assert_eq!(candidates.iter().count(), 1);
/// assert_eq!(
///     key_set.find(Some("k2"), Algorithm::EdDsa).unwrap_err(),
///     KeySelectionError::UnknownId
/// );
/// # Ok::<(), roomkey::domain::callers::key_set::KeySetError>(())
/// ```
#[derive(Debug)]
pub struct KeySet {
    entries: Vec<Jwk>,
    unreadable_entries: usize,
    /// The digest of the whole document, which shows any change of it.
    digest: Vec<u8>,
}

impl KeySet {
    /// Reads a document of the form `{"keys":[…]}`.
    ///
    /// An entry that is broken, weak, symmetric, not for signatures or of an unknown type is
    /// skipped, so that one such entry does not lock out every caller.
    ///
    /// # Errors
    /// [`KeySetError`] if the document is larger than 256 KiB, is not JSON or has no usable key.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(KeySetError);
        }
        let (mut entries, mut unreadable_entries) = (Vec::new(), 0);
        for item in json::parse_items(document, "keys").map_err(|_| KeySetError)? {
            match item
                .ok_or(SkipReason::Unreadable)
                .and_then(|entry| Jwk::read(&entry))
            {
                Ok(entry) if entries.len() < MAX_KEYS => entries.push(entry),
                Err(SkipReason::NotApplicable) => {}
                Ok(_) | Err(SkipReason::Unreadable) => unreadable_entries += 1,
            }
        }
        if entries.is_empty() {
            return Err(KeySetError);
        }
        Ok(Self {
            entries,
            unreadable_entries,
            digest: digest(&SHA256, document).as_ref().to_vec(),
        })
    }

    /// Reports whether both key sets come from the same document.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Returns the number of entries that were skipped because they were unreadable or too many.
    #[must_use]
    pub fn unreadable_entries(&self) -> usize {
        self.unreadable_entries
    }

    /// Finds the keys that may have signed a token: those with its key id; if there are none, those
    /// without an id; for a token without a key id, all. Of these it returns the first eight for
    /// its algorithm.
    ///
    /// # Errors
    /// [`KeySelectionError`] if no key is left.
    pub fn find(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Candidates, KeySelectionError> {
        let has_id = |entry: &&Jwk| key_id.is_some() && entry.key_id.as_deref() == key_id;
        let are_named = self.entries.iter().any(|entry| has_id(&entry));
        let may_be_meant = |entry: &&Jwk| {
            if are_named {
                has_id(entry)
            } else {
                key_id.is_none() || entry.key_id.is_none()
            }
        };
        let mut keys = self
            .entries
            .iter()
            .filter(may_be_meant)
            .flat_map(|entry| &entry.keys)
            .peekable();
        if keys.peek().is_none() {
            return Err(KeySelectionError::UnknownId);
        }
        let keys: Vec<_> = keys
            .filter(|key| key.algorithm() == algorithm)
            .take(MAX_CANDIDATES)
            .cloned()
            .collect();
        if keys.is_empty() {
            Err(KeySelectionError::OtherAlgorithm)
        } else {
            Ok(Candidates { keys, are_named })
        }
    }
}

#[cfg(test)]
mod tests;
