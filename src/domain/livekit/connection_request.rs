//! The request of LiveKit's standard token endpoint, `connection-details`.
//!
//! Its clients send the JSON of a Protocol Buffers message: proto field names or their camel-case
//! form, and `null` for absent fields. They add fields over time, so this request, and no other,
//! ignores unknown fields.
//!
//! # Source
//! <https://docs.livekit.io/frontends/build/authentication/endpoint/>, `livekit_token_source.proto`
//! and `livekit_agent_dispatch.proto` of livekit/protocol, and
//! <https://protobuf.dev/programming-guides/json/>.

use std::collections::BTreeMap;

use super::access_token::{AgentDispatch, Attachments};
use super::agents::AllowedAgents;
use super::names::{NameSeed, ParticipantIdentity, RoomName};
use super::participant_name::ParticipantName;
use super::token_request::RequestPolicy;
use crate::domain::requests::fields::{BodyError, Fields, Requirement, object, proto_name};
use crate::domain::requests::json::{Json, Object};

/// The most bytes of metadata, of attributes and of the agents' data. Browsers send the token in a
/// URL, and many proxies accept at most 8 KB of one.
const MAX_ATTACHMENT_BYTES: usize = 1024;
/// The most attributes.
const MAX_ATTRIBUTES: usize = 16;
/// The most agents in one request.
const MAX_AGENTS: usize = 8;
/// The requirement for a room configuration with anything but allowed agents.
const ONLY_ALLOWED_AGENTS: &str = "may only hold agents that this service allows, each with \
                                   agent_name, an allowed deployment, text as metadata and texts \
                                   as attributes, and each member once";

/// A valid request. Every field is optional.
#[derive(Debug, PartialEq)]
pub struct ConnectionRequest {
    /// The requested room.
    pub room_name: Option<RoomName>,
    /// The requested identity.
    pub participant_identity: Option<ParticipantIdentity>,
    /// The name that other participants see.
    pub participant_name: Option<ParticipantName>,
    /// The metadata, attributes and agents.
    pub attachments: Attachments,
}

impl ConnectionRequest {
    /// Every field of this request.
    pub const FIELDS: [&str; 6] = [
        "room_name",
        "participant_identity",
        "participant_name",
        "participant_metadata",
        "participant_attributes",
        "room_config",
    ];

    /// Reads a body. An absent one counts as `{}`.
    ///
    /// # Errors
    /// [`BodyError`] with every wrong field.
    pub fn parse(body: &[u8], policy: &RequestPolicy) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?.with_protobuf_mapping();
        let room_name = fields.text("room_name", |text| policy.parse_room_name(text));
        let participant_identity = fields.text("participant_identity", ParticipantIdentity::parse);
        let participant_name = fields.text("participant_name", ParticipantName::parse);
        let metadata = fields.text("participant_metadata", parse_metadata);
        let attributes = fields.value("participant_attributes", parse_attributes);
        let agents = fields.value("room_config", |value| {
            parse_room_config(value, &policy.agents)
        });
        fields.finish(|| {
            Ok(Self {
                room_name: room_name?,
                participant_identity: participant_identity?,
                participant_name: participant_name?,
                attachments: Attachments {
                    metadata: metadata?,
                    attributes: attributes?.unwrap_or_default(),
                    agents: agents?.unwrap_or_default(),
                },
            })
        })
    }
}

/// Returns a random room for a request that names none.
///
/// # Errors
/// [`BodyError`] if the operator's pattern does not match random names, so that the caller must
/// name a room.
pub fn random_room(seed: NameSeed, policy: &RequestPolicy) -> Result<RoomName, BodyError> {
    let room_name = RoomName::random(seed);
    if policy.allows_room(&room_name) {
        Ok(room_name)
    } else {
        Err(BodyError::field("room_name", "is required by this service"))
    }
}

fn parse_metadata(text: &str) -> Result<String, Requirement> {
    if text.len() <= MAX_ATTACHMENT_BYTES && is_plain(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must be at most {MAX_ATTACHMENT_BYTES} bytes, without control characters except tabs \
             and line breaks"
        )
        .into())
    }
}

/// Reports whether a text has no control characters except tabs and line breaks. Others have no use
/// in an attachment, and each takes six bytes in the JSON of a token.
fn is_plain(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

fn parse_attributes(value: Json<'_>) -> Result<BTreeMap<String, String>, Requirement> {
    let mut bytes = 0;
    let mut attributes = BTreeMap::new();
    for (key, value) in object(value)? {
        let Json::Text(value) = value else {
            return Err("must be an object whose values are text".into());
        };
        if key.is_empty() || key.starts_with("lk.") || !is_plain(&key) || !is_plain(&value) {
            return Err(
                "must have names that are not empty and do not begin with lk., and no control \
                 characters"
                    .into(),
            );
        }
        bytes += key.len() + value.len();
        attributes.insert(key.into_owned(), value.into_owned());
    }
    if attributes.len() > MAX_ATTRIBUTES || bytes > MAX_ATTACHMENT_BYTES {
        return Err(format!(
            "must hold at most {MAX_ATTRIBUTES} attributes and {MAX_ATTACHMENT_BYTES} bytes in all"
        )
        .into());
    }
    Ok(attributes)
}

/// Reads the agents of a room configuration. Anything else in it is rejected, not dropped: egress
/// settings, for example, may contain storage credentials.
fn parse_room_config(
    value: Json<'_>,
    allowed: &AllowedAgents,
) -> Result<Vec<AgentDispatch>, Requirement> {
    let mut members = proto_members(object(value)?).ok_or(ONLY_ALLOWED_AGENTS)?;
    let items = match members.remove("agents") {
        None => Vec::new(),
        Some(Json::Array(items)) => items,
        Some(_) => return Err(ONLY_ALLOWED_AGENTS.into()),
    };
    let agents: Vec<_> = items
        .into_iter()
        .map(|item| parse_agent(item, allowed))
        .collect::<Option<_>>()
        .ok_or(ONLY_ALLOWED_AGENTS)?;
    if !members.is_empty() {
        return Err(ONLY_ALLOWED_AGENTS.into());
    }
    let bytes: usize = agents.iter().map(attachment_bytes).sum();
    if agents.len() > MAX_AGENTS || bytes > MAX_ATTACHMENT_BYTES {
        return Err(format!(
            "must hold at most {MAX_AGENTS} agents and {MAX_ATTACHMENT_BYTES} bytes of metadata \
             and attributes in all"
        )
        .into());
    }
    Ok(agents)
}

fn attachment_bytes(agent: &AgentDispatch) -> usize {
    let metadata = agent.metadata.as_ref().map_or(0, String::len);
    let attributes = agent.attributes.iter();
    metadata
        + attributes
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
}

fn parse_agent(value: Json<'_>, allowed: &AllowedAgents) -> Option<AgentDispatch> {
    let mut members = proto_members(object(value).ok()?)?;
    let mut text = |name| match members.remove(name) {
        None => Some(None),
        Some(Json::Text(text)) => Some(Some(text.into_owned())),
        Some(_) => None,
    };
    let (agent_name, metadata, deployment) =
        (text("agent_name")??, text("metadata")?, text("deployment")?);
    let attributes = match members.remove("attributes") {
        None => BTreeMap::new(),
        Some(value) => parse_attributes(value).ok()?,
    };
    let is_allowed = allowed.contains(&agent_name, deployment.as_deref().unwrap_or_default());
    let is_plain = metadata.as_deref().is_none_or(is_plain);
    (is_allowed && is_plain && members.is_empty()).then_some(AgentDispatch {
        agent_name,
        metadata,
        deployment,
        attributes,
    })
}

/// Returns the members of a nested message under their proto names, without those that have the
/// default value of their type: in proto3 these mean the same as absent ones. Returns `None` if a
/// member occurs in both spellings.
fn proto_members(members: Object<'_>) -> Option<BTreeMap<String, Json<'_>>> {
    let mut renamed = BTreeMap::new();
    for (name, value) in members {
        if renamed.insert(proto_name(&name), value).is_some() {
            return None;
        }
    }
    renamed.retain(|_, value| !is_default(value));
    Some(renamed)
}

fn is_default(value: &Json<'_>) -> bool {
    match value {
        Json::Null | Json::Bool(false) | Json::Unsigned(0) => true,
        Json::Text(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Bool(true)
        | Json::Unsigned(_)
        | Json::Float(_)
        | Json::Negative
        | Json::Object(_)
        | Json::Invalid => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::livekit::names::RoomPattern;

    fn policy() -> RequestPolicy {
        RequestPolicy {
            agents: AllowedAgents::parse("notes,notes@prod").unwrap(),
            ..RequestPolicy::default()
        }
    }

    fn parse(body: &str) -> Result<ConnectionRequest, BodyError> {
        ConnectionRequest::parse(body.as_bytes(), &policy())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn a_wrong_field_is_named() {
        let long = "x".repeat(1025);
        let many: BTreeMap<_, _> = (0..17).map(|n| (n.to_string(), "v")).collect();
        let many = serde_json::to_string(&many).unwrap();
        for (field, value) in [
            ("room_name", r#""a b""#),
            ("room_name", "5"),
            ("participant_identity", r#""""#),
            ("participant_name", r#""\u202e""#),
            ("participant_metadata", "{}"),
            ("participant_metadata", r#""\u0000""#),
            ("participant_metadata", &format!("\"{long}\"")),
            ("participant_attributes", r#""text""#),
            ("participant_attributes", r#"{"a":1}"#),
            ("participant_attributes", r#"{"a":null}"#),
            ("participant_attributes", r#"{"":"v"}"#),
            ("participant_attributes", r#"{"lk.agent.state":"v"}"#),
            ("participant_attributes", r#"{"a":"\u0000"}"#),
            ("participant_attributes", r#"{"a\u0000":"v"}"#),
            (
                "participant_attributes",
                &format!("{{\"a\":\"{}\"}}", &long[1..]),
            ),
            (
                "participant_attributes",
                &format!("{{\"{}\":\"a\"}}", &long[1..]),
            ),
            ("participant_attributes", &many),
            ("room_config", "[]"),
            ("room_config", r#"{"egress":{}}"#),
            ("room_config", r#"{"max_participants":5}"#),
            ("room_config", r#"{"agents":{}}"#),
            ("room_config", r#"{"agents":["notes"]}"#),
            ("room_config", r#"{"agents":[{}]}"#),
            ("room_config", r#"{"agents":[{"agent_name":"other"}]}"#),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","metadata":5}]}"#,
            ),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","metadata":"\u0000"}]}"#,
            ),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","x":5}]}"#,
            ),
            ("room_config", r#"{"agents":[{"agent_name":""}]}"#),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","deployment":"staging"}]}"#,
            ),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","deployment":5}]}"#,
            ),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","attributes":"x"}]}"#,
            ),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","attributes":{"a":1}}]}"#,
            ),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","attributes":{"lk.x":"v"}}]}"#,
            ),
            (
                "room_config",
                &format!(
                    r#"{{"agents":[{{"agent_name":"notes","metadata":"{}",
                        "attributes":{{"a":"b"}}}}]}}"#,
                    &long[2..]
                ),
            ),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","agentName":"notes"}]}"#,
            ),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes","agentName":null}]}"#,
            ),
            ("room_config", r#"{"maxParticipants":5}"#),
            ("room_config", r#"{"egress":{}}"#),
            (
                "room_config",
                r#"{"agents":[{"agent_name":"notes"}],"egress":{"room":{}}}"#,
            ),
            (
                "room_config",
                &format!(r#"{{"agents":[{{"agent_name":"notes","metadata":"{long}"}}]}}"#),
            ),
            (
                "room_config",
                &format!(
                    r#"{{"agents":[{}]}}"#,
                    [r#"{"agent_name":"notes"}"#; 9].join(",")
                ),
            ),
        ] {
            match parse(&format!("{{\"{field}\":{value}}}")) {
                Err(BodyError::Invalid(errors)) if errors.len() == 1 => {
                    assert_eq!(errors[0].field, field, "{value:.60}");
                }
                other => panic!("{field} {value:.60}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_listed_field_is_read() {
        for field in ConnectionRequest::FIELDS {
            assert!(parse(&format!("{{\"{field}\":5}}")).is_err(), "{field}");
        }
    }

    #[test]
    fn attachments_at_their_limits_are_accepted() {
        let text = "x".repeat(1024);
        let attributes: BTreeMap<_, _> =
            (10..26).map(|n| (n.to_string(), "v".repeat(62))).collect();
        let agents: Vec<_> = (0..8)
            .map(|_| serde_json::json!({ "agent_name": "notes", "metadata": "m".repeat(128) }))
            .collect();
        let body = serde_json::json!({
            "participant_metadata": text,
            "participant_attributes": attributes,
            "room_config": { "agents": agents },
        });
        let attachments = parse(&body.to_string()).unwrap().attachments;
        assert_eq!(
            (
                attachments.metadata,
                attachments.attributes,
                attachments.agents.len()
            ),
            (Some(text), attributes, 8)
        );
    }

    #[test]
    fn empty_null_and_unknown_fields_are_accepted() {
        let empty = parse("").unwrap();
        assert_eq!(
            empty,
            ConnectionRequest {
                room_name: None,
                participant_identity: None,
                participant_name: None,
                attachments: Attachments::default()
            }
        );
        for body in [
            "{}",
            r#"{"room_config":{}}"#,
            r#"{"room_config":{"agents":[],"name":null}}"#,
            r#"{"participant_attributes":{}}"#,
            r#"{"a_field_of_tomorrow":{"x":[1]}}"#,
            r#"{"room_name":null,"participant_identity":null,"participant_name":null,
                "participant_metadata":null,"participant_attributes":null,"room_config":null}"#,
        ] {
            assert_eq!(parse(body).as_ref(), Ok(&empty), "{body}");
        }
    }

    #[test]
    fn attachments_are_kept_unchanged() {
        let attachments = parse(
            r#"{"participant_metadata":"{\"a\":1}","participant_attributes":{"k":"v"},
                "room_config":{"agents":[
                    {"agent_name":"notes","metadata":"m"},
                    {"agent_name":"notes","metadata":null}]}}"#,
        )
        .unwrap()
        .attachments;
        assert_eq!(attachments.metadata.as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(
            attachments.attributes,
            BTreeMap::from([("k".to_owned(), "v".to_owned())])
        );
        let agent = |metadata: Option<&str>| AgentDispatch {
            agent_name: "notes".to_owned(),
            metadata: metadata.map(str::to_owned),
            deployment: None,
            attributes: BTreeMap::new(),
        };
        assert_eq!(attachments.agents, [agent(Some("m")), agent(None)]);
    }

    #[test]
    fn both_protobuf_spellings_are_equal_and_rejected_together() {
        let snake = r#"{"room_name":"r","participant_identity":"alice","participant_name":"Alice",
            "participant_metadata":"m","participant_attributes":{"aB_c":"v"},"room_config":{
                "agents":[{"agent_name":"notes","deployment":"prod","attributes":{"aB_c":"v"}}]}}"#;
        let camel = r#"{"roomName":"r","participantIdentity":"alice","participantName":"Alice",
            "participantMetadata":"m","participantAttributes":{"aB_c":"v"},"roomConfig":{
                "agents":[{"agentName":"notes","deployment":"prod","attributes":{"aB_c":"v"}}]}}"#;
        let request = parse(snake).unwrap();
        assert_eq!(
            (
                request.attachments.agents[0].deployment.as_deref(),
                request.attachments.agents[0].attributes.len()
            ),
            (Some("prod"), 1)
        );
        assert_eq!(parse(camel).unwrap(), request);
        for (field, camel) in [
            ("room_name", "roomName"),
            ("participant_identity", "participantIdentity"),
            ("participant_name", "participantName"),
            ("participant_metadata", "participantMetadata"),
            ("participant_attributes", "participantAttributes"),
            ("room_config", "roomConfig"),
        ] {
            for (one, other) in [("null", "null"), ("null", "{}"), (r#""a""#, r#""a""#)] {
                match parse(&format!(r#"{{"{field}":{one},"{camel}":{other}}}"#)) {
                    Err(BodyError::Invalid(errors)) => {
                        assert_eq!((errors.len(), errors[0].field.as_ref()), (1, field));
                    }
                    other => panic!("{field}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn members_with_the_default_of_their_type_count_as_absent() {
        let request = parse(
            r#"{"roomConfig":{"name":"","emptyTimeout":0,"max_participants":0,"metadata":"",
                "syncStreams":false,"egress":null,"tags":[],"agents":[{"agentName":"notes",
                    "metadata":"","deployment":"","restartPolicy":0,"attributes":null}]}}"#,
        )
        .unwrap();
        assert_eq!(request.attachments.agents.len(), 1);
        assert_eq!(
            request,
            parse(r#"{"room_config":{"agents":[{"agent_name":"notes"}]}}"#).unwrap()
        );
    }

    #[test]
    fn a_random_room_that_the_pattern_does_not_match_is_rejected() {
        let with_pattern = |pattern: &str| RequestPolicy {
            room_pattern: Some(RoomPattern::parse(pattern).unwrap()),
            ..RequestPolicy::default()
        };
        assert!(random_room([0; 12], &with_pattern("team-.*")).is_err());
        assert_eq!(
            random_room([0; 12], &with_pattern("room-.*"))
                .unwrap()
                .as_str(),
            "room-aaaaaaaaaaaa"
        );
    }

    proptest! {
        #[test]
        fn accepted_attachments_are_within_their_limits(
            metadata in any::<String>(),
            attributes in prop::collection::btree_map(any::<String>(), any::<String>(), 0..20),
        ) {
            let body = serde_json::json!({
                "participant_metadata": metadata,
                "participant_attributes": attributes,
            });
            if let Ok(request) = parse(&body.to_string()) {
                prop_assert_eq!(request.attachments.metadata, Some(metadata));
                prop_assert_eq!(&request.attachments.attributes, &attributes);
                prop_assert!(attributes.len() <= 16);
                prop_assert!(!attributes.keys().any(|key| key.starts_with("lk.")));
                prop_assert!(attributes.values().all(|value| is_plain(value)));
            }
        }
    }
}
