//! What a Realtime upstream is asked for: the body of a mint, and what callers may choose in it.
//!
//! # Source
//! `POST …/realtime/client_secrets`, the one generally available route of Azure OpenAI and OpenAI;
//! both take the same body.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::domain::requests::fields::Requirement;
use crate::domain::requests::json as strict;
use crate::domain::requests::provider::Provider;

/// Longest name of a model or voice in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Largest JSON object of the operator's in bytes, and largest instructions. Answers echo both, and
/// with every letter escaped they must still fit into what is read of one.
pub const MAX_OPERATOR_BYTES: usize = 8 * 1024;
/// What the id of a custom voice of `OpenAI`'s begins with.
const CUSTOM_VOICE: &str = "voice_";
/// Members of the API's beta, which the generally available one refuses, and where they belong now.
const OF_THE_BETA: [(&str, &str); 9] = [
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
/// Members that have a setting of their own, or that make the session one of another kind.
const NOT_IN_SESSION: [&str; 4] = ["/type", "/model", "/instructions", "/audio/output/voice"];

/// A model, deployment or voice: 1 to 128 bytes of `[A-Za-z0-9._:-]`. Vendors add and retire some
/// every few months, so that no list of theirs is kept here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ModelOrVoice(String);

impl ModelOrVoice {
    /// Reads a name.
    ///
    /// # Errors
    /// The rule, when the whole text does not follow it.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 128 letters, digits, '.', '_', ':' or '-'".into())
        }
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns how a mint names this voice: a voice of the vendor's by its name, a custom voice as
    /// an object with its id.
    fn as_voice(&self) -> Value {
        if self.0.starts_with(CUSTOM_VOICE) {
            json!({ "id": self.0 })
        } else {
            self.0.as_str().into()
        }
    }
}

/// What callers may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedChoices {
    /// Azure OpenAI's own model: the deployment.
    pub azure_openai: Option<ModelOrVoice>,
    /// OpenAI's own model.
    pub openai: Option<ModelOrVoice>,
    /// Models beside those.
    pub models: Vec<ModelOrVoice>,
    /// Voices.
    pub voices: Vec<ModelOrVoice>,
    /// The voice of a caller who chooses none.
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
    /// The rule, when it is no name or not on the operator's list.
    pub fn voice(&self, text: &str) -> Result<ModelOrVoice, Requirement> {
        ModelOrVoice::parse(text).and_then(|voice| {
            if self.voices.contains(&voice) {
                Ok(voice)
            } else {
                Err("must be a voice that this service offers".into())
            }
        })
    }

    /// The model of a caller who chooses none.
    #[must_use]
    pub fn own_model(&self, provider: Provider) -> Option<&ModelOrVoice> {
        match provider {
            Provider::LiveKit => None,
            Provider::AzureOpenAi => self.azure_openai.as_ref(),
            Provider::OpenAi => self.openai.as_ref(),
        }
    }

    /// Reads a caller's model.
    ///
    /// # Errors
    /// The rule, when it is no name, and neither on the operator's list nor the provider's own.
    pub fn model(&self, text: &str, provider: Provider) -> Result<ModelOrVoice, Requirement> {
        let model = ModelOrVoice::parse(text)?;
        if self.models.contains(&model) || self.own_model(provider) == Some(&model) {
            Ok(model)
        } else {
            Err("must be a model that this service offers".into())
        }
    }
}

impl Default for AllowedChoices {
    /// The vendors' voices and no further model.
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

/// JSON of the operator's that is merged into each session.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SessionExtra(Map<String, Value>);

impl fmt::Debug for SessionExtra {
    /// Not its members: a tool may bring credentials of its own.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionExtra(..)")
    }
}

impl SessionExtra {
    /// Reads an object.
    ///
    /// # Errors
    /// The rule, when it is not one strict JSON object, is too large, or sets what has a setting of
    /// its own.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let rule = || {
            Requirement::from(format!(
                "must be one JSON object of at most {MAX_OPERATOR_BYTES} bytes"
            ))
        };
        // The strict parser refuses what the lenient one would let pass: a key that stands twice,
        // above all.
        if text.len() > MAX_OPERATOR_BYTES || strict::parse_object(text.as_bytes()).is_err() {
            return Err(rule());
        }
        let Ok(Value::Object(members)) = serde_json::from_str(text) else {
            return Err(rule());
        };
        let session = Value::Object(members);
        if NOT_IN_SESSION
            .iter()
            .any(|pointer| session.pointer(pointer).is_some())
        {
            return Err(
                "must not hold type, model, instructions or audio.output.voice, which have settings of their own; a custom voice is \
                        written as voice_… in ROOMKEY_REALTIME_VOICE"
                    .into(),
            );
        }
        if let Some((name, place)) = OF_THE_BETA
            .iter()
            .find(|(name, _)| session.get(name).is_some())
        {
            return Err(format!(
                "must not hold {name}, which only the API's beta had; write {place}"
            )
            .into());
        }
        if session.get("temperature").is_some() {
            return Err("must not hold temperature, which the generally available API does not have; leave it out".into());
        }
        let is_object = |pointer| session.pointer(pointer).is_none_or(Value::is_object);
        if !(is_object("/audio") && is_object("/audio/input") && is_object("/audio/output")) {
            return Err("must have objects for audio, audio.input and audio.output, if any".into());
        }
        match session {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(rule()),
        }
    }
}

/// What every session of one provider has in common.
#[derive(Debug, Clone, Default)]
pub struct SessionPlan {
    /// Text for the model, if any. Whoever holds a secret can read it and replace it.
    pub instructions: Option<String>,
    /// The model that writes down what the caller says, if any.
    pub transcription_model: Option<ModelOrVoice>,
    /// What the operator adds.
    pub extra: SessionExtra,
    /// How long a secret is to live.
    pub secret_lifetime: Duration,
}

impl SessionPlan {
    /// The body of one mint.
    #[must_use]
    pub fn mint_body(&self, model: &ModelOrVoice, voice: &ModelOrVoice) -> Vec<u8> {
        let mut input = Map::new();
        if let Some(model) = &self.transcription_model {
            input.insert("transcription".to_owned(), json!({ "model": model }));
        }
        input.insert(
            "turn_detection".to_owned(),
            json!({ "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500 }),
        );
        let mut session = Map::new();
        session.insert("type".to_owned(), "realtime".into());
        session.insert("model".to_owned(), model.as_str().into());
        if let Some(instructions) = &self.instructions {
            session.insert("instructions".to_owned(), instructions.as_str().into());
        }
        session.insert(
            "audio".to_owned(),
            json!({ "input": input, "output": { "voice": voice.as_voice() } }),
        );
        merge(&mut session, &self.extra.0);
        let lifetime = json!({ "anchor": "created_at", "seconds": self.secret_lifetime.as_secs() });
        json!({ "expires_after": lifetime, "session": session })
            .to_string()
            .into_bytes()
    }
}

/// Adds members, the operator's over ours. Two objects become one, unless they are of different
/// `type`: what belongs to one kind of turn detection is a fault in another.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (Some(Value::Object(ours)), Value::Object(theirs))
                if !differs(ours.get("type"), theirs.get("type")) =>
            {
                merge(ours, theirs)
            }
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

fn differs(ours: Option<&Value>, theirs: Option<&Value>) -> bool {
    matches!((ours, theirs), (Some(ours), Some(theirs)) if ours != theirs)
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

    const DETECTION: &str = r#"{"type":"server_vad","threshold":0.5,"prefix_padding_ms":300,"silence_duration_ms":500}"#;

    #[test]
    fn names_that_could_be_anything_else_are_refused() {
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
    fn callers_choose_only_from_the_operators_lists() {
        let choice = |name: &str| ModelOrVoice::parse(name).unwrap();
        let choices = AllowedChoices {
            openai: Some(choice("own")),
            models: vec![choice("other")],
            ..AllowedChoices::default()
        };
        assert!(choices.voice("marin").is_ok() && choices.voice("alloy").is_ok());
        assert!(choices.voice("Marin").is_err() && choices.voice("a b").is_err());
        for (provider, model, offered) in [
            (Provider::OpenAi, "own", true),
            (Provider::OpenAi, "other", true),
            (Provider::OpenAi, "third", false),
            (Provider::AzureOpenAi, "own", false),
            (Provider::AzureOpenAi, "other", true),
        ] {
            assert_eq!(
                choices.model(model, provider).is_ok(),
                offered,
                "{provider:?} {model}"
            );
        }
    }

    #[test]
    fn a_plain_mint_asks_for_what_the_vendors_document() {
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
                        "input": { "transcription": { "model": "gpt-4o-mini-transcribe" }, "turn_detection": detection },
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
    fn a_custom_voice_goes_upstream_as_an_object_with_its_id() {
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
    fn members_of_the_beta_are_refused_with_their_place_of_today() {
        for (name, place) in OF_THE_BETA {
            let rule = SessionExtra::parse(&json!({ name: "canary" }).to_string()).unwrap_err();
            assert!(
                rule.contains(name) && rule.ends_with(place) && !rule.contains("canary"),
                "{rule}"
            );
        }
        assert!(
            SessionExtra::parse(r#"{"audio":{"input":{"turn_detection":null},"output":{"speed":1.1}},"max_output_tokens":"inf"}"#).is_ok()
        );
    }

    #[test]
    fn what_the_operator_adds_is_merged_at_every_depth() {
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
                r#"{"audio":{"input":{"turn_detection":{"type":"semantic_vad","eagerness":"low"}}}}"#,
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
    fn what_has_a_setting_of_its_own_cannot_come_in_by_the_side() {
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
        fn type_model_and_voice_are_always_ours(name in "[a-z]{1,5}", value in "[a-z]{0,5}", deep in any::<bool>()) {
            let extra = if deep { json!({ "audio": { name: value } }) } else { json!({ name: value }) };
            if let Ok(extra) = SessionExtra::parse(&extra.to_string()) {
                let session = &body(&SessionPlan { extra, ..plan("{}") })["session"];
                prop_assert_eq!((&session["type"], &session["model"]), (&json!("realtime"), &json!("gpt-realtime-2.1")));
                prop_assert_eq!(&session["audio"]["output"]["voice"], "marin");
            }
        }
    }
}
