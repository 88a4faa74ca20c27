//! LiveKit's settings: the server's address and the pair of key and secret that signs.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::secret::{self, Found};
use super::settings::Reader;
use crate::domain::fields::Rule;

/// Where `livekit-server --dev` listens.
const DEV_SERVER_URL: &str = "ws://localhost:7880";
/// The key and the secret of `livekit-server --dev`, known to everyone.
const DEV_PAIR: (&str, &str) = ("devkey", "secret");
/// HS256 wants a key as long as its hash (RFC 7518 §3.2), and LiveKit's server complains below that.
const MIN_SECRET_BYTES: usize = 32;

const URL: &str = "LIVEKIT_URL";
const KEY: &str = "LIVEKIT_API_KEY";
const SECRET: &str = "LIVEKIT_API_SECRET";

/// The LiveKit server whose tokens are signed.
#[derive(Debug)]
pub struct LiveKit {
    /// As browsers reach it.
    pub server_url: String,
    /// The key's name; it stands in every token as `iss`.
    pub api_key: SecretString,
    /// What signs.
    pub api_secret: SecretString,
}

/// What the settings say about the pair, before the mode is known.
pub enum Pair {
    /// No setting of LiveKit's is there.
    Absent,
    /// LiveKit's own `devkey` and `secret`.
    Dev,
    /// The operator's own, or what there is of it.
    Own {
        /// The key.
        api_key: Option<Found>,
        /// The secret.
        api_secret: Option<Found>,
    },
}

/// Reads the pair.
pub fn pair(reader: &mut Reader<'_>) -> Pair {
    if ![reader.holds(URL), secret::is_set(reader, KEY), secret::is_set(reader, SECRET)].contains(&true) {
        return Pair::Absent;
    }
    let (api_key, api_secret) = (secret::read(reader, KEY), secret::read(reader, SECRET));
    match (&api_key, &api_secret) {
        (Some(key), Some(secret)) if (key.value.expose_secret(), secret.value.expose_secret()) == DEV_PAIR => Pair::Dev,
        _ => Pair::Own { api_key, api_secret },
    }
}

/// Reads the rest and checks the whole. `None` means that a fault was noted.
pub fn read(reader: &mut Reader<'_>, pair: Pair, dev_mode: bool, azure_marker: Option<&str>) -> Option<LiveKit> {
    let server_url = reader.parsed(URL, server_url);
    match pair {
        Pair::Absent | Pair::Dev if dev_mode => {
            let server_url = if reader.holds(URL) { server_url? } else { DEV_SERVER_URL.to_owned() };
            Some(LiveKit { server_url, api_key: DEV_PAIR.0.into(), api_secret: DEV_PAIR.1.into() })
        }
        Pair::Absent => {
            let why = azure_marker
                .map_or("ROOMKEY_BIND is not a loopback address".to_owned(), |marker| format!("{marker} says so: this is Azure"));
            reader.fault(URL, format!("must be set, with {KEY} and {SECRET}: dev mode is off ({why})"));
            None
        }
        Pair::Dev => {
            reader.fault(SECRET, "is LiveKit's public dev secret, which only dev mode may use");
            None
        }
        Pair::Own { api_key, api_secret } => {
            let others = format!("must be set: other settings of LiveKit's are ({URL}, {KEY}, {SECRET} belong together)");
            if !reader.holds(URL) {
                reader.fault(URL, others.clone());
            }
            let api_key = own(reader, KEY, api_key, 1, &others);
            let api_secret = own(reader, SECRET, api_secret, MIN_SECRET_BYTES, &others);
            Some(LiveKit { server_url: server_url?, api_key: api_key?, api_secret: api_secret? })
        }
    }
}

fn own(reader: &mut Reader<'_>, name: &str, found: Option<Found>, min_bytes: usize, others: &str) -> Option<SecretString> {
    match found {
        Some(Found { setting, value }) => match secret::check(&value, min_bytes) {
            Ok(()) => return Some(value),
            Err(rule) => reader.fault(&setting, rule),
        },
        None if secret::is_set(reader, name) => {} // its fault is noted already
        None => reader.fault(name, others.to_owned()),
    }
    None
}

fn server_url(text: &str) -> Result<String, Rule> {
    let plain = |url: &Url| url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    match Url::parse(text) {
        // In its normal form: a parser forgives much that the browsers' clients, which get it as text, may not.
        Ok(url) if matches!(url.scheme(), "ws" | "wss") && url.has_host() && plain(&url) => {
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        _ => Err("must be an address like wss://my-project.livekit.cloud or ws://localhost:7880".into()),
    }
}
