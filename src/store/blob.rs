//! The scale-out store: blobs of one container, which any number of instances share.
//!
//! Every change is one conditional write by entity tag, so a process that is killed leaves either
//! the old or the new record. A call takes at most 3 s, except a verification, each of whose steps
//! does. It is not repeated here; the caller may repeat it.
//!
//! # Source
//! <https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations>

mod audit;
pub mod azure;
pub mod container;
mod projects;
mod sessions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use self::audit::ChainWriter;
use self::container::{BlobContainer, Metadata, WriteCondition, within};
use super::projects::{
    AuditAppend, AuditPage, AuditQuery, EndedBy, EndedSession, ListedProject, ProjectStore,
    ProjectWrite, SessionCounts, SessionDecision, SessionRequest, SessionStore, StoredProject,
};
use super::store_error::{StoreError, StoreOutage};
use crate::domain::audit_log::chain::{AuditRecord, ChainKey, ChainReport};
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;

/// Most reads of one call that run at the same time.
const PARALLEL: usize = 32;
/// The blob of the health check.
const PROBE: &str = "health/probe";

/// A store in the blobs of one container.
pub struct BlobStore {
    container: Arc<dyn BlobContainer>,
    chain: ChainWriter,
}

impl From<serde_json::Error> for StoreError {
    /// Comes only from serialization, which does not fail for the types of this module.
    fn from(_: serde_json::Error) -> Self {
        StoreOutage::Failed.into()
    }
}

impl BlobStore {
    /// Creates a store in a container. `instance` must be unique to this process: it names the
    /// chain of audit records that the process writes.
    #[must_use]
    pub fn new(container: Arc<dyn BlobContainer>, instance: Uuid) -> Self {
        Self {
            container,
            chain: ChainWriter::new(instance.simple().to_string()),
        }
    }

    /// Maps the name of each audit record that a project's blob contains to the name of that blob.
    async fn carried_records(&self) -> Result<HashMap<String, String>, StoreError> {
        let mut carried = HashMap::new();
        projects::for_each(&*self.container, |name, metadata| {
            if let Some(audit) = metadata.get("audit") {
                carried.insert(audit.clone(), name.to_owned());
            }
            Ok(true)
        })
        .await?;
        Ok(carried)
    }
}

#[async_trait]
impl ProjectStore for BlobStore {
    async fn read_project(&self, id: &ProjectId) -> Result<Option<StoredProject>, StoreError> {
        within(projects::read(&*self.container, id)).await
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<AuditRecord, StoreError> {
        within(projects::write(&*self.container, &self.chain, &write)).await
    }

    async fn list_projects(
        &self,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ListedProject>, StoreError> {
        within(projects::list(&*self.container, after, limit, |_| true)).await
    }

    async fn list_sealed_below(
        &self,
        version: KekVersion,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectId>, StoreError> {
        let is_below = |metadata: &Metadata| projects::sealed_under(metadata) < Some(version);
        let listed = projects::list(&*self.container, after, limit, is_below);
        let listed = within(listed).await?;
        Ok(listed.into_iter().map(|listed| listed.project_id).collect())
    }

    async fn count_by_kek(&self) -> Result<Vec<(Option<KekVersion>, u64)>, StoreError> {
        let mut counts = BTreeMap::new();
        let count = projects::for_each(&*self.container, |_, metadata| {
            if projects::has_key(metadata) {
                *counts.entry(projects::sealed_under(metadata)).or_default() += 1;
            }
            Ok(true)
        });
        within(count).await?;
        Ok(counts.into_iter().collect())
    }

    async fn append_audit(&self, append: AuditAppend) -> Result<AuditRecord, StoreError> {
        within(audit::append(&*self.container, &self.chain, &append)).await
    }

    async fn query_audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        within(audit::query(&*self.container, &query)).await
    }

    async fn verify_audit(
        &self,
        key: &ChainKey,
        progress: &AtomicU64,
    ) -> Result<ChainReport, StoreError> {
        // Each page and each copy has its own time limit, because the log may be long.
        // Audit records that are in a project's blob and not yet in the log: the writer was killed
        // before it copied the record.
        let mut carried = self.carried_records().await?;
        let report = audit::verify(&*self.container, key, progress, |name| {
            carried.remove(name);
        })
        .await?;
        if carried.is_empty() {
            return Ok(report);
        }
        for blob in carried.values() {
            within(projects::publish_state(&*self.container, blob)).await?;
        }
        audit::verify(&*self.container, key, progress, |_| {}).await
    }

    async fn put_probe(&self, probe: Vec<u8>) -> Result<(), StoreError> {
        let always = WriteCondition::Always;
        within(self.container.write(PROBE, always, Metadata::new(), probe)).await
    }

    async fn get_probe(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let blob = within(self.container.read(PROBE)).await?;
        Ok(blob.map(|blob| blob.bytes))
    }

    async fn delete_probe(&self) -> Result<(), StoreError> {
        within(self.container.remove(PROBE)).await
    }
}

#[async_trait]
impl SessionStore for BlobStore {
    async fn open_session(&self, request: SessionRequest) -> Result<SessionDecision, StoreError> {
        within(sessions::open(&*self.container, &request)).await
    }

    async fn cancel_session(&self, session_id: Uuid) -> Result<(), StoreError> {
        within(sessions::cancel(&*self.container, session_id)).await
    }

    async fn extend_session(&self, session_id: Uuid, expires_at_ms: u64) -> Result<(), StoreError> {
        let extended = sessions::extend(&*self.container, session_id, expires_at_ms);
        within(extended).await
    }

    async fn end_session(
        &self,
        session_id: Uuid,
        by: EndedBy,
        now_ms: u64,
    ) -> Result<Option<EndedSession>, StoreError> {
        within(sessions::end(&*self.container, session_id, by, now_ms)).await
    }

    async fn count_sessions(
        &self,
        projects: &[ProjectId],
        now_ms: u64,
    ) -> Result<Vec<SessionCounts>, StoreError> {
        let reads: Vec<_> = projects
            .iter()
            .map(|project| sessions::count(&*self.container, project, now_ms))
            .collect();
        within(stream::iter(reads).buffered(PARALLEL).try_collect()).await
    }
}

#[cfg(test)]
mod tests;
