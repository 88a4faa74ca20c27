//! The stored state of a project: its versions, and its sealed key if it has one.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;

use super::associated_data::Versions;
use super::envelope::SealedKey;
use super::kek::KekVersion;
use super::project_key::KeyFingerprint;

/// A project as a store keeps it. A deleted one keeps its versions without a key, so that they
/// continue if the project is saved again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRecord {
    /// The counters of its key and of its writes.
    pub versions: Versions,
    /// The key, or `None` after its deletion.
    pub key: Option<StoredKey>,
}

/// A sealed key and its summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The serialised [`SealedKey`]. In a store that was tampered with it may be anything.
    pub sealed: Vec<u8>,
    /// The public facts about the key; `None` in a store where they are damaged. Such a record is
    /// never opened, but it can be replaced and deleted.
    pub summary: Option<KeySummary>,
}

/// The public facts about a stored key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// The version of the KEK under which it is sealed.
    pub kek_version: KekVersion,
    /// The fingerprint, which differs between keys.
    pub fingerprint: KeyFingerprint,
    /// The tag of this state of the record.
    pub tag: RecordTag,
    /// The first save since the project was last absent, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The last rotation, in milliseconds since 1970; `None` before the first.
    pub rotated_at_ms: Option<u64>,
}

/// The tag of one state of a record: an entity tag (RFC 9110 §8.8.3) without its quotes, 22
/// characters of base64url. Every seal uses a new salt, so no two writes ever have the same tag,
/// not even after a deletion or the restore of a backup.
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

    /// Creates a tag from the text of a store or a client. Any other text matches no record.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the tag in quotes, as `ETag` and `If-Match` have it.
    #[must_use]
    pub fn to_quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// Returns the tag without quotes.
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
