//! Key Vault's settings: its address, how often it is read, and who asks.

use std::time::Duration;

use uuid::Uuid;

use super::reader::SettingsReader;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::azure::{Identity, VaultUrl};

/// The vault's address; other settings are checked against its presence.
pub const URL: &str = "KEY_VAULT_URL";
const REFRESH: &str = "ROOMKEY_SECRET_REFRESH_SECONDS";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
/// Set by App Service and Functions where the app has an identity. Its value is read by the client
/// library.
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";

/// Microsoft asks readers to keep values for hours; a rotation should not take that long.
const DEFAULT_REFRESH: Duration = Duration::from_mins(10);
/// Below this each instance would be a burden on the vault, whose limits all its readers share.
const MIN_REFRESH_SECONDS: u64 = 30;
/// A day, after which a rotated key should be gone everywhere.
const MAX_REFRESH_SECONDS: u64 = 86_400;

/// The vault and when to read it.
#[derive(Debug, Clone)]
pub struct KeyVault {
    /// Where it is.
    pub url: VaultUrl,
    /// Time between two reads of which nobody is in need.
    pub refresh: Duration,
}

/// Reads the vault's settings. `None` where there is no vault, or a fault was noted.
pub fn read(reader: &mut SettingsReader<'_>) -> Option<KeyVault> {
    if !reader.holds(URL) && reader.holds(REFRESH) {
        reader.fault(REFRESH, format!("has no effect without {URL}"));
    }
    let refresh = reader.parsed_or(REFRESH, DEFAULT_REFRESH, refresh);
    let url = reader.parsed(URL, VaultUrl::parse);
    Some(KeyVault {
        url: url?,
        refresh: refresh?,
    })
}

/// Reads who asks Entra ID for tokens: whoever names an identity wants that one, wherever this
/// runs. A client id that is wrong is noted and left out.
pub fn identity(reader: &mut SettingsReader<'_>, in_azure: bool) -> Identity {
    let client_id = reader.parsed(CLIENT_ID, client_id);
    if in_azure || client_id.is_some() || reader.holds(IDENTITY_ENDPOINT) {
        Identity::Managed(client_id)
    } else {
        Identity::Developer
    }
}

fn refresh(text: &str) -> Result<Duration, Requirement> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (MIN_REFRESH_SECONDS..=MAX_REFRESH_SECONDS).contains(seconds));
    let seconds = seconds.filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    seconds.map(Duration::from_secs).ok_or(
        format!("must be whole seconds, {MIN_REFRESH_SECONDS} to {MAX_REFRESH_SECONDS}").into(),
    )
}

fn client_id(text: &str) -> Result<Uuid, Requirement> {
    Uuid::try_parse(text)
        .ok()
        .filter(|id| id.hyphenated().to_string().eq_ignore_ascii_case(text))
        .ok_or("must be the client id of a user-assigned identity, like 11111111-2222-3333-4444-555555555555".into())
}
