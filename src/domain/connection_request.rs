//! The body of `POST /api/connection-details`, LiveKit's standard token endpoint.
//!
//! Its clients send proto field names, may send `null` for what is absent (the JSON mapping of Protocol Buffers) and gain
//! fields over time, so unknown fields are ignored here and only here.
//! Source: <https://docs.livekit.io/frontends/build/authentication/endpoint/>

use std::collections::BTreeMap;

use super::access_token::{AgentDispatch, Attachments};
use super::fields::{Fields, Refused, Rule, object};
use super::json::Json;
use super::names::{NameSeed, ParticipantIdentity, ParticipantName, RoomName};
use super::token_request::Limits;

/// Metadata, attributes and agents' metadata may each have this many bytes: browsers send the token in a URL, and many proxies
/// take no more than 8 KB of one.
const MAX_ATTACHMENT_BYTES: usize = 1024;
/// Most attributes.
const MAX_ATTRIBUTES: usize = 16;
/// Most agents in one request.
const MAX_AGENTS: usize = 8;

/// A valid request. Everything may be absent.
#[derive(Debug, PartialEq)]
pub struct ConnectionRequest {
    /// The room that the caller asks for.
    pub room_name: Option<RoomName>,
    /// Who takes part.
    pub participant_identity: Option<ParticipantIdentity>,
    /// What others see.
    pub participant_name: Option<ParticipantName>,
    /// Metadata, attributes and agents.
    pub attachments: Attachments,
}

impl ConnectionRequest {
    /// Every field that this request has.
    pub const FIELDS: [&str; 6] =
        ["room_name", "participant_identity", "participant_name", "participant_metadata", "participant_attributes", "room_config"];

    /// Reads a body; an absent one counts as `{}`.
    ///
    /// # Errors
    /// [`Refused`] with every field that is wrong.
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Self, Refused> {
        let mut fields = Fields::read(body)?.with_null_as_absent();
        let room_name = fields.text("room_name", |text| limits.room_name(text));
        let participant_identity = fields.text("participant_identity", ParticipantIdentity::parse);
        let participant_name = fields.text("participant_name", ParticipantName::parse);
        let metadata = fields.text("participant_metadata", metadata);
        let attributes = fields.value("participant_attributes", attributes);
        let agents = fields.value("room_config", |value| room_config(value, &limits.agents));
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

/// A random room for a caller who named none.
///
/// # Errors
/// [`Refused`] where the operator's pattern does not admit random names: the caller must then name a room.
pub fn random_room(seed: NameSeed, limits: &Limits) -> Result<RoomName, Refused> {
    let room_name = RoomName::random(seed);
    if limits.admits(&room_name) { Ok(room_name) } else { Err(Refused::field("room_name", "is required by this service")) }
}

fn metadata(text: &str) -> Result<String, Rule> {
    if text.len() <= MAX_ATTACHMENT_BYTES && is_plain(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be at most {MAX_ATTACHMENT_BYTES} bytes, without control characters save tabs and line breaks").into())
    }
}

/// Other control characters are of no use in an attachment and take six bytes each in a token's JSON.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

fn attributes(value: Json<'_>) -> Result<BTreeMap<String, String>, Rule> {
    let mut bytes = 0;
    let mut attributes = BTreeMap::new();
    for (key, value) in object(value)? {
        let Json::Text(value) = value else { return Err("must be an object whose values are text".into()) };
        if key.is_empty() || key.starts_with("lk.") || !is_plain(&key) || !is_plain(&value) {
            return Err("must have names that are not empty and do not begin with lk., and no control characters".into());
        }
        bytes += key.len() + value.len();
        attributes.insert(key.into_owned(), value.into_owned());
    }
    if attributes.len() > MAX_ATTRIBUTES || bytes > MAX_ATTACHMENT_BYTES {
        return Err(format!("must hold at most {MAX_ATTRIBUTES} attributes and {MAX_ATTACHMENT_BYTES} bytes in all").into());
    }
    Ok(attributes)
}

/// The rest of a room configuration is refused, not dropped: egress settings, for one, may carry storage credentials.
fn room_config(value: Json<'_>, allowed: &[String]) -> Result<Vec<AgentDispatch>, Rule> {
    const RULE: &str = "may only hold agents that this service allows, each with agent_name and, as text, metadata";
    let mut agents = Vec::new();
    let mut bytes = 0;
    for (key, value) in object(value)? {
        match (key.as_ref(), value) {
            (_, Json::Null) => {}
            ("agents", Json::Array(items)) => {
                for item in items {
                    let agent = agent(item, allowed).ok_or(RULE)?;
                    bytes += agent.metadata.as_ref().map_or(0, String::len);
                    agents.push(agent);
                }
            }
            _ => return Err(RULE.into()),
        }
    }
    if agents.len() > MAX_AGENTS || bytes > MAX_ATTACHMENT_BYTES {
        return Err(format!("must hold at most {MAX_AGENTS} agents and {MAX_ATTACHMENT_BYTES} bytes of metadata in all").into());
    }
    Ok(agents)
}

fn agent(value: Json<'_>, allowed: &[String]) -> Option<AgentDispatch> {
    let mut members = object(value).ok()?;
    members.retain(|_, value| *value != Json::Null);
    let Some(Json::Text(agent_name)) = members.remove("agent_name") else { return None };
    let metadata = match members.remove("metadata") {
        None => None,
        Some(Json::Text(text)) if is_plain(&text) => Some(text.into_owned()),
        Some(_) => return None,
    };
    let allowed = allowed.iter().any(|name| *name == agent_name);
    (allowed && members.is_empty()).then(|| AgentDispatch { agent_name: agent_name.into_owned(), metadata })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::names::RoomPattern;
    use super::*;

    fn limits() -> Limits {
        Limits { agents: vec!["notes".to_owned()], ..Limits::default() }
    }

    fn parse(body: &str) -> Result<ConnectionRequest, Refused> {
        ConnectionRequest::parse(body.as_bytes(), &limits())
    }

    #[test]
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
            ("participant_attributes", &format!("{{\"a\":\"{}\"}}", &long[1..])),
            ("participant_attributes", &format!("{{\"{}\":\"a\"}}", &long[1..])),
            ("participant_attributes", &many),
            ("room_config", "[]"),
            ("room_config", r#"{"egress":{}}"#),
            ("room_config", r#"{"max_participants":5}"#),
            ("room_config", r#"{"agents":{}}"#),
            ("room_config", r#"{"agents":["notes"]}"#),
            ("room_config", r#"{"agents":[{}]}"#),
            ("room_config", r#"{"agents":[{"agent_name":"other"}]}"#),
            ("room_config", r#"{"agents":[{"agent_name":"notes","metadata":5}]}"#),
            ("room_config", r#"{"agents":[{"agent_name":"notes","metadata":"\u0000"}]}"#),
            ("room_config", r#"{"agents":[{"agent_name":"notes","x":5}]}"#),
            ("room_config", r#"{"agents":[{"agent_name":"notes"}],"egress":{"room":{}}}"#),
            ("room_config", &format!(r#"{{"agents":[{{"agent_name":"notes","metadata":"{long}"}}]}}"#)),
            ("room_config", &format!(r#"{{"agents":[{}]}}"#, [r#"{"agent_name":"notes"}"#; 9].join(","))),
        ] {
            match parse(&format!("{{\"{field}\":{value}}}")) {
                Err(Refused::Invalid(errors)) if errors.len() == 1 => assert_eq!(errors[0].field, field, "{value:.60}"),
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
        let attributes: BTreeMap<_, _> = (10..26).map(|n| (n.to_string(), "v".repeat(62))).collect();
        let agents: Vec<_> = (0..8).map(|_| serde_json::json!({ "agent_name": "notes", "metadata": "m".repeat(128) })).collect();
        let body =
            serde_json::json!({ "participant_metadata": text, "participant_attributes": attributes, "room_config": { "agents": agents } });
        let attachments = parse(&body.to_string()).unwrap().attachments;
        assert_eq!((attachments.metadata, attachments.attributes, attachments.agents.len()), (Some(text), attributes, 8));
    }

    #[test]
    fn what_is_empty_null_or_not_yet_known_is_welcome() {
        let empty = parse("").unwrap();
        assert_eq!(
            empty,
            ConnectionRequest { room_name: None, participant_identity: None, participant_name: None, attachments: Attachments::default() }
        );
        for body in [
            "{}",
            r#"{"room_config":{}}"#,
            r#"{"room_config":{"agents":[],"name":null}}"#,
            r#"{"participant_attributes":{}}"#,
            r#"{"a_field_of_tomorrow":{"x":[1]}}"#,
            r#"{"room_name":null,"participant_identity":null,"participant_name":null,"participant_metadata":null,"participant_attributes":null,"room_config":null}"#,
        ] {
            assert_eq!(parse(body).as_ref(), Ok(&empty), "{body}");
        }
    }

    #[test]
    fn attachments_are_kept_as_they_are() {
        let attachments = parse(
            r#"{"participant_metadata":"{\"a\":1}","participant_attributes":{"k":"v"},
                "room_config":{"agents":[{"agent_name":"notes","metadata":"m"},{"agent_name":"notes","metadata":null}]}}"#,
        )
        .unwrap()
        .attachments;
        assert_eq!(attachments.metadata.as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(attachments.attributes, BTreeMap::from([("k".to_owned(), "v".to_owned())]));
        let agent = |metadata: Option<&str>| AgentDispatch { agent_name: "notes".to_owned(), metadata: metadata.map(str::to_owned) };
        assert_eq!(attachments.agents, [agent(Some("m")), agent(None)]);
    }

    #[test]
    fn a_random_room_is_refused_where_the_pattern_does_not_admit_it() {
        let with_pattern = |pattern: &str| Limits { room_pattern: Some(RoomPattern::parse(pattern).unwrap()), ..Limits::default() };
        assert!(random_room([0; 12], &with_pattern("team-.*")).is_err());
        assert_eq!(random_room([0; 12], &with_pattern("room-.*")).unwrap().as_str(), "room-aaaaaaaaaaaa");
    }

    proptest! {
        #[test]
        fn attachments_stay_within_their_limits(metadata in any::<String>(), attributes in prop::collection::btree_map(any::<String>(), any::<String>(), 0..20)) {
            let body = serde_json::json!({ "participant_metadata": metadata, "participant_attributes": attributes }).to_string();
            if let Ok(request) = parse(&body) {
                prop_assert_eq!(request.attachments.metadata, Some(metadata));
                prop_assert_eq!(&request.attachments.attributes, &attributes);
                prop_assert!(attributes.len() <= 16);
                prop_assert!(!attributes.keys().any(|key| key.starts_with("lk.")));
                prop_assert!(attributes.values().all(|value| is_plain(value)));
            }
        }
    }
}
