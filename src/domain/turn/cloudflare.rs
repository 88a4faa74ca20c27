//! Cloudflare's TURN service: the URL and body of the request for credentials, and the strict
//! parser of the response.
//!
//! # Source
//! <https://developers.cloudflare.com/realtime/turn/generate-credentials/>

use std::fmt;

use serde_json::json;

use super::ice_server::{IceServer, IceServers, TurnCredential};
use super::ice_url::IceUrl;
use super::lifetime::TurnLifetime;
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::realtime::endpoint::parse_address;
use crate::domain::requests::fields::Requirement;
use crate::domain::requests::json::{self, Json, Object};

/// Longest id of a TURN key in bytes; current ones have 32.
const MAX_KEY_ID_BYTES: usize = 64;
/// Longest username or credential in bytes; current ones have 96 and 64.
const MAX_CREDENTIAL_BYTES: usize = 1024;

/// The id of a TURN key: 1 to 64 letters, digits, `-` or `_`, safe in the path of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnKeyId(String);

impl TurnKeyId {
    /// Parses the operator's setting.
    ///
    /// # Errors
    /// The requirement, if the text is not an id.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=MAX_KEY_ID_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be the id of a TURN key, as Cloudflare's dashboard shows it".into())
        }
    }
}

/// The base of Cloudflare's API for media, `https` except on a loopback address, without a slash at
/// its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudflareEndpoint(String);

impl CloudflareEndpoint {
    /// Cloudflare's own API.
    pub const CLOUDFLARE: &str = "https://rtc.live.cloudflare.com/v1";

    /// Parses the base address of the API, or of a compatible one.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let url = parse_address(text, Self::CLOUDFLARE)?;
        let path = url.path();
        if path.contains("//") || path.contains("/turn") {
            return Err(format!(
                "must be the base of the API, like {}; leave out the path of an operation",
                Self::CLOUDFLARE
            )
            .into());
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// Returns the URL that mints credentials of a TURN key.
    #[must_use]
    pub fn mint_url(&self, TurnKeyId(key_id): &TurnKeyId) -> String {
        format!(
            "{}/turn/keys/{key_id}/credentials/generate-ice-servers",
            self.0
        )
    }
}

impl fmt::Display for CloudflareEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Returns the body of a mint. It contains a keyed hash of the caller, so that Cloudflare can count
/// usage by caller but cannot identify anyone.
#[must_use]
pub fn mint_body(lifetime: TurnLifetime, caller: CallerHash) -> Vec<u8> {
    json!({ "ttl": lifetime.seconds(), "customIdentifier": caller.to_string() })
        .to_string()
        .into_bytes()
}

/// The reason why a response cannot be used. The text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusableIceServers {
    /// It is not one strict JSON object.
    Json,
    /// Its `iceServers` is missing, or contains something other than servers.
    Servers,
    /// A TURN server has no username and credential that a browser can use.
    Credential,
    /// It contains no TURN server that a browser can use.
    NoTurn,
}

impl UnusableIceServers {
    /// Returns one fixed text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "the upstream's answer is not JSON",
            Self::Servers => "the upstream's answer has no list of ICE servers",
            Self::Credential => "the upstream's answer has a TURN server without credentials",
            Self::NoTurn => "the upstream's answer has no TURN server that a browser can use",
        }
    }
}

impl fmt::Display for UnusableIceServers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl std::error::Error for UnusableIceServers {}

/// Parses the body of a successful response: `iceServers` as a list, or as the single object of the
/// older operation. Every URL is kept in its order, except those that a browser cannot use.
///
/// # Errors
/// [`UnusableIceServers`] if a browser could not use a TURN server of it.
///
/// ```
/// use roomkey::domain::turn::cloudflare::parse_answer;
///
/// let answer = br#"{ "iceServers": [
///     { "urls": ["stun:stun.cloudflare.com:3478", "stun:stun.cloudflare.com:53"] },
///     { "urls": ["turn:turn.cloudflare.com:3478?transport=udp"], "username": "u", "credential": "c" }
/// ] }"#; let servers = parse_answer(answer)?;
/// assert_eq!(servers.turn_server().unwrap().to_string(),
/// "turn:turn.cloudflare.com:3478?transport=udp");
///
/// let stun_alone = br#"{ "iceServers": [{ "urls": "stun:stun.cloudflare.com:3478" }] }"#;
/// assert!(parse_answer(stun_alone).is_err());
/// # Ok::<(), roomkey::domain::turn::cloudflare::UnusableIceServers>(())
/// ```
pub fn parse_answer(body: &[u8]) -> Result<IceServers, UnusableIceServers> {
    let members = json::parse_object(body).map_err(|_| UnusableIceServers::Json)?;
    let mut servers = match members.get("iceServers") {
        Some(Json::Array(items)) => items
            .iter()
            .map(|item| match item {
                Json::Object(server) => ice_server(server),
                _ => Err(UnusableIceServers::Servers),
            })
            .collect::<Result<Vec<_>, _>>()?,
        Some(Json::Object(server)) => vec![ice_server(server)?],
        _ => return Err(UnusableIceServers::Servers),
    };
    servers.retain(|server| !server.urls.is_empty());
    IceServers::new(servers).ok_or(UnusableIceServers::NoTurn)
}

/// Parses one server. URLs that a browser cannot use are left out, so the list may be empty.
fn ice_server(server: &Object<'_>) -> Result<IceServer, UnusableIceServers> {
    let texts = match server.get("urls") {
        Some(Json::Text(text)) => vec![text.as_ref()],
        Some(Json::Array(items)) => items
            .iter()
            .map(|item| match item {
                Json::Text(text) => Ok(text.as_ref()),
                _ => Err(UnusableIceServers::Servers),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(UnusableIceServers::Servers),
    };
    let urls: Vec<_> = texts
        .into_iter()
        .filter_map(|text| IceUrl::parse(text).ok())
        .filter(IceUrl::is_usable_in_browsers)
        .collect();
    let credential = if urls.iter().any(IceUrl::is_turn) {
        Some(TurnCredential {
            username: visible_text(server, "username")?,
            credential: visible_text(server, "credential")?.into(),
        })
    } else {
        None
    };
    Ok(IceServer { urls, credential })
}

fn visible_text(server: &Object<'_>, name: &str) -> Result<String, UnusableIceServers> {
    match server.get(name) {
        Some(Json::Text(text))
            if (1..=MAX_CREDENTIAL_BYTES).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(text.as_ref().to_owned())
        }
        _ => Err(UnusableIceServers::Credential),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::domain::callers::caller_hash::HashKey;

    fn parse(answer: &Value) -> Result<Value, UnusableIceServers> {
        parse_answer(answer.to_string().as_bytes())
            .map(|servers| serde_json::to_value(&servers).unwrap())
    }

    fn turn(urls: &[&str]) -> Value {
        json!({ "urls": urls, "username": "canary-user", "credential": "canary-credential" })
    }

    /// As the vendor's documentation shows it.
    fn documented() -> Value {
        json!({ "iceServers": [
            { "urls": ["stun:stun.cloudflare.com:3478", "stun:stun.cloudflare.com:53"] },
            turn(&[
                "turn:turn.cloudflare.com:3478?transport=udp",
                "turn:turn.cloudflare.com:53?transport=udp",
                "turn:turn.cloudflare.com:3478?transport=tcp",
                "turn:turn.cloudflare.com:80?transport=tcp",
                "turns:turn.cloudflare.com:5349?transport=tcp",
                "turns:turn.cloudflare.com:443?transport=tcp",
            ]),
        ] })
    }

    #[test]
    fn the_documented_answer_is_kept_without_what_browsers_cannot_use() {
        assert_eq!(
            parse(&documented()).unwrap(),
            json!([
                { "urls": ["stun:stun.cloudflare.com:3478"] },
                turn(&[
                    "turn:turn.cloudflare.com:3478?transport=udp",
                    "turn:turn.cloudflare.com:3478?transport=tcp",
                    "turn:turn.cloudflare.com:80?transport=tcp",
                    "turns:turn.cloudflare.com:5349?transport=tcp",
                    "turns:turn.cloudflare.com:443?transport=tcp",
                ]),
            ])
        );
    }

    #[test]
    fn the_answer_of_the_older_operation_is_read_too() {
        let server =
            json!({ "urls": "turn:t:3478", "username": "u", "credential": "c", "ttl": 60 });
        assert_eq!(
            parse(&json!({ "iceServers": server })).unwrap(),
            json!([{ "urls": ["turn:t:3478"], "username": "u", "credential": "c" }])
        );
    }

    #[test]
    fn an_answer_that_opens_no_relay_is_unusable() {
        let login = |username: Value, credential: Value| {
            json!({ "iceServers": [
                { "urls": ["stun:s"] },
                { "urls": ["turn:t"], "username": username, "credential": credential },
            ] })
        };
        let long = "x".repeat(MAX_CREDENTIAL_BYTES + 1);
        for (answer, why) in [
            (json!({}), UnusableIceServers::Servers),
            (json!({ "iceServers": null }), UnusableIceServers::Servers),
            (
                json!({ "iceServers": "turn:t" }),
                UnusableIceServers::Servers,
            ),
            (
                json!({ "iceServers": ["turn:t"] }),
                UnusableIceServers::Servers,
            ),
            (json!({ "iceServers": [{}] }), UnusableIceServers::Servers),
            (
                json!({ "iceServers": [{ "urls": 7 }] }),
                UnusableIceServers::Servers,
            ),
            (
                json!({ "iceServers": [{ "urls": [7] }] }),
                UnusableIceServers::Servers,
            ),
            (json!({ "iceServers": [] }), UnusableIceServers::NoTurn),
            (
                json!({ "iceServers": [{ "urls": [] }] }),
                UnusableIceServers::NoTurn,
            ),
            (
                json!({ "iceServers": [{ "urls": ["stun:s:3478"] }] }),
                UnusableIceServers::NoTurn,
            ),
            (
                json!({ "iceServers": [turn(&["turn:t:53"])] }),
                UnusableIceServers::NoTurn,
            ),
            (
                json!({ "iceServers": [turn(&["canary:t", "turn://t"])] }),
                UnusableIceServers::NoTurn,
            ),
            (
                json!({ "iceServers": [{ "urls": ["turn:t"] }] }),
                UnusableIceServers::Credential,
            ),
            (
                login(json!("u"), Value::Null),
                UnusableIceServers::Credential,
            ),
            (login(json!(7), json!("c")), UnusableIceServers::Credential),
            (login(json!(""), json!("c")), UnusableIceServers::Credential),
            (
                login(json!("u"), json!("a b")),
                UnusableIceServers::Credential,
            ),
            (
                login(json!("u\n"), json!("c")),
                UnusableIceServers::Credential,
            ),
            (
                login(json!("u"), json!(long)),
                UnusableIceServers::Credential,
            ),
        ] {
            assert_eq!(parse(&answer).unwrap_err(), why, "{answer}");
        }
        for body in [
            &b""[..],
            b"[]",
            b"{\"iceServers\":[]",
            b"{\"a\":1,\"a\":2}",
            b"\xff",
            b"<html>",
        ] {
            assert_eq!(parse_answer(body).unwrap_err(), UnusableIceServers::Json);
        }
    }

    #[test]
    fn an_operators_mistake_is_rejected_and_not_repeated() {
        let long = "a".repeat(65);
        for text in [
            "",
            "canary canary",
            "canary/x",
            "../canary",
            "canary?x",
            "ä",
            long.as_str(),
        ] {
            let rule = TurnKeyId::parse(text).unwrap_err();
            assert!(!rule.contains("canary"), "{rule}");
        }
        for text in [
            "",
            "canary",
            "http://canary.example/v1",
            "https://u:p@canary/v1",
            "https://canary/v1?x",
            "https://canary/v1/turn/keys/k",
            "https://canary//v1",
        ] {
            let rule = CloudflareEndpoint::parse(text).unwrap_err();
            assert!(
                rule.contains(CloudflareEndpoint::CLOUDFLARE) && !rule.contains("canary"),
                "{text}: {rule}"
            );
        }
    }

    #[test]
    fn a_mint_is_asked_for_as_documented() {
        let key = TurnKeyId::parse("0123456789abcdef").unwrap();
        for base in [
            CloudflareEndpoint::CLOUDFLARE,
            "https://rtc.live.cloudflare.com/v1/",
        ] {
            let endpoint = CloudflareEndpoint::parse(base).unwrap();
            assert_eq!(
                endpoint.mint_url(&key),
                "https://rtc.live.cloudflare.com/v1/turn/keys/0123456789abcdef/credentials/generate-ice-servers"
            );
            assert_eq!(endpoint.to_string(), CloudflareEndpoint::CLOUDFLARE);
        }
        let caller = HashKey::new(&[7; 32]).hash("caller", b"alice");
        let body: Value =
            serde_json::from_slice(&mint_body(TurnLifetime::default(), caller)).unwrap();
        assert_eq!(
            body,
            json!({ "ttl": 3600, "customIdentifier": caller.to_string() })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(parse_answer(&body).is_err());
        }

        #[test]
        fn every_url_but_those_of_port_53_is_kept_and_never_stun_alone(
            picks in prop::collection::vec((0..6_usize, any::<bool>()), 0..12)
        ) {
            const URLS: [&str; 6] = [
                "stun:s:3478", "stun:s:53", "turn:t:3478", "turn:t:53", "turns:t:443?transport=tcp", "turn:t:80?transport=tcp",
            ];
            let servers: Vec<_> = picks.iter().map(|(pick, alone)| {
                if *alone { turn(&[URLS[*pick]]) } else { turn(&[URLS[*pick], URLS[0]]) }
            }).collect();
            let relays = picks.iter().any(|(pick, _)| [2, 4, 5].contains(pick));
            let usable = |(pick, alone): &(usize, bool)| usize::from(![1, 3].contains(pick)) + usize::from(!alone);
            let kept: usize = picks.iter().map(usable).sum();
            match parse(&json!({ "iceServers": servers })) {
                Ok(servers) => {
                    let urls: Vec<_> = servers.as_array().unwrap().iter().flat_map(|server| server["urls"].as_array().unwrap().clone()).collect();
                    prop_assert!(relays);
                    prop_assert_eq!(urls.len(), kept);
                    prop_assert!(urls.iter().any(|url| url.as_str().unwrap().starts_with("turn")));
                    prop_assert!(urls.iter().all(|url| !url.as_str().unwrap().contains(":53")));
                }
                Err(error) => prop_assert!(!relays, "{error:?}"),
            }
        }
    }
}
