//! The hash chain of the audit log: the keyed hash of each record covers its canonical bytes and
//! the hash before it. Without the key nobody can change, remove, insert or reorder records
//! unnoticed.
//!
//! # Source
//! HMAC-SHA256 (RFC 2104) over length-prefixed fields. No two lists of fields have the same bytes.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

use super::entry::AuditEntry;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::vault::associated_data::encode;

/// The purpose that makes the chain's key different from every other use of the hash key.
const KEY_PURPOSE: &str = "audit-chain";
/// The name of this format, which no successor has.
const FORMAT: &[u8] = b"roomkey/audit/1";

/// The key of the chain, derived from the operator's hash key. After a change of the hash key,
/// older records can no longer be verified.
#[derive(Clone)]
pub struct ChainKey(hmac::Key);

impl ChainKey {
    /// Derives the key of the chain.
    #[must_use]
    pub fn new(hash_key: &HashKey) -> Self {
        Self(hash_key.derive(KEY_PURPOSE))
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ChainKey(..)")
    }
}

/// The hash of a record: 32 bytes, shown as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// The hash before the first record of a chain.
    pub const START: Self = Self([0; 32]);

    /// Creates a hash from the bytes in a store.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, for a store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the hash of the record after this one. `writer` names the chain, so that a record
    /// cannot move from one to another.
    #[must_use]
    pub fn next(self, key: &ChainKey, writer: &str, sequence: u64, entry: &AuditEntry) -> Self {
        let mut context = hmac::Context::with_key(&key.0);
        context.update(&self.0);
        context.update(&canonical(writer, sequence, entry));
        let mut hash = [0; 32];
        hash.iter_mut()
            .zip(context.sign().as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(hash)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// The id of the record in responses and log lines.
    pub id: String,
    /// The position in the chain of its writer, from 1.
    pub sequence: u64,
    /// The recorded event.
    pub entry: AuditEntry,
    /// The hash over the record and the hash before it.
    pub hash: ChainHash,
}

/// Writes all fields of a record, each after its length. An absent field has no bytes, a present
/// one begins with `+`.
fn canonical(writer: &str, sequence: u64, entry: &AuditEntry) -> Vec<u8> {
    let optional =
        |field: Option<&str>| field.map_or_else(Vec::new, |text| [b"+", text.as_bytes()].concat());
    encode(&[
        FORMAT,
        writer.as_bytes(),
        &sequence.to_be_bytes(),
        &entry.timestamp_ms.to_be_bytes(),
        entry.event_type.as_bytes(),
        entry.actor.as_bytes(),
        &optional(entry.project_id.as_deref()),
        &optional(entry.session_id.as_deref()),
        &optional(entry.code.as_deref()),
        entry.request_id.as_bytes(),
    ])
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// The number of records.
    pub records: u64,
    /// The id of the first record that was changed, removed, inserted or moved.
    pub first_broken: Option<String>,
}

impl ChainReport {
    /// Reports whether every record is the one that was written.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.first_broken.is_none()
    }
}

/// Verifies a chain record by record, in the order of writing. It needs memory for one hash only.
pub struct ChainVerifier<'a> {
    key: &'a ChainKey,
    writer: &'a str,
    previous: ChainHash,
    report: ChainReport,
}

impl<'a> ChainVerifier<'a> {
    /// Starts before the first record.
    #[must_use]
    pub fn new(key: &'a ChainKey, writer: &'a str) -> Self {
        Self {
            key,
            writer,
            previous: ChainHash::START,
            report: ChainReport {
                records: 0,
                first_broken: None,
            },
        }
    }

    /// Checks the next record.
    pub fn check(&mut self, record: &AuditRecord) {
        self.report.records += 1;
        let expected =
            self.previous
                .next(self.key, self.writer, self.report.records, &record.entry);
        let is_next = record.sequence == self.report.records;
        let is_hash = verify_slices_are_equal(&expected.0, &record.hash.0).is_ok();
        if !(is_next && is_hash) && self.report.first_broken.is_none() {
            self.report.first_broken = Some(record.id.clone());
        }
        self.previous = record.hash;
    }

    /// Returns the result.
    #[must_use]
    pub fn finish(self) -> ChainReport {
        self.report
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    fn key() -> ChainKey {
        ChainKey::new(&HashKey::new(b"a-throw-away-hash-key-of-32-bytes"))
    }

    fn entry(number: u64) -> AuditEntry {
        AuditEntry {
            timestamp_ms: 1_700_000_000_000 + number,
            event_type: "vault_key_saved".into(),
            actor: "admin-key:00ff00ff".to_owned(),
            project_id: Some("customer-42".to_owned()),
            session_id: None,
            code: None,
            request_id: format!("request-{number}"),
        }
    }

    fn chain(length: u64) -> Vec<AuditRecord> {
        let mut previous = ChainHash::START;
        let record = |sequence| {
            let entry = entry(sequence);
            previous = previous.next(&key(), "sqlite", sequence, &entry);
            AuditRecord {
                id: sequence.to_string(),
                sequence,
                entry,
                hash: previous,
            }
        };
        (1..=length).map(record).collect()
    }

    fn verify(records: &[AuditRecord]) -> ChainReport {
        let key = key();
        let mut verifier = ChainVerifier::new(&key, "sqlite");
        for record in records {
            verifier.check(record);
        }
        verifier.finish()
    }

    /// Computed with Python's `hmac` and `struct`; the key of the chain is
    /// `hmac.digest(hash_key, b"audit-chain\0", "sha256")`.
    #[test]
    fn the_hash_is_the_one_that_another_implementation_computes() {
        let records = chain(2);
        assert_eq!(
            records[0].hash.to_string(),
            "090901cf1995e73568fd7340536fcf82a8839484c80168375d54c16f4484f7ad"
        );
        assert_eq!(
            records[1].hash.to_string(),
            "fbf44748c0fc6c727eebbccdf69d8cae97d6f1d9bbf06d5ee55a0d7d44022cff"
        );
        let failed = AuditEntry {
            session_id: Some("s".to_owned()),
            project_id: None,
            code: Some("not_found".into()),
            ..entry(3)
        };
        let hash = records[1].hash.next(&key(), "sqlite", 3, &failed);
        assert_eq!(
            hash.to_string(),
            "fecc5a327bd737fb0ce3ef2f656e3fd548b7a1d3ee59cfcba4eac96e703934d8"
        );
    }

    #[test]
    fn an_intact_chain_of_any_length_verifies() {
        for length in [0, 1, 2, 10] {
            let report = verify(&chain(length));
            assert_eq!((report.is_intact(), report.records), (true, length));
        }
    }

    #[test]
    fn a_removed_inserted_or_reordered_record_is_the_first_broken_one() {
        let broken = |records: &[AuditRecord]| verify(records).first_broken.unwrap();
        for position in 0..9 {
            let mut removed = chain(10);
            removed.remove(position);
            assert_eq!(broken(&removed), (position + 2).to_string());
            let mut reordered = chain(10);
            reordered.swap(position, position + 1);
            assert_eq!(broken(&reordered), (position + 2).to_string());
            let mut repeated = chain(10);
            let copy = repeated[position].clone();
            repeated.insert(position, copy);
            assert_eq!(broken(&repeated), (position + 1).to_string());
        }
        // The newest ones are missed against the log lines only.
        assert!(verify(&chain(10)[..9]).is_intact());
    }

    #[test]
    fn any_changed_field_breaks_the_chain_there() {
        type Change = fn(&mut AuditRecord);
        let changes: [Change; 13] = [
            |record| record.sequence += 1,
            |record| record.entry.timestamp_ms += 1,
            |record| record.entry.event_type = "vault_key_deleted".into(),
            |record| record.entry.actor.push('0'),
            |record| record.entry.project_id = Some("customer-43".to_owned()),
            |record| record.entry.project_id = None,
            |record| record.entry.project_id = Some(String::new()),
            |record| record.entry.session_id = Some(String::new()),
            |record| record.entry.session_id = record.entry.project_id.take(),
            |record| record.entry.code = Some("internal".into()),
            |record| record.entry.code = Some("".into()),
            |record| record.entry.request_id.clear(),
            |record| record.hash.0[31] ^= 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut records = chain(3);
            change(&mut records[1]);
            assert_eq!(
                verify(&records).first_broken.as_deref(),
                Some("2"),
                "{number}"
            );
        }
    }

    #[test]
    fn another_key_or_writer_does_not_verify() {
        let records = chain(1);
        let other = ChainKey::new(&HashKey::new(b"another-throw-away-key-of-32-bytes"));
        let key = key();
        for (key, writer) in [(&other, "sqlite"), (&key, "blob")] {
            let mut verifier = ChainVerifier::new(key, writer);
            verifier.check(&records[0]);
            assert_eq!(verifier.finish().first_broken.as_deref(), Some("1"));
        }
        assert_eq!(format!("{key:?}"), "ChainKey(..)");
    }

    fn any_entry() -> impl Strategy<Value = AuditEntry> {
        let text = || "[a+\0]{0,2}";
        let optional = || prop::option::of("[a+\0]{0,2}");
        (
            0..3_u64,
            text(),
            text(),
            optional(),
            optional(),
            optional(),
            text(),
        )
            .prop_map(
                |(timestamp_ms, event_type, actor, project_id, session_id, code, request_id)| {
                    AuditEntry {
                        timestamp_ms,
                        event_type: event_type.into(),
                        actor,
                        project_id,
                        session_id,
                        code: code.map(Cow::Owned),
                        request_id,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn two_entries_never_have_the_same_canonical_bytes(
            one in any_entry(),
            other in any_entry(),
        ) {
            let same = canonical("w", 1, &one) == canonical("w", 1, &other);
            prop_assert_eq!(same, one == other);
        }
    }
}
