//! The durable store of projects' keys, sessions and audit log, as a trait. One test suite runs
//! against every implementation.
//!
//! A store holds sealed records and cannot open them. [`keys`] contains the operations on keys,
//! which read a record, decide by the rules in `domain::vault::changes`, and write by
//! compare-and-swap.

pub mod keys;

use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use uuid::Uuid;

use super::store_error::StoreError;
use crate::domain::audit_log::chain::{AuditRecord, ChainKey, ChainReport};
use crate::domain::audit_log::entry::{AuditEntry, EventType};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::record::{KeySummary, ProjectRecord};

/// The revision of a record for compare-and-swap. Its format is the store's own; no client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(pub(super) String);

/// A record with the revision that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProject {
    /// The stored record.
    pub record: ProjectRecord,
    /// The revision.
    pub revision: Revision,
}

/// An audit entry that is to be written, and the key of the chain that it joins.
#[derive(Debug, Clone)]
pub struct AuditAppend {
    /// The event.
    pub entry: AuditEntry,
    /// The key of the chain.
    pub key: ChainKey,
}

/// One write of a project's record.
#[derive(Debug, Clone)]
pub struct ProjectWrite {
    /// The project.
    pub project_id: ProjectId,
    /// The revision to replace; `None` if the project was never stored.
    pub expected: Option<Revision>,
    /// The new record.
    pub record: ProjectRecord,
    /// The audit record, which is written in the same transaction.
    pub audit: AuditAppend,
}

/// A project in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedProject {
    /// The project.
    pub project_id: ProjectId,
    /// The public description of its key; `None` if the record is damaged.
    pub summary: Option<KeySummary>,
}

/// A filter of audit records. `None` matches any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only this kind.
    pub event_type: Option<EventType>,
    /// Only of this project.
    pub project_id: Option<ProjectId>,
    /// Not before this moment, in milliseconds since 1970.
    pub from_ms: Option<u64>,
    /// Not after this moment, in milliseconds since 1970.
    pub to_ms: Option<u64>,
    /// Continue after this position, the [`AuditPage::next`] of an earlier page.
    pub after: Option<String>,
    /// Most records of a page.
    pub limit: usize,
}

/// A page of the audit log, newest record first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The records. A short or empty page is not necessarily the last one.
    pub records: Vec<AuditRecord>,
    /// The position of the next page; `None` after the last one. Clients get it only inside an
    /// authenticated cursor.
    pub next: Option<String>,
}

/// A request to open a session, which takes one of its project's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    /// The id that roomkey gave the session, a new one for each.
    pub session_id: Uuid,
    /// The project.
    pub project_id: ProjectId,
    /// The caller who opens the session and may end it.
    pub owner: CallerHash,
    /// The current time, in milliseconds since 1970.
    pub now_ms: u64,
    /// The time when the slot is free again if the session is not ended before.
    pub expires_at_ms: u64,
    /// Most sessions at the same time.
    pub concurrency: u32,
    /// Most sessions of one day in UTC; `None` means no limit.
    pub daily_sessions: Option<u32>,
}

/// The decision about a [`SessionRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionDecision {
    /// The session is open and holds a slot.
    Admitted,
    /// All slots of the project are in use.
    Full {
        /// The time until the first session expires, in milliseconds.
        retry_after_ms: u64,
    },
    /// The project's daily number of sessions is used up.
    DayUsedUp {
        /// The time until the next day in UTC, in milliseconds.
        retry_after_ms: u64,
    },
}

/// The principal that ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// A caller, who may end only its own sessions.
    Owner(CallerHash),
    /// An operator, who may end any session.
    Operator,
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Its project.
    pub project_id: ProjectId,
    /// True if the session held a slot until now: it had neither ended nor expired.
    pub was_active: bool,
}

/// The number of sessions of a project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// The sessions that hold a slot now.
    pub active: u64,
    /// The sessions opened on this day in UTC.
    pub today: u64,
}

/// A durable store of projects. Every call takes at most 3 s.
#[async_trait]
pub trait ProjectStore: SessionStore {
    /// Reads a project. The record of a project whose key was deleted remains, without a key.
    async fn read_project(&self, id: &ProjectId) -> Result<Option<StoredProject>, StoreError>;

    /// Replaces the expected revision of a project and writes the audit record, both or neither.
    ///
    /// # Errors
    /// [`StoreError::LostRace`] if the project has another revision.
    async fn write_project(&self, write: ProjectWrite) -> Result<AuditRecord, StoreError>;

    /// Lists the projects after an id that have a key, in the order of their ids, `limit` at most.
    async fn list_projects(
        &self,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ListedProject>, StoreError>;

    /// Lists the projects after an id whose key is sealed under a KEK with a lower version, in the
    /// order of their ids, `limit` at most.
    async fn list_sealed_below(
        &self,
        version: KekVersion,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectId>, StoreError>;

    /// Counts keys by the KEK that seals them, lowest version first. `None` is a version that cannot
    /// be read, because the record is damaged.
    async fn count_by_kek(&self) -> Result<Vec<(Option<KekVersion>, u64)>, StoreError>;

    /// Writes an audit record of an event that changes nothing else in the store.
    async fn append_audit(&self, append: AuditAppend) -> Result<AuditRecord, StoreError>;

    /// Reads a page of the audit log.
    async fn query_audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError>;

    /// Verifies the whole audit log, in bounded memory, and counts the records in `progress`. Only
    /// this call may take longer than 3 s; each of its steps takes at most 3 s.
    async fn verify_audit(
        &self,
        key: &ChainKey,
        progress: &AtomicU64,
    ) -> Result<ChainReport, StoreError>;

    /// Stores the sealed probe of the health check, and replaces one that an earlier check left.
    async fn put_probe(&self, probe: Vec<u8>) -> Result<(), StoreError>;

    /// Reads the health check's probe.
    async fn get_probe(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes the health check's probe.
    async fn delete_probe(&self) -> Result<(), StoreError>;
}

/// A store of projects' sessions. Each open session holds one of its project's slots.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Opens a session if the project's limits allow it.
    async fn open_session(&self, request: SessionRequest) -> Result<SessionDecision, StoreError>;

    /// Removes a session whose client secret could not be minted. Its slot is free again, and it
    /// does not count for its day. Does nothing if there is no such session.
    async fn cancel_session(&self, session_id: Uuid) -> Result<(), StoreError>;

    /// Lets a session hold its slot longer. Does nothing to one that has ended or that would expire
    /// later anyway.
    async fn extend_session(&self, session_id: Uuid, expires_at_ms: u64) -> Result<(), StoreError>;

    /// Ends a session. Returns `None` if there is none with this id that the caller may end. A
    /// session is kept for a day after its expiry.
    async fn end_session(
        &self,
        session_id: Uuid,
        by: EndedBy,
        now_ms: u64,
    ) -> Result<Option<EndedSession>, StoreError>;

    /// Counts the sessions of each project, in the order of `projects`.
    async fn count_sessions(
        &self,
        projects: &[ProjectId],
        now_ms: u64,
    ) -> Result<Vec<SessionCounts>, StoreError>;
}

#[cfg(test)]
extern crate self as roomkey;

/// The test suite of all stores, which the tests with real peers include too.
#[cfg(test)]
#[path = "../../tests/project_store.rs"]
pub(in crate::store) mod project_store;
