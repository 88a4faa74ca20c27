//! What is known of a project between two requests: its versions, and its sealed key if it has one.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;

use super::associated_data::Versions;
use super::envelope::SealedKey;
use super::kek::KekVersion;
use super::project_key::KeyFingerprint;

/// A project as a store holds it. One that was deleted keeps its versions and no key, so that the
/// versions of a project that is saved again go on where they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRecord {
    /// The counters of its key and of its writes.
    pub versions: Versions,
    /// The key; `None` once it was deleted.
    pub key: Option<StoredKey>,
}

/// A sealed key and what is shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The serialised [`SealedKey`]; what a store was tampered with may be anything.
    pub sealed: Vec<u8>,
    /// The rest.
    pub summary: KeySummary,
}

/// What is shown of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// The version of the KEK under which it is sealed.
    pub kek_version: KekVersion,
    /// Tells two keys apart.
    pub fingerprint: KeyFingerprint,
    /// Names this state of the record.
    pub tag: RecordTag,
    /// The first save since the project was last absent, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The last rotation, in milliseconds since 1970; `None` before the first.
    pub rotated_at_ms: Option<u64>,
}

/// Names one state of a record: an entity tag (RFC 9110 §8.8.3) without its quotes, 22 characters
/// of base64url. Every seal draws a new salt, so no two writes ever have the same tag, not even
/// after a deletion or the restore of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordTag(String);

impl RecordTag {
    /// Computes the tag: the first 16 bytes of the SHA-256 of the sealed record.
    #[must_use]
    pub fn of(sealed: &SealedKey) -> Self {
        let hash = digest(&SHA256, &sealed.to_bytes());
        let first = hash.as_ref().get(..16).unwrap_or_default();
        Self(BASE64URL_NOPAD.encode(first))
    }

    /// Takes a tag that a store or a client has; any other text simply matches no record.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The tag without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
