//! The operators' keys.

use super::reader::SettingsReader;
use super::secret::{self, ConfiguredSecret};
use crate::domain::callers::admin_key::AdminKeys;
use crate::domain::settings::secrets::{self, SecretName, SecretSource};

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
pub fn read(reader: &mut SettingsReader<'_>) -> AdminKeySource {
    match secret::read(reader, KEYS) {
        None => AdminKeySource::Given(AdminKeys::default()),
        Some(ConfiguredSecret {
            source: SecretSource::InVault(name),
            ..
        }) => AdminKeySource::InVault(name),
        Some(ConfiguredSecret {
            setting,
            source: SecretSource::Given(value),
        }) => AdminKeySource::Given(secrets::admin_keys(&value).unwrap_or_else(|rule| {
            reader.fault(&setting, rule);
            AdminKeys::default()
        })),
    }
}
