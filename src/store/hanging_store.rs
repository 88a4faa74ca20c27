//! A test store in which chosen calls never return.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use uuid::Uuid;

use super::projects::{
    AuditAppend, AuditPage, AuditQuery, EndedBy, EndedSession, ListedProject, ProjectStore,
    ProjectWrite, SessionCounts, SessionDecision, SessionRequest, SessionStore, StoredProject,
};
use super::sqlite::SqliteStore;
use super::store_error::StoreError;
use crate::domain::audit_log::chain::{AuditRecord, ChainKey, ChainReport};
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;

/// A SQLite store of which one kind of call hangs after some calls of that kind were answered.
pub struct HangingStore {
    store: SqliteStore,
    hanging: Mutex<Option<(&'static str, usize)>>,
}

impl HangingStore {
    /// Creates a store in which nothing hangs yet.
    pub fn new(store: SqliteStore) -> Self {
        Self {
            store,
            hanging: Mutex::default(),
        }
    }

    /// Lets the method of this name hang after `answered` more calls of it.
    pub fn hang(&self, method: &'static str, answered: usize) {
        *self.hanging.lock().unwrap() = Some((method, answered));
    }

    /// Waits forever in a call that hangs.
    async fn enter(&self, method: &'static str) {
        let hangs = match &mut *self.hanging.lock().unwrap() {
            Some((hanging, 0)) => *hanging == method,
            Some((hanging, answered)) => {
                *answered -= usize::from(*hanging == method);
                false
            }
            None => false,
        };
        if hangs {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl ProjectStore for HangingStore {
    async fn read_project(&self, id: &ProjectId) -> Result<Option<StoredProject>, StoreError> {
        self.enter("read_project").await;
        self.store.read_project(id).await
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<AuditRecord, StoreError> {
        self.enter("write_project").await;
        self.store.write_project(write).await
    }

    async fn list_projects(
        &self,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ListedProject>, StoreError> {
        self.store.list_projects(after, limit).await
    }

    async fn list_sealed_below(
        &self,
        version: KekVersion,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectId>, StoreError> {
        self.enter("list_sealed_below").await;
        self.store.list_sealed_below(version, after, limit).await
    }

    async fn count_by_kek(&self) -> Result<Vec<(Option<KekVersion>, u64)>, StoreError> {
        self.store.count_by_kek().await
    }

    async fn append_audit(&self, append: AuditAppend) -> Result<AuditRecord, StoreError> {
        self.store.append_audit(append).await
    }

    async fn query_audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.store.query_audit(query).await
    }

    async fn verify_audit(
        &self,
        key: &ChainKey,
        progress: &AtomicU64,
    ) -> Result<ChainReport, StoreError> {
        self.store.verify_audit(key, progress).await
    }

    async fn put_probe(&self, probe: Vec<u8>) -> Result<(), StoreError> {
        self.enter("put_probe").await;
        self.store.put_probe(probe).await
    }

    async fn get_probe(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.enter("get_probe").await;
        self.store.get_probe().await
    }

    async fn delete_probe(&self) -> Result<(), StoreError> {
        self.enter("delete_probe").await;
        self.store.delete_probe().await
    }
}

#[async_trait]
impl SessionStore for HangingStore {
    async fn open_session(&self, request: SessionRequest) -> Result<SessionDecision, StoreError> {
        self.store.open_session(request).await
    }

    async fn cancel_session(&self, session_id: Uuid) -> Result<(), StoreError> {
        self.store.cancel_session(session_id).await
    }

    async fn extend_session(&self, session_id: Uuid, expires_at_ms: u64) -> Result<(), StoreError> {
        self.store.extend_session(session_id, expires_at_ms).await
    }

    async fn end_session(
        &self,
        session_id: Uuid,
        by: EndedBy,
        now_ms: u64,
    ) -> Result<Option<EndedSession>, StoreError> {
        self.store.end_session(session_id, by, now_ms).await
    }

    async fn count_sessions(
        &self,
        projects: &[ProjectId],
        now_ms: u64,
    ) -> Result<Vec<SessionCounts>, StoreError> {
        self.store.count_sessions(projects, now_ms).await
    }
}
