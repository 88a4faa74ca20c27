//! The health check of the store: a round trip of a sealed probe, under a name that no project can
//! have.

use super::ProjectStore;
use crate::domain::vault::associated_data::Versions;
use crate::domain::vault::envelope::{self, SealRandomness};
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKeys};
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::project_key::ProjectKey;
use crate::store::store_error::{KeyStoreError, StoreError};

/// The text that is sealed in the probe. It is not the key of any project.
const PROBE: &str = "roomkey-health-probe-0123456789";
const VERSIONS: Versions = Versions {
    secret: 1,
    record: 1,
};
/// The number of attempts when another instance removes the probe in the meantime.
const ROUNDS: usize = 3;

/// The result of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultHealth {
    /// A key could be sealed and stored.
    pub encryption: Result<(), KeyStoreError>,
    /// It could be read back and opened.
    pub decryption: Result<(), KeyStoreError>,
    /// It could be removed, also one that an earlier check had left.
    pub deletion: Result<(), StoreError>,
}

impl VaultHealth {
    /// Returns whether every step succeeded.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.encryption.is_ok() && self.decryption.is_ok() && self.deletion.is_ok()
    }
}

/// Seals, stores, reads, opens and removes a probe under the KEK of `kek_version`.
pub async fn check(
    store: &dyn ProjectStore,
    keks: &KeyEncryptionKeys,
    kek_version: KekVersion,
    randomness: &(dyn Fn() -> SealRandomness + Send + Sync),
) -> VaultHealth {
    let mut encryption = Ok(());
    let mut decryption = Ok(false);
    for _ in 0..ROUNDS {
        encryption = put(store, keks, kek_version, &randomness()).await;
        decryption = match encryption {
            Ok(()) => open(store, keks).await,
            Err(error) => Err(error),
        };
        if decryption != Ok(false) {
            break;
        }
    }
    VaultHealth {
        encryption,
        decryption: match decryption {
            Ok(true) => Ok(()),
            Ok(false) => Err(KeyStoreError::RecordCorrupt),
            Err(error) => Err(error),
        },
        deletion: store.delete_probe().await,
    }
}

async fn put(
    store: &dyn ProjectStore,
    keks: &KeyEncryptionKeys,
    kek_version: KekVersion,
    randomness: &SealRandomness,
) -> Result<(), KeyStoreError> {
    let id = ProjectId::health_probe();
    let key = ProjectKey::parse(PROBE).map_err(|_| KeyStoreError::Crypto)?;
    let sealed = envelope::seal(keks, kek_version, &id, VERSIONS, &key, randomness)?;
    Ok(store.put_probe(sealed.to_bytes()).await?)
}

/// Opens the probe. Returns `false` if there is none.
async fn open(store: &dyn ProjectStore, keks: &KeyEncryptionKeys) -> Result<bool, KeyStoreError> {
    let Some(probe) = store.get_probe().await? else {
        return Ok(false);
    };
    envelope::open(keks, &ProjectId::health_probe(), VERSIONS, &probe)?;
    Ok(true)
}
