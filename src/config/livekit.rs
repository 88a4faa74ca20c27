//! The settings of LiveKit: the address of the server, and the API key that signs tokens.

use secrecy::ExposeSecret;
use url::Url;

use super::key_vault;
use super::reader::SettingsReader;
use super::secret::{self, ConfiguredSecret};
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::network_host::{
    has_credentials, has_query_or_fragment, is_loopback, is_private,
};
use crate::domain::settings::secrets::{self, PairSource, SecretCheck, SecretName, SecretSource};

/// The address of `livekit-server --dev`.
const DEV_SERVER_URL: &str = "ws://localhost:7880";
/// The public API key and secret of `livekit-server --dev`.
const DEV_PAIR: (&str, &str) = ("devkey", "secret");
/// The default names of key and secret in Key Vault.
const DEFAULT_NAMES: (&str, &str) = ("livekit-api-key", "livekit-api-secret");

const URL: &str = "LIVEKIT_URL";
const KEY: &str = "LIVEKIT_API_KEY";
const SECRET: &str = "LIVEKIT_API_SECRET";
const MISSING_PART: &str = "must be set, since another setting of LiveKit is; set LIVEKIT_URL, \
                            LIVEKIT_API_KEY and LIVEKIT_API_SECRET together";

const PUBLIC_SECRET: &str = "is LiveKit's public dev secret, which is accepted only in dev mode \
                             with a loopback LIVEKIT_URL; set the secret of your own key";

/// The LiveKit server for which tokens are signed.
#[derive(Debug)]
pub struct LiveKit {
    /// The address for browsers.
    pub server_url: String,
    /// The API key, which is the issuer of every token, and the secret that signs.
    pub pair: PairSource,
}

impl LiveKit {
    /// Returns whether browsers send tokens to this server over the public Internet without
    /// encryption.
    #[must_use]
    pub fn is_unencrypted_in_public(&self) -> bool {
        Url::parse(&self.server_url).is_ok_and(|url| {
            url.scheme() == "ws" && url.host().is_some_and(|host| !is_private(&host))
        })
    }
}

/// The API key and secret, as far as they are configured.
pub enum KeyPair {
    /// No setting of LiveKit is present.
    Absent,
    /// LiveKit's public `devkey` and `secret`.
    Dev,
    /// The operator's own, possibly incomplete.
    Own {
        /// The key.
        api_key: Option<ConfiguredSecret>,
        /// The secret.
        api_secret: Option<ConfiguredSecret>,
    },
}

/// Returns whether any setting of LiveKit is present.
#[must_use]
pub fn is_on(reader: &SettingsReader<'_>) -> bool {
    reader.is_set(URL) || [KEY, SECRET].iter().any(|name| reader.is_secret_set(name))
}

/// Reads the API key and secret.
pub fn read_key_pair(reader: &mut SettingsReader<'_>) -> KeyPair {
    if !is_on(reader) {
        return KeyPair::Absent;
    }
    let has_pair = [KEY, SECRET].iter().any(|name| reader.is_secret_set(name));
    if !has_pair && reader.is_set(key_vault::URL) {
        return KeyPair::Own {
            api_key: in_vault(KEY, DEFAULT_NAMES.0),
            api_secret: in_vault(SECRET, DEFAULT_NAMES.1),
        };
    }
    let (api_key, api_secret) = (secret::read(reader, KEY), secret::read(reader, SECRET));
    let values = given_value(api_key.as_ref()).zip(given_value(api_secret.as_ref()));
    if values == Some(DEV_PAIR) {
        KeyPair::Dev
    } else {
        KeyPair::Own {
            api_key,
            api_secret,
        }
    }
}

fn in_vault(setting: &str, name: &str) -> Option<ConfiguredSecret> {
    SecretName::parse(name).ok().map(|name| ConfiguredSecret {
        setting: setting.to_owned(),
        source: SecretSource::InVault(name),
    })
}

fn given_value(secret: Option<&ConfiguredSecret>) -> Option<&str> {
    match &secret?.source {
        SecretSource::Given(value) => Some(value.expose_secret()),
        SecretSource::InVault(_) => None,
    }
}

/// Returns whether the settings are those of LiveKit's own dev server on this machine, or absent.
#[must_use]
pub fn is_dev_server(reader: &SettingsReader<'_>, pair: &KeyPair) -> bool {
    match pair {
        KeyPair::Absent => true,
        // An invalid address is a fault of its own.
        KeyPair::Dev => reader
            .unchecked(URL)
            .and_then(|text| Url::parse(text).ok())
            .is_none_or(|url| url.host().is_some_and(|host| is_loopback(&host))),
        KeyPair::Own { .. } => false,
    }
}

/// Reads the server's settings. `required_because` tells why LiveKit must be configured, if it
/// must. `None` means that LiveKit is not configured, or that a fault was recorded.
pub fn read(
    reader: &mut SettingsReader<'_>,
    pair: KeyPair,
    dev_mode: bool,
    required_because: Option<&str>,
) -> Option<LiveKit> {
    let server_url = reader.parsed(URL, server_url);
    let (api_key, api_secret) = match pair {
        KeyPair::Own {
            api_key,
            api_secret,
        } => (api_key, api_secret),
        KeyPair::Absent | KeyPair::Dev if dev_mode => {
            let default = (!reader.is_set(URL)).then(|| DEV_SERVER_URL.to_owned());
            return Some(LiveKit {
                server_url: server_url.or(default)?,
                pair: PairSource::Given(DEV_PAIR.0.into(), DEV_PAIR.1.into()),
            });
        }
        KeyPair::Absent => {
            let reason = required_because?;
            reader.fault(
                URL,
                format!("must be set, with {KEY} and {SECRET}: dev mode is off ({reason})"),
            );
            return None;
        }
        KeyPair::Dev => {
            reader.fault(SECRET, PUBLIC_SECRET);
            return None;
        }
    };
    if !reader.is_set(URL) {
        reader.fault(URL, MISSING_PART);
    }
    let api_key = own_secret(reader, KEY, api_key, secrets::livekit_key);
    let api_secret = own_secret(reader, SECRET, api_secret, secrets::livekit_secret);
    let pair = own_pair(reader, api_key?, api_secret?)?;
    Some(LiveKit {
        server_url: server_url?,
        pair,
    })
}

/// Checks the value of a secret, or records a fault where it is missing.
fn own_secret(
    reader: &mut SettingsReader<'_>,
    name: &str,
    secret: Option<ConfiguredSecret>,
    check: SecretCheck,
) -> Option<SecretSource> {
    let Some(ConfiguredSecret { setting, source }) = secret else {
        // A secret that is set but was not read has a fault already.
        if !reader.is_secret_set(name) {
            reader.fault(name, MISSING_PART);
        }
        return None;
    };
    if let SecretSource::Given(value) = &source
        && let Err(requirement) = check(value)
    {
        reader.fault(&setting, requirement);
        return None;
    }
    Some(source)
}

/// Joins key and secret, which must come from the same place: a value from the settings stays until
/// a restart, so that a rotation of the other in Key Vault would break the pair.
fn own_pair(
    reader: &mut SettingsReader<'_>,
    api_key: SecretSource,
    api_secret: SecretSource,
) -> Option<PairSource> {
    let (given, in_vault) = match (api_key, api_secret) {
        (SecretSource::Given(key), SecretSource::Given(secret)) => {
            return Some(PairSource::Given(key, secret));
        }
        (SecretSource::InVault(key), SecretSource::InVault(secret)) => {
            return Some(PairSource::InVault(key, secret));
        }
        (SecretSource::Given(_), SecretSource::InVault(_)) => (KEY, SECRET),
        (SecretSource::InVault(_), SecretSource::Given(_)) => (SECRET, KEY),
    };
    reader.fault(
        given,
        format!("must be in Key Vault as {in_vault} is: the two are rotated together"),
    );
    None
}

/// Parses the server's address into its normal form. Browser clients get it as text and accept
/// less than the parser does.
fn server_url(text: &str) -> Result<String, Requirement> {
    const EXAMPLES: &str = "like wss://my-project.livekit.cloud or ws://localhost:7880";
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("https:") || lower.starts_with("http:") {
        return Err(format!(
            "must begin with wss:// in place of https://, or ws:// in place of http://, {EXAMPLES}"
        )
        .into());
    }
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "ws" | "wss") && url.has_host())
        .ok_or_else(|| {
            format!("must be an address that begins with wss:// or ws://, {EXAMPLES}")
        })?;
    if has_credentials(&url) || has_query_or_fragment(&url) {
        return Err(format!(
            "must not contain a user, a password, a query or a fragment; it must be an address \
             {EXAMPLES}"
        )
        .into());
    }
    let path = url.path().trim_end_matches('/');
    let is_added_by_clients = |segment: &str| matches!(segment, "rtc" | "twirp" | "");
    if path.split('/').skip(1).any(is_added_by_clients) {
        return Err(format!(
            "must not contain /rtc, /twirp or a second //, since clients add such paths; it must \
             be an address {EXAMPLES}"
        )
        .into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
