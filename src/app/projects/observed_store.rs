//! The store as the operator sees it: each call is measured, and its outcome is the store's state
//! in readiness, metrics and log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::dependency::DependencyStatus;
use crate::app::secrets::kek_name;
use crate::clock::{Clock, Stopwatch};
use crate::domain::audit_log::chain::{AuditRecord, ChainKey, ChainReport};
use crate::domain::settings::secrets::DependencyState;
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;
use crate::metrics::projects::ProjectMetrics;
use crate::store::projects::{
    Admittance, AuditAppend, AuditPage, AuditQuery, EndedBy, EndedSession, ListedProject,
    ProjectStore, ProjectWrite, SessionCounts, SessionRequest, SessionStore, StoredProject,
};
use crate::store::store_error::StoreError;

/// The name of the store in readiness.
const NAME: &str = "store";
/// The pause between two checks of a store that failed: without requests nothing else would notice
/// that it is available again.
const RECHECK: Duration = Duration::from_secs(5);

/// A store whose calls are measured.
pub(super) struct ObservedStore {
    store: Arc<dyn ProjectStore>,
    metrics: ProjectMetrics,
    clock: Arc<dyn Clock>,
    state: Mutex<StoreState>,
}

#[derive(Default)]
struct StoreState {
    /// The cause of the last call's failure; `None` after a success.
    failure: Option<&'static str>,
    answered_at: Option<SystemTime>,
    /// The versions of the KEK under which keys are sealed, and their names in readiness.
    sealed_under: BTreeMap<KekVersion, &'static str>,
}

impl ObservedStore {
    pub(super) fn new(
        store: Arc<dyn ProjectStore>,
        metrics: ProjectMetrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            metrics,
            clock,
            state: Mutex::default(),
        }
    }

    /// Opens the store in the background, and checks it again while it fails.
    pub(super) fn watch(store: &Arc<Self>) {
        let store = Arc::downgrade(store);
        tokio::spawn(async move {
            while let Some(store) = Weak::upgrade(&store) {
                if store.is_available() != Some(true) {
                    // Its outcome is noted by itself.
                    let _ = store.count_by_kek().await;
                }
                drop(store);
                sleep(RECHECK).await;
            }
        });
    }

    /// Returns whether the last call succeeded; `None` before the first.
    pub(super) fn is_available(&self) -> Option<bool> {
        let state = self.state();
        if state.failure.is_some() {
            Some(false)
        } else {
            state.answered_at.map(|_| true)
        }
    }

    /// Returns the status of the store, and one for each KEK that it needs and that is not
    /// configured. A store that was never called has none.
    pub(super) fn statuses(&self, configured: &[KekVersion]) -> Vec<DependencyStatus> {
        let state = self.state();
        let store_state = match (state.failure, state.answered_at) {
            (None, None) => return Vec::new(),
            (Some(_), _) => DependencyState::Missing,
            (None, Some(_)) => DependencyState::Fresh,
        };
        let store = DependencyStatus {
            name: NAME,
            state: store_state,
            fetched_at: state.answered_at,
            is_needed: true,
        };
        let missing = state
            .sealed_under
            .iter()
            .filter(|(version, _)| !configured.contains(version))
            .map(|(_, name)| DependencyStatus {
                name,
                state: DependencyState::Missing,
                fetched_at: None,
                // What is sealed under the others opens without it.
                is_needed: false,
            });
        [store].into_iter().chain(missing).collect()
    }

    /// Measures a call and notes its outcome.
    async fn observe<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let stopwatch = Stopwatch::start();
        let outcome = call.await;
        let cause = outcome.as_ref().err().map(|error| error.cause());
        self.metrics
            .store_call(operation, cause.unwrap_or("ok"), stopwatch.elapsed());
        self.note(match &outcome {
            // Another writer was faster, or one record is damaged: the store itself is well.
            Ok(_) | Err(StoreError::LostRace | StoreError::RecordCorrupt) => None,
            Err(_) => cause,
        });
        outcome
    }

    fn note(&self, failure: Option<&'static str>) {
        let before = {
            let mut state = self.state();
            if failure.is_none() {
                state.answered_at = Some(self.clock.now());
            }
            std::mem::replace(&mut state.failure, failure)
        };
        match failure {
            Some(cause) if before != failure => {
                tracing::warn!(cause, "the store is not available");
            }
            None if before.is_some() => tracing::info!("the store is available again"),
            Some(_) | None => {}
        }
    }

    fn note_keks(&self, counts: &[(KekVersion, u64)]) {
        let mut state = self.state();
        let known = std::mem::take(&mut state.sealed_under);
        state.sealed_under = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(version, _)| {
                let name = known.get(version).copied();
                (*version, name.unwrap_or_else(|| kek_name(*version)))
            })
            .collect();
    }

    fn state(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProjectStore for ObservedStore {
    async fn read_project(&self, id: &ProjectId) -> Result<Option<StoredProject>, StoreError> {
        self.observe("read", self.store.read_project(id)).await
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<AuditRecord, StoreError> {
        let written = self.observe("write", self.store.write_project(write)).await;
        if written != Err(StoreError::LostRace) {
            self.metrics.audit_record(written.is_ok());
        }
        written
    }

    async fn list_projects(
        &self,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ListedProject>, StoreError> {
        let listed = self.store.list_projects(after, limit);
        self.observe("list", listed).await
    }

    async fn list_sealed_below(
        &self,
        version: KekVersion,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectId>, StoreError> {
        let listed = self.store.list_sealed_below(version, after, limit);
        self.observe("list", listed).await
    }

    async fn count_by_kek(&self) -> Result<Vec<(KekVersion, u64)>, StoreError> {
        let counts = self.observe("list", self.store.count_by_kek()).await?;
        self.note_keks(&counts);
        Ok(counts)
    }

    async fn append_audit(&self, append: AuditAppend) -> Result<AuditRecord, StoreError> {
        let appended = self.store.append_audit(append);
        let written = self.observe("write_audit", appended).await;
        self.metrics.audit_record(written.is_ok());
        written
    }

    async fn query_audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.observe("read_audit", self.store.query_audit(query))
            .await
    }

    async fn verify_audit(&self, key: &ChainKey) -> Result<ChainReport, StoreError> {
        self.observe("verify_audit", self.store.verify_audit(key))
            .await
    }

    async fn put_probe(&self, probe: Vec<u8>) -> Result<(), StoreError> {
        self.observe("probe", self.store.put_probe(probe)).await
    }

    async fn get_probe(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.observe("probe", self.store.get_probe()).await
    }

    async fn delete_probe(&self) -> Result<(), StoreError> {
        self.observe("probe", self.store.delete_probe()).await
    }
}

#[async_trait]
impl SessionStore for ObservedStore {
    async fn open_session(&self, request: SessionRequest) -> Result<Admittance, StoreError> {
        self.observe("session", self.store.open_session(request))
            .await
    }

    async fn cancel_session(&self, session_id: Uuid) -> Result<(), StoreError> {
        self.observe("session", self.store.cancel_session(session_id))
            .await
    }

    async fn extend_session(&self, session_id: Uuid, expires_at_ms: u64) -> Result<(), StoreError> {
        let extended = self.store.extend_session(session_id, expires_at_ms);
        self.observe("session", extended).await
    }

    async fn end_session(
        &self,
        session_id: Uuid,
        by: EndedBy,
        now_ms: u64,
    ) -> Result<Option<EndedSession>, StoreError> {
        let ended = self.store.end_session(session_id, by, now_ms);
        self.observe("session", ended).await
    }

    async fn count_sessions(
        &self,
        projects: &[ProjectId],
        now_ms: u64,
    ) -> Result<Vec<SessionCounts>, StoreError> {
        let counted = self.store.count_sessions(projects, now_ms);
        self.observe("session", counted).await
    }
}
