//! Admin keys, and the search for the one that a request presents.
//!
//! Only digests are kept, and each is compared in constant time: the response time reveals neither
//! how much of a key was right nor which key it was.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use crate::domain::requests::fields::Requirement;

/// The fewest characters of a key. 32 random characters of base64 have 192 bits.
pub const MIN_CHARACTERS: usize = 32;

/// The prefix that keeps the hash for a [`KeyId`] different from every other hash of the same key.
const KEY_ID_PURPOSE: &[u8] = b"roomkey admin key id\0";

type Digest = [u8; 32];

/// The active admin keys. There may be several, so that a new one can be handed out before the old
/// one is removed.
///
/// # Examples
/// ```
/// use roomkey::domain::callers::admin_key::AdminKeys;
/// use roomkey::domain::requests::fields::Requirement;
///
/// let (old, new) = ("0f3b7c1d9e5a4b6c8d2e1f0a9b8c7d6e", "6e7d8c9b0a1f2e3d4c5b6a7e8f9d0c1b");
/// let keys = AdminKeys::parse(&format!("{old},{new}"))?;
/// let id = keys.find(new.as_bytes()).expect("an active key");
/// assert_eq!(id.to_string().len(), 8);
/// assert_eq!(keys.find(b"a wrong key"), None);
/// # Ok::<(), Requirement>(())
/// ```
#[derive(Clone, Default)]
pub struct AdminKeys(Vec<AdminKey>);

#[derive(Clone)]
struct AdminKey {
    digest: Digest,
    id: KeyId,
}

/// The id of a key in logs: 32 bits of a hash, which do not reveal a key of random characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 4]);

impl AdminKeys {
    /// Reads keys separated by commas.
    ///
    /// # Errors
    /// The requirement, if a key is short, contains a space or another character outside visible
    /// ASCII, or is listed twice.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let mut keys = Self::default();
        for key in text.split(',') {
            if key.len() < MIN_CHARACTERS || !key.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!(
                    "must be keys of {MIN_CHARACTERS} visible ASCII characters or more, \
                     separated by commas only"
                )
                .into());
            }
            if keys.find(key.as_bytes()).is_some() {
                return Err("holds the same key twice".into());
            }
            let digest = sha256(&[key.as_bytes()]);
            keys.0.push(AdminKey {
                digest,
                id: KeyId::of(&digest),
            });
        }
        Ok(keys)
    }

    /// Returns the id of the presented key, or `None` if it is not one of the active keys. Every
    /// key is compared, even after a match.
    #[must_use]
    pub fn find(&self, presented: &[u8]) -> Option<KeyId> {
        let presented = sha256(&[presented]);
        let mut found = None;
        for key in &self.0 {
            if verify_slices_are_equal(&key.digest, &presented).is_ok() {
                found = Some(key.id);
            }
        }
        found
    }

    /// Returns the ids of all keys, in the order of the setting.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.0.iter().map(|key| key.id)
    }
}

impl KeyId {
    fn of(digest: &Digest) -> Self {
        let [a, b, c, d, ..] = sha256(&[KEY_ID_PURPOSE, digest]);
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    /// Writes 8 lower-case hex digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for AdminKeys {
    /// Writes the ids only: the digest of a weak key would help to guess it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.ids()).finish()
    }
}

fn sha256(parts: &[&[u8]]) -> Digest {
    let mut bytes = [0; 32];
    for (byte, hashed) in bytes
        .iter_mut()
        .zip(digest(&SHA256, &parts.concat()).as_ref())
    {
        *byte = *hashed;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "canary-one-0123456789-0123456789";
    const TWO: &str = "canary-two-0123456789-0123456789-and-longer";

    #[test]
    fn keys_that_are_short_or_cannot_be_sent_are_rejected() {
        for text in [
            String::new(),
            ",".to_owned(),
            "short".to_owned(),
            ONE[1..].to_owned(),
            format!("{ONE},"),
            format!(",{ONE}"),
            format!("{ONE},,{TWO}"),
            format!("{ONE},{}", &TWO[..31]),
            format!("{ONE}, {TWO}"),
            format!("{ONE} {TWO}"),
            format!("{ONE}\n"),
            format!("{ONE}\0"),
            format!("{ONE}ä"),
            format!("{ONE},{TWO},{ONE}"),
        ] {
            let requirement = AdminKeys::parse(&text).map(drop).unwrap_err();
            assert!(!requirement.contains("canary"), "{requirement}");
        }
    }

    #[test]
    fn each_key_has_its_own_id() {
        let keys = AdminKeys::parse(&format!("{ONE},{TWO}")).unwrap();
        let ids: Vec<_> = keys.ids().collect();
        assert_eq!(
            [keys.find(ONE.as_bytes()), keys.find(TWO.as_bytes())],
            [Some(ids[0]), Some(ids[1])]
        );
        assert_ne!(ids[0], ids[1]);
        assert_eq!(
            AdminKeys::parse(TWO).unwrap().ids().next(),
            Some(ids[1]),
            "the id does not depend on the others"
        );
    }

    #[test]
    fn a_key_that_differs_a_little_is_not_found() {
        let keys = AdminKeys::parse(&format!("{ONE},{TWO}")).unwrap();
        let megabyte = "x".repeat(1 << 20);
        let (both, upper) = (format!("{ONE},{TWO}"), ONE.to_uppercase());
        for presented in [
            "",
            &ONE[..31],
            &ONE[1..],
            &TWO[..32],
            &format!("{ONE} "),
            &format!("{ONE}x"),
            &both,
            &upper,
            "ä",
            &megabyte,
        ] {
            assert_eq!(keys.find(presented.as_bytes()), None, "{presented:.40?}");
        }
        assert_eq!(
            keys.find(&sha256(&[ONE.as_bytes()])),
            None,
            "a digest is not a key"
        );
        assert_eq!(keys.find(b"\xff\0"), None);
        assert_eq!(
            AdminKeys::default().find(b""),
            None,
            "without keys nobody is admitted"
        );
    }

    #[test]
    fn neither_a_key_nor_its_digest_is_printed() {
        let keys = AdminKeys::parse(&format!("{ONE},{TWO}")).unwrap();
        let id = keys.find(ONE.as_bytes()).unwrap();
        let printed = format!("{keys:?} {keys:#?} {id} {id:?}");
        assert!(!printed.contains("canary"), "{printed}");
        let digest = sha256(&[ONE.as_bytes()]);
        assert_ne!(id.0, digest[..4]);
        let in_decimal = format!("{digest:?}");
        assert!(
            !printed.contains(&in_decimal) && !printed.contains(&HEXLOWER.encode(&digest[..4])),
            "{printed}"
        );
        assert_eq!(id.to_string().len(), 8);
    }

    proptest! {
        #[test]
        fn only_the_keys_themselves_are_found(
            keys in prop::collection::btree_set("[!-+.-~-]{32,80}", 1..5),
            other in "[!-~]{0,80}",
        ) {
            let list = keys.iter().cloned().collect::<Vec<_>>();
            let read = AdminKeys::parse(&list.join(",")).unwrap();
            for (key, id) in list.iter().zip(read.ids()) {
                prop_assert_eq!(read.find(key.as_bytes()), Some(id));
            }
            prop_assert_eq!(read.find(other.as_bytes()).is_some(), keys.contains(&other));
        }
    }
}
