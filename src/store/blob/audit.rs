//! The audit log in blobs: one blob for each record, never changed, and named so that the newest
//! sorts first.
//!
//! Each process writes its own hash chain. The name of a record contains its time and its sequence
//! number in the chain, both counted down. The time never decreases within a chain, so names and
//! sequence numbers sort alike.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use tokio::sync::{Mutex, MutexGuard};

use super::container::{BlobContainer, Metadata, WriteCondition, within};
use crate::domain::audit_log::chain::{AuditRecord, ChainHash, ChainKey, ChainReport};
use crate::domain::audit_log::entry::AuditEntry;
use crate::store::projects::{AuditAppend, AuditPage, AuditQuery};
use crate::store::store_error::StoreError;

/// The prefix of the records' names.
pub const PREFIX: &str = "audit/";
/// Times in names are counted down from here: the year 2286 in milliseconds.
const LAST_MS: u64 = 9_999_999_999_999;
/// Sequence numbers in names are counted down from here.
const LAST_SEQUENCE: u64 = 9_999_999_999;
/// Records of one page of a listing: about 600 KB.
const PAGE: usize = 1_000;
/// Most pages that one query reads.
const MAX_PAGES: usize = 8;

/// The chain of this process.
pub struct ChainWriter {
    instance: String,
    state: Mutex<ChainState>,
}

/// The end of the chain.
pub struct ChainState {
    /// The number of the chain within this process. A new chain begins if the outcome of the last
    /// write is unknown.
    number: u64,
    sequence: u64,
    hash: ChainHash,
    name_ms: u64,
    /// A write is in progress, or its outcome is unknown.
    is_uncertain: bool,
}

/// A record and the chain that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainedRecord {
    pub record: AuditRecord,
    writer: String,
    previous: ChainHash,
    name_ms: u64,
}

impl ChainWriter {
    /// Starts a chain. `instance` must be unique to this process.
    pub fn new(instance: String) -> Self {
        Self {
            instance,
            state: Mutex::new(ChainState {
                number: 0,
                sequence: 0,
                hash: ChainHash::START,
                name_ms: 0,
                is_uncertain: false,
            }),
        }
    }

    /// Locks the end of the chain. Starts a new chain if the outcome of the last write is unknown.
    pub async fn lock(&self) -> MutexGuard<'_, ChainState> {
        let mut state = self.state.lock().await;
        if state.is_uncertain {
            *state = ChainState {
                number: state.number + 1,
                sequence: 0,
                hash: ChainHash::START,
                name_ms: state.name_ms,
                is_uncertain: false,
            };
        }
        state
    }

    /// Creates the next record. The end of the chain is uncertain until [`ChainState::settle`].
    pub fn next(&self, state: &mut ChainState, append: &AuditAppend) -> ChainedRecord {
        let writer = format!("{}-{}", self.instance, state.number);
        let sequence = state.sequence + 1;
        let hash = state
            .hash
            .next(&append.key, &writer, sequence, &append.entry);
        state.is_uncertain = true;
        ChainedRecord {
            previous: state.hash,
            name_ms: append.entry.timestamp_ms.max(state.name_ms).min(LAST_MS),
            record: AuditRecord {
                id: format!("{writer}-{sequence}"),
                sequence,
                entry: append.entry.clone(),
                hash,
            },
            writer,
        }
    }
}

impl ChainState {
    /// Records whether the record was written.
    pub fn settle(&mut self, record: &ChainedRecord, is_written: bool) {
        if is_written {
            self.sequence = record.record.sequence;
            self.hash = record.record.hash;
            self.name_ms = record.name_ms;
        }
        self.is_uncertain = false;
    }
}

impl ChainedRecord {
    /// Returns the name of the record's blob.
    pub fn name(&self) -> String {
        format!(
            "{PREFIX}{:013}-{:010}-{}",
            LAST_MS - self.name_ms,
            LAST_SEQUENCE.saturating_sub(self.record.sequence),
            self.writer,
        )
    }

    /// Returns the whole record as metadata of a blob.
    pub fn metadata(&self) -> Metadata {
        let entry = &self.record.entry;
        let mut metadata = Metadata::new();
        let mut put = |name: &str, value: &str| {
            metadata.insert(name.to_owned(), value.to_owned());
        };
        put("writer", &self.writer);
        put("sequence", &self.record.sequence.to_string());
        put("namems", &self.name_ms.to_string());
        put("previous", &self.previous.to_string());
        put("hash", &self.record.hash.to_string());
        put("timestampms", &entry.timestamp_ms.to_string());
        put("eventtype", &entry.event_type);
        put("actor", &entry.actor);
        put("requestid", &entry.request_id);
        let optional = [
            ("projectid", entry.project_id.as_deref()),
            ("sessionid", entry.session_id.as_deref()),
            ("code", entry.code.as_deref()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                put(name, value);
            }
        }
        metadata
    }

    /// Reads a record as it is stored. A missing or malformed value makes its hash wrong.
    pub fn read(metadata: &Metadata) -> Self {
        let text = |name: &str| metadata.get(name).cloned();
        let number = |name: &str| text(name).and_then(|text| text.parse().ok());
        let hash = |name: &str| {
            let bytes = text(name).and_then(|text| HEXLOWER.decode(text.as_bytes()).ok());
            ChainHash::from_bytes(
                bytes
                    .and_then(|hash| hash.try_into().ok())
                    .unwrap_or([1; 32]),
            )
        };
        let (writer, sequence) = (
            text("writer").unwrap_or_default(),
            number("sequence").unwrap_or_default(),
        );
        Self {
            previous: hash("previous"),
            name_ms: number("namems").unwrap_or_default(),
            record: AuditRecord {
                id: format!("{writer}-{sequence}"),
                sequence,
                hash: hash("hash"),
                entry: AuditEntry {
                    timestamp_ms: number("timestampms").unwrap_or_default(),
                    event_type: Cow::Owned(text("eventtype").unwrap_or_default()),
                    actor: text("actor").unwrap_or_default(),
                    project_id: text("projectid"),
                    session_id: text("sessionid"),
                    code: text("code").map(Cow::Owned),
                    request_id: text("requestid").unwrap_or_default(),
                },
            },
            writer,
        }
    }

    /// Writes the record's blob. If a blob with this name exists, it is this record.
    pub async fn publish(&self, container: &dyn BlobContainer) -> Result<(), StoreError> {
        let written = container
            .write(
                &self.name(),
                WriteCondition::Absent,
                self.metadata(),
                Vec::new(),
            )
            .await;
        match written {
            Err(StoreError::LostRace) => Ok(()),
            written => written,
        }
    }
}

/// Writes a record that belongs to no change of a project.
pub async fn append(
    container: &dyn BlobContainer,
    writer: &ChainWriter,
    append: &AuditAppend,
) -> Result<AuditRecord, StoreError> {
    let mut state = writer.lock().await;
    let record = writer.next(&mut state, append);
    record.publish(container).await?;
    state.settle(&record, true);
    Ok(record.record)
}

/// Returns the position where a page ended: the last name that was read, and the marker of the
/// service's page that contains it.
fn position(name: &str, marker: &str) -> String {
    format!("{name} {marker}")
}

/// Reads a page of the records that match, newest first.
pub async fn query(
    container: &dyn BlobContainer,
    query: &AuditQuery,
) -> Result<AuditPage, StoreError> {
    let after = query.after.as_deref().unwrap_or(" ");
    let (seen, marker) = after.split_once(' ').unwrap_or_default();
    let (mut seen, mut marker) = (seen.to_owned(), marker.to_owned());
    let mut page = AuditPage::default();
    for _ in 0..MAX_PAGES {
        let current = Some(marker.as_str()).filter(|marker| !marker.is_empty());
        let listed = container.list(PREFIX, current, PAGE).await?;
        for (name, metadata) in &listed.blobs {
            if *name <= seen {
                continue;
            }
            let found = ChainedRecord::read(metadata);
            if query.from_ms.is_some_and(|from| found.name_ms < from) {
                page.next = None;
                return Ok(page);
            }
            if matches(query, &found.record.entry) {
                page.records.push(found.record);
            }
            if page.records.len() >= query.limit {
                page.next = Some(position(name, &marker));
                return Ok(page);
            }
        }
        let Some(following) = listed.marker else {
            page.next = None;
            return Ok(page);
        };
        // Records written since then can fill whole pages before the position.
        if let Some((last, _)) = listed.blobs.into_iter().next_back() {
            seen = seen.max(last);
        }
        marker = following;
        page.next = Some(position(&seen, &marker));
        if !page.records.is_empty() {
            break;
        }
    }
    Ok(page)
}

fn matches(query: &AuditQuery, entry: &AuditEntry) -> bool {
    let time = entry.timestamp_ms;
    query
        .event_type
        .is_none_or(|event| entry.event_type == event.as_str())
        && (query.project_id.as_ref())
            .is_none_or(|id| entry.project_id.as_deref() == Some(id.as_str()))
        && query.from_ms.is_none_or(|from| time >= from)
        && query.to_ms.is_none_or(|to| time <= to)
}

/// The expected sequence number and hash of the next older record of a chain.
struct Expected {
    hash: ChainHash,
    sequence: u64,
    /// The record after it, which is reported as the first broken one if this one is missing.
    follower: String,
}

/// Verifies all chains from the newest record to the oldest, counts the records in `progress`, and
/// calls `seen` with the name of each blob. It holds one hash in memory for each chain. The time of
/// each page is limited, and not that of the whole.
pub async fn verify(
    container: &dyn BlobContainer,
    key: &ChainKey,
    progress: &AtomicU64,
    mut seen: impl FnMut(&str) + Send,
) -> Result<ChainReport, StoreError> {
    let mut report = ChainReport {
        records: 0,
        first_broken: None,
    };
    let mut chains: HashMap<String, Expected> = HashMap::new();
    let mut marker = None;
    loop {
        let page = within(container.list(PREFIX, marker.as_deref(), PAGE)).await?;
        for (name, metadata) in page.blobs {
            seen(&name);
            let found = ChainedRecord::read(&metadata);
            let ChainedRecord {
                record,
                writer,
                previous,
                ..
            } = &found;
            report.records += 1;
            let computed = previous.next(key, writer, record.sequence, &record.entry);
            let is_linked = chains.get(writer).is_none_or(|expected| {
                expected.hash == record.hash && expected.sequence == record.sequence
            });
            let is_first = record.sequence == 1;
            let is_start = !is_first || *previous == ChainHash::START;
            if computed != record.hash || !is_linked || !is_start || name != found.name() {
                // Later pages have older records, so the last one found is the first in time.
                report.first_broken = Some(record.id.clone());
            }
            let expected = Expected {
                hash: *previous,
                sequence: record.sequence.saturating_sub(1),
                follower: record.id.clone(),
            };
            chains.insert(found.writer, expected);
        }
        progress.store(report.records, Ordering::Relaxed);
        marker = page.marker;
        if marker.is_none() {
            break;
        }
    }
    let cut_off = chains.into_values().find(|expected| expected.sequence > 0);
    if let Some(expected) = cut_off {
        report.first_broken = Some(expected.follower);
    }
    Ok(report)
}
