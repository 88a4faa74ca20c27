//! The requests to open and to end a session of a project.

use std::fmt;

use uuid::Uuid;

use super::session::{AllowedChoices, MAX_OPERATOR_BYTES, ModelOrVoice};
use crate::domain::requests::fields::{BodyError, Fields, Requirement};
use crate::domain::requests::json::Json;
use crate::domain::requests::provider::Provider;
use crate::domain::vault::project_id::ProjectId;

/// The longest id of a call, in bytes.
const MAX_CALL_ID_BYTES: usize = 128;

/// A request to open a session.
#[derive(Debug, PartialEq)]
pub struct OpenSessionRequest {
    /// The project whose key mints.
    pub project_id: ProjectId,
    /// The model.
    pub model: ModelOrVoice,
    /// The voice.
    pub voice: ModelOrVoice,
    /// The instructions in place of the operator's.
    pub instructions: Option<String>,
    /// The caller wants TURN credentials, where the operator offers them.
    pub wants_turn: bool,
}

impl OpenSessionRequest {
    /// The fields of this request.
    pub const FIELDS: [&str; 5] = ["project_id", "model", "voice", "instructions", "turn"];

    /// Reads a body. `allows_instructions` tells whether callers may send instructions.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong, unknown or missing.
    pub fn parse(
        body: &[u8],
        choices: &AllowedChoices,
        allows_instructions: bool,
    ) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let project_id = fields.text("project_id", ProjectId::parse);
        let project_id = fields.required("project_id", project_id);
        let model = fields.text("model", |text| choices.parse_model(text, Provider::OpenAi));
        let model =
            model.map(|model| model.or_else(|| choices.default_model(Provider::OpenAi).cloned()));
        let model = fields.required("model", model);
        let voice = fields.text("voice", |text| choices.parse_voice(text));
        let instructions = fields.text("instructions", |text| {
            if allows_instructions {
                instructions(text)
            } else {
                Err("is chosen by this service; leave it out".into())
            }
        });
        let turn = fields.value("turn", |value| match value {
            Json::Bool(turn) => Ok(turn),
            _ => Err("must be true or false".into()),
        });
        fields.reject_unknown();
        fields.finish(|| {
            Ok(Self {
                project_id: project_id?,
                model: model?,
                voice: voice?.unwrap_or_else(|| choices.voice.clone()),
                instructions: instructions?,
                wants_turn: turn?.unwrap_or(true),
            })
        })
    }
}

fn instructions(text: &str) -> Result<String, Requirement> {
    if text.len() > MAX_OPERATOR_BYTES {
        return Err(format!("must have at most {MAX_OPERATOR_BYTES} bytes").into());
    }
    if text.contains('\0') {
        return Err("must not contain NUL".into());
    }
    Ok(text.to_owned())
}

/// The provider's id of a call: 1 to 128 bytes of `[A-Za-z0-9_-]`, safe in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallId(String);

impl CallId {
    /// Reads an id.
    ///
    /// # Errors
    /// The requirement, for any other text.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=MAX_CALL_ID_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 128 letters, digits, '-' or '_'".into())
        }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A request to end a session.
#[derive(Debug, PartialEq, Eq)]
pub struct EndSessionRequest {
    /// Our id of the session.
    pub session_id: Uuid,
    /// The call that is to be hung up.
    pub call_id: Option<CallId>,
}

impl EndSessionRequest {
    /// The fields of this request.
    pub const FIELDS: [&str; 2] = ["session_id", "call_id"];

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong, unknown or missing.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let session_id = fields.text("session_id", |text| {
            let hyphenated = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
            hyphenated.ok_or_else(|| Requirement::from("must be the session_id of a session"))
        });
        let session_id = fields.required("session_id", session_id);
        let call_id = fields.text("call_id", CallId::parse);
        fields.reject_unknown();
        fields.finish(|| {
            Ok(Self {
                session_id: session_id?,
                call_id: call_id?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> AllowedChoices {
        AllowedChoices {
            openai: ModelOrVoice::parse("gpt-realtime-2.1").ok(),
            ..AllowedChoices::default()
        }
    }

    fn open(body: &str, instructions: bool) -> Result<OpenSessionRequest, BodyError> {
        OpenSessionRequest::parse(body.as_bytes(), &choices(), instructions)
    }

    fn fields<T: fmt::Debug>(parsed: Result<T, BodyError>) -> Vec<String> {
        let BodyError::Invalid(errors) = parsed.unwrap_err() else {
            panic!("malformed")
        };
        errors
            .into_iter()
            .map(|error| error.field.into_owned())
            .collect()
    }

    #[test]
    fn a_wrong_session_request_names_every_wrong_field() {
        for (body, named) in [
            ("", &["project_id"][..]),
            (
                r#"{"project_id":"a b","model":"x","voice":"y"}"#,
                &["project_id", "model", "voice"],
            ),
            (
                r#"{"project_id":"p","instructions":"hi"}"#,
                &["instructions"],
            ),
            (r#"{"project_id":"p","turn":"no"}"#, &["turn"]),
            (r#"{"project_id":"p","temperature":1}"#, &["temperature"]),
            (r#"{"project_id":null}"#, &["project_id"]),
        ] {
            assert_eq!(fields(open(body, false)), named, "{body}");
        }
        let long = format!(
            r#"{{"project_id":"p","instructions":"{}"}}"#,
            "x".repeat(8_193)
        );
        assert_eq!(fields(open(&long, true)), ["instructions"]);
        assert_eq!(
            fields(open(r#"{"project_id":"p","instructions":"\u0000"}"#, true)),
            ["instructions"]
        );
    }

    #[test]
    fn model_voice_and_turn_have_defaults() {
        let request = open(r#"{"project_id":"p"}"#, false).unwrap();
        assert_eq!(request.model.as_str(), "gpt-realtime-2.1");
        assert_eq!(
            (request.voice.as_str(), request.wants_turn),
            ("marin", true)
        );
        let request = open(
            r#"{"project_id":"p","instructions":"Be kind.","turn":false}"#,
            true,
        );
        let request = request.unwrap();
        assert_eq!(request.instructions.as_deref(), Some("Be kind."));
        assert!(!request.wants_turn);
    }

    #[test]
    fn an_end_names_its_session_and_a_call_that_is_safe_in_a_path() {
        let end = |body: &str| EndSessionRequest::parse(body.as_bytes());
        let id = "0b0e6d0e-8a55-4bd6-9d8b-3f0d1f0a7c11";
        for (body, named) in [
            (String::new(), "session_id"),
            (r#"{"session_id":"x"}"#.to_owned(), "session_id"),
            (
                format!(r#"{{"session_id":"{}"}}"#, id.replace('-', "")),
                "session_id",
            ),
            (
                format!(r#"{{"session_id":"{id}","call_id":"../x"}}"#),
                "call_id",
            ),
            (
                format!(r#"{{"session_id":"{id}","call_id":""}}"#),
                "call_id",
            ),
            (
                format!(r#"{{"session_id":"{id}","call_id":"rtc_1?x"}}"#),
                "call_id",
            ),
            (
                format!(r#"{{"session_id":"{id}","project_id":"p"}}"#),
                "project_id",
            ),
        ] {
            assert_eq!(fields(end(&body)), [named], "{body}");
        }
        let request = end(&format!(r#"{{"session_id":"{id}","call_id":"rtc_a-1"}}"#)).unwrap();
        assert_eq!(request.session_id.to_string(), id);
        assert_eq!(request.call_id.unwrap().to_string(), "rtc_a-1");
    }
}
