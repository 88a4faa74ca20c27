//! The store as the operator sees it: each call is measured, and its outcome is the store's state
//! in readiness, metrics and log. A store that only answers reads, such as one on a full disk, is
//! not available.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
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
    AuditAppend, AuditPage, AuditQuery, EndedBy, EndedSession, ListedProject, ProjectStore,
    ProjectWrite, SessionCounts, SessionDecision, SessionRequest, SessionStore, StoredProject,
};
use crate::store::store_error::StoreError;
use crate::traces::{self, Step};

/// The name of the store in readiness.
const NAME: &str = "store";
/// The pause between two checks of a store that failed: without requests nothing else would notice
/// that it is available again.
const RECHECK: Duration = Duration::from_secs(5);

/// The kind of a call. A store may answer reads while it cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    /// A write that may find nothing to change, so that its success does not show that the store
    /// can be written to.
    Update,
    Write,
}

/// A store whose calls are measured.
pub(super) struct ObservedStore {
    store: Arc<dyn ProjectStore>,
    metrics: ProjectMetrics,
    clock: Arc<dyn Clock>,
    state: Mutex<StoreState>,
}

#[derive(Default)]
struct StoreState {
    /// The cause of the failure of the last read; `None` after a success.
    failed_read: Option<&'static str>,
    /// The cause of the failure of the last write; `None` after a success.
    failed_write: Option<&'static str>,
    answered_at: Option<SystemTime>,
    /// The versions of the KEK under which keys are sealed, and their names in readiness.
    sealed_under: BTreeMap<KekVersion, &'static str>,
}

impl StoreState {
    fn failure(&self) -> Option<&'static str> {
        self.failed_write.or(self.failed_read)
    }

    fn note(&mut self, access: Access, failure: Option<&'static str>) {
        match (access, failure) {
            (Access::Read, failure) => self.failed_read = failure,
            (Access::Update | Access::Write, Some(_)) => self.failed_write = failure,
            // Each of them reads too.
            (Access::Update, None) => self.failed_read = None,
            (Access::Write, None) => (self.failed_read, self.failed_write) = (None, None),
        }
    }
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
            // The count names the KEKs that are needed. A store that can only be read would look
            // available until the first change.
            if let Some(store) = Weak::upgrade(&store) {
                let _ = store.count_by_kek().await;
                let _ = store.try_write().await;
            }
            while let Some(store) = Weak::upgrade(&store) {
                // The outcome is noted by itself.
                if store.state().failed_write.is_some() {
                    let _ = store.try_write().await;
                }
                if store.is_available() != Some(true) {
                    let _ = store.count_by_kek().await;
                }
                drop(store);
                sleep(RECHECK).await;
            }
        });
    }

    /// Writes the probe of the health check. A check that runs at the same time repeats its round
    /// trip.
    async fn try_write(&self) -> Result<(), StoreError> {
        self.put_probe(Vec::new()).await?;
        self.delete_probe().await
    }

    /// Returns whether the last read and the last write succeeded; `None` before the first call.
    pub(super) fn is_available(&self) -> Option<bool> {
        let state = self.state();
        if state.failure().is_some() {
            Some(false)
        } else {
            state.answered_at.map(|_| true)
        }
    }

    /// Returns the status of the store, and one for each KEK that it needs and that is not
    /// configured. A store that was never called has none.
    pub(super) fn statuses(&self, configured: &[KekVersion]) -> Vec<DependencyStatus> {
        let state = self.state();
        let store_state = match (state.failure(), state.answered_at) {
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
        (access, operation): (Access, &'static str),
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let mut span = traces::start(Step::Store(operation));
        let stopwatch = Stopwatch::start();
        let outcome = call.await;
        let cause = outcome.as_ref().err().map(|error| error.cause());
        if let (Some(span), Some(cause)) = (&mut span, cause) {
            span.fail(cause);
        }
        self.metrics
            .store_call(operation, cause.unwrap_or("ok"), stopwatch.elapsed());
        match (&outcome, access) {
            (Ok(_), _) => self.note(access, None),
            // Another writer was faster, or one record is damaged: the store itself is well.
            (Err(StoreError::LostRace | StoreError::RecordCorrupt), Access::Read) => {
                self.note(access, None);
            }
            (Err(StoreError::LostRace | StoreError::RecordCorrupt), _) => {
                self.note(Access::Update, None);
            }
            (Err(_), _) => self.note(access, cause),
        }
        outcome
    }

    fn note(&self, access: Access, failure: Option<&'static str>) {
        let (before, after) = {
            let mut state = self.state();
            if failure.is_none() {
                state.answered_at = Some(self.clock.now());
            }
            let before = state.failure();
            state.note(access, failure);
            (before, state.failure())
        };
        match after {
            Some(cause) if before != after => {
                tracing::warn!(cause, "the store is not available");
            }
            None if before.is_some() => tracing::info!("the store is available again"),
            Some(_) | None => {}
        }
    }

    fn note_keks(&self, counts: &[(Option<KekVersion>, u64)]) {
        let mut state = self.state();
        let known = std::mem::take(&mut state.sealed_under);
        state.sealed_under = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .filter_map(|(version, _)| *version)
            .map(|version| {
                let name = known.get(&version).copied();
                (version, name.unwrap_or_else(|| kek_name(version)))
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
        self.observe((Access::Read, "read"), self.store.read_project(id))
            .await
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<AuditRecord, StoreError> {
        let written = self
            .observe((Access::Write, "write"), self.store.write_project(write))
            .await;
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
        self.observe((Access::Read, "list"), listed).await
    }

    async fn list_sealed_below(
        &self,
        version: KekVersion,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectId>, StoreError> {
        let listed = self.store.list_sealed_below(version, after, limit);
        self.observe((Access::Read, "list"), listed).await
    }

    async fn count_by_kek(&self) -> Result<Vec<(Option<KekVersion>, u64)>, StoreError> {
        let counts = self
            .observe((Access::Read, "list"), self.store.count_by_kek())
            .await?;
        self.note_keks(&counts);
        Ok(counts)
    }

    async fn append_audit(&self, append: AuditAppend) -> Result<AuditRecord, StoreError> {
        let appended = self.store.append_audit(append);
        let written = self.observe((Access::Write, "write_audit"), appended).await;
        self.metrics.audit_record(written.is_ok());
        written
    }

    async fn query_audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.observe((Access::Read, "read_audit"), self.store.query_audit(query))
            .await
    }

    async fn verify_audit(
        &self,
        key: &ChainKey,
        progress: &AtomicU64,
    ) -> Result<ChainReport, StoreError> {
        let verification = self.store.verify_audit(key, progress);
        self.observe((Access::Read, "verify_audit"), verification)
            .await
    }

    async fn put_probe(&self, probe: Vec<u8>) -> Result<(), StoreError> {
        self.observe((Access::Write, "probe"), self.store.put_probe(probe))
            .await
    }

    async fn get_probe(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.observe((Access::Read, "probe"), self.store.get_probe())
            .await
    }

    async fn delete_probe(&self) -> Result<(), StoreError> {
        self.observe((Access::Update, "probe"), self.store.delete_probe())
            .await
    }
}

#[async_trait]
impl SessionStore for ObservedStore {
    async fn open_session(&self, request: SessionRequest) -> Result<SessionDecision, StoreError> {
        self.observe(
            (Access::Update, "session"),
            self.store.open_session(request),
        )
        .await
    }

    async fn cancel_session(&self, session_id: Uuid) -> Result<(), StoreError> {
        self.observe(
            (Access::Update, "session"),
            self.store.cancel_session(session_id),
        )
        .await
    }

    async fn extend_session(&self, session_id: Uuid, expires_at_ms: u64) -> Result<(), StoreError> {
        let extended = self.store.extend_session(session_id, expires_at_ms);
        self.observe((Access::Update, "session"), extended).await
    }

    async fn end_session(
        &self,
        session_id: Uuid,
        by: EndedBy,
        now_ms: u64,
    ) -> Result<Option<EndedSession>, StoreError> {
        let ended = self.store.end_session(session_id, by, now_ms);
        self.observe((Access::Update, "session"), ended).await
    }

    async fn count_sessions(
        &self,
        projects: &[ProjectId],
        now_ms: u64,
    ) -> Result<Vec<SessionCounts>, StoreError> {
        let counted = self.store.count_sessions(projects, now_ms);
        self.observe((Access::Read, "session"), counted).await
    }
}
