//! Cursors of listings: opaque to clients, and rejected unless this service created them.

use std::fmt;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use crate::domain::callers::caller_hash::HashKey;

/// The purpose that makes the key of cursors different from every other use of the hash key.
const KEY_PURPOSE: &str = "cursor";
/// The bytes of the tag before the position: 128 bits, as RFC 2104 §5 allows.
const TAG_BYTES: usize = 16;
/// The most bytes of a position. The name of a blob and an offset need less.
const MAX_POSITION_BYTES: usize = 512;

/// The key that authenticates cursors.
#[derive(Clone)]
pub struct CursorKey(hmac::Key);

impl CursorKey {
    /// Derives the key of cursors.
    #[must_use]
    pub fn new(hash_key: &HashKey) -> Self {
        Self(hash_key.derive(KEY_PURPOSE))
    }

    /// Writes a cursor. `listing` names the listing; a cursor of another one is rejected.
    #[must_use]
    pub fn encode(&self, listing: &'static str, position: &str) -> String {
        let mut bytes = self.tag(listing, position.as_bytes()).to_vec();
        bytes.extend_from_slice(position.as_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Reads a cursor. Returns `None` unless [`CursorKey::encode`] wrote it for this listing.
    #[must_use]
    pub fn decode(&self, listing: &'static str, cursor: &str) -> Option<String> {
        // A longer cursor was never created and need not be hashed.
        if cursor.len() > (TAG_BYTES + MAX_POSITION_BYTES) * 4 / 3 + 1 {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
        let (tag, position) = bytes.split_at_checked(TAG_BYTES)?;
        let expected = self.tag(listing, position);
        aws_lc_rs::constant_time::verify_slices_are_equal(tag, &expected).ok()?;
        String::from_utf8(position.to_vec()).ok()
    }

    fn tag(&self, listing: &'static str, position: &[u8]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(listing.as_bytes());
        // The name of a listing contains no zero byte.
        context.update(&[0]);
        context.update(position);
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut()
            .zip(context.sign().as_ref())
            .for_each(|(to, from)| *to = *from);
        tag
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CursorKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> CursorKey {
        CursorKey::new(&HashKey::new(b"a-throw-away-hash-key-of-32-bytes"))
    }

    #[test]
    fn a_forged_or_foreign_cursor_is_refused() {
        let cursor = key().encode("projects", "customer-42");
        assert_eq!(
            key().decode("projects", &cursor).as_deref(),
            Some("customer-42")
        );
        assert_eq!(key().decode("audit", &cursor), None);
        let other = CursorKey::new(&HashKey::new(b"another-throw-away-key-of-32-bytes"));
        assert_eq!(other.decode("projects", &cursor), None);
        for forged in [
            "",
            "customer-42",
            &BASE64URL_NOPAD.encode(b"customer-42"),
            &BASE64URL_NOPAD.encode(&[0; 16]),
            &cursor[1..],
            &cursor[..cursor.len() - 1],
            &format!("{cursor}="),
            &format!("{cursor}\n"),
            &format!("{cursor}AAAA"),
            &"A".repeat(100_000),
        ] {
            assert_eq!(key().decode("projects", forged), None, "{forged:.40}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_cursor_is_refused() {
        let cursor = key().encode("audit", "4711");
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).unwrap();
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[position] ^= 1 << bit;
                let flipped = BASE64URL_NOPAD.encode(&flipped);
                assert_eq!(key().decode("audit", &flipped), None, "{position}.{bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_position_reads_back(position in "\\PC{0,120}") {
            let cursor = key().encode("audit", &position);
            let is_safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            prop_assert!(cursor.bytes().all(is_safe));
            prop_assert_eq!(key().decode("audit", &cursor), Some(position));
        }
    }
}
