//! The associated data of sealed keys: length-prefixed fields, so that two different lists of
//! fields never have the same bytes.

use super::kek::KekVersion;
use super::project_id::ProjectId;

/// The name of this format, which no other format and no successor has.
const FORMAT: &[u8] = b"roomkey/vault/1";
/// The algorithm of both layers.
const ALGORITHM: &[u8] = b"AES-256-GCM";
/// The purpose of the secret.
const PURPOSE: &[u8] = b"openai-key";

/// The counters of a project, which only grow, even when its key is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The counter of saved keys.
    pub secret: u64,
    /// The counter of writes: saves, rotations and deletions.
    pub record: u64,
}

/// Returns the associated data of the inner layer, which binds the secret to its project and
/// version.
#[must_use]
pub fn of_secret(project_id: &ProjectId, secret_version: u64) -> Vec<u8> {
    encode(&[
        FORMAT,
        project_id.as_str().as_bytes(),
        &secret_version.to_be_bytes(),
        ALGORITHM,
        PURPOSE,
    ])
}

/// Returns the associated data of the outer layer: that of the inner one, the KEK's version and the
/// record's.
#[must_use]
pub fn of_data_key(project_id: &ProjectId, versions: Versions, kek_version: KekVersion) -> Vec<u8> {
    encode(&[
        FORMAT,
        project_id.as_str().as_bytes(),
        &versions.secret.to_be_bytes(),
        ALGORITHM,
        PURPOSE,
        kek_version.to_string().as_bytes(),
        &versions.record.to_be_bytes(),
    ])
}

/// Writes each field after its length in bytes: 4 bytes, big endian.
///
/// Invariant: the encoding is injective, otherwise bytes could move from one field into the next.
/// `two_lists_of_fields_never_have_the_same_bytes` tests it.
#[must_use]
pub fn encode(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(fields.iter().map(|field| field.len() + 4).sum());
    for field in fields {
        // No field of ours reaches 4 GiB: project ids, actors and codes are bounded by their types.
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn associated_data_is_as_published() {
        let project = ProjectId::parse("p1").unwrap();
        let inner = b"\0\0\0\x0froomkey/vault/1\0\0\0\x02p1\0\0\0\x08\0\0\0\0\0\0\0\x03\
            \0\0\0\x0bAES-256-GCM\0\0\0\x0aopenai-key";
        assert_eq!(of_secret(&project, 3), inner);
        let versions = Versions {
            secret: 3,
            record: 258,
        };
        let outer = [inner, &b"\0\0\0\x02v7\0\0\0\x08\0\0\0\0\0\0\x01\x02"[..]].concat();
        let kek_version = KekVersion::parse("v7").unwrap();
        assert_eq!(of_data_key(&project, versions, kek_version), outer);
    }

    fn context() -> impl Strategy<Value = (String, u64, u64, u32)> {
        let small_or_any = || prop_oneof![0..3_u64, any::<u64>()];
        (
            "[a-c0-2_-]{1,4}",
            small_or_any(),
            small_or_any(),
            1..=9_999_u32,
        )
    }

    proptest! {
        #[test]
        fn two_lists_of_fields_never_have_the_same_bytes(
            one in prop::collection::vec(prop::collection::vec(0..3_u8, 0..5), 0..4),
            other in prop::collection::vec(prop::collection::vec(0..3_u8, 0..5), 0..4),
        ) {
            let bytes = |fields: &[Vec<u8>]| {
                encode(&fields.iter().map(Vec::as_slice).collect::<Vec<_>>())
            };
            prop_assert_eq!(bytes(&one) == bytes(&other), one == other);
        }

        #[test]
        fn two_contexts_never_have_the_same_associated_data(one in context(), other in context()) {
            let all = |(project, secret, record, kek): &(String, u64, u64, u32)| {
                let project = ProjectId::parse(project).unwrap();
                let kek = KekVersion::parse(&format!("v{kek}")).unwrap();
                let versions = Versions { secret: *secret, record: *record };
                (of_secret(&project, *secret), of_data_key(&project, versions, kek))
            };
            let ((inner, outer), (other_inner, other_outer)) = (all(&one), all(&other));
            prop_assert_eq!(inner == other_inner, (&one.0, one.1) == (&other.0, other.1));
            prop_assert_eq!(outer == other_outer, one == other);
            prop_assert!(inner != other_outer && outer != other_inner);
        }
    }
}
