//! The Realtime session that an upstream is asked for: the body of a mint, and the choices that
//! callers have in it.
//!
//! # Source
//! `POST …/realtime/client_secrets`, the generally available route of Azure OpenAI and OpenAI. Both
//! accept the same body.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::domain::requests::fields::Requirement;
use crate::domain::requests::json as strict_json;
use crate::domain::requests::provider::Provider;

/// The most bytes of a model's or voice's name.
const MAX_NAME_BYTES: usize = 128;
/// The most bytes of the operator's JSON object, and of the instructions. Responses echo both, and
/// with every letter escaped they must still fit into the part of a response that is read.
pub const MAX_OPERATOR_BYTES: usize = 8 * 1024;
/// The prefix of the ids of `OpenAI`'s custom voices.
const CUSTOM_VOICE_PREFIX: &str = "voice_";
/// The members of the API's beta that the generally available API rejects, each with the member or
/// setting that replaces it.
const BETA_MEMBERS: [(&str, &str); 9] = [
    ("voice", "ROOMKEY_REALTIME_VOICE"),
    ("modalities", "output_modalities"),
    ("turn_detection", "audio.input.turn_detection"),
    ("input_audio_transcription", "audio.input.transcription"),
    ("input_audio_noise_reduction", "audio.input.noise_reduction"),
    ("input_audio_format", "audio.input.format"),
    ("output_audio_format", "audio.output.format"),
    ("speed", "audio.output.speed"),
    ("max_response_output_tokens", "max_output_tokens"),
];
/// The members that have a setting of their own, or that change the kind of session.
const RESERVED_MEMBERS: [&str; 4] = ["/type", "/model", "/instructions", "/audio/output/voice"];

/// The name of a model, deployment or voice: 1 to 128 bytes of `[A-Za-z0-9._:-]`. There is no list
/// of the vendors' names here, since they add and retire some every few months.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ModelOrVoice(String);

impl ModelOrVoice {
    /// Reads a name.
    ///
    /// # Errors
    /// The requirement, if the text does not meet it.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 128 letters, digits, '.', '_', ':' or '-'".into())
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the JSON form of this voice in a mint: the name of a standard voice, or an object
    /// with the id of a custom one.
    fn to_voice_json(&self) -> Value {
        if self.0.starts_with(CUSTOM_VOICE_PREFIX) {
            json!({ "id": self.0 })
        } else {
            self.0.as_str().into()
        }
    }
}

/// The models and voices that callers may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedChoices {
    /// The default model of Azure OpenAI: the deployment.
    pub azure_openai: Option<ModelOrVoice>,
    /// The default model of OpenAI.
    pub openai: Option<ModelOrVoice>,
    /// The further models.
    pub models: Vec<ModelOrVoice>,
    /// The voices.
    pub voices: Vec<ModelOrVoice>,
    /// The default voice.
    pub voice: ModelOrVoice,
}

impl AllowedChoices {
    /// The ten voices that the vendors publish. Azure lists the first eight and uses `marin` in its
    /// own samples.
    pub const VOICES: [&str; 10] = [
        "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar",
    ];
    /// The voice that the vendors recommend.
    pub const VOICE: &str = "marin";

    /// Reads a caller's voice.
    ///
    /// # Errors
    /// The requirement, if it is not a name or not on the operator's list.
    pub fn parse_voice(&self, text: &str) -> Result<ModelOrVoice, Requirement> {
        let voice = ModelOrVoice::parse(text)?;
        if self.voices.contains(&voice) {
            Ok(voice)
        } else {
            Err("must be a voice that this service offers".into())
        }
    }

    /// Returns the model for a caller who chooses none.
    #[must_use]
    pub fn default_model(&self, provider: Provider) -> Option<&ModelOrVoice> {
        match provider {
            Provider::LiveKit => None,
            Provider::AzureOpenAi => self.azure_openai.as_ref(),
            Provider::OpenAi => self.openai.as_ref(),
        }
    }

    /// Reads a caller's model.
    ///
    /// # Errors
    /// The requirement, if it is not a name, or neither on the operator's list nor the provider's
    /// default.
    pub fn parse_model(&self, text: &str, provider: Provider) -> Result<ModelOrVoice, Requirement> {
        let model = ModelOrVoice::parse(text)?;
        if self.models.contains(&model) || self.default_model(provider) == Some(&model) {
            Ok(model)
        } else {
            Err("must be a model that this service offers".into())
        }
    }
}

impl Default for AllowedChoices {
    /// Returns the vendors' voices and no model.
    fn default() -> Self {
        let choice = |name: &str| ModelOrVoice(name.to_owned());
        Self {
            azure_openai: None,
            openai: None,
            models: Vec::new(),
            voices: Self::VOICES.map(choice).into(),
            voice: choice(Self::VOICE),
        }
    }
}

/// The operator's JSON object that is merged into each session.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SessionExtra(Map<String, Value>);

impl fmt::Debug for SessionExtra {
    /// Omits the members: a tool may contain credentials.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionExtra(..)")
    }
}

impl SessionExtra {
    /// Reads an object.
    ///
    /// # Errors
    /// The requirement, if it is not one strict JSON object, is too large, or sets something that
    /// has a setting of its own.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let requirement = || {
            Requirement::from(format!(
                "must be one JSON object of at most {MAX_OPERATOR_BYTES} bytes"
            ))
        };
        // The strict parser rejects what serde_json accepts, above all duplicate keys.
        if text.len() > MAX_OPERATOR_BYTES || strict_json::parse_object(text.as_bytes()).is_err() {
            return Err(requirement());
        }
        let session: Value = serde_json::from_str(text).map_err(|_| requirement())?;
        check_members(&session)?;
        match session {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(requirement()),
        }
    }
}

/// Checks that the operator's members do not replace ours and that the API accepts them.
fn check_members(session: &Value) -> Result<(), Requirement> {
    if RESERVED_MEMBERS
        .iter()
        .any(|pointer| session.pointer(pointer).is_some())
    {
        return Err(
            "must not hold type, model, instructions or audio.output.voice, which have settings \
             of their own; a custom voice is written as voice_… in ROOMKEY_REALTIME_VOICE"
                .into(),
        );
    }
    if let Some((name, replacement)) = BETA_MEMBERS
        .iter()
        .find(|(name, _)| session.get(name).is_some())
    {
        return Err(format!(
            "must not hold {name}, which only the API's beta had; write {replacement}"
        )
        .into());
    }
    if session.get("temperature").is_some() {
        return Err(
            "must not hold temperature, which the generally available API does not have; leave it \
             out"
            .into(),
        );
    }
    if session.get("session").is_some() || session.get("expires_after").is_some() {
        return Err(
            "must not hold session or expires_after, which are around a session; write what is \
             inside of session (the lifetime is ROOMKEY_REALTIME_SECRET_SECONDS)"
                .into(),
        );
    }
    let is_object = |pointer| session.pointer(pointer).is_none_or(Value::is_object);
    if ["/audio", "/audio/input", "/audio/output"]
        .into_iter()
        .all(is_object)
    {
        Ok(())
    } else {
        Err("must have objects for audio, audio.input and audio.output, if any".into())
    }
}

/// The part of a mint that is the same for every session of a provider.
#[derive(Debug, Clone, Default)]
pub struct SessionPlan {
    /// The instructions for the model, if any. Whoever has a secret can read and replace them.
    pub instructions: Option<String>,
    /// The model that transcribes the caller's speech, if any.
    pub transcription_model: Option<ModelOrVoice>,
    /// The operator's own members.
    pub extra: SessionExtra,
    /// The lifetime of a secret.
    pub secret_lifetime: Duration,
}

impl SessionPlan {
    /// Returns the body of one mint.
    #[must_use]
    pub fn mint_body(&self, model: &ModelOrVoice, voice: &ModelOrVoice) -> Vec<u8> {
        let mut input = Map::new();
        if let Some(model) = &self.transcription_model {
            input.insert("transcription".to_owned(), json!({ "model": model }));
        }
        input.insert(
            "turn_detection".to_owned(),
            json!({
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
            }),
        );
        let mut session = Map::new();
        session.insert("type".to_owned(), "realtime".into());
        session.insert("model".to_owned(), model.as_str().into());
        if let Some(instructions) = &self.instructions {
            session.insert("instructions".to_owned(), instructions.as_str().into());
        }
        session.insert(
            "audio".to_owned(),
            json!({ "input": input, "output": { "voice": voice.to_voice_json() } }),
        );
        merge_members(&mut session, &self.extra.0);
        let lifetime = json!({ "anchor": "created_at", "seconds": self.secret_lifetime.as_secs() });
        json!({ "expires_after": lifetime, "session": session })
            .to_string()
            .into_bytes()
    }
}

/// Merges members, of which the operator's replace ours. Two objects are merged in turn unless they
/// differ in `type`: the members of one kind of turn detection are a fault in another.
fn merge_members(ours: &mut Map<String, Value>, operators: &Map<String, Value>) {
    for (name, value) in operators {
        match (ours.get_mut(name), value) {
            (Some(Value::Object(ours)), Value::Object(operators))
                if !differs(ours.get("type"), operators.get("type")) =>
            {
                merge_members(ours, operators);
            }
            _ => {
                ours.insert(name.clone(), value.clone());
            }
        }
    }
}

fn differs(one: Option<&Value>, other: Option<&Value>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(plan: &SessionPlan) -> Value {
        let body = plan.mint_body(
            &ModelOrVoice::parse("gpt-realtime-2.1").unwrap(),
            &ModelOrVoice::parse("marin").unwrap(),
        );
        serde_json::from_slice(&body).unwrap()
    }

    fn plan(extra: &str) -> SessionPlan {
        SessionPlan {
            extra: SessionExtra::parse(extra).unwrap(),
            secret_lifetime: Duration::from_mins(1),
            ..SessionPlan::default()
        }
    }

    const DETECTION: &str = r#"{
        "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500
    }"#;

    #[test]
    fn names_with_other_characters_are_rejected() {
        let long = "x".repeat(129);
        for text in [
            "",
            " ",
            "a b",
            "marin\n",
            "ä",
            "a/b",
            "{\"id\":\"voice\"}",
            long.as_str(),
        ] {
            assert!(ModelOrVoice::parse(text).is_err(), "{text:?}");
        }
        for text in [
            "a",
            "gpt-realtime-2.1",
            "ft:gpt-realtime:org_1",
            &long[..128],
        ] {
            assert_eq!(ModelOrVoice::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn callers_may_only_choose_from_the_operators_lists() {
        let choice = |name: &str| ModelOrVoice::parse(name).unwrap();
        let choices = AllowedChoices {
            openai: Some(choice("own")),
            models: vec![choice("other")],
            ..AllowedChoices::default()
        };
        for voice in ["marin", "alloy"] {
            assert!(choices.parse_voice(voice).is_ok(), "{voice}");
        }
        for voice in ["Marin", "a b"] {
            assert!(choices.parse_voice(voice).is_err(), "{voice}");
        }
        for (provider, model, offered) in [
            (Provider::OpenAi, "own", true),
            (Provider::OpenAi, "other", true),
            (Provider::OpenAi, "third", false),
            (Provider::AzureOpenAi, "own", false),
            (Provider::AzureOpenAi, "other", true),
        ] {
            assert_eq!(
                choices.parse_model(model, provider).is_ok(),
                offered,
                "{provider:?} {model}"
            );
        }
    }

    #[test]
    fn the_body_of_a_mint_is_what_the_vendors_document() {
        let full = SessionPlan {
            instructions: Some("Be brief.".to_owned()),
            transcription_model: Some(ModelOrVoice::parse("gpt-4o-mini-transcribe").unwrap()),
            ..plan("{}")
        };
        let detection: Value = serde_json::from_str(DETECTION).unwrap();
        assert_eq!(
            body(&full),
            json!({
                "expires_after": { "anchor": "created_at", "seconds": 60 },
                "session": {
                    "type": "realtime", "model": "gpt-realtime-2.1", "instructions": "Be brief.",
                    "audio": {
                        "input": {
                            "transcription": { "model": "gpt-4o-mini-transcribe" },
                            "turn_detection": detection,
                        },
                        "output": { "voice": "marin" },
                    },
                },
            })
        );
        let session = &body(&plan("{}"))["session"];
        assert!(
            session.get("instructions").is_none()
                && session["audio"]["input"].get("transcription").is_none()
        );
    }

    #[test]
    fn a_custom_voice_is_sent_as_an_object_with_its_id() {
        for (voice, sent) in [
            ("voice_1234", json!({ "id": "voice_1234" })),
            ("voice_", json!({ "id": "voice_" })),
            ("marin", json!("marin")),
            ("Voice_1234", json!("Voice_1234")),
            ("my-voice_1", json!("my-voice_1")),
        ] {
            let body = plan("{}").mint_body(
                &ModelOrVoice::parse("m").unwrap(),
                &ModelOrVoice::parse(voice).unwrap(),
            );
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                body["session"]["audio"]["output"],
                json!({ "voice": sent }),
                "{voice}"
            );
        }
    }

    #[test]
    fn members_of_the_beta_are_rejected_with_their_replacement() {
        for (name, replacement) in BETA_MEMBERS {
            let extra = json!({ name: "canary" }).to_string();
            let requirement = SessionExtra::parse(&extra).unwrap_err();
            assert!(
                requirement.contains(name)
                    && requirement.ends_with(replacement)
                    && !requirement.contains("canary"),
                "{requirement}"
            );
        }
        let current = r#"{
            "audio": { "input": { "turn_detection": null }, "output": { "speed": 1.1 } },
            "max_output_tokens": "inf"
        }"#;
        assert!(SessionExtra::parse(current).is_ok());
    }

    #[test]
    fn the_operators_members_are_merged_at_every_depth() {
        let cases = [
            (
                r#"{"audio":{"input":{"turn_detection":{"threshold":0.7}}}}"#,
                "/audio/input/turn_detection/threshold",
                json!(0.7),
            ),
            (
                r#"{"audio":{"input":{"turn_detection":{"threshold":0.7}}}}"#,
                "/audio/input/turn_detection/silence_duration_ms",
                json!(500),
            ),
            (
                r#"{"audio":{"input":{
                    "turn_detection":{"type":"semantic_vad","eagerness":"low"}}}}"#,
                "/audio/input/turn_detection",
                json!({ "type": "semantic_vad", "eagerness": "low" }),
            ),
            (
                r#"{"audio":{"input":{"turn_detection":null}}}"#,
                "/audio/input/turn_detection",
                Value::Null,
            ),
            (
                r#"{"audio":{"output":{"speed":1.1}}}"#,
                "/audio/output",
                json!({ "voice": "marin", "speed": 1.1 }),
            ),
            (
                r#"{"tools":[{"type":"function","name":"f"}]}"#,
                "/tools/0/name",
                json!("f"),
            ),
        ];
        for (extra, pointer, expected) in cases {
            assert_eq!(
                body(&plan(extra))["session"].pointer(pointer),
                Some(&expected),
                "{extra}"
            );
        }
    }

    #[test]
    fn members_with_a_setting_of_their_own_are_rejected() {
        let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(MAX_OPERATOR_BYTES));
        for text in [
            "",
            "[]",
            "x",
            r#"{"a":1,"a":2}"#,
            r#"{"type":"transcription"}"#,
            r#"{"model":"m"}"#,
            r#"{"instructions":"x"}"#,
            r#"{"audio":{"output":{"voice":"alloy"}}}"#,
            r#"{"session":{"output_modalities":["audio"]}}"#,
            r#"{"expires_after":{"anchor":"created_at","seconds":60}}"#,
            r#"{"audio":{"output":null}}"#,
            r#"{"audio":{"input":null}}"#,
            r#"{"audio":{"input":"x"}}"#,
            r#"{"audio":7}"#,
            r#"{"temperature":0.8}"#,
            large.as_str(),
        ] {
            assert!(SessionExtra::parse(text).is_err(), "{text:.40}");
        }
    }

    proptest! {
        #[test]
        fn type_model_and_voice_are_never_replaced(
            name in "[a-z]{1,5}",
            value in "[a-z]{0,5}",
            deep in any::<bool>(),
        ) {
            let extra = if deep {
                json!({ "audio": { name: value } })
            } else {
                json!({ name: value })
            };
            if let Ok(extra) = SessionExtra::parse(&extra.to_string()) {
                let session = &body(&SessionPlan { extra, ..plan("{}") })["session"];
                prop_assert_eq!(&session["type"], "realtime");
                prop_assert_eq!(&session["model"], "gpt-realtime-2.1");
                prop_assert_eq!(&session["audio"]["output"]["voice"], "marin");
            }
        }
    }
}
