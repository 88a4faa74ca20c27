//! The settings of TURN credentials: Cloudflare's service, or the operator's own servers with a
//! shared secret.

use super::reader::SettingsReader;
use super::secret;
use crate::domain::settings::secrets::{self, SecretSource};
use crate::domain::turn::cloudflare::{CloudflareEndpoint, TurnKeyId};
use crate::domain::turn::ice_url::IceUrls;
use crate::domain::turn::lifetime::TurnLifetime;

const KEY_ID: &str = "CLOUDFLARE_TURN_KEY_ID";
const API_TOKEN: &str = "CLOUDFLARE_TURN_API_TOKEN";
const BASE_URL: &str = "CLOUDFLARE_TURN_BASE_URL";
const URLS: &str = "ROOMKEY_TURN_URLS";
const SECRET: &str = "ROOMKEY_TURN_SECRET";
const SECONDS: &str = "ROOMKEY_TURN_SECONDS";

/// The provider of TURN credentials and their lifetime.
#[derive(Debug)]
pub struct TurnSettings {
    /// The lifetime of the credentials.
    pub lifetime: TurnLifetime,
    /// The provider of the TURN servers.
    pub server: TurnServer,
}

/// The provider of TURN servers, with its settings.
#[derive(Debug)]
pub enum TurnServer {
    /// Servers of the operator's own, such as coturn.
    SharedSecret {
        /// The URLs of the TURN servers, and of STUN servers if any.
        urls: IceUrls,
        /// The secret that the servers share with this service.
        secret: SecretSource,
    },
    /// Cloudflare's service, which mints the credentials.
    Cloudflare {
        /// The base address of its API.
        endpoint: CloudflareEndpoint,
        /// The id of the TURN key.
        key_id: TurnKeyId,
        /// The API token of the TURN key.
        api_token: SecretSource,
    },
}

/// Returns whether a setting of TURN servers is present, valid or not.
#[must_use]
pub fn is_on(reader: &SettingsReader<'_>) -> bool {
    cloudflare_setting(reader).is_some() || shared_secret_setting(reader).is_some()
}

/// Reads the settings. `None` means that TURN is not configured, or that a fault was recorded.
pub fn read(reader: &mut SettingsReader<'_>) -> Option<TurnSettings> {
    let lifetime = reader.parsed_or(SECONDS, TurnLifetime::default(), TurnLifetime::parse);
    let server = match (cloudflare_setting(reader), shared_secret_setting(reader)) {
        (None, None) => {
            if reader.is_set(SECONDS) {
                reader.fault(SECONDS, format!("has no effect without {KEY_ID} or {URLS}"));
            }
            return None;
        }
        (Some(cloudflare), Some(own)) => {
            reader.fault(
                cloudflare,
                format!(
                    "cannot be combined with {own}; remove one of them: credentials come from \
                     Cloudflare or from your own servers"
                ),
            );
            let _ = (read_cloudflare(reader), read_shared_secret(reader));
            return None;
        }
        (Some(_), None) => read_cloudflare(reader),
        (None, Some(_)) => read_shared_secret(reader),
    };
    Some(TurnSettings {
        lifetime: lifetime?,
        server: server?,
    })
}

impl TurnSettings {
    /// Returns the source of Cloudflare's API token and the source of the shared secret. Exactly
    /// one of them is present.
    #[must_use]
    pub fn secrets(&self) -> (Option<SecretSource>, Option<SecretSource>) {
        match &self.server {
            TurnServer::SharedSecret { secret, .. } => (None, Some(secret.clone())),
            TurnServer::Cloudflare { api_token, .. } => (Some(api_token.clone()), None),
        }
    }

    /// Returns the description for `--check`.
    #[must_use]
    pub fn summary(&self) -> String {
        let seconds = self.lifetime.seconds();
        match &self.server {
            TurnServer::SharedSecret { urls, .. } => {
                format!("{urls} by shared secret, for {seconds} s")
            }
            TurnServer::Cloudflare { endpoint, .. } => format!("{endpoint}, for {seconds} s"),
        }
    }
}

fn cloudflare_setting(reader: &SettingsReader<'_>) -> Option<&'static str> {
    let plain = [KEY_ID, BASE_URL];
    plain
        .into_iter()
        .find(|name| reader.is_set(name))
        .or_else(|| reader.is_secret_set(API_TOKEN).then_some(API_TOKEN))
}

fn shared_secret_setting(reader: &SettingsReader<'_>) -> Option<&'static str> {
    reader
        .is_set(URLS)
        .then_some(URLS)
        .or_else(|| reader.is_secret_set(SECRET).then_some(SECRET))
}

fn read_cloudflare(reader: &mut SettingsReader<'_>) -> Option<TurnServer> {
    if !reader.is_set(KEY_ID) {
        reader.fault(
            KEY_ID,
            "must be set: other settings of Cloudflare's TURN service are",
        );
    }
    if !reader.is_secret_set(API_TOKEN) {
        reader.fault(
            API_TOKEN,
            "must be set to the token of the TURN key, which Cloudflare shows once with its id; a \
             token or key of the account opens far more",
        );
    }
    let key_id = reader.parsed(KEY_ID, TurnKeyId::parse);
    let api_token = secret::read_checked(reader, API_TOKEN, secrets::api_key);
    let endpoint = if reader.is_set(BASE_URL) {
        reader.parsed(BASE_URL, CloudflareEndpoint::parse)
    } else {
        CloudflareEndpoint::parse(CloudflareEndpoint::CLOUDFLARE).ok()
    };
    Some(TurnServer::Cloudflare {
        endpoint: endpoint?,
        key_id: key_id?,
        api_token: api_token?,
    })
}

fn read_shared_secret(reader: &mut SettingsReader<'_>) -> Option<TurnServer> {
    if !reader.is_set(URLS) {
        reader.fault(
            URLS,
            format!("must be set: {SECRET} is, and the two belong together"),
        );
    }
    if !reader.is_secret_set(SECRET) {
        reader.fault(
            SECRET,
            format!("must be set: {URLS} is, and the two belong together"),
        );
    }
    let urls = reader.parsed(URLS, IceUrls::parse);
    let secret = secret::read_checked(reader, SECRET, secrets::turn_secret);
    Some(TurnServer::SharedSecret {
        urls: urls?,
        secret: secret?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reader::read_settings;

    const COTURN: [(&str, &str); 2] = [
        (URLS, "turn:turn.example.com:3478"),
        (SECRET, "canary-turn-secret-of-at-least-32-bytes"),
    ];
    const CLOUDFLARE: [(&str, &str); 2] = [
        (KEY_ID, "0123456789abcdef0123456789abcdef"),
        (API_TOKEN, "canary-turn-token-0123456789"),
    ];

    fn read_all(settings: &[(&str, &str)]) -> (Option<TurnSettings>, Vec<String>) {
        read_settings(settings, read)
    }

    fn with<'a>(all: [(&'a str, &'a str); 2], one: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
        let others = all.into_iter().filter(|(name, _)| *name != one.0);
        others.chain([one]).collect()
    }

    #[test]
    fn each_bad_value_is_refused_by_name_and_not_repeated() {
        for (all, name, values) in [
            (
                COTURN,
                URLS,
                &[
                    "",
                    "canary",
                    "turn://canary",
                    "stun:canary",
                    "turn:canary:53",
                    "turn:canary,,",
                ][..],
            ),
            (
                COTURN,
                SECRET,
                &[
                    "",
                    "canary-of-31-bytes-is-too-short",
                    "changeme-changeme-changeme-changeme",
                    "@Microsoft.KeyVault(SecretUri=https://canary)",
                    "\"canary-turn-secret-of-at-least-32-bytes\"",
                ],
            ),
            (
                COTURN,
                SECONDS,
                &["", "0", "-1", "59", "172801", "1000000000", "1h"],
            ),
            (
                CLOUDFLARE,
                SECONDS,
                &["", "0", "-1", "59", "172801", "1000000000", "1h"],
            ),
            (CLOUDFLARE, KEY_ID, &["", "canary canary", "canary/../x"]),
            (
                CLOUDFLARE,
                API_TOKEN,
                &[
                    "",
                    "canary",
                    "Bearer canary-turn-token-0123456789",
                    "your-canary-token-goes-here",
                ],
            ),
            (
                CLOUDFLARE,
                BASE_URL,
                &[
                    "",
                    "canary",
                    "http://canary.example/v1",
                    "https://canary/v1/turn/keys/k",
                ],
            ),
        ] {
            for value in values {
                let (turn, faults) = read_all(&with(all, (name, value)));
                assert!(turn.is_none(), "{name}={value:?}");
                assert_eq!(faults.len(), 1, "{name}={value:?} {faults:?}");
                assert!(
                    faults[0].starts_with(&format!("{name}: "))
                        && !faults[0].contains("canary")
                        && !faults[0].to_lowercase().contains("warn"),
                    "{faults:?}"
                );
            }
        }
    }

    #[test]
    fn both_providers_at_once_are_a_fault() {
        for settings in [
            [COTURN, CLOUDFLARE].concat(),
            vec![
                COTURN[0],
                COTURN[1],
                CLOUDFLARE[0],
                CLOUDFLARE[1],
                (BASE_URL, "https://h/v1"),
            ],
        ] {
            let (turn, faults) = read_all(&settings);
            assert!(turn.is_none());
            assert_eq!(
                faults,
                [format!(
                    "{KEY_ID}: cannot be combined with {URLS}; remove one of them: credentials come from Cloudflare or from your own servers"
                )]
            );
        }
        let (_, faults) = read_all(&[CLOUDFLARE[1], COTURN[1]]);
        let names: Vec<_> = faults
            .iter()
            .filter_map(|fault| fault.split(':').next())
            .collect();
        assert_eq!(names, [KEY_ID, API_TOKEN, URLS], "all faults at once");
    }

    #[test]
    fn one_setting_asks_for_those_that_it_cannot_do_without() {
        for (settings, missing) in [
            (&[COTURN[0]][..], SECRET),
            (&[COTURN[1]], URLS),
            (&[CLOUDFLARE[0]], API_TOKEN),
            (&[CLOUDFLARE[1]], KEY_ID),
            (&[CLOUDFLARE[0], (BASE_URL, "https://h/v1")], API_TOKEN),
            (&[(SECONDS, "600")], SECONDS),
        ] {
            let (turn, faults) = read_all(settings);
            assert!(turn.is_none());
            assert!(
                faults.len() == 1 && faults[0].starts_with(&format!("{missing}: ")),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn either_provider_is_read_whole() {
        let (turn, faults) = read_all(&with(COTURN, (SECONDS, "60")));
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(
            turn.unwrap().summary(),
            "turn:turn.example.com:3478 by shared secret, for 60 s"
        );
        let (turn, faults) = read_all(&CLOUDFLARE);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(
            turn.unwrap().summary(),
            "https://rtc.live.cloudflare.com/v1, for 3600 s"
        );
        let (turn, faults) = read_all(&[]);
        assert!(turn.is_none() && faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn no_secret_is_printed() {
        for settings in [COTURN, CLOUDFLARE] {
            let (turn, _) = read_all(&settings);
            assert!(!format!("{:?}", turn.unwrap()).contains("canary"));
        }
    }
}
