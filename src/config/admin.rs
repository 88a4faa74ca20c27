//! The keys of operators.

use super::reader::SettingsReader;
use super::secret::{self, ConfiguredSecret};
use crate::domain::callers::admin_key::AdminKeys;
use crate::domain::settings::secrets::{self, SecretName, SecretSource};

/// The setting with the operators' keys. It ends dev mode.
pub const KEYS: &str = "ROOMKEY_ADMIN_KEYS";

/// Tells where the operators' keys are.
#[derive(Debug, Clone)]
pub enum AdminKeySource {
    /// The keys from the settings. An empty list accepts no key.
    Given(AdminKeys),
    /// The name of the secret in Key Vault.
    InVault(SecretName),
}

/// Reads the keys. Invalid keys are recorded as a fault.
pub fn read(reader: &mut SettingsReader<'_>) -> AdminKeySource {
    let Some(ConfiguredSecret { setting, source }) = secret::read(reader, KEYS) else {
        return AdminKeySource::Given(AdminKeys::default());
    };
    match source {
        SecretSource::InVault(name) => AdminKeySource::InVault(name),
        SecretSource::Given(value) => {
            AdminKeySource::Given(secrets::admin_keys(&value).unwrap_or_else(|requirement| {
                reader.fault(&setting, requirement);
                AdminKeys::default()
            }))
        }
    }
}
