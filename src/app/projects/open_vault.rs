//! The vault of project keys, opened for one request: its operations, each with its audit record.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::audit_context::{AuditContext, epoch_ms};
use super::audit_verification::{AuditVerification, AuditVerifier};
use super::error::ProjectError;
use super::observed_store::ObservedStore;
use super::session_lease::SessionSlots;
use super::vault_health::{HealthCheck, RoundTrip, VaultHealth};
use crate::domain::audit_log::chain::{AuditRecord, ChainKey};
use crate::domain::audit_log::entry::{AuditEntry, EventType};
use crate::domain::audit_log::log_request::AuditLogRequest;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::requests::cursor::CursorKey;
use crate::domain::vault::changes::{ChangeRefused, NewKey, Precondition};
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKeys};
use crate::domain::vault::key_request::SaveKeyRequest;
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::project_key::{KeyFingerprint, ProjectKey};
use crate::entropy::Entropy;
use crate::metrics::projects::ProjectMetrics;
use crate::store::projects::keys::{ProjectKeys, RotatedKey, RotationSlice, SavedKey};
use crate::store::projects::{
    AuditAppend, AuditPage, AuditQuery, ListedProject, ProjectStore as _, SessionCounts,
};
use crate::store::store_error::{KeyStoreError, StoreError};
use crate::traces::{self, Step};

/// The services of the vault, which all requests share.
pub(super) struct VaultServices {
    /// The store.
    pub(super) store: Arc<ObservedStore>,
    /// The operations on keys in the store.
    pub(super) keys: ProjectKeys,
    /// The store of session slots.
    pub(super) sessions: SessionSlots,
    /// The metrics of projects.
    pub(super) metrics: ProjectMetrics,
    /// The health check, which runs once at a time.
    pub(super) health: HealthCheck,
    /// The verification of the audit log, which runs once at a time.
    pub(super) verifier: AuditVerifier,
    /// Randomness.
    pub(super) entropy: Arc<dyn Entropy>,
    /// The version of the KEK that seals new keys.
    pub(super) sealing_version: KekVersion,
}

/// The store together with the keys that open what is in it, for one request.
pub struct OpenVault<'a> {
    services: &'a VaultServices,
    keks: KeyEncryptionKeys,
    hash_key: Arc<HashKey>,
    chain_key: ChainKey,
    /// Makes and reads the cursors of listings.
    pub cursors: CursorKey,
}

impl<'a> OpenVault<'a> {
    pub(super) fn new(
        services: &'a VaultServices,
        keks: KeyEncryptionKeys,
        hash_key: Arc<HashKey>,
    ) -> Self {
        Self {
            services,
            keks,
            chain_key: ChainKey::new(&hash_key),
            cursors: CursorKey::new(&hash_key),
            hash_key,
        }
    }

    /// Checks whether a save would be refused as things are.
    ///
    /// # Errors
    /// [`ProjectError`], as [`OpenVault::save`].
    pub async fn check_save(
        &self,
        project_id: &ProjectId,
        precondition: &Precondition,
    ) -> Result<(), ProjectError> {
        Ok(self
            .services
            .keys
            .check_save(project_id, precondition)
            .await?)
    }

    /// Saves a key and its audit record.
    ///
    /// # Errors
    /// [`ProjectError`]; nothing was stored then.
    pub async fn save(
        &self,
        request: &SaveKeyRequest,
        precondition: &Precondition,
        context: &AuditContext,
    ) -> Result<SavedKey, ProjectError> {
        let _span = traces::start(Step::Vault("save"));
        let new = NewKey {
            project_id: &request.project_id,
            key: &request.key,
            fingerprint: KeyFingerprint::of(&self.hash_key, &request.key),
            kek_version: request.kek_version.unwrap_or(self.services.sealing_version),
            now_ms: epoch_ms(context.now),
        };
        let audit = self.append(context, EventType::VaultKeySaved, &request.project_id);
        Ok(self
            .services
            .keys
            .save(&new, precondition, &self.keks, &audit)
            .await?)
    }

    /// Deletes a key and writes its audit record.
    ///
    /// # Errors
    /// [`ProjectError`]; nothing has changed then.
    pub async fn delete(
        &self,
        project_id: &ProjectId,
        precondition: &Precondition,
        context: &AuditContext,
    ) -> Result<AuditRecord, ProjectError> {
        let _span = traces::start(Step::Vault("delete"));
        let audit = self.append(context, EventType::VaultKeyDeleted, project_id);
        Ok(self
            .services
            .keys
            .delete(project_id, precondition, &audit)
            .await?)
    }

    /// Reseals a key under another KEK and writes its audit record.
    ///
    /// # Errors
    /// [`ProjectError`]; nothing has changed then.
    pub async fn rotate(
        &self,
        project_id: &ProjectId,
        target: KekVersion,
        precondition: &Precondition,
        context: &AuditContext,
    ) -> Result<RotatedKey, ProjectError> {
        let _span = traces::start(Step::Vault("rotate"));
        let audit = self.append(context, EventType::VaultKeyRotated, project_id);
        let now_ms = epoch_ms(context.now);
        let keys = &self.services.keys;
        Ok(keys
            .rotate(project_id, target, precondition, now_ms, &self.keks, &audit)
            .await?)
    }

    /// Reseals keys under another KEK until none is sealed under a lower one, or `time_left`
    /// returns zero. The same call again goes on with the others. Counts of the keys before and
    /// after take up to 3 s each.
    ///
    /// # Errors
    /// [`ProjectError`]; what was resealed until then stays so. A lower version than one that is in
    /// use is refused.
    pub async fn rotate_slice(
        &self,
        target: KekVersion,
        context: &AuditContext,
        time_left: impl Fn() -> Duration + Send + Sync,
        on_rotated: impl Fn(&AuditRecord) + Send + Sync,
    ) -> Result<RotationSlice, ProjectError> {
        let in_use = self.services.store.count_by_kek().await?;
        let is_newer =
            |(version, count): &(Option<KekVersion>, u64)| *version > Some(target) && *count > 0;
        if in_use.iter().any(is_newer) {
            return Err(ChangeRefused::LowerKekVersion.into());
        }
        let now_ms = epoch_ms(context.now);
        let audit = |id: &ProjectId| self.append(context, EventType::VaultKeyRotated, id);
        let keys = &self.services.keys;
        Ok(keys
            .rotate_slice(target, now_ms, &self.keks, audit, time_left, on_rotated)
            .await?)
    }

    /// Checks the vault with a round trip of a probe.
    pub(super) async fn check_health(&self) -> VaultHealth {
        let round_trip = RoundTrip {
            store: &*self.services.store,
            keks: &self.keks,
            sealing_version: self.services.sealing_version,
            hash_key: &self.hash_key,
            entropy: &*self.services.entropy,
        };
        self.services.health.run(&round_trip).await
    }

    /// Verifies the whole audit log, or waits 5 s for the verification that runs.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub async fn verify_audit(&self) -> Result<AuditVerification, ProjectError> {
        let (store, key) = (Arc::clone(&self.services.store), self.chain_key.clone());
        let verify = async move |records: Arc<_>| store.verify_audit(&key, &records).await;
        Ok(self.services.verifier.verify(verify).await?)
    }

    /// Opens the key of a project, for one request. A project that the caller may not use is not
    /// found, after the same work as one that does not exist.
    ///
    /// # Errors
    /// [`ChangeRefused::NotFound`] when there is none, and [`ProjectError`].
    pub async fn open_key(
        &self,
        project_id: &ProjectId,
        may_use: bool,
    ) -> Result<ProjectKey, ProjectError> {
        if !may_use {
            match self.services.store.read_project(project_id).await {
                // Damaged or not: it is none of this caller's business.
                Ok(_) | Err(StoreError::RecordCorrupt) => {}
                Err(error) => return Err(error.into()),
            }
            return Err(ChangeRefused::NotFound.into());
        }
        let mut span = traces::start(Step::Vault("open"));
        let opened = self.services.keys.open(project_id, &self.keks).await;
        let outcome = match &opened {
            Ok(_) => "opened",
            Err(KeyStoreError::Refused(_)) => "not_found",
            Err(KeyStoreError::Kek(_)) => "kek_missing",
            Err(KeyStoreError::RecordCorrupt | KeyStoreError::Crypto) => "corrupt",
            Err(KeyStoreError::Store(_)) => "store",
        };
        if let (Some(span), Err(_)) = (&mut span, &opened) {
            span.fail(outcome);
        }
        self.services.metrics.vault_open(outcome);
        Ok(opened?.key)
    }

    /// Writes an audit record of something that was refused or changed no key.
    ///
    /// # Errors
    /// [`ProjectError`] when the record could not be written.
    pub async fn record(&self, entry: AuditEntry) -> Result<AuditRecord, ProjectError> {
        let key = self.chain_key.clone();
        Ok(self
            .services
            .store
            .append_audit(AuditAppend { entry, key })
            .await?)
    }

    /// Lists projects with their sessions, in the order of their ids.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub async fn list(
        &self,
        after: Option<&ProjectId>,
        limit: usize,
        now: SystemTime,
    ) -> Result<Vec<(ListedProject, SessionCounts)>, ProjectError> {
        let listed = self.services.store.list_projects(after, limit).await?;
        let ids: Vec<_> = listed
            .iter()
            .map(|project| project.project_id.clone())
            .collect();
        let sessions = &self.services.sessions;
        let counts = sessions.store.count_sessions(&ids, epoch_ms(now));
        let counts = counts.await.map_err(|error| sessions.failure(error))?;
        Ok(listed.into_iter().zip(counts).collect())
    }

    /// Logs how many sessions of a deleted project still run. Nothing can hang them up any more.
    pub async fn log_open_sessions(&self, project_id: &ProjectId, now: SystemTime) {
        let sessions = &self.services.sessions.store;
        let counted = sessions.count_sessions(std::slice::from_ref(project_id), epoch_ms(now));
        let active_sessions = counted.await.map_or(0, |counts| {
            counts.iter().map(|counts| counts.active).sum::<u64>()
        });
        if active_sessions > 0 {
            tracing::info!(%project_id, active_sessions, "a project with open sessions was deleted");
        }
    }

    /// Reads a page of the audit log.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub async fn audit_page(&self, request: AuditLogRequest) -> Result<AuditPage, ProjectError> {
        let query = AuditQuery {
            event_type: request.event_type,
            project_id: request.project_id,
            from_ms: request.from_ms,
            to_ms: request.to_ms,
            after: request.after,
            limit: request.limit,
        };
        Ok(self.services.store.query_audit(query).await?)
    }

    fn append(
        &self,
        context: &AuditContext,
        event: EventType,
        project_id: &ProjectId,
    ) -> AuditAppend {
        AuditAppend {
            entry: context.entry(event).of_project(project_id),
            key: self.chain_key.clone(),
        }
    }
}
