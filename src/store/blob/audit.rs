//! The audit log in blobs: one blob a record, never changed, whose name sorts the newest first.
//!
//! Each process writes a chain of its own. The name of a record carries the time and its place in
//! the chain, both counted down; the time never goes back within a chain, so that names and places
//! have one order. A container with time-based retention keeps them from being changed at all.

use std::borrow::Cow;
use std::collections::HashMap;

use data_encoding::HEXLOWER;
use tokio::sync::{Mutex, MutexGuard};

use super::container::{BlobContainer, Metadata, WriteCondition};
use crate::domain::audit_log::chain::{AuditRecord, ChainHash, ChainKey, ChainReport};
use crate::domain::audit_log::entry::AuditEntry;
use crate::store::projects::{AuditAppend, AuditPage, AuditQuery};
use crate::store::store_error::StoreError;

/// Where the records are.
pub const PREFIX: &str = "audit/";
/// Times in names are counted down from here: the year 2286 in milliseconds.
const LAST_MS: u64 = 9_999_999_999_999;
/// Places in names are counted down from here.
const LAST_SEQUENCE: u64 = 9_999_999_999;
/// Records of one page of a listing: some 600 KB.
const PAGE: usize = 1_000;
/// Most pages that one query looks through.
const MAX_PAGES: usize = 8;

/// The chain of this process.
pub struct ChainWriter {
    instance: String,
    state: Mutex<ChainState>,
}

/// Where the chain ends.
pub struct ChainState {
    /// Counts the chains of this process: a new one begins when nobody knows whether the last
    /// write arrived.
    number: u64,
    sequence: u64,
    hash: ChainHash,
    name_ms: u64,
    /// A write is under way, or its outcome was never learned.
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
    /// Starts a chain under a name that no other process has.
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

    /// Waits for the end of the chain.
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

    /// Makes the next record. From now on the chain's end is uncertain, until
    /// [`ChainState::settle`].
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
    /// Says whether the record was written.
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
    /// The name of the record's blob.
    pub fn name(&self) -> String {
        format!(
            "{PREFIX}{:013}-{:010}-{}",
            LAST_MS - self.name_ms,
            LAST_SEQUENCE.saturating_sub(self.record.sequence),
            self.writer,
        )
    }

    /// All of the record, as the metadata of a blob.
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

    /// Reads a record as it is; what is missing or malformed matches no hash.
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

    /// Writes the record's blob; one that is there already is this one.
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

/// Writes a record of its own.
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

/// Where a page ended: the last name that was looked at, and the marker of the page of the
/// service's that it was in.
fn position(name: &str, marker: &str) -> String {
    format!("{name} {marker}")
}

/// Reads a page of those that match, newest first.
pub async fn query(
    container: &dyn BlobContainer,
    query: &AuditQuery,
) -> Result<AuditPage, StoreError> {
    let after = query.after.as_deref().unwrap_or(" ");
    let (mut seen, mut marker) = after.split_once(' ').unwrap_or_default();
    let (mut last, mut next_marker);
    let mut page = AuditPage::default();
    for _ in 0..MAX_PAGES {
        let current = Some(marker).filter(|marker| !marker.is_empty());
        let listed = container.list(PREFIX, current, PAGE).await?;
        for (name, metadata) in &listed.blobs {
            if name.as_str() <= seen {
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
                page.next = Some(position(name, marker));
                return Ok(page);
            }
        }
        let Some(following) = listed.marker else {
            page.next = None;
            return Ok(page);
        };
        last = listed.blobs.last().map(|(name, _)| name.clone());
        next_marker = following;
        (seen, marker) = (last.as_deref().unwrap_or_default(), next_marker.as_str());
        page.next = Some(position(seen, marker));
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
    /// The record after it, which is the first broken one if this one never comes.
    follower: String,
}

/// Verifies all chains, newest record first; calls `seen` with the name of each blob. It holds one
/// hash for each process that ever wrote.
pub async fn verify(
    container: &dyn BlobContainer,
    key: &ChainKey,
    mut seen: impl FnMut(&str) + Send,
) -> Result<ChainReport, StoreError> {
    let mut report = ChainReport {
        records: 0,
        first_broken: None,
    };
    let mut chains: HashMap<String, Expected> = HashMap::new();
    let mut marker = None;
    loop {
        let page = container.list(PREFIX, marker.as_deref(), PAGE).await?;
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
                // A later page has older records, so the last one that is found is the first.
                report.first_broken = Some(record.id.clone());
            }
            let expected = Expected {
                hash: *previous,
                sequence: record.sequence.saturating_sub(1),
                follower: record.id.clone(),
            };
            chains.insert(found.writer, expected);
        }
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
