//! The response to a mint, read strictly: anything unexpected is not a secret, and nothing of the
//! response is repeated.

use std::fmt;
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use crate::domain::livekit::lifetime::instant;
use crate::domain::requests::json::{self, Json};

/// The most bytes of a response. It echoes the session, whose largest parts are the operator's own.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The most bytes of a secret. Current ones have about a hundred.
const MAX_SECRET_BYTES: usize = 4 * 1024;
/// The most bytes of a session id.
const MAX_ID_BYTES: usize = 128;
/// The longest lifetime of a secret. The vendors allow two hours, so more than a day is a fault of
/// a clock or a unit.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// A short-lived key for one browser, as the upstream issued it.
///
/// # Examples
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
///
/// use roomkey::domain::realtime::client_secret::{ClientSecret, ClientSecretError};
///
/// let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// let secret = ClientSecret::parse(br#"{ "value": "ek_1", "expires_at": 1800000060 }"#, now)?;
/// assert_eq!(secret.expires_at, 1_800_000_060);
/// assert!(!format!("{secret:?}").contains("ek_1"));
///
/// let expired = ClientSecret::parse(br#"{ "value": "ek_1", "expires_at": 1700000000 }"#, now);
/// assert_eq!(expired.unwrap_err(), ClientSecretError::Expiry);
/// # Ok::<(), ClientSecretError>(())
/// ```
#[derive(Debug)]
pub struct ClientSecret {
    /// The key itself.
    pub value: SecretValue,
    /// The time at which the upstream says it expires, in whole seconds since 1970.
    pub expires_at: u64,
    /// The upstream's id of the session, if the response has one.
    pub session_id: Option<SessionId>,
}

/// The text of a client secret, which `Debug` does not show.
#[derive(Debug)]
pub struct SecretValue(SecretString);

/// An upstream's id of a session: 1 to 128 bytes of `[A-Za-z0-9_-]`, and therefore safe to log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SessionId(String);

/// The reason why a response has no usable secret. It is meant for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum ClientSecretError {
    /// The response is not one strict JSON object.
    Json,
    /// It has no text `value` that can be sent in a header.
    Secret,
    /// It has no whole `expires_at`, or one that is in the past or more than a day ahead.
    Expiry,
}

impl ClientSecretError {
    /// Returns the fixed text of the reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "the upstream's answer is not JSON",
            Self::Secret => "the upstream's answer has no secret",
            Self::Expiry => {
                "the upstream's secret has expired or lives too long; are the clocks right?"
            }
        }
    }
}

impl ClientSecret {
    /// Reads the body of a successful response.
    ///
    /// # Errors
    /// [`ClientSecretError`] if it has no secret that is still valid for a while.
    pub fn parse(body: &[u8], now: SystemTime) -> Result<Self, ClientSecretError> {
        let members = json::parse_object(body).map_err(|_| ClientSecretError::Json)?;
        let value = json::text(&members, "value")
            .filter(|text| (1..=MAX_SECRET_BYTES).contains(&text.len()))
            .filter(|text| text.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or(ClientSecretError::Secret)?;
        let Some(&Json::Unsigned(expires_at)) = members.get("expires_at") else {
            return Err(ClientSecretError::Expiry);
        };
        // A time that no date can express would overflow when it is added to 1970.
        let is_far_off = expires_at > u64::from(u32::MAX) * 2;
        let remaining = (!is_far_off)
            .then(|| instant(expires_at).duration_since(now).ok())
            .flatten();
        if remaining.is_none_or(|remaining| remaining.is_zero() || remaining > MAX_LIFETIME) {
            return Err(ClientSecretError::Expiry);
        }
        let session_id = match members.get("session") {
            Some(Json::Object(session)) => json::text(session, "id").and_then(SessionId::parse),
            _ => None,
        };
        Ok(Self {
            value: SecretValue(value.into()),
            expires_at,
            session_id,
        })
    }
}

impl SessionId {
    /// Reads an id. Returns `None` for a text that is not safe to log.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        ((1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(is_allowed))
            .then(|| Self(text.to_owned()))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for SecretValue {
    /// Writes the secret, for the one response that it was minted for.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(NOW * 1_000 + 123)
    }

    fn parse(body: &Value) -> Result<ClientSecret, ClientSecretError> {
        ClientSecret::parse(body.to_string().as_bytes(), now())
    }

    #[test]
    fn a_response_without_a_usable_secret_is_rejected() {
        let long = "x".repeat(MAX_SECRET_BYTES + 1);
        for value in [
            json!(null),
            json!(""),
            json!(7),
            json!(["ek"]),
            json!({ "value": "ek" }),
            json!("e k"),
            json!("ek\n"),
            json!("ä"),
            json!(long),
        ] {
            let body = json!({ "value": value, "expires_at": NOW + 60 });
            assert_eq!(
                parse(&body).unwrap_err(),
                ClientSecretError::Secret,
                "{value}"
            );
        }
        assert_eq!(
            parse(&json!({ "expires_at": NOW + 60 })).unwrap_err(),
            ClientSecretError::Secret
        );
        assert_eq!(
            parse(&json!({ "client_secret": { "value": "ek", "expires_at": NOW + 60 } }))
                .unwrap_err(),
            ClientSecretError::Secret,
            "a retired shape"
        );
    }

    #[test]
    fn an_expiry_in_the_past_or_far_ahead_is_rejected() {
        for expires_at in [
            json!(null),
            json!("1700000060"),
            json!(1_700_000_060.0),
            json!(-1),
            json!(0),
            json!(NOW),
            json!(NOW + 86_401),
            json!((NOW + 60) * 1_000),
            json!(u64::MAX),
        ] {
            assert_eq!(
                parse(&json!({ "value": "ek", "expires_at": expires_at })).unwrap_err(),
                ClientSecretError::Expiry,
                "{expires_at}"
            );
        }
        for expires_at in [NOW + 1, NOW + 60, NOW + 86_400] {
            assert_eq!(
                parse(&json!({ "value": "ek", "expires_at": expires_at }))
                    .unwrap()
                    .expires_at,
                expires_at
            );
        }
    }

    #[test]
    fn a_response_that_is_not_one_json_object_is_rejected() {
        for body in [
            &b""[..],
            b"[]",
            b"ek_1",
            b"{\"value\":\"ek\"",
            b"{\"value\":\"a\",\"value\":\"b\"}",
            b"\xff",
            b"<html>",
        ] {
            assert_eq!(
                ClientSecret::parse(body, now()).unwrap_err(),
                ClientSecretError::Json,
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_session_id_is_only_kept_if_it_is_safe_to_log() {
        let id = |session: Value| {
            parse(&json!({ "value": "ek", "expires_at": NOW + 60, "session": session }))
                .unwrap()
                .session_id
        };
        for session in [
            json!(null),
            json!("sess_1"),
            json!({}),
            json!({ "id": 7 }),
            json!({ "id": "" }),
            json!({ "id": "a\nb" }),
            json!({ "id": "x".repeat(129) }),
        ] {
            assert_eq!(id(session.clone()), None, "{session}");
        }
        assert_eq!(
            id(json!({ "id": "sess_Az-09", "instructions": "x" }))
                .unwrap()
                .as_str(),
            "sess_Az-09"
        );
    }

    #[test]
    fn the_secret_is_shown_only_in_the_response() {
        let secret = parse(&json!({ "value": "ek_canary", "expires_at": NOW + 60 })).unwrap();
        assert!(!format!("{secret:?}").contains("canary"));
        assert_eq!(serde_json::to_value(&secret.value).unwrap(), "ek_canary");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_rejected_without_a_panic(
            body in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            prop_assert!(ClientSecret::parse(&body, now()).is_err());
        }
    }
}
