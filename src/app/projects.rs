//! The store of project keys, sessions and the audit log, as handlers use it.

mod error;
mod local_keys;
mod observed_store;
mod session_lease;
mod vault_health;
mod vault_keys;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

pub use self::error::ProjectError;
use self::observed_store::ObservedStore;
pub use self::session_lease::{PlaceError, SessionLease};
pub use self::vault_health::VaultHealth;
use self::vault_health::{HealthCheck, RoundTrip};
use self::vault_keys::VaultKeySource;
use super::dependency::DependencyStatus;
use super::secrets::Secrets;
use crate::clock::Clock;
use crate::config::fault::Fault;
use crate::config::projects::{
    KekSettings, ProjectSettings, STORE, SessionSettings, StoreLocation,
};
use crate::domain::audit::Actor;
use crate::domain::audit_log::chain::{AuditRecord, ChainKey, ChainReport};
use crate::domain::audit_log::entry::{AuditEntry, EventType};
use crate::domain::audit_log::log_request::AuditLogRequest;
use crate::domain::callers::caller_hash::{CallerHash, HashKey};
use crate::domain::requests::cursor::CursorKey;
use crate::domain::vault::changes::{ChangeRefused, NewKey, Precondition};
use crate::domain::vault::envelope::SealRandomness;
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKeys};
use crate::domain::vault::key_request::SaveKeyRequest;
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::project_key::{KeyFingerprint, ProjectKey};
use crate::entropy::Entropy;
use crate::metrics::projects::ProjectMetrics;
use crate::store::counters::Counters;
use crate::store::projects::keys::ProjectKeys;
use crate::store::projects::keys::{RotatedKey, RotationSlice, SavedKey};
use crate::store::projects::{AuditAppend, AuditQuery, ProjectStore, SessionRequest, SessionStore};
use crate::store::projects::{AuditPage, EndedBy, EndedSession, ListedProject, SessionCounts};
use crate::store::redis::sessions::RedisSessions;
use crate::store::sqlite::SqliteStore;
use crate::store::store_error::{KeyStoreError, StoreError};

/// The keys of projects, behind their store.
pub struct Projects {
    store: Arc<ObservedStore>,
    keys: ProjectKeys,
    vault_keys: VaultKeySource,
    sessions: Arc<dyn SessionStore>,
    metrics: ProjectMetrics,
    health: HealthCheck,
    entropy: Arc<dyn Entropy>,
    /// The versions of the KEK that are configured, lowest first.
    pub kek_versions: Vec<KekVersion>,
    /// The version of the KEK that seals new keys.
    pub sealing_version: KekVersion,
    /// The rules of sessions.
    pub session_settings: SessionSettings,
}

/// The store together with the keys that open what is in it, for one request.
pub struct OpenVault<'a> {
    projects: &'a Projects,
    keks: KeyEncryptionKeys,
    hash_key: Arc<HashKey>,
    chain_key: ChainKey,
    /// Makes and reads the cursors of listings.
    pub cursors: CursorKey,
}

/// The part of an audit entry that comes from the request: actor, request id and time.
#[derive(Debug, Clone, Copy)]
pub struct AuditContext {
    /// The caller or operator who makes the change.
    pub actor: Actor<CallerHash>,
    /// The id of the request.
    pub request_id: Uuid,
    /// The request's one clock reading.
    pub now: SystemTime,
}

impl AuditContext {
    /// Starts an entry of something that succeeded.
    #[must_use]
    pub fn entry(&self, event: EventType) -> AuditEntry {
        AuditEntry::new(event, &self.actor, self.request_id, epoch_ms(self.now))
    }
}

impl Projects {
    /// Names the store and its keys; neither is opened yet. It must be called inside a Tokio
    /// runtime.
    ///
    /// # Errors
    /// A [`Fault`] where the system cannot provide what the store needs.
    pub(super) fn new(
        settings: ProjectSettings,
        secrets: &Secrets,
        counters: &Counters,
        metrics: ProjectMetrics,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, Fault> {
        let StoreLocation::Sqlite(path) = &settings.store;
        let store = SqliteStore::new(path)
            .map_err(|error| Fault::new(STORE, format!("cannot be used: {error}")))?;
        let store = Arc::new(ObservedStore::new(
            Arc::new(store),
            metrics.clone(),
            Arc::clone(clock),
        ));
        let (vault_keys, kek_versions, sealing_version) = match settings.keks {
            KekSettings::Configured { sealing, .. } => {
                ObservedStore::watch(&store);
                let versions = secrets.keks.iter().map(|(version, _)| *version).collect();
                (VaultKeySource::of_settings(secrets), versions, sealing)
            }
            KekSettings::LocalFile(path) => (
                VaultKeySource::of_file(path, Arc::clone(entropy)),
                vec![KekVersion::FIRST],
                KekVersion::FIRST,
            ),
        };
        // Slots belong where the counters are, so that limits hold over all instances.
        let sessions: Arc<dyn SessionStore> = match counters {
            Counters::Memory(_) => Arc::clone(&store) as _,
            Counters::Redis(redis) => Arc::new(RedisSessions::new(Arc::clone(redis))),
        };
        let seal_entropy = Arc::clone(entropy);
        let randomness = move || SealRandomness::draw(|bytes| seal_entropy.fill(bytes));
        Ok(Self {
            keys: ProjectKeys::new(Arc::clone(&store) as _, Arc::new(randomness)),
            sessions,
            store,
            metrics,
            vault_keys,
            health: HealthCheck::default(),
            entropy: Arc::clone(entropy),
            kek_versions,
            sealing_version,
            session_settings: settings.sessions,
        })
    }

    /// Returns the keys that open the store, and waits for their first fetch.
    ///
    /// # Errors
    /// [`ProjectError`] when the key that hashes is missing, or those of dev mode cannot be read.
    pub async fn open_vault(&self) -> Result<OpenVault<'_>, ProjectError> {
        let (keks, hash_key) = self.vault_keys.current().await?;
        Ok(OpenVault {
            projects: self,
            keks,
            chain_key: ChainKey::new(&hash_key),
            cursors: CursorKey::new(&hash_key),
            hash_key,
        })
    }

    /// Takes a place for a session.
    ///
    /// # Errors
    /// [`PlaceError`] where the project's limits admit none, or the store gives no answer.
    pub async fn take_place(
        &self,
        session_id: Uuid,
        project_id: &ProjectId,
        owner: CallerHash,
        now: SystemTime,
    ) -> Result<SessionLease, PlaceError> {
        let rules = &self.session_settings;
        let request = SessionRequest {
            session_id,
            project_id: project_id.clone(),
            owner,
            now_ms: epoch_ms(now),
            expires_at_ms: epoch_ms(now + rules.lifetime),
            concurrency: rules.concurrency,
            daily_sessions: rules.daily_sessions,
        };
        SessionLease::take(Arc::clone(&self.sessions), request).await
    }

    /// Ends a session of the given caller, or any for an operator. `None` when there is none of
    /// this id that may be ended.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub async fn end_session(
        &self,
        session_id: Uuid,
        owner: Option<CallerHash>,
        now: SystemTime,
    ) -> Result<Option<EndedSession>, ProjectError> {
        let by = owner.map_or(EndedBy::Operator, EndedBy::Owner);
        let sessions = &self.sessions;
        Ok(sessions.end_session(session_id, by, epoch_ms(now)).await?)
    }

    /// Returns the status of the store, and of each KEK that keys in it need and that is not
    /// configured.
    pub(super) fn statuses(&self) -> impl Iterator<Item = DependencyStatus> + use<> {
        self.store.statuses(&self.kek_versions).into_iter()
    }

    /// Returns whether the last call to the store succeeded; `None` before the first.
    #[must_use]
    pub fn is_store_available(&self) -> Option<bool> {
        self.store.is_available()
    }
}

impl OpenVault<'_> {
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
            .projects
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
        let new = NewKey {
            project_id: &request.project_id,
            key: &request.key,
            fingerprint: KeyFingerprint::of(&self.hash_key, &request.key),
            kek_version: request.kek_version.unwrap_or(self.projects.sealing_version),
            now_ms: epoch_ms(context.now),
        };
        let audit = self.append(context, EventType::VaultKeySaved, &request.project_id);
        Ok(self
            .projects
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
        let audit = self.append(context, EventType::VaultKeyDeleted, project_id);
        Ok(self
            .projects
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
        let audit = self.append(context, EventType::VaultKeyRotated, project_id);
        let now_ms = epoch_ms(context.now);
        let keys = &self.projects.keys;
        Ok(keys
            .rotate(project_id, target, precondition, now_ms, &self.keks, &audit)
            .await?)
    }

    /// Reseals keys under another KEK until none is sealed under a lower one, or `is_over` returns
    /// true. The same call again goes on with the others.
    ///
    /// # Errors
    /// [`ProjectError`]; what was resealed until then stays so. A lower version than one that is in
    /// use is refused.
    pub async fn rotate_slice(
        &self,
        target: KekVersion,
        context: &AuditContext,
        is_over: impl Fn() -> bool + Send + Sync,
    ) -> Result<RotationSlice, ProjectError> {
        let in_use = self.projects.store.count_by_kek().await?;
        let is_newer = |(version, count): &(KekVersion, u64)| *version > target && *count > 0;
        if in_use.iter().any(is_newer) {
            return Err(ChangeRefused::LowerKekVersion.into());
        }
        let now_ms = epoch_ms(context.now);
        let audit = |id: &ProjectId| self.append(context, EventType::VaultKeyRotated, id);
        let keys = &self.projects.keys;
        Ok(keys
            .rotate_slice(target, now_ms, &self.keks, audit, is_over)
            .await?)
    }

    /// Checks the vault with a round trip of a probe.
    pub async fn check_health(&self) -> VaultHealth {
        let round_trip = RoundTrip {
            store: &*self.projects.store,
            keks: &self.keks,
            sealing_version: self.projects.sealing_version,
            hash_key: &self.hash_key,
            entropy: &*self.projects.entropy,
        };
        self.projects.health.run(&round_trip).await
    }

    /// Verifies the whole audit log.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub async fn verify_audit(&self) -> Result<ChainReport, ProjectError> {
        Ok(self.projects.store.verify_audit(&self.chain_key).await?)
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
            match self.projects.store.read_project(project_id).await {
                // Damaged or not: it is none of this caller's business.
                Ok(_) | Err(StoreError::RecordCorrupt) => {}
                Err(error) => return Err(error.into()),
            }
            return Err(ChangeRefused::NotFound.into());
        }
        let opened = self.projects.keys.open(project_id, &self.keks).await;
        let outcome = match &opened {
            Ok(_) => "opened",
            Err(KeyStoreError::Refused(_)) => "not_found",
            Err(KeyStoreError::Kek(_)) => "kek_missing",
            Err(KeyStoreError::RecordCorrupt | KeyStoreError::Crypto) => "corrupt",
            Err(KeyStoreError::Store(_)) => "store",
        };
        self.projects.metrics.vault_open(outcome);
        Ok(opened?.key)
    }

    /// Writes an audit record of something that was refused or changed no key.
    ///
    /// # Errors
    /// [`ProjectError`] when the record could not be written.
    pub async fn record(&self, entry: AuditEntry) -> Result<AuditRecord, ProjectError> {
        let key = self.chain_key.clone();
        Ok(self
            .projects
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
        let listed = self.projects.store.list_projects(after, limit).await?;
        let ids: Vec<_> = listed
            .iter()
            .map(|project| project.project_id.clone())
            .collect();
        let counts = self
            .projects
            .sessions
            .count_sessions(&ids, epoch_ms(now))
            .await?;
        Ok(listed.into_iter().zip(counts).collect())
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
        Ok(self.projects.store.query_audit(query).await?)
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

/// Returns the milliseconds since 1970.
#[must_use]
pub fn epoch_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
