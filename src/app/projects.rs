//! The store of project keys, sessions and the audit log, as handlers use it.

mod audit_context;
mod audit_verification;
mod azure_container;
mod error;
mod local_keys;
mod observed_store;
mod open_vault;
mod session_lease;
mod vault_health;
mod vault_keys;

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

pub use self::audit_context::{AuditContext, epoch_ms};
pub use self::audit_verification::AuditVerification;
use self::audit_verification::AuditVerifier;
use self::azure_container::azure_container;
pub use self::error::ProjectError;
use self::observed_store::ObservedStore;
pub use self::open_vault::OpenVault;
use self::open_vault::VaultServices;
use self::session_lease::SessionSlots;
pub use self::session_lease::{SessionLease, SlotError};
use self::vault_health::HealthCheck;
pub use self::vault_health::VaultHealth;
use self::vault_keys::VaultKeySource;
use super::dependency::DependencyStatus;
use super::secrets::Secrets;
use crate::clock::Clock;
use crate::config::fault::Fault;
use crate::config::projects::{
    KekSettings, ProjectSettings, STORE, SessionSettings, StoreLocation,
};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::settings::azure::Identity;
use crate::domain::vault::envelope::SealRandomness;
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;
use crate::entropy::Entropy;
use crate::metrics::projects::ProjectMetrics;
use crate::store::blob::BlobStore;
use crate::store::counters::Counters;
use crate::store::projects::keys::ProjectKeys;
use crate::store::projects::{EndedBy, EndedSession, ProjectStore, SessionRequest};
use crate::store::redis::sessions::RedisSessions;
use crate::store::sqlite::SqliteStore;

/// The keys of projects, behind their store.
pub struct Projects {
    services: VaultServices,
    vault_keys: VaultKeySource,
    /// The versions of the KEK that are configured, lowest first.
    pub kek_versions: Vec<KekVersion>,
    /// The rules of sessions.
    pub session_settings: SessionSettings,
}

impl Projects {
    /// Names the store and its keys; neither is opened yet. It must be called inside a Tokio
    /// runtime.
    ///
    /// # Errors
    /// A [`Fault`] where the system cannot provide what the store needs.
    pub(super) fn new(
        settings: ProjectSettings,
        identity: Identity,
        secrets: &Secrets,
        counters: &Counters,
        metrics: ProjectMetrics,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, Fault> {
        let store = store_at(settings.store, identity, &**entropy)?;
        let store = Arc::new(ObservedStore::new(
            store,
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
                VaultKeySource::of_file(path, secrets, &**entropy),
                vec![KekVersion::FIRST],
                KekVersion::FIRST,
            ),
        };
        // Slots belong where the counters are, so that limits hold over all instances.
        let sessions = match counters {
            Counters::Memory(_) => SessionSlots {
                store: Arc::clone(&store) as _,
                is_apart: false,
            },
            Counters::Redis(redis) => SessionSlots {
                store: Arc::new(RedisSessions::new(Arc::clone(redis))),
                is_apart: true,
            },
        };
        let seal_entropy = Arc::clone(entropy);
        let randomness = move || SealRandomness::draw(|bytes| seal_entropy.fill(bytes));
        Ok(Self {
            services: VaultServices {
                keys: ProjectKeys::new(Arc::clone(&store) as _, Arc::new(randomness)),
                sessions,
                store,
                metrics,
                health: HealthCheck::default(),
                verifier: AuditVerifier::default(),
                entropy: Arc::clone(entropy),
                sealing_version,
            },
            vault_keys,
            kek_versions,
            session_settings: settings.sessions,
        })
    }

    /// Returns the keys that open the store, and waits for their first fetch.
    ///
    /// # Errors
    /// [`ProjectError`] when the key that hashes is missing, or those of dev mode cannot be read.
    pub async fn open_vault(&self) -> Result<OpenVault<'_>, ProjectError> {
        let (keks, hash_key) = self.vault_keys.current().await?;
        Ok(OpenVault::new(&self.services, keks, hash_key))
    }

    /// Checks the vault with a round trip of a probe. Without the keys that open it every step has
    /// failed.
    pub async fn check_health(&self) -> VaultHealth {
        match self.open_vault().await {
            Ok(vault) => vault.check_health().await,
            Err(error) => {
                tracing::warn!(cause = %error, "the vault cannot be checked");
                VaultHealth::default()
            }
        }
    }

    /// Returns the version of the KEK that seals new keys.
    #[must_use]
    pub fn sealing_version(&self) -> KekVersion {
        self.services.sealing_version
    }

    /// Takes a slot for a session until `until`, when a secret that is minted for it has expired.
    ///
    /// # Errors
    /// [`SlotError`] where the project's limits admit none, or the store gives no answer.
    pub async fn take_slot(
        &self,
        session_id: Uuid,
        project_id: &ProjectId,
        owner: CallerHash,
        now: SystemTime,
        until: SystemTime,
    ) -> Result<SessionLease, SlotError> {
        let rules = &self.session_settings;
        let request = SessionRequest {
            session_id,
            project_id: project_id.clone(),
            owner,
            now_ms: epoch_ms(now),
            expires_at_ms: epoch_ms(until),
            concurrency: rules.concurrency,
            daily_sessions: rules.daily_sessions,
        };
        SessionLease::take(self.services.sessions.clone(), request).await
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
        let sessions = &self.services.sessions;
        let ended = sessions.store.end_session(session_id, by, epoch_ms(now));
        ended.await.map_err(|error| sessions.failure(error))
    }

    /// Returns the status of the store, and of each KEK that keys in it need and that is not
    /// configured.
    pub(super) fn statuses(&self) -> impl Iterator<Item = DependencyStatus> + use<> {
        self.services.store.statuses(&self.kek_versions).into_iter()
    }

    /// Returns whether the last read and the last write of the store succeeded; `None` before the
    /// first call.
    #[must_use]
    pub fn is_store_available(&self) -> Option<bool> {
        self.services.store.is_available()
    }
}

/// Names the store at a location; it is opened by the first call.
fn store_at(
    location: StoreLocation,
    identity: Identity,
    entropy: &dyn Entropy,
) -> Result<Arc<dyn ProjectStore>, Fault> {
    match location {
        StoreLocation::Sqlite(path) => match SqliteStore::new(&path) {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(Fault::new(STORE, format!("cannot be used: {error}"))),
        },
        StoreLocation::Blob(url) => {
            let container = Arc::new(azure_container(url, identity));
            Ok(Arc::new(BlobStore::new(container, entropy.uuid())))
        }
    }
}
