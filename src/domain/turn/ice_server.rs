//! ICE servers in the form that a browser's `RTCPeerConnection` accepts.
//!
//! # Source
//! `RTCIceServer`, <https://www.w3.org/TR/webrtc/#rtciceserver-dictionary>

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use super::ice_url::IceUrl;

/// STUN servers, or TURN servers with their credential.
#[derive(Debug, Serialize)]
pub struct IceServer {
    /// The URLs of the servers, at least one.
    pub urls: Vec<IceUrl>,
    /// The `username` and `credential` of TURN servers; absent for STUN, which needs none.
    #[serde(flatten)]
    pub credential: Option<TurnCredential>,
}

/// A credential for a TURN server, valid for one caller and a limited time. `Debug` does not show
/// the credential.
#[derive(Debug, Clone, Serialize)]
pub struct TurnCredential {
    /// The name, which every TURN message contains unencrypted.
    pub username: String,
    /// The password.
    pub credential: TurnPassword,
}

/// The password of a TURN credential; `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct TurnPassword(SecretString);

impl From<String> for TurnPassword {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Serialize for TurnPassword {
    /// Writes the password into the response to its caller.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

/// The servers of one response. At least one of them is a TURN server.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct IceServers(Vec<IceServer>);

impl IceServers {
    /// Creates a list of servers in the given order. Returns `None` if it contains no TURN server,
    /// or one without a credential.
    #[must_use]
    pub fn new(servers: Vec<IceServer>) -> Option<Self> {
        let is_complete = |server: &IceServer| {
            !server.urls.is_empty()
                && (server.credential.is_some() || !server.urls.iter().any(IceUrl::is_turn))
        };
        let servers = Self(servers);
        (servers.0.iter().all(is_complete) && servers.turn_server().is_some()).then_some(servers)
    }

    /// Creates a list from the operator's URLs. TURN servers get the credential, STUN servers none.
    #[must_use]
    pub fn of_urls(urls: &[IceUrl], credential: TurnCredential) -> Option<Self> {
        let (turn, stun): (Vec<_>, Vec<_>) = urls.iter().cloned().partition(IceUrl::is_turn);
        let stun = (!stun.is_empty()).then_some(IceServer {
            urls: stun,
            credential: None,
        });
        let turn = IceServer {
            urls: turn,
            credential: Some(credential),
        };
        Self::new(stun.into_iter().chain([turn]).collect())
    }

    /// Returns the first URL of a TURN server.
    #[must_use]
    pub fn turn_server(&self) -> Option<&IceUrl> {
        let mut urls = self.0.iter().flat_map(|server| &server.urls);
        urls.find(|url| url.is_turn())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn credential() -> TurnCredential {
        TurnCredential {
            username: "1700003600:00ff".to_owned(),
            credential: "canary".to_owned().into(),
        }
    }

    fn urls(texts: &[&str]) -> Vec<IceUrl> {
        texts
            .iter()
            .map(|text| IceUrl::parse(text).unwrap())
            .collect()
    }

    fn server(texts: &[&str], credential: Option<TurnCredential>) -> IceServer {
        IceServer {
            urls: urls(texts),
            credential,
        }
    }

    #[test]
    fn servers_without_a_relay_or_a_credential_for_it_are_none() {
        for servers in [
            vec![],
            vec![server(&["stun:s"], None)],
            vec![server(&["stun:s"], Some(credential()))],
            vec![server(&["turn:t"], None)],
            vec![server(&["stun:s", "turn:t"], None)],
            vec![server(&["turn:t"], Some(credential())), server(&[], None)],
            vec![
                server(&["turn:t"], Some(credential())),
                server(&["turn:u"], None),
            ],
        ] {
            let shown = format!("{servers:?}");
            assert!(IceServers::new(servers).is_none(), "{shown}");
        }
    }

    #[test]
    fn only_servers_that_relay_get_the_credential() {
        let servers = IceServers::of_urls(
            &urls(&["turn:t:3478", "stun:s", "turns:t:443"]),
            credential(),
        )
        .unwrap();
        assert_eq!(
            serde_json::to_value(&servers).unwrap(),
            json!([
                { "urls": ["stun:s"] },
                { "urls": ["turn:t:3478", "turns:t:443"], "username": "1700003600:00ff", "credential": "canary" }
            ])
        );
        assert_eq!(servers.turn_server().unwrap().to_string(), "turn:t:3478");
        let alone = IceServers::of_urls(&urls(&["turn:t"]), credential()).unwrap();
        assert_eq!(
            serde_json::to_value(&alone)
                .unwrap()
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert!(IceServers::of_urls(&urls(&["stun:s"]), credential()).is_none());
    }

    #[test]
    fn the_credential_is_shown_only_in_the_answer() {
        let servers = IceServers::of_urls(&urls(&["turn:t"]), credential()).unwrap();
        assert!(!format!("{servers:?}").contains("canary"));
    }
}
