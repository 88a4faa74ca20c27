//! Operators' keys: which of them, if any, a request presents.
//!
//! Only digests are kept, and digests are what is compared, each of them in constant time: how long
//! an answer takes says neither how much of a key was right nor which of them it was.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use crate::domain::requests::fields::Requirement;

/// Fewest characters of a key: 32 random ones of base64 hold 192 bits.
pub const MIN_CHARACTERS: usize = 32;

/// Keeps the hash behind a [`KeyId`] apart from every other hash of the same key.
const KEY_ID_PURPOSE: &[u8] = b"roomkey admin key id\0";

type Digest = [u8; 32];

/// The keys in force; several, so that a new one can be handed out before the old one ends.
#[derive(Clone, Default)]
pub struct AdminKeys(Vec<AdminKey>);

#[derive(Clone)]
struct AdminKey {
    digest: Digest,
    id: KeyId,
}

/// Names a key in a log without telling it: 32 bits of a hash. A key of random characters cannot be
/// found by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 4]);

impl AdminKeys {
    /// Reads keys separated by commas.
    ///
    /// # Errors
    /// The rule, when one is short, holds a space or another character outside visible ASCII, or
    /// stands there twice.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let mut keys = Self::default();
        for key in text.split(',') {
            if key.len() < MIN_CHARACTERS || !key.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!("must be keys of {MIN_CHARACTERS} visible ASCII characters or more, separated by commas only").into());
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

    /// Which key this is. Every key is compared, whatever came of those before it.
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

    /// The ids of all keys, in the order in which they were given.
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
    /// 8 lower-case hex digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for AdminKeys {
    /// The ids only: a digest of a weak key would help to guess it.
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
    fn keys_that_cannot_be_sent_or_guessed_too_soon_are_refused() {
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
            let rule = AdminKeys::parse(&text).map(|_| ()).unwrap_err();
            assert!(!rule.contains("canary"), "{rule}");
        }
    }

    #[test]
    fn each_key_is_found_under_an_id_of_its_own() {
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
    fn what_is_nearly_a_key_is_none() {
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
            "without keys nobody is an operator"
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
        fn only_the_keys_themselves_are_found(keys in prop::collection::btree_set("[!-+.-~-]{32,80}", 1..5), other in "[!-~]{0,80}") {
            let list = keys.iter().cloned().collect::<Vec<_>>();
            let read = AdminKeys::parse(&list.join(",")).unwrap();
            for (key, id) in list.iter().zip(read.ids()) {
                prop_assert_eq!(read.find(key.as_bytes()), Some(id));
            }
            prop_assert_eq!(read.find(other.as_bytes()).is_some(), keys.contains(&other));
        }
    }
}
