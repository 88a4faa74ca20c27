//! Projects' records in SQLite.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::worker::CallHandle;
use super::{audit, steps};
use crate::domain::audit_log::chain::AuditRecord;
use crate::domain::vault::associated_data::Versions;
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::project_key::KeyFingerprint;
use crate::domain::vault::record::{KeySummary, ProjectRecord, RecordTag, StoredKey};
use crate::store::projects::{ListedProject, ProjectWrite, Revision, StoredProject};
use crate::store::store_error::StoreError;

/// Reads a project by its id.
pub fn read(connection: &Connection, id: &ProjectId) -> Result<Option<StoredProject>, StoreError> {
    let sql = "SELECT kek_version, fingerprint, tag, created_at_ms, rotated_at_ms,
                      secret_version, record_version, sealed
               FROM projects WHERE project_id = ?1";
    let row = |row: &Row<'_>| {
        let versions = Versions {
            secret: row.get(5)?,
            record: row.get(6)?,
        };
        let sealed: Option<Vec<u8>> = row.get(7)?;
        let key = sealed.map(|sealed| StoredKey {
            sealed,
            summary: summary(row),
        });
        Ok(ProjectRecord { versions, key })
    };
    let found = connection.query_row(sql, [id.as_str()], row).optional()?;
    Ok(found.map(|record| StoredProject {
        revision: Revision(record.versions.record.to_string()),
        record,
    }))
}

/// Replaces a project's record and writes the audit record, in one transaction.
pub fn write(
    connection: &mut Connection,
    write: &ProjectWrite,
    call: &CallHandle<'_>,
) -> Result<AuditRecord, StoreError> {
    steps::reached("write.begin");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    call.check_waiting()?;
    steps::reached("write.locked");
    let (record, summary) = (
        &write.record,
        write
            .record
            .key
            .as_ref()
            .and_then(|key| key.summary.as_ref()),
    );
    let row = params![
        write.project_id.as_str(),
        record.versions.secret,
        record.versions.record,
        record.key.as_ref().map(|key| &key.sealed),
        summary.map(|summary| summary.kek_version.number()),
        summary.map(|summary| summary.fingerprint.to_string()),
        summary.map(|summary| summary.tag.as_str()),
        summary.map(|summary| summary.created_at_ms),
        summary.and_then(|summary| summary.rotated_at_ms),
        // Only the update needs it; the insert has the same parameters in the same order.
        write.expected.as_ref().map(|Revision(version)| version),
    ];
    let changed = if write.expected.is_some() {
        transaction.execute(
            "UPDATE projects SET secret_version = ?2, record_version = ?3, sealed = ?4,
               kek_version = ?5, fingerprint = ?6, tag = ?7, created_at_ms = ?8, rotated_at_ms = ?9
             WHERE project_id = ?1 AND record_version = CAST(?10 AS INTEGER)
               AND record_version < ?3 AND secret_version <= ?2",
            row,
        )?
    } else {
        transaction.execute(
            "INSERT INTO projects (project_id, secret_version, record_version, sealed,
               kek_version, fingerprint, tag, created_at_ms, rotated_at_ms)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE ?10 IS NULL
             ON CONFLICT DO NOTHING",
            row,
        )?
    };
    if changed != 1 {
        return Err(StoreError::LostRace);
    }
    steps::reached("write.changed");
    let record = audit::append(&transaction, &write.audit)?;
    steps::reached("write.audited");
    call.check_waiting()?;
    transaction.commit()?;
    steps::reached("write.committed");
    Ok(record)
}

/// The condition, in SQL, that a row's id is one of a project. Whoever can write to the file can
/// write another text there; no request can name such a row, and it must not fail the listing of the
/// others. `length` and `GLOB` end at a NUL, so the length in bytes is compared too.
const HAS_ID: &str = "length(project_id) BETWEEN 1 AND 64
                      AND length(project_id) = length(CAST(project_id AS BLOB))
                      AND project_id NOT GLOB '*[^A-Za-z0-9_-]*'";

/// Lists projects that have a key.
pub fn list(
    connection: &Connection,
    after: Option<&ProjectId>,
    limit: usize,
) -> Result<Vec<ListedProject>, StoreError> {
    let mut statement = connection.prepare(&format!(
        "SELECT kek_version, fingerprint, tag, created_at_ms, rotated_at_ms, project_id
         FROM projects WHERE project_id > ?1 AND kek_version IS NOT NULL AND {HAS_ID}
         ORDER BY project_id LIMIT ?2",
    ))?;
    let rows = statement.query_map(params![start(after), limit], |row| {
        Ok((row.get::<_, String>(5)?, summary(row)))
    })?;
    let mut listed = Vec::new();
    for row in rows {
        let (project_id, summary) = row?;
        listed.push(ListedProject {
            project_id: known(&project_id)?,
            summary,
        });
    }
    Ok(listed)
}

/// Lists projects whose key is sealed under a lower KEK.
pub fn list_sealed_below(
    connection: &Connection,
    version: KekVersion,
    after: Option<&ProjectId>,
    limit: usize,
) -> Result<Vec<ProjectId>, StoreError> {
    let mut statement = connection.prepare(&format!(
        "SELECT project_id FROM projects WHERE project_id > ?1
         AND (kek_version < ?2 OR kek_version > 9999) AND {HAS_ID}
         ORDER BY project_id LIMIT ?3",
    ))?;
    let rows = statement.query_map(params![start(after), version.number(), limit], |row| {
        row.get::<_, String>(0)
    })?;
    rows.map(|row| known(&row?)).collect()
}

/// Counts keys by the KEK that seals them.
pub fn count_by_kek(connection: &Connection) -> Result<Vec<(Option<KekVersion>, u64)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT kek_version, count(*) FROM projects WHERE kek_version IS NOT NULL
         GROUP BY kek_version ORDER BY kek_version",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
    let mut counts = BTreeMap::<_, u64>::new();
    for row in rows {
        let (number, count): (i64, u64) = row?;
        let number = u32::try_from(number).ok();
        *counts
            .entry(number.and_then(KekVersion::from_number))
            .or_default() += count;
    }
    Ok(counts.into_iter().collect())
}

/// Returns the id after which a listing begins. The empty text sorts before every id.
fn start(after: Option<&ProjectId>) -> &str {
    after.map_or("", ProjectId::as_str)
}

fn known(project_id: &str) -> Result<ProjectId, StoreError> {
    ProjectId::parse(project_id).map_err(|_| StoreError::Corrupt)
}

/// Reads the first five columns of a row that has a key. Returns `None` if they are damaged, so
/// that one damaged row does not fail a listing and can be replaced.
fn summary(row: &Row<'_>) -> Option<KeySummary> {
    let (fingerprint, tag): (String, String) = (row.get(1).ok()?, row.get(2).ok()?);
    Some(KeySummary {
        kek_version: KekVersion::from_number(row.get(0).ok()?)?,
        fingerprint: KeyFingerprint::parse(&fingerprint)?,
        tag: RecordTag::from_text(&tag),
        created_at_ms: row.get(3).ok()?,
        rotated_at_ms: row.get(4).ok()?,
    })
}
