//! The body of `POST /api/token`: text into types, all field errors at once.

use super::access_token::Role;
use super::fields::{Fields, Refused, Rule};
use super::lifetime::{Ceiling, Lifetime};
use super::names::{ParticipantIdentity, ParticipantName, RoomName, RoomPattern};
use super::provider::Provider;

/// What the operator allows callers to ask for.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// One more rule for room names.
    pub room_pattern: Option<RoomPattern>,
    /// Longest lifetime.
    pub ceiling: Ceiling,
    /// Agents that a caller may dispatch, by name.
    pub agents: Vec<String>,
}

impl Limits {
    /// Reads a room name that a caller chose.
    ///
    /// # Errors
    /// The rule that it breaks, ours or the operator's.
    pub fn room_name(&self, text: &str) -> Result<RoomName, Rule> {
        let room_name = RoomName::parse(text)?;
        if self.admits(&room_name) { Ok(room_name) } else { Err("must match the room pattern of this service".into()) }
    }

    /// Whether the operator's pattern, if there is one, admits the room.
    #[must_use]
    pub fn admits(&self, room_name: &RoomName) -> bool {
        self.room_pattern.as_ref().is_none_or(|pattern| pattern.admits(room_name))
    }
}

/// A valid request.
#[derive(Debug, PartialEq)]
pub struct TokenRequest {
    /// Who is to give the key.
    pub provider: Provider,
    /// The one room that the key opens.
    pub room_name: RoomName,
    /// Who takes part, where the caller says so.
    pub participant_identity: Option<ParticipantIdentity>,
    /// What others see, where the caller says so.
    pub participant_name: Option<ParticipantName>,
    /// What the participant may do.
    pub role: Role,
    /// How long the key is to live.
    pub lifetime: Lifetime,
}

impl TokenRequest {
    /// Every field that this request has.
    pub const FIELDS: [&str; 6] = ["provider", "roomName", "participantIdentity", "participantName", "role", "expirationSeconds"];

    /// Reads a body; an absent one counts as `{}`.
    ///
    /// # Errors
    /// [`Refused`] with every field that is wrong, unknown or missing.
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Self, Refused> {
        let mut fields = Fields::read(body)?;
        let provider = fields.text("provider", Provider::parse);
        let room_name = fields.text("roomName", |text| limits.room_name(text));
        let room_name = fields.required("roomName", room_name);
        let participant_identity = fields.text("participantIdentity", ParticipantIdentity::parse);
        let participant_name = fields.text("participantName", ParticipantName::parse);
        let role = fields.text("role", Role::parse);
        let lifetime = fields.value("expirationSeconds", |value| Lifetime::parse(&value, limits.ceiling));
        fields.refuse_others();
        fields.finish(|| {
            Ok(Self {
                provider: provider?.unwrap_or(Provider::LiveKit),
                room_name: room_name?,
                participant_identity: participant_identity?,
                participant_name: participant_name?,
                role: role?.unwrap_or(Role::Speaker),
                lifetime: lifetime?.unwrap_or(Lifetime::default_below(limits.ceiling)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<TokenRequest, Refused> {
        TokenRequest::parse(body.as_bytes(), &Limits::default())
    }

    fn refused_fields(body: &str) -> Vec<String> {
        match parse(body) {
            Err(Refused::Invalid(errors)) => errors.into_iter().map(|error| error.field.into_owned()).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (body, field) in [
            (r"{}", "roomName"),
            (r#"{"roomName":null}"#, "roomName"),
            (r#"{"roomName":5}"#, "roomName"),
            (r#"{"roomName":["r"]}"#, "roomName"),
            (r#"{"roomName":"r","provider":"openai"}"#, "provider"),
            (r#"{"roomName":"r","provider":"LiveKit"}"#, "provider"),
            (r#"{"roomName":"r","participantIdentity":""}"#, "participantIdentity"),
            (r#"{"roomName":"r","participantName":"\u0000"}"#, "participantName"),
            (r#"{"roomName":"r","role":"admin"}"#, "role"),
            (r#"{"roomName":"r","expirationSeconds":"3600"}"#, "expirationSeconds"),
            (r#"{"roomName":"r","expirationSeconds":60.0}"#, "expirationSeconds"),
            (r#"{"roomName":"r","expirationMinutes":5}"#, "expirationMinutes"),
            (r#"{"roomName":"r","voice":"marin"}"#, "voice"),
            (r#"{"roomName":"r","RoomName":"r"}"#, "RoomName"),
        ] {
            assert_eq!(refused_fields(body), [field], "{body}");
        }
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let body = r#"{"provider":1,"roomName":"","participantIdentity":" ","participantName":"","role":"","expirationSeconds":0}"#;
        assert_eq!(refused_fields(body), TokenRequest::FIELDS);
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let request = parse(r#"{"roomName":"r"}"#).unwrap();
        assert_eq!(request.provider, Provider::LiveKit);
        assert_eq!(request.role, Role::Speaker);
        assert_eq!((request.participant_identity, request.participant_name), (None, None));
        assert_eq!(request.lifetime, Lifetime::default_below(Ceiling::default()));
    }

    #[test]
    fn the_operators_pattern_and_ceiling_narrow_what_is_accepted() {
        let limits = Limits {
            room_pattern: Some(RoomPattern::parse("team-[0-9]+").unwrap()),
            ceiling: Ceiling::parse("120").unwrap(),
            agents: Vec::new(),
        };
        let parse = |body: &str| TokenRequest::parse(body.as_bytes(), &limits);
        assert!(parse(r#"{"roomName":"team-1x"}"#).is_err());
        assert!(parse(r#"{"roomName":"team-1","expirationSeconds":121}"#).is_err());
        assert_eq!(parse(r#"{"roomName":"team-1"}"#).unwrap().lifetime, Lifetime::default_below(limits.ceiling));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let read = TokenRequest::parse(&body, &Limits::default());
            // No body without a room is accepted, and these bytes hold one only by a miracle.
            prop_assert!(read.is_err());
        }

        #[test]
        fn a_field_that_is_not_listed_is_always_named(field in "[A-Za-z]{1,30}") {
            prop_assume!(!TokenRequest::FIELDS.contains(&field.as_str()));
            prop_assert_eq!(refused_fields(&format!(r#"{{"roomName":"r","{field}":1}}"#)), [field]);
        }
    }
}
