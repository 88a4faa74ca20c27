//! Projects' keys, their audit log and their sessions in a durable store, behind one trait that
//! every store has the same tests for.
//!
//! A store keeps records and knows nothing of sealing; [`keys`] has the operations on keys, which
//! read a record, decide by the rules in `domain::vault::changes`, and write by compare-and-swap.

pub mod health;
pub mod keys;

use async_trait::async_trait;
use uuid::Uuid;

use super::store_error::StoreError;
use crate::domain::audit_log::chain::{AuditRecord, ChainKey, ChainReport};
use crate::domain::audit_log::entry::{AuditEntry, EventType};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::record::{KeySummary, ProjectRecord};

/// Names the state of a record for compare-and-swap: a store's own word, never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(pub(super) String);

/// A record and the state that it was read in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProject {
    /// The stored record.
    pub record: ProjectRecord,
    /// In which state.
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
    /// The state that is to be replaced; `None` where nothing was ever stored.
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

/// Which audit records are wanted; `None` stands for any.
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
    /// Go on behind this position, which an earlier page ended with.
    pub after: Option<String>,
    /// Most records of a page.
    pub limit: usize,
}

/// A page of the audit log, newest record first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The records. A page may be short, or empty, and yet not be the last one.
    pub records: Vec<AuditRecord>,
    /// Where the next page begins; `None` behind the last one. A client gets it as a cursor only.
    pub next: Option<String>,
}

/// A session that wants one of its project's places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    /// Our id of the session, drawn anew for each.
    pub session_id: Uuid,
    /// The project.
    pub project_id: ProjectId,
    /// The caller who opens the session and may end it.
    pub owner: CallerHash,
    /// The present, in milliseconds since 1970.
    pub now_ms: u64,
    /// When the place is free again unless the session is ended before.
    pub expires_at_ms: u64,
    /// Most sessions at the same time.
    pub concurrency: u32,
    /// Most sessions of a day in UTC; `None` for any number.
    pub daily_sessions: Option<u32>,
}

/// The decision about a [`SessionRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admittance {
    /// It has its place.
    Admitted,
    /// All places are taken.
    Full {
        /// The time until the first of them is free at the latest, in milliseconds.
        retry_after_ms: u64,
    },
    /// The day's sessions are used up.
    DayUsedUp {
        /// The time until the next day in UTC, in milliseconds.
        retry_after_ms: u64,
    },
}

/// The principal that ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// A caller, who may end sessions of its own.
    Owner(CallerHash),
    /// An operator, who may end any.
    Operator,
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Its project.
    pub project_id: ProjectId,
    /// True if the session held a place until now: it had neither ended nor expired.
    pub was_active: bool,
}

/// The number of sessions of a project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Those that have a place now.
    pub active: u64,
    /// Those that were opened on this day in UTC.
    pub today: u64,
}

/// A durable store of projects. Every call ends within 3 s.
#[async_trait]
pub trait ProjectStore: SessionStore {
    /// Reads a project; a deleted one is still there, without a key.
    async fn read_project(&self, id: &ProjectId) -> Result<Option<StoredProject>, StoreError>;

    /// Replaces the expected state of a project and writes the audit record, both or neither.
    ///
    /// # Errors
    /// [`StoreError::LostRace`] when the project is in another state.
    async fn write_project(&self, write: ProjectWrite) -> Result<AuditRecord, StoreError>;

    /// Lists projects that have a key behind an id, in the order of their ids, `limit` at most.
    async fn list_projects(
        &self,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ListedProject>, StoreError>;

    /// Lists projects whose key is sealed under a lower KEK than this one, behind an id, in the
    /// order of their ids, `limit` at most.
    async fn list_sealed_below(
        &self,
        version: KekVersion,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectId>, StoreError>;

    /// Counts keys by the KEK that seals them, lowest version first.
    async fn count_by_kek(&self) -> Result<Vec<(KekVersion, u64)>, StoreError>;

    /// Writes an audit record of something that changed nothing in the store.
    async fn append_audit(&self, append: AuditAppend) -> Result<AuditRecord, StoreError>;

    /// Reads a page of the audit log.
    async fn query_audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError>;

    /// Verifies the whole audit log, in bounded memory. The only call that may take longer than 3
    /// s; each step of it does not.
    async fn verify_audit(&self, key: &ChainKey) -> Result<ChainReport, StoreError>;

    /// Keeps the health check's sealed probe, in place of one that was left behind.
    async fn put_probe(&self, probe: Vec<u8>) -> Result<(), StoreError>;

    /// Reads the health check's probe.
    async fn get_probe(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes the health check's probe.
    async fn delete_probe(&self) -> Result<(), StoreError>;
}

/// The places of projects' sessions.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Takes a place for a session, if the project's limits admit one.
    async fn open_session(&self, request: SessionRequest) -> Result<Admittance, StoreError>;

    /// Takes back a session whose client secret could not be minted: it had no place and counts for
    /// no day. Does nothing where there is no such session.
    async fn cancel_session(&self, session_id: Uuid) -> Result<(), StoreError>;

    /// Frees the place of a session earlier than it was to be: its client secret never reached its
    /// caller. A later moment than the present one changes nothing.
    async fn shorten_session(&self, session_id: Uuid, expires_at_ms: u64)
    -> Result<(), StoreError>;

    /// Ends a session; `None` when there is none of this id that this caller may end. A session is
    /// remembered for a day after it expired or ended.
    async fn end_session(
        &self,
        session_id: Uuid,
        by: EndedBy,
        now_ms: u64,
    ) -> Result<Option<EndedSession>, StoreError>;

    /// Counts the sessions of projects, in the order in which they are given.
    async fn count_sessions(
        &self,
        projects: &[ProjectId],
        now_ms: u64,
    ) -> Result<Vec<SessionCounts>, StoreError>;
}

#[cfg(test)]
extern crate self as roomkey;

/// The suite of all stores; the tests with real peers include it too.
#[cfg(test)]
#[path = "../../tests/project_store.rs"]
pub(in crate::store) mod project_store;
