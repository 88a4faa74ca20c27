//! LiveKit access tokens: their grants, and their signature (HS256, RFC 7515 and RFC 7519).
//!
//! Every grant is written explicitly, because LiveKit's defaults are permissive: an absent
//! `canPublishSources` means all sources. No grant here reaches beyond one room, and none is for
//! administration. Source: <https://docs.livekit.io/home/get-started/authentication/> and
//! `livekit/protocol`, `auth/grants.go`.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::lifetime::Validity;
use super::names::{ParticipantIdentity, RoomName};
use super::participant_name::ParticipantName;
use crate::domain::requests::fields::Requirement;

/// The role of a participant in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May subscribe to everyone and publish a microphone.
    Speaker,
    /// May only subscribe to everyone.
    Listener,
}

impl Role {
    /// Reads a role.
    ///
    /// # Errors
    /// The requirement, for any other text.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        match text {
            "speaker" => Ok(Self::Speaker),
            "listener" => Ok(Self::Listener),
            _ => Err("must be speaker or listener".into()),
        }
    }

    /// Returns the sources that may be published. They are exact and in lower case: the server
    /// treats an unknown one as "publish nothing" and an empty list as "all".
    fn publish_sources(self) -> Option<[&'static str; 1]> {
        match self {
            Self::Speaker => Some(["microphone"]),
            Self::Listener => None,
        }
    }
}

/// The permission of one participant to join one room.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinGrant {
    /// The room.
    pub room_name: RoomName,
    /// The identity of the participant.
    pub participant_identity: ParticipantIdentity,
    /// The name that other participants see.
    pub participant_name: ParticipantName,
    /// The role of the participant.
    pub role: Role,
    /// The data that the app attaches to the participant.
    pub attachments: Attachments,
}

/// The data that LiveKit's standard endpoint lets an app attach to a participant and its room.
/// Every participant can read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachments {
    /// Free text.
    pub metadata: Option<String>,
    /// Names and values.
    pub attributes: BTreeMap<String, String>,
    /// The agents to dispatch when the room is created.
    pub agents: Vec<AgentDispatch>,
}

/// An agent to dispatch into the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentDispatch {
    /// The agent's name, from the operator's list.
    pub agent_name: String,
    /// Free text for the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// A deployment of the agent, from the operator's list, instead of its default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Names and values for the agent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct LiveKitClaims<'a> {
    iss: &'a str,
    sub: &'a ParticipantIdentity,
    nbf: u64,
    iat: u64,
    exp: u64,
    jti: Uuid,
    name: &'a ParticipantName,
    video: VideoGrant<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: &'a BTreeMap<String, String>,
    #[serde(rename = "roomConfig", skip_serializing_if = "RoomConfig::is_empty")]
    room_config: RoomConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "LiveKit's own shape")]
struct VideoGrant<'a> {
    room_join: bool,
    room: &'a RoomName,
    can_publish: bool,
    can_subscribe: bool,
    can_publish_data: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    can_publish_sources: Option<[&'static str; 1]>,
}

#[derive(Serialize)]
struct RoomConfig<'a> {
    agents: &'a [AgentDispatch],
}

impl RoomConfig<'_> {
    fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }
}

/// A signed token. Whoever has it may join, so it has no `Debug` and can only be serialized into
/// the response.
#[derive(Serialize)]
#[serde(transparent)]
pub struct AccessToken(Box<RawValue>);

/// The error for a token that could not be signed. No valid grant causes it.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The claims could not be written as JSON.
    #[error("the claims could not be written as JSON")]
    Claims(#[from] serde_json::Error),
    /// The signature could not be made.
    #[error("the signature could not be made")]
    Signature(#[from] jsonwebtoken::errors::Error),
}

/// The header `{"alg":"HS256","typ":"JWT"}` in base64url with the dot after it. It is the same for
/// every token, so it is not encoded each time.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.";

/// The initial capacity in bytes for the claims, which suffices without attachments.
const CLAIMS_CAPACITY: usize = 512;

/// A signer of access tokens with one LiveKit API key.
///
/// # Examples
/// ```
/// use roomkey::domain::livekit::access_token::{Attachments, JoinGrant, Role, Signer};
/// use roomkey::domain::livekit::lifetime::Validity;
/// use roomkey::domain::livekit::names::{ParticipantIdentity, RoomName};
/// use uuid::Uuid;
///
/// let participant_identity = ParticipantIdentity::parse("alice")?;
/// let grant = JoinGrant {
///     room_name: RoomName::parse("standup-42")?,
///     participant_name: (&participant_identity).into(),
///     participant_identity,
///     role: Role::Speaker,
///     attachments: Attachments::default(),
/// };
/// let validity = Validity { issued_at: 1_800_000_000, expires_at: 1_800_003_600 };
/// let signer = Signer::new("devkey".into(), &"a-secret-of-at-least-32-bytes-ok".into());
/// let token = signer.sign(&grant, validity, Uuid::from_u128(1))?;
///
/// let text = serde_json::to_string(&token)?;
/// assert_eq!(text.split('.').count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Signer {
    api_key: SecretString,
    key: EncodingKey,
}

impl Signer {
    /// Creates a signer. The bytes of `api_secret` are the key, as at LiveKit; it is not base64.
    #[must_use]
    pub fn new(api_key: SecretString, api_secret: &SecretString) -> Self {
        Self {
            api_key,
            key: EncodingKey::from_secret(api_secret.expose_secret().as_bytes()),
        }
    }

    /// Signs a token for one participant that is valid from `validity.issued_at` on. The `jti` must
    /// be unique.
    ///
    /// # Errors
    /// [`SigningError`], which no valid grant causes.
    pub fn sign(
        &self,
        grant: &JoinGrant,
        validity: Validity,
        jti: Uuid,
    ) -> Result<AccessToken, SigningError> {
        let sources = grant.role.publish_sources();
        let claims = LiveKitClaims {
            iss: self.api_key.expose_secret(),
            sub: &grant.participant_identity,
            // Not back-dated, since LiveKit Cloud compares it when it revokes tokens.
            nbf: validity.issued_at,
            iat: validity.issued_at,
            exp: validity.expires_at,
            jti,
            name: &grant.participant_name,
            video: VideoGrant {
                room_join: true,
                room: &grant.room_name,
                can_publish: sources.is_some(),
                can_subscribe: true,
                can_publish_data: false,
                can_publish_sources: sources,
            },
            metadata: grant.attachments.metadata.as_deref(),
            attributes: &grant.attachments.attributes,
            room_config: RoomConfig {
                agents: &grant.attachments.agents,
            },
        };
        let mut json = Vec::with_capacity(CLAIMS_CAPACITY);
        serde_json::to_writer(&mut json, &claims)?;
        // The compact serialization of RFC 7515 §7.1.
        let mut token = String::with_capacity(HEADER.len() + 2 * json.len());
        token.push_str(HEADER);
        BASE64URL_NOPAD.encode_append(&json, &mut token);
        let signature = crypto::sign(token.as_bytes(), &self.key, Algorithm::HS256)?;
        token.push('.');
        token.push_str(&signature);
        // The longest text of the response is copied into it as it is: base64url needs no escapes.
        let quoted = ["\"", &token, "\""].concat();
        Ok(AccessToken(RawValue::from_string(quoted)?))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "an-api-secret-of-at-least-32-bytes";

    fn grant(role: Role) -> JoinGrant {
        JoinGrant {
            room_name: RoomName::parse("standup-42").unwrap(),
            participant_identity: ParticipantIdentity::parse("alice").unwrap(),
            participant_name: ParticipantName::parse("Alice").unwrap(),
            role,
            attachments: Attachments::default(),
        }
    }

    fn signed(grant: &JoinGrant, secret: &str) -> String {
        let validity = Validity {
            issued_at: 1_700_000_000,
            expires_at: 1_700_003_600,
        };
        Signer::new("APIkey".into(), &secret.into())
            .sign(grant, validity, Uuid::nil())
            .map(|token| serde_json::from_str(token.0.get()).unwrap())
            .unwrap()
    }

    fn decode(token: &str, secret: &str) -> Result<(Value, Value), jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        let token = jsonwebtoken::decode(
            token,
            &DecodingKey::from_secret(secret.as_bytes()),
            &validation,
        )?;
        Ok((serde_json::to_value(token.header).unwrap(), token.claims))
    }

    #[test]
    fn a_token_with_another_secret_or_a_changed_byte_does_not_verify() {
        let token = signed(&grant(Role::Speaker), SECRET);
        assert!(decode(&token, "another-api-secret-of-at-least-32-bytes").is_err());
        for at in [30, 60, 200] {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(
                decode(&String::from_utf8(changed).unwrap(), SECRET).is_err(),
                "byte {at}"
            );
        }
        assert!(decode(&token, SECRET).is_ok());
    }

    #[test]
    fn a_speaker_may_only_publish_a_microphone() {
        let (header, claims) = decode(&signed(&grant(Role::Speaker), SECRET), SECRET).unwrap();
        assert_eq!(header, json!({ "alg": "HS256", "typ": "JWT" }));
        let video = json!({
            "roomJoin": true, "room": "standup-42", "canPublish": true, "canSubscribe": true,
            "canPublishData": false, "canPublishSources": ["microphone"],
        });
        assert_eq!(
            claims,
            json!({
                "iss": "APIkey", "sub": "alice", "nbf": 1_700_000_000, "iat": 1_700_000_000,
                "exp": 1_700_003_600, "jti": "00000000-0000-0000-0000-000000000000",
                "name": "Alice", "video": video,
            })
        );
    }

    #[test]
    fn a_listener_may_not_publish_and_has_no_list_of_sources() {
        let (_, claims) = decode(&signed(&grant(Role::Listener), SECRET), SECRET).unwrap();
        let video = json!({
            "roomJoin": true, "room": "standup-42", "canPublish": false, "canSubscribe": true,
            "canPublishData": false,
        });
        assert_eq!(claims["video"], video);
    }

    #[test]
    fn attachments_have_their_own_claims() {
        let attachments = Attachments {
            metadata: Some("m".into()),
            attributes: BTreeMap::from([("k".into(), "v".into())]),
            agents: vec![AgentDispatch {
                agent_name: "notes".into(),
                metadata: None,
                deployment: None,
                attributes: BTreeMap::new(),
            }],
        };
        let (_, claims) = decode(
            &signed(
                &JoinGrant {
                    attachments,
                    ..grant(Role::Speaker)
                },
                SECRET,
            ),
            SECRET,
        )
        .unwrap();
        assert_eq!(claims["metadata"], "m");
        assert_eq!(claims["attributes"], json!({ "k": "v" }));
        assert_eq!(
            claims["roomConfig"],
            json!({ "agents": [{ "agentName": "notes" }] })
        );
    }
}
