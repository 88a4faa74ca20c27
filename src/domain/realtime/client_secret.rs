//! The answer to a mint, read strictly: whatever is not what was asked for is no secret at all, and
//! nothing of it is repeated.

use std::fmt;
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use crate::domain::livekit::lifetime::instant;
use crate::domain::requests::json::{self, Json};

/// Largest answer in bytes. It echoes the session, whose largest parts are the operator's own.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Longest secret in bytes; those of today have about a hundred.
const MAX_SECRET_BYTES: usize = 4 * 1024;
/// Longest session id in bytes.
const MAX_ID_BYTES: usize = 128;
/// Longest life of a secret. The vendors allow two hours, so more than a day is a fault of
/// somebody's clock or units.
const MAX_LIFE: Duration = Duration::from_hours(24);

/// A key for one browser, as the upstream gave it.
#[derive(Debug)]
pub struct ClientSecret {
    /// The key itself.
    pub value: SecretValue,
    /// The upstream's own word, in whole seconds since 1970.
    pub expires_at: u64,
    /// By which the upstream knows the session, where it said so.
    pub session_id: Option<SessionId>,
}

/// The text of a client secret; `Debug` does not show it.
#[derive(Debug)]
pub struct SecretValue(SecretString);

/// An upstream's id of a session: 1 to 128 bytes of `[A-Za-z0-9_-]`, so safe to write down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct SessionId(String);

/// Why an answer is of no use. The word is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientSecretError {
    /// Not one strict JSON object.
    Json,
    /// No text `value` that can stand in a header.
    Secret,
    /// No whole `expires_at`, or one that is over or absurd.
    Expiry,
}

impl ClientSecretError {
    /// One fixed text.
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
    /// Reads the body of a successful answer.
    ///
    /// # Errors
    /// [`ClientSecretError`] when it is not a secret that will still be good for a while.
    pub fn parse(body: &[u8], now: SystemTime) -> Result<Self, ClientSecretError> {
        let members = json::parse_object(body).map_err(|_| ClientSecretError::Json)?;
        let value = match members.get("value") {
            Some(Json::Text(text))
                if (1..=MAX_SECRET_BYTES).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                SecretValue(text.as_ref().into())
            }
            _ => return Err(ClientSecretError::Secret),
        };
        let Some(&Json::Unsigned(expires_at)) = members.get("expires_at") else {
            return Err(ClientSecretError::Expiry);
        };
        // Beyond any date that can be written down it is absurd too; checked first, because adding
        // it to 1970 would overflow.
        let far_off = u64::from(u32::MAX) * 2;
        let left = if expires_at > far_off {
            None
        } else {
            instant(expires_at).duration_since(now).ok()
        };
        if left.is_none_or(|left| left.is_zero() || left > MAX_LIFE) {
            return Err(ClientSecretError::Expiry);
        }
        let session_id = match members.get("session") {
            Some(Json::Object(session)) => match session.get("id") {
                Some(Json::Text(id)) => SessionId::parse(id),
                _ => None,
            },
            _ => None,
        };
        Ok(Self {
            value,
            expires_at,
            session_id,
        })
    }
}

impl SessionId {
    /// Reads an id; what could be anything else is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        ((1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(allowed))
            .then(|| Self(text.to_owned()))
    }

    /// The id itself.
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
    /// Into the one answer that it was minted for.
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
    fn what_is_no_secret_is_refused() {
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
    fn an_expiry_that_is_over_or_absurd_is_refused() {
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
    fn what_is_not_one_json_object_is_refused() {
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
    fn a_session_id_is_kept_only_where_it_is_safe_to_write_down() {
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
    fn the_secret_is_shown_only_in_the_answer() {
        let secret = parse(&json!({ "value": "ek_canary", "expires_at": NOW + 60 })).unwrap();
        assert!(!format!("{secret:?}").contains("canary"));
        assert_eq!(serde_json::to_value(&secret.value).unwrap(), "ek_canary");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(ClientSecret::parse(&body, now()).is_err());
        }
    }
}
