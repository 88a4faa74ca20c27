//! What a caller asks of a Realtime provider, on either of the two routes that have them.

use super::session::{AllowedChoices, ModelOrVoice};
use crate::domain::livekit::names::{ParticipantIdentity, RoomName};
use crate::domain::requests::fields::{BodyError, ErrorRecorded, Fields};
use crate::domain::requests::provider::Provider;

/// A valid request.
#[derive(Debug, PartialEq)]
pub struct RealtimeRequest {
    /// Who is to give the key.
    pub provider: Provider,
    /// The room that it is asked for in, where the caller says so; for policy and log.
    pub room_name: Option<RoomName>,
    /// Who takes part, where the caller says so; for policy.
    pub participant_identity: Option<ParticipantIdentity>,
    /// The model or deployment.
    pub model: ModelOrVoice,
    /// The voice.
    pub voice: ModelOrVoice,
}

/// A field that was taken.
type Taken<T> = Result<Option<T>, ErrorRecorded>;

impl RealtimeRequest {
    /// Every field of the plain request.
    pub const PLAIN_FIELDS: [&str; 1] = ["voice"];

    /// Reads the body of a client of a plain Realtime token service; an absent one counts as `{}`.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong or unknown.
    pub fn parse_plain(
        body: &[u8],
        provider: Provider,
        choices: &AllowedChoices,
    ) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let voice = fields.text("voice", |text| choices.voice(text));
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

    /// Builds the request if nothing was noted.
    pub(in crate::domain) fn finish(
        mut fields: Fields<'_>,
        provider: Provider,
        room_name: Taken<RoomName>,
        participant_identity: Taken<ParticipantIdentity>,
        (model, voice): (Taken<ModelOrVoice>, Taken<ModelOrVoice>),
        choices: &AllowedChoices,
    ) -> Result<Self, BodyError> {
        // A configured provider has a model of its own; without one the caller would have to
        // choose.
        let model = model.map(|model| model.or_else(|| choices.own_model(provider).cloned()));
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
    fn a_plain_client_may_choose_a_voice_and_nothing_else() {
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
