//! The errors of a request about a project, which handlers map to API errors.

use thiserror::Error;

use super::vault_keys::VaultKeyError;
use crate::domain::vault::changes::ChangeRefused;
use crate::store::store_error::{KeyStoreError, StoreError};

/// An error of a request about a project. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProjectError {
    /// Others write to the project all the time.
    #[error("the project is written to by others")]
    LostRace,
    /// The store does not respond; the cause is for the log.
    #[error("the store does not respond: {0}")]
    StoreUnavailable(&'static str),
    /// The sessions are in another store than the keys, and it does not respond; the cause is for
    /// the log.
    #[error("the store of sessions does not respond: {0}")]
    SessionsUnavailable(&'static str),
    /// The store is damaged, or not this program's; the cause is for the log.
    #[error("the store cannot be used: {0}")]
    StoreUnusable(&'static str),
    /// The rules refuse the change.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// A key-encryption key is missing.
    #[error("a key-encryption key is not available")]
    MissingKek,
    /// The key that hashes is missing.
    #[error("the key that hashes is not available")]
    MissingHashKey,
    /// The stored record does not open.
    #[error("the stored record does not open")]
    RecordCorrupt,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl ProjectError {
    /// Returns whether the store of keys and of the audit log gave no answer, so that it can record
    /// nothing either.
    #[must_use]
    pub fn is_of_store(self) -> bool {
        matches!(
            self,
            Self::LostRace | Self::StoreUnavailable(_) | Self::StoreUnusable(_)
        )
    }
}

impl From<StoreError> for ProjectError {
    fn from(error: StoreError) -> Self {
        let cause = error.cause();
        match error {
            StoreError::LostRace => Self::LostRace,
            StoreError::Unavailable(_) => Self::StoreUnavailable(cause),
            StoreError::RecordCorrupt => Self::RecordCorrupt,
            StoreError::Corrupt | StoreError::NewerSchema | StoreError::Foreign => {
                Self::StoreUnusable(cause)
            }
        }
    }
}

impl From<KeyStoreError> for ProjectError {
    fn from(error: KeyStoreError) -> Self {
        match error {
            KeyStoreError::Store(error) => error.into(),
            KeyStoreError::Refused(refused) => refused.into(),
            KeyStoreError::Kek(_) => Self::MissingKek,
            KeyStoreError::RecordCorrupt => Self::RecordCorrupt,
            KeyStoreError::Crypto => Self::Crypto,
        }
    }
}

impl From<VaultKeyError> for ProjectError {
    fn from(error: VaultKeyError) -> Self {
        match error {
            VaultKeyError::NoHashKey => Self::MissingHashKey,
            VaultKeyError::LocalKeys(_) => Self::StoreUnavailable("local_keys"),
        }
    }
}
