//! The operators' keys.

use super::reader::Reader;
use super::secret::{self, Found};
use crate::domain::callers::admin_key::AdminKeys;
use crate::domain::settings::secrets::{self, SecretName, Source};

/// The operators' keys; they end dev mode.
pub const KEYS: &str = "ROOMKEY_ADMIN_KEYS";

/// Where the operators' keys are.
#[derive(Debug, Clone)]
pub enum AdminKeySource {
    /// With the settings; without any key nobody can show one.
    Given(AdminKeys),
    /// In Key Vault, under this name.
    InVault(SecretName),
}

/// Reads the keys. A fault is noted for what cannot be a key.
pub fn read(reader: &mut Reader<'_>) -> AdminKeySource {
    match secret::read(reader, KEYS) {
        None => AdminKeySource::Given(AdminKeys::default()),
        Some(Found {
            source: Source::InVault(name),
            ..
        }) => AdminKeySource::InVault(name),
        Some(Found {
            setting,
            source: Source::Given(value),
        }) => AdminKeySource::Given(secrets::admin_keys(&value).unwrap_or_else(|rule| {
            reader.fault(&setting, rule);
            AdminKeys::default()
        })),
    }
}
