//! The keys that open the store: the key-encryption keys, and the key that hashes.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use thiserror::Error;

use super::local_keys::{LocalKeyError, LocalKeys};
use crate::app::secrets::Secrets;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKey, KeyEncryptionKeys};
use crate::entropy::Entropy;
use crate::upstream::slot::Slot;

/// The reason that the store cannot be opened.
#[derive(Debug, Error)]
pub enum VaultKeyError {
    /// The key that hashes has not been read from Key Vault yet.
    #[error("The key that hashes callers is not available.")]
    NoHashKey,
    /// The keys of dev mode cannot be read or created.
    #[error(transparent)]
    LocalKeys(#[from] LocalKeyError),
}

/// The source of the keys.
pub(super) enum VaultKeySource {
    /// The operator's settings.
    Settings {
        keks: Vec<(KekVersion, Arc<Slot<KeyEncryptionKey>>)>,
        hash_key: Arc<Slot<HashKey>>,
    },
    /// A file of dev mode.
    File(LocalKeys),
}

impl VaultKeySource {
    pub(super) fn of_settings(secrets: &Secrets) -> Self {
        Self::Settings {
            keks: secrets.keks.clone(),
            hash_key: Arc::clone(&secrets.hash_key),
        }
    }

    /// Reads the file, whose key hashes callers too from now on.
    pub(super) fn of_file(path: PathBuf, secrets: &Secrets, entropy: &dyn Entropy) -> Self {
        let hash_key = Arc::clone(&secrets.hash_key);
        Self::File(LocalKeys::new(path, entropy, hash_key))
    }

    /// Returns the keys that are known now, and waits for their first fetch. A KEK that is missing
    /// is left out: what is sealed under others opens without it.
    pub(super) async fn current(&self) -> Result<(KeyEncryptionKeys, Arc<HashKey>), VaultKeyError> {
        match self {
            Self::Settings { keks, hash_key } => {
                let hash_key = hash_key.fetched_value().await;
                let fetched = keks.iter().map(async |(version, slot)| {
                    slot.fetched_value().await.map(|kek| (*version, kek))
                });
                let keks = join_all(fetched).await.into_iter().flatten().collect();
                Ok((keks, hash_key.ok_or(VaultKeyError::NoHashKey)?))
            }
            Self::File(local) => {
                let (keks, hash_key) = local.current().await?;
                Ok((keks, hash_key.ok_or(VaultKeyError::NoHashKey)?))
            }
        }
    }
}
