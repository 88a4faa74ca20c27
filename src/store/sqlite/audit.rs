//! The audit log in SQLite: one hash chain, shared by all processes that write to the file.

use std::borrow::Cow;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::steps;
use super::worker::CallHandle;
use crate::domain::audit_log::chain::{AuditRecord, ChainHash};
use crate::domain::audit_log::entry::{AuditEntry, EventType};
use crate::domain::vault::project_id::ProjectId;
use crate::store::projects::{AuditAppend, AuditPage, AuditQuery};
use crate::store::store_error::StoreError;

/// The name of the file's only chain.
pub const WRITER: &str = "sqlite";
/// Most records that one query reads, which takes about 20 ms. A page may therefore be short.
const SCANNED: u64 = 50_000;

const COLUMNS: &str = "sequence, timestamp_ms, event_type, actor, project_id, session_id, code,
                       request_id, hash";

/// Writes a record in a transaction of its own.
pub fn append_alone(
    connection: &mut Connection,
    entry: &AuditAppend,
    call: &CallHandle<'_>,
) -> Result<AuditRecord, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    steps::reached("append.locked");
    let record = append(&transaction, entry)?;
    steps::reached("append.audited");
    call.check_waiting()?;
    transaction.commit()?;
    steps::reached("append.committed");
    Ok(record)
}

/// Appends a record after the newest one. The transaction holds the file's lock, so there is no
/// other writer.
pub fn append(transaction: &Connection, append: &AuditAppend) -> Result<AuditRecord, StoreError> {
    let newest = transaction
        .query_row(
            "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1",
            [],
            |row| Ok((row.get::<_, u64>(0)?, row.get(1)?)),
        )
        .optional()?;
    let (sequence, previous) = newest.map_or((0, ChainHash::START), |(sequence, hash)| {
        (sequence, ChainHash::from_bytes(hash))
    });
    let (sequence, entry) = (sequence.saturating_add(1), append.entry.clone());
    let hash = previous.next(&append.key, WRITER, sequence, &entry);
    transaction.execute(
        "INSERT INTO audit (sequence, timestamp_ms, event_type, actor, project_id, session_id,
           code, request_id, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            sequence,
            entry.timestamp_ms,
            entry.event_type,
            entry.actor,
            entry.project_id,
            entry.session_id,
            entry.code,
            entry.request_id,
            hash.as_bytes(),
        ],
    )?;
    Ok(AuditRecord {
        id: sequence.to_string(),
        sequence,
        entry,
        hash,
    })
}

/// Reads a page of the records that match, newest first.
pub fn query(connection: &Connection, query: &AuditQuery) -> Result<AuditPage, StoreError> {
    let newest: u64 =
        connection.query_row("SELECT ifnull(max(sequence), 0) FROM audit", [], |row| {
            row.get(0)
        })?;
    let end = match &query.after {
        None => newest.saturating_add(1),
        // The position comes from an authenticated cursor, so this program wrote it.
        Some(position) => position.parse().map_err(|_| StoreError::Corrupt)?,
    };
    let begin = end.saturating_sub(SCANNED);
    let mut statement = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM audit WHERE sequence >= ?1 AND sequence < ?2
           AND (?3 IS NULL OR event_type = ?3) AND (?4 IS NULL OR project_id = ?4)
           AND (?5 IS NULL OR timestamp_ms >= ?5) AND (?6 IS NULL OR timestamp_ms <= ?6)
         ORDER BY sequence DESC LIMIT ?7"
    ))?;
    let rows = statement.query_map(
        params![
            begin,
            end,
            query.event_type.map(EventType::as_str),
            query.project_id.as_ref().map(ProjectId::as_str),
            query.from_ms.map(clamp),
            query.to_ms.map(clamp),
            query.limit.saturating_add(1),
        ],
        record,
    )?;
    // One more record than the page has shows whether another page follows.
    let mut records = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let next = if records.len() > query.limit {
        records.truncate(query.limit);
        records.last().map(|record| record.sequence)
    } else {
        Some(begin)
    };
    Ok(AuditPage {
        records,
        next: next.filter(|next| *next > 1).map(|next| next.to_string()),
    })
}

/// Reads the records after a sequence number, oldest first.
pub fn read_after(
    connection: &Connection,
    sequence: u64,
    limit: usize,
) -> Result<Vec<AuditRecord>, StoreError> {
    let mut statement = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![sequence, limit], record)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Reads a record as it is stored, even if it was modified, so that a verification can report it.
fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    let sequence = row.get(0)?;
    let hash = row.get_ref(8)?;
    let entry = AuditEntry {
        // roomkey writes no negative time, so a record with one fails the verification.
        timestamp_ms: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
        event_type: Cow::Owned(text(row.get_ref(2)?).unwrap_or_default()),
        actor: text(row.get_ref(3)?).unwrap_or_default(),
        project_id: text(row.get_ref(4)?),
        session_id: text(row.get_ref(5)?),
        code: text(row.get_ref(6)?).map(Cow::Owned),
        request_id: text(row.get_ref(7)?).unwrap_or_default(),
    };
    let hash = hash.as_blob().ok().and_then(|hash| hash.try_into().ok());
    Ok(AuditRecord {
        id: sequence_text(sequence),
        sequence,
        entry,
        hash: ChainHash::from_bytes(hash.unwrap_or_default()),
    })
}

fn sequence_text(sequence: u64) -> String {
    sequence.to_string()
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// Limits a time to SQLite's largest integer, 2^63 - 1.
fn clamp(time_ms: u64) -> i64 {
    i64::try_from(time_ms).unwrap_or(i64::MAX)
}
