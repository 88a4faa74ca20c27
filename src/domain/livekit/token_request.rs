//! The request for a token, and the operator's policy for its fields.

use super::access_token::Role;
use super::agents::AllowedAgents;
use super::lifetime::{Lifetime, MaxLifetime};
use super::names::{ParticipantIdentity, RoomName, RoomPattern};
use super::participant_name::ParticipantName;
use crate::domain::realtime::request::RealtimeRequest;
use crate::domain::realtime::session::{AllowedChoices, ModelOrVoice};
use crate::domain::requests::fields::{BodyError, ErrorRecorded, Fields, Requirement, TakenField};
use crate::domain::requests::provider::{Provider, Providers};

/// The operator's limits for the requests of callers.
#[derive(Debug, Clone, Default)]
pub struct RequestPolicy {
    /// A pattern that room names must match.
    pub room_pattern: Option<RoomPattern>,
    /// The longest lifetime.
    pub ceiling: MaxLifetime,
    /// The agents that a caller may dispatch.
    pub agents: AllowedAgents,
    /// The configured providers.
    pub providers: Providers,
    /// The models and voices that a caller may choose.
    pub choices: AllowedChoices,
}

impl RequestPolicy {
    /// Reads a room name that a caller chose.
    ///
    /// # Errors
    /// The requirement that it does not meet, ours or the operator's.
    pub fn parse_room_name(&self, text: &str) -> Result<RoomName, Requirement> {
        let room_name = RoomName::parse(text)?;
        if self.allows_room(&room_name) {
            Ok(room_name)
        } else {
            Err("must match the room pattern of this service".into())
        }
    }

    /// Reports whether the room matches the operator's pattern, if there is one.
    #[must_use]
    pub fn allows_room(&self, room_name: &RoomName) -> bool {
        self.room_pattern
            .as_ref()
            .is_none_or(|pattern| pattern.matches(room_name))
    }
}

/// A valid request for a token, by the kind of its provider.
///
/// # Examples
/// ```
/// use roomkey::domain::livekit::token_request::{RequestPolicy, TokenRequest};
/// use roomkey::domain::requests::fields::BodyError;
///
/// let policy = RequestPolicy::default();
/// match TokenRequest::parse(br#"{ "roomName": "standup-42" }"#, &policy)? {
///     TokenRequest::LiveKit(request) => assert_eq!(request.room_name.as_str(), "standup-42"),
///     TokenRequest::Realtime(_) => panic!("LiveKit is the default provider"),
/// }
///
/// let Err(BodyError::Invalid(errors)) = TokenRequest::parse(br#"{ "room": "r" }"#, &policy) else {
///     panic!("the field is called roomName")
/// };
/// assert_eq!((&*errors[0].field, &*errors[0].message), ("roomName", "is required"));
/// # Ok::<(), BodyError>(())
/// ```
#[derive(Debug, PartialEq)]
pub enum TokenRequest {
    /// A request for a LiveKit token.
    LiveKit(LiveKitRequest),
    /// A request for a Realtime client secret.
    Realtime(RealtimeRequest),
}

/// A valid request for a LiveKit token.
#[derive(Debug, PartialEq)]
pub struct LiveKitRequest {
    /// The only room that the token is for.
    pub room_name: RoomName,
    /// The requested identity, if the request names one.
    pub participant_identity: Option<ParticipantIdentity>,
    /// The name that other participants see, if the request has one.
    pub participant_name: Option<ParticipantName>,
    /// The role of the participant.
    pub role: Role,
    /// The lifetime of the token.
    pub lifetime: Lifetime,
}

/// The fields of a request except `provider`, as they were taken.
struct TakenFields {
    room_name: TakenField<RoomName>,
    participant_identity: TakenField<ParticipantIdentity>,
    participant_name: TakenField<ParticipantName>,
    role: TakenField<Role>,
    lifetime: TakenField<Lifetime>,
    voice: TakenField<ModelOrVoice>,
    model: TakenField<ModelOrVoice>,
}

impl TokenRequest {
    /// Every field of this request.
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

    /// Reads a body. An absent one counts as `{}`.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong, unknown, missing or unused by the provider.
    pub fn parse(body: &[u8], policy: &RequestPolicy) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let provider = take_provider(&mut fields, &policy.providers);
        let taken = TakenFields::take(&mut fields, provider.as_ref().ok().copied(), policy);
        match provider {
            Ok(Provider::LiveKit) => taken.finish_livekit(fields, policy).map(Self::LiveKit),
            Ok(provider @ (Provider::AzureOpenAi | Provider::OpenAi)) => {
                fields.reject_unknown();
                RealtimeRequest::finish(
                    fields,
                    provider,
                    taken.room_name,
                    taken.participant_identity,
                    (taken.model, taken.voice),
                    &policy.choices,
                )
                .map(Self::Realtime)
            }
            Err(recorded) => {
                fields.reject_unknown();
                fields.finish(|| Err(recorded))
            }
        }
    }
}

impl TakenFields {
    /// Takes the fields. If the provider is wrong, any field may have a use.
    fn take(fields: &mut Fields<'_>, provider: Option<Provider>, policy: &RequestPolicy) -> Self {
        let is_livekit = provider.is_none_or(|provider| provider == Provider::LiveKit);
        let is_realtime = provider.is_none_or(|provider| provider != Provider::LiveKit);
        Self {
            room_name: fields.text("roomName", |text| policy.parse_room_name(text)),
            participant_identity: fields.text("participantIdentity", ParticipantIdentity::parse),
            participant_name: fields.text("participantName", |text| {
                check_used(is_livekit)?;
                ParticipantName::parse(text)
            }),
            role: fields.text("role", |text| {
                check_used(is_livekit)?;
                Role::parse(text)
            }),
            lifetime: fields.value("expirationSeconds", |value| {
                check_used(is_livekit)?;
                Lifetime::parse(&value, policy.ceiling)
            }),
            voice: fields.text("voice", |text| {
                check_used(is_realtime)?;
                policy.choices.parse_voice(text)
            }),
            model: fields.text("model", |text| {
                check_used(is_realtime)?;
                match provider {
                    Some(provider) => policy.choices.parse_model(text, provider),
                    None => ModelOrVoice::parse(text),
                }
            }),
        }
    }

    /// Builds a LiveKit request if no error was recorded.
    fn finish_livekit(
        self,
        mut fields: Fields<'_>,
        policy: &RequestPolicy,
    ) -> Result<LiveKitRequest, BodyError> {
        let room_name = fields.required("roomName", self.room_name);
        fields.reject_unknown();
        fields.finish(|| {
            Ok(LiveKitRequest {
                room_name: room_name?,
                participant_identity: self.participant_identity?,
                participant_name: self.participant_name?,
                role: self.role?.unwrap_or(Role::Speaker),
                lifetime: self
                    .lifetime?
                    .unwrap_or(Lifetime::default_below(policy.ceiling)),
            })
        })
    }
}

fn take_provider(
    fields: &mut Fields<'_>,
    providers: &Providers,
) -> Result<Provider, ErrorRecorded> {
    match fields.text("provider", |text| providers.parse(text))? {
        Some(provider) => Ok(provider),
        None if providers.contains(providers.default_provider()) => {
            Ok(providers.default_provider())
        }
        None => Err(fields.record("provider", "is required by this service")),
    }
}

/// Rejects a field that the provider would ignore, so that nobody relies on it.
fn check_used(is_used: bool) -> Result<(), Requirement> {
    if is_used {
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
        let body = r#"{"provider":1,"roomName":"","participantIdentity":" ","participantName":"",
            "role":"","expirationSeconds":0,"voice":"","model":""}"#;
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
    fn the_operators_pattern_and_ceiling_restrict_requests() {
        let policy = RequestPolicy {
            room_pattern: Some(RoomPattern::parse("team-[0-9]+").unwrap()),
            ceiling: MaxLifetime::parse("120").unwrap(),
            ..RequestPolicy::default()
        };
        let parse = |body: &str| TokenRequest::parse(body.as_bytes(), &policy);
        assert!(parse(r#"{"roomName":"team-1x"}"#).is_err());
        assert!(parse(r#"{"roomName":"team-1","expirationSeconds":121}"#).is_err());
        assert_eq!(
            livekit(parse(r#"{"roomName":"team-1"}"#)).lifetime,
            Lifetime::default_below(policy.ceiling)
        );
    }

    #[test]
    fn a_field_that_the_provider_does_not_use_is_rejected_by_name() {
        for (body, fields) in [
            (
                r#"{"provider":"openai","role":"speaker","expirationSeconds":60,
                    "participantName":"A"}"#,
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
    fn a_realtime_request_needs_no_field_and_may_choose_from_the_lists() {
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
            r#"{"provider":"azure-openai","model":"other","voice":"alloy","roomName":"r",
                "participantIdentity":"alice"}"#,
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
    fn a_request_without_a_provider_gets_the_default_or_is_rejected() {
        let policy = |configured: &[Provider], default| RequestPolicy {
            providers: Providers::new(configured.to_vec(), default),
            ..all()
        };
        let parse = |policy: &RequestPolicy| TokenRequest::parse(br#"{"roomName":"r"}"#, policy);
        assert!(matches!(
            parse(&policy(&[Provider::OpenAi], None)),
            Ok(TokenRequest::Realtime(_))
        ));
        assert!(matches!(
            parse(&policy(&Provider::ALL, Some(Provider::AzureOpenAi))),
            Ok(TokenRequest::Realtime(_))
        ));
        assert!(matches!(
            parse(&policy(&Provider::ALL, None)),
            Ok(TokenRequest::LiveKit(_))
        ));
        for body in [r#"{"roomName":"r"}"#, "{}"] {
            match TokenRequest::parse(body.as_bytes(), &policy(&Provider::REALTIME, None)) {
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
        fn arbitrary_bytes_are_rejected_without_a_panic(
            body in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            let read = TokenRequest::parse(&body, &RequestPolicy::default());
            // Only a body with a room is accepted, and random bytes practically never contain one.
            prop_assert!(read.is_err());
        }

        #[test]
        fn a_field_that_is_not_listed_is_always_named(field in "[A-Za-z]{1,30}") {
            prop_assume!(!TokenRequest::FIELDS.contains(&field.as_str()));
            prop_assert_eq!(refused_fields(&format!(r#"{{"roomName":"r","{field}":1}}"#)), [field]);
        }
    }
}
