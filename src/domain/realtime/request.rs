//! Requests for a Realtime client secret, which two routes accept.

use super::session::{AllowedChoices, ModelOrVoice};
use crate::domain::livekit::names::{ParticipantIdentity, RoomName};
use crate::domain::requests::fields::{BodyError, Fields, TakenField};
use crate::domain::requests::provider::Provider;

/// A valid request for a Realtime client secret.
#[derive(Debug, PartialEq)]
pub struct RealtimeRequest {
    /// The provider that mints the secret.
    pub provider: Provider,
    /// The room, if the request names one. It serves policy and log.
    pub room_name: Option<RoomName>,
    /// The participant, if the request names one. It serves policy.
    pub participant_identity: Option<ParticipantIdentity>,
    /// The model or deployment.
    pub model: ModelOrVoice,
    /// The voice.
    pub voice: ModelOrVoice,
}

impl RealtimeRequest {
    /// Every field of a plain request.
    pub const PLAIN_FIELDS: [&str; 1] = ["voice"];

    /// Reads the body that clients of a plain Realtime token service send. An absent body counts as
    /// `{}`.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong or unknown.
    pub fn parse_plain(
        body: &[u8],
        provider: Provider,
        choices: &AllowedChoices,
    ) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let voice = fields.text("voice", |text| choices.parse_voice(text));
        fields.reject_unknown();
        Self::finish(
            fields,
            provider,
            Ok(None),
            Ok(None),
            (Ok(None), voice),
            choices,
        )
    }

    /// Builds the request if no error was recorded.
    pub(in crate::domain) fn finish(
        mut fields: Fields<'_>,
        provider: Provider,
        room_name: TakenField<RoomName>,
        participant_identity: TakenField<ParticipantIdentity>,
        (model, voice): (TakenField<ModelOrVoice>, TakenField<ModelOrVoice>),
        choices: &AllowedChoices,
    ) -> Result<Self, BodyError> {
        // A configured provider has a default model; without one the caller would have to choose.
        let model = model.map(|model| model.or_else(|| choices.default_model(provider).cloned()));
        let model = fields.required("model", model);
        fields.finish(|| {
            Ok(Self {
                provider,
                room_name: room_name?,
                participant_identity: participant_identity?,
                model: model?,
                voice: voice?.unwrap_or_else(|| choices.voice.clone()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_client_may_only_choose_a_voice() {
        let choices = AllowedChoices {
            openai: Some(ModelOrVoice::parse("m").unwrap()),
            ..AllowedChoices::default()
        };
        let parse =
            |body: &str| RealtimeRequest::parse_plain(body.as_bytes(), Provider::OpenAi, &choices);
        assert_eq!(parse("").unwrap().voice.as_str(), "marin");
        assert_eq!(
            parse(r#"{"voice":"alloy"}"#).unwrap().voice.as_str(),
            "alloy"
        );
        for body in [
            r#"{"voice":"tenor"}"#,
            r#"{"voice":null}"#,
            r#"{"model":"m"}"#,
            r#"{"roomName":"r"}"#,
        ] {
            assert!(
                matches!(parse(body), Err(BodyError::Invalid(errors)) if errors.len() == 1),
                "{body}"
            );
        }
        assert_eq!(parse("[]"), Err(BodyError::Malformed));
    }
}
