//! One entry of Key Vault: its name, and the check of its value.

use secrecy::SecretString;

use crate::domain::settings::secrets::{SecretCheck, SecretName};
use crate::upstream::key_vault::{ReadError, SecretVersion, Vault};

/// An entry of the vault.
pub(super) struct VaultEntry {
    /// The name in readiness, log lines and metrics.
    pub(super) name: &'static str,
    secret: SecretName,
    check: SecretCheck,
}

/// A read that returned no usable value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryError {
    /// The name of the entry.
    pub(super) name: &'static str,
    /// The reason.
    pub(super) error: ReadError,
}

impl VaultEntry {
    /// Creates an entry. `secret` is its name in the vault.
    pub(super) fn new(name: &'static str, secret: SecretName, check: SecretCheck) -> Self {
        Self {
            name,
            secret,
            check,
        }
    }

    /// Reads the current version.
    pub(super) async fn read(&self, vault: &impl Vault) -> Result<SecretVersion, EntryError> {
        vault
            .read(&self.secret)
            .await
            .map_err(|error| self.failed(error))
    }

    /// Returns a value that passes the check.
    pub(super) fn checked(&self, value: SecretString) -> Result<SecretString, EntryError> {
        match (self.check)(&value) {
            Ok(()) => Ok(value),
            Err(_) => Err(self.failed(ReadError::Unusable)),
        }
    }

    /// Reports an error of this entry.
    pub(super) fn failed(&self, error: ReadError) -> EntryError {
        EntryError {
            name: self.name,
            error,
        }
    }
}
