//! The settings of Key Vault, and the identity that reads it.

use std::time::Duration;

use uuid::Uuid;

use super::number::seconds;
use super::reader::SettingsReader;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::azure::{Identity, VaultUrl};

/// The address of the vault. Other settings require it.
pub const URL: &str = "KEY_VAULT_URL";
const REFRESH: &str = "ROOMKEY_SECRET_REFRESH_SECONDS";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
/// Set by App Service and Functions where the app has an identity. The client library reads its
/// value.
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";

/// Microsoft advises to cache values for hours, but a rotation should not take that long.
const DEFAULT_REFRESH: Duration = Duration::from_mins(10);
/// More frequent reads of many instances would exceed the vault's limits, which all its readers
/// share.
const MIN_REFRESH_SECONDS: u64 = 30;
/// A rotated key should be replaced everywhere within a day.
const MAX_REFRESH_SECONDS: u64 = 86_400;

/// The vault and how often it is read.
#[derive(Debug, Clone)]
pub struct KeyVault {
    /// The address of the vault.
    pub url: VaultUrl,
    /// The time between two regular reads.
    pub refresh: Duration,
}

/// Reads the settings of the vault. `None` means that there is no vault, or that a fault was
/// recorded.
pub fn read(reader: &mut SettingsReader<'_>) -> Option<KeyVault> {
    if !reader.is_set(URL) && reader.is_set(REFRESH) {
        reader.fault(REFRESH, format!("has no effect without {URL}"));
    }
    let refresh = reader.parsed_or(REFRESH, DEFAULT_REFRESH, |text| {
        seconds(text, MIN_REFRESH_SECONDS..=MAX_REFRESH_SECONDS)
    });
    let url = reader.parsed(URL, VaultUrl::parse);
    Some(KeyVault {
        url: url?,
        refresh: refresh?,
    })
}

/// Reads the identity that requests tokens from Entra ID. A client id selects a managed identity
/// wherever the process runs. A wrong client id is recorded as a fault.
pub fn read_identity(reader: &mut SettingsReader<'_>, in_azure: bool) -> Identity {
    let client_id = reader.parsed(CLIENT_ID, client_id);
    if in_azure || client_id.is_some() || reader.is_set(IDENTITY_ENDPOINT) {
        Identity::Managed(client_id)
    } else {
        Identity::Developer
    }
}

fn client_id(text: &str) -> Result<Uuid, Requirement> {
    Uuid::try_parse(text)
        .ok()
        .filter(|id| id.hyphenated().to_string().eq_ignore_ascii_case(text))
        .ok_or_else(|| {
            "must be the client id of a user-assigned identity, \
             like 11111111-2222-3333-4444-555555555555"
                .into()
        })
}
