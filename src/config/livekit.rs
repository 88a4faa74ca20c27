//! LiveKit's settings: the server's address and the pair of key and secret that signs.

use secrecy::ExposeSecret;
use url::Url;

use super::key_vault;
use super::reader::SettingsReader;
use super::secret::{self, ConfiguredSecret};
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::network_host::{is_loopback, is_private};
use crate::domain::settings::secrets::{self, PairSource, SecretCheck, SecretName, SecretSource};

/// Where `livekit-server --dev` listens.
const DEV_SERVER_URL: &str = "ws://localhost:7880";
/// The key and the secret of `livekit-server --dev`, known to everyone.
const DEV_PAIR: (&str, &str) = ("devkey", "secret");
/// The names that the pair has in Key Vault where no setting says otherwise.
const DEFAULT_NAMES: (&str, &str) = ("livekit-api-key", "livekit-api-secret");

const URL: &str = "LIVEKIT_URL";
const KEY: &str = "LIVEKIT_API_KEY";
const SECRET: &str = "LIVEKIT_API_SECRET";

/// The LiveKit server whose tokens are signed.
#[derive(Debug)]
pub struct LiveKit {
    /// As browsers reach it.
    pub server_url: String,
    /// The key's name, which stands in every token as `iss`, and the secret, which signs.
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

/// What the settings say about the pair, before the mode is known.
pub enum Pair {
    /// No setting of LiveKit's is there.
    Absent,
    /// LiveKit's own `devkey` and `secret`.
    Dev,
    /// The operator's own, or what there is of it.
    Own {
        /// The key.
        api_key: Option<ConfiguredSecret>,
        /// The secret.
        api_secret: Option<ConfiguredSecret>,
    },
}

/// Whether any setting of LiveKit's is there.
#[must_use]
pub fn is_on(reader: &SettingsReader<'_>) -> bool {
    reader.holds(URL)
        || [KEY, SECRET]
            .into_iter()
            .any(|name| secret::is_set(reader, name))
}

/// Reads the pair.
pub fn pair(reader: &mut SettingsReader<'_>) -> Pair {
    let set = [KEY, SECRET].map(|name| secret::is_set(reader, name));
    match (reader.holds(URL), set) {
        (false, [false, false]) => return Pair::Absent,
        (true, [false, false]) if reader.holds(key_vault::URL) => {
            let [api_key, api_secret] =
                [(KEY, DEFAULT_NAMES.0), (SECRET, DEFAULT_NAMES.1)].map(in_vault);
            return Pair::Own {
                api_key,
                api_secret,
            };
        }
        _ => {}
    }
    let (api_key, api_secret) = (secret::read(reader, KEY), secret::read(reader, SECRET));
    match (&api_key, &api_secret) {
        (
            Some(ConfiguredSecret {
                source: SecretSource::Given(key),
                ..
            }),
            Some(ConfiguredSecret {
                source: SecretSource::Given(secret),
                ..
            }),
        ) if (key.expose_secret(), secret.expose_secret()) == DEV_PAIR => Pair::Dev,
        _ => Pair::Own {
            api_key,
            api_secret,
        },
    }
}

fn in_vault((setting, name): (&str, &str)) -> Option<ConfiguredSecret> {
    SecretName::parse(name).ok().map(|name| ConfiguredSecret {
        setting: setting.to_owned(),
        source: SecretSource::InVault(name),
    })
}

/// Returns whether the settings are those of LiveKit's own dev server on this machine, or none at
/// all.
#[must_use]
pub fn is_dev(reader: &SettingsReader<'_>, pair: &Pair) -> bool {
    match pair {
        Pair::Absent => true,
        // What is no address is a fault of its own.
        Pair::Dev => reader
            .raw(URL)
            .and_then(|text| Url::parse(text).ok())
            .is_none_or(|url| url.host().is_some_and(|host| is_loopback(&host))),
        Pair::Own { .. } => false,
    }
}

/// Reads the rest and checks the whole. `only_provider` says why LiveKit's settings cannot be left
/// out. `None`: they are, or a fault was noted.
pub fn read(
    reader: &mut SettingsReader<'_>,
    pair: Pair,
    dev_mode: bool,
    only_provider: Option<&str>,
) -> Option<LiveKit> {
    let server_url = reader.parsed(URL, server_url);
    match pair {
        Pair::Absent | Pair::Dev if dev_mode => {
            let server_url = if reader.holds(URL) {
                server_url?
            } else {
                DEV_SERVER_URL.to_owned()
            };
            Some(LiveKit {
                server_url,
                pair: PairSource::Given(DEV_PAIR.0.into(), DEV_PAIR.1.into()),
            })
        }
        Pair::Absent => {
            let why = only_provider?;
            reader.fault(
                URL,
                format!("must be set, with {KEY} and {SECRET}: dev mode is off ({why})"),
            );
            None
        }
        Pair::Dev => {
            reader.fault(
                SECRET,
                format!(
                    "is LiveKit's public dev secret, which only dev mode on a loopback {URL} may use; set the secret of a key of your own"
                ),
            );
            None
        }
        Pair::Own {
            api_key,
            api_secret,
        } => {
            let others = format!(
                "must be set: other settings of LiveKit's are ({URL}, {KEY}, {SECRET} belong together)"
            );
            if !reader.holds(URL) {
                reader.fault(URL, others.clone());
            }
            let api_key = own(reader, KEY, api_key, secrets::livekit_key, &others);
            let api_secret = own(reader, SECRET, api_secret, secrets::livekit_secret, &others);
            let pair = match (api_key?, api_secret?) {
                (SecretSource::Given(key), SecretSource::Given(secret)) => {
                    PairSource::Given(key, secret)
                }
                (SecretSource::InVault(key), SecretSource::InVault(secret)) => {
                    PairSource::InVault(key, secret)
                }
                (SecretSource::Given(_), SecretSource::InVault(_)) => {
                    return in_two_places(reader, KEY, SECRET);
                }
                (SecretSource::InVault(_), SecretSource::Given(_)) => {
                    return in_two_places(reader, SECRET, KEY);
                }
            };
            Some(LiveKit {
                server_url: server_url?,
                pair,
            })
        }
    }
}

/// A half that is given stays until a restart, so that a rotation of the other would break the
/// pair.
fn in_two_places(reader: &mut SettingsReader<'_>, given: &str, in_vault: &str) -> Option<LiveKit> {
    reader.fault(
        given,
        format!("must stand where {in_vault} does, in Key Vault: the two change together"),
    );
    None
}

fn own(
    reader: &mut SettingsReader<'_>,
    name: &str,
    found: Option<ConfiguredSecret>,
    check: SecretCheck,
    others: &str,
) -> Option<SecretSource> {
    match found {
        Some(ConfiguredSecret {
            source: SecretSource::InVault(name),
            ..
        }) => return Some(SecretSource::InVault(name)),
        Some(ConfiguredSecret {
            setting,
            source: SecretSource::Given(value),
        }) => match check(&value) {
            Ok(()) => return Some(SecretSource::Given(value)),
            Err(rule) => reader.fault(&setting, rule),
        },
        None if secret::is_set(reader, name) => {} // its fault is noted already
        None => reader.fault(name, others.to_owned()),
    }
    None
}

/// Reads the server's address and brings it into its normal form: a parser forgives much that the
/// browsers' clients, which get it as text, may not.
fn server_url(text: &str) -> Result<String, Requirement> {
    const EXAMPLES: &str = "like wss://my-project.livekit.cloud or ws://localhost:7880";
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("https:") || lower.starts_with("http:") {
        return Err(format!(
            "must begin with wss:// in place of https://, or ws:// in place of http://, {EXAMPLES}"
        )
        .into());
    }
    let Some(url) = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "ws" | "wss") && url.has_host())
    else {
        return Err(
            format!("must be an address that begins with wss:// or ws://, {EXAMPLES}").into(),
        );
    };
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(format!("must not hold a user, a password, a query or a fragment; it must be an address {EXAMPLES}").into());
    }
    let path = url.path().trim_end_matches('/');
    let of_clients = path
        .split('/')
        .skip(1)
        .find(|segment| matches!(*segment, "rtc" | "twirp" | ""));
    if of_clients.is_some() {
        return Err(
            format!("must not hold /rtc, /twirp or a second //, since clients add such paths; it must be an address {EXAMPLES}").into()
        );
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
