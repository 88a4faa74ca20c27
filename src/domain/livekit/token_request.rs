//! The body of `POST /api/token`: text into types, all field errors at once.

use super::access_token::Role;
use super::agents::AllowedAgents;
use super::lifetime::{Lifetime, MaxLifetime};
use super::names::{ParticipantIdentity, ParticipantName, RoomName, RoomPattern};
use crate::domain::realtime::request::RealtimeRequest;
use crate::domain::realtime::session::{AllowedChoices, ModelOrVoice};
use crate::domain::requests::fields::{BodyError, ErrorRecorded, Fields, Requirement};
use crate::domain::requests::provider::{Provider, Providers};

/// What the operator allows callers to ask for.
#[derive(Debug, Clone, Default)]
pub struct RequestPolicy {
    /// One more rule for room names.
    pub room_pattern: Option<RoomPattern>,
    /// Longest lifetime.
    pub ceiling: MaxLifetime,
    /// Agents that a caller may dispatch.
    pub agents: AllowedAgents,
    /// Who may be asked for a key.
    pub providers: Providers,
    /// Models and voices.
    pub choices: AllowedChoices,
}

impl RequestPolicy {
    /// Reads a room name that a caller chose.
    ///
    /// # Errors
    /// The rule that it breaks, ours or the operator's.
    pub fn room_name(&self, text: &str) -> Result<RoomName, Requirement> {
        let room_name = RoomName::parse(text)?;
        if self.admits(&room_name) {
            Ok(room_name)
        } else {
            Err("must match the room pattern of this service".into())
        }
    }

    /// Whether the operator's pattern, if there is one, admits the room.
    #[must_use]
    pub fn admits(&self, room_name: &RoomName) -> bool {
        self.room_pattern
            .as_ref()
            .is_none_or(|pattern| pattern.admits(room_name))
    }
}

/// A valid request, for the kind of provider that it is meant for.
#[derive(Debug, PartialEq)]
pub enum TokenRequest {
    /// A LiveKit token.
    LiveKit(LiveKitRequest),
    /// A Realtime client secret.
    Realtime(RealtimeRequest),
}

/// What is asked of LiveKit.
#[derive(Debug, PartialEq)]
pub struct LiveKitRequest {
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
    pub const FIELDS: [&str; 8] = [
        "provider",
        "roomName",
        "participantIdentity",
        "participantName",
        "role",
        "expirationSeconds",
        "voice",
        "model",
    ];

    /// Reads a body; an absent one counts as `{}`.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong, unknown, missing, or of no use to the provider.
    pub fn parse(body: &[u8], limits: &RequestPolicy) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let provider = provider(&mut fields, &limits.providers);
        // With a provider that is wrong, any field may have had its use.
        let (for_livekit, for_realtime) = match provider {
            Ok(Provider::LiveKit) => (true, false),
            Ok(Provider::AzureOpenAi | Provider::OpenAi) => (false, true),
            Err(_) => (true, true),
        };
        let room_name = fields.text("roomName", |text| limits.room_name(text));
        let participant_identity = fields.text("participantIdentity", ParticipantIdentity::parse);
        let participant_name = fields.text("participantName", |text| {
            used(for_livekit).and_then(|()| ParticipantName::parse(text))
        });
        let role = fields.text("role", |text| {
            used(for_livekit).and_then(|()| Role::parse(text))
        });
        let lifetime = fields.value("expirationSeconds", |value| {
            used(for_livekit)?;
            Lifetime::parse(&value, limits.ceiling)
        });
        let voice = fields.text("voice", |text| {
            used(for_realtime).and_then(|()| limits.choices.parse_voice(text))
        });
        let model = fields.text("model", |text| match &provider {
            Ok(provider) => {
                used(for_realtime).and_then(|()| limits.choices.parse_model(text, *provider))
            }
            Err(_) => ModelOrVoice::parse(text),
        });
        match provider {
            Ok(provider @ (Provider::AzureOpenAi | Provider::OpenAi)) => {
                fields.reject_unknown();
                RealtimeRequest::finish(
                    fields,
                    provider,
                    room_name,
                    participant_identity,
                    (model, voice),
                    &limits.choices,
                )
                .map(Self::Realtime)
            }
            Ok(Provider::LiveKit) => {
                let room_name = fields.required("roomName", room_name);
                fields.reject_unknown();
                fields.finish(|| {
                    Ok(Self::LiveKit(LiveKitRequest {
                        room_name: room_name?,
                        participant_identity: participant_identity?,
                        participant_name: participant_name?,
                        role: role?.unwrap_or(Role::Speaker),
                        lifetime: lifetime?.unwrap_or(Lifetime::default_below(limits.ceiling)),
                    }))
                })
            }
            // Nor may any field be missing.
            Err(noted) => {
                fields.reject_unknown();
                fields.finish(|| Err(noted))
            }
        }
    }
}

fn provider(fields: &mut Fields<'_>, providers: &Providers) -> Result<Provider, ErrorRecorded> {
    match fields.text("provider", |text| providers.parse(text))? {
        Some(provider) => Ok(provider),
        None if providers.contains(providers.default_provider()) => {
            Ok(providers.default_provider())
        }
        None => Err(fields.record("provider", "is required by this service")),
    }
}

/// Refuses a field that the provider would ignore, so that nobody relies on it.
fn used(used: bool) -> Result<(), Requirement> {
    if used {
        Ok(())
    } else {
        Err("is of no use to this provider; leave it out".into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<TokenRequest, BodyError> {
        TokenRequest::parse(body.as_bytes(), &RequestPolicy::default())
    }

    fn livekit(request: Result<TokenRequest, BodyError>) -> LiveKitRequest {
        match request {
            Ok(TokenRequest::LiveKit(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    /// All three providers, and one further model.
    fn all() -> RequestPolicy {
        let choice = |name: &str| ModelOrVoice::parse(name).unwrap();
        RequestPolicy {
            providers: Providers::new(Provider::ALL.to_vec(), None),
            choices: AllowedChoices {
                azure_openai: Some(choice("deployment")),
                openai: Some(choice("gpt-realtime-2.1")),
                models: vec![choice("other")],
                ..AllowedChoices::default()
            },
            ..RequestPolicy::default()
        }
    }

    fn refused_fields(body: &str) -> Vec<String> {
        match parse(body) {
            Err(BodyError::Invalid(errors)) => errors
                .into_iter()
                .map(|error| error.field.into_owned())
                .collect(),
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
            (r#"{"provider":"openai"}"#, "provider"),
            (
                r#"{"roomName":"r","participantIdentity":""}"#,
                "participantIdentity",
            ),
            (
                r#"{"roomName":"r","participantName":"\u0000"}"#,
                "participantName",
            ),
            (r#"{"roomName":"r","role":"admin"}"#, "role"),
            (
                r#"{"roomName":"r","expirationSeconds":"3600"}"#,
                "expirationSeconds",
            ),
            (
                r#"{"roomName":"r","expirationSeconds":60.0}"#,
                "expirationSeconds",
            ),
            (
                r#"{"roomName":"r","expirationMinutes":5}"#,
                "expirationMinutes",
            ),
            (r#"{"roomName":"r","voice":"marin"}"#, "voice"),
            (r#"{"roomName":"r","RoomName":"r"}"#, "RoomName"),
        ] {
            assert_eq!(refused_fields(body), [field], "{body}");
        }
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let body = r#"{"provider":1,"roomName":"","participantIdentity":" ","participantName":"","role":"","expirationSeconds":0,"voice":"","model":""}"#;
        assert_eq!(refused_fields(body), TokenRequest::FIELDS);
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let request = livekit(parse(r#"{"roomName":"r"}"#));
        assert_eq!(request.role, Role::Speaker);
        assert_eq!(
            (request.participant_identity, request.participant_name),
            (None, None)
        );
        assert_eq!(
            request.lifetime,
            Lifetime::default_below(MaxLifetime::default())
        );
    }

    #[test]
    fn the_operators_pattern_and_ceiling_narrow_what_is_accepted() {
        let limits = RequestPolicy {
            room_pattern: Some(RoomPattern::parse("team-[0-9]+").unwrap()),
            ceiling: MaxLifetime::parse("120").unwrap(),
            ..RequestPolicy::default()
        };
        let parse = |body: &str| TokenRequest::parse(body.as_bytes(), &limits);
        assert!(parse(r#"{"roomName":"team-1x"}"#).is_err());
        assert!(parse(r#"{"roomName":"team-1","expirationSeconds":121}"#).is_err());
        assert_eq!(
            livekit(parse(r#"{"roomName":"team-1"}"#)).lifetime,
            Lifetime::default_below(limits.ceiling)
        );
    }

    #[test]
    fn each_provider_has_its_own_fields_and_refuses_those_of_the_others_by_name() {
        for (body, fields) in [
            (
                r#"{"provider":"openai","role":"speaker","expirationSeconds":60,"participantName":"A"}"#,
                &["participantName", "role", "expirationSeconds"][..],
            ),
            (
                r#"{"provider":"livekit","roomName":"r","voice":"marin","model":"other"}"#,
                &["voice", "model"],
            ),
            (r#"{"provider":"azure-openai","voice":"tenor"}"#, &["voice"]),
            (
                r#"{"provider":"azure-openai","model":"gpt-realtime-2.1"}"#,
                &["model"],
            ),
            (
                r#"{"provider":"openai","model":"a b","voice":null}"#,
                &["voice", "model"],
            ),
            (
                r#"{"provider":"openai","roomName":"a b","participantIdentity":""}"#,
                &["roomName", "participantIdentity"],
            ),
            (
                r#"{"provider":"openai","instructions":"x"}"#,
                &["instructions"],
            ),
        ] {
            match TokenRequest::parse(body.as_bytes(), &all()) {
                Err(BodyError::Invalid(errors)) => {
                    assert_eq!(
                        errors
                            .iter()
                            .map(|error| error.field.as_ref())
                            .collect::<Vec<_>>(),
                        fields,
                        "{body}"
                    );
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_realtime_request_needs_nothing_and_may_choose_from_the_lists() {
        let realtime = |body: &str| match TokenRequest::parse(body.as_bytes(), &all()) {
            Ok(TokenRequest::Realtime(request)) => request,
            other => panic!("{body}: {other:?}"),
        };
        let plain = realtime(r#"{"provider":"openai"}"#);
        assert_eq!(
            (plain.provider, plain.model.as_str(), plain.voice.as_str()),
            (Provider::OpenAi, "gpt-realtime-2.1", "marin")
        );
        assert_eq!((plain.room_name, plain.participant_identity), (None, None));
        let chosen = realtime(
            r#"{"provider":"azure-openai","model":"other","voice":"alloy","roomName":"r","participantIdentity":"alice"}"#,
        );
        assert_eq!(
            (
                chosen.provider,
                chosen.model.as_str(),
                chosen.voice.as_str()
            ),
            (Provider::AzureOpenAi, "other", "alloy")
        );
        assert_eq!(
            (
                chosen.room_name.unwrap().as_str(),
                chosen.participant_identity.unwrap().as_str()
            ),
            ("r", "alice")
        );
    }

    #[test]
    fn a_request_that_names_no_provider_gets_the_default_or_is_told_to_name_one() {
        let limits = |configured: &[Provider], wish| RequestPolicy {
            providers: Providers::new(configured.to_vec(), wish),
            ..all()
        };
        let parse = |limits: &RequestPolicy| TokenRequest::parse(br#"{"roomName":"r"}"#, limits);
        assert!(matches!(
            parse(&limits(&[Provider::OpenAi], None)),
            Ok(TokenRequest::Realtime(_))
        ));
        assert!(matches!(
            parse(&limits(&Provider::ALL, Some(Provider::AzureOpenAi))),
            Ok(TokenRequest::Realtime(_))
        ));
        assert!(matches!(
            parse(&limits(&Provider::ALL, None)),
            Ok(TokenRequest::LiveKit(_))
        ));
        for body in [r#"{"roomName":"r"}"#, "{}"] {
            match TokenRequest::parse(body.as_bytes(), &limits(&Provider::REALTIME, None)) {
                Err(BodyError::Invalid(errors)) => {
                    assert_eq!(
                        errors
                            .iter()
                            .map(|error| error.field.as_ref())
                            .collect::<Vec<_>>(),
                        ["provider"],
                        "{body}"
                    );
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let read = TokenRequest::parse(&body, &RequestPolicy::default());
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
