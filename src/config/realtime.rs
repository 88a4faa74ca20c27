//! The Realtime providers: where each is reached, with which key, and what sessions are to be like.

use std::time::Duration;

use super::reader::SettingsReader;
use super::secret;
use crate::domain::limits::rate_limit::RateLimit;
use crate::domain::realtime::endpoint::RealtimeEndpoint;
use crate::domain::realtime::session::{
    AllowedChoices, MAX_OPERATOR_BYTES, ModelOrVoice, SessionExtra, SessionPlan,
};
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::secrets::{self, SecretSource};

const AZURE_ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";
const AZURE_DEPLOYMENT: &str = "AZURE_OPENAI_DEPLOYMENT";
const AZURE_KEY: &str = "AZURE_OPENAI_API_KEY";
const AZURE_TRANSCRIPTION: &str = "AZURE_OPENAI_TRANSCRIPTION_MODEL";
const OPENAI_KEY: &str = "OPENAI_API_KEY";
const OPENAI_BASE: &str = "OPENAI_BASE_URL";
const OPENAI_MODEL: &str = "ROOMKEY_OPENAI_MODEL";
const VOICES: &str = "ROOMKEY_REALTIME_VOICES";
const VOICE: &str = "ROOMKEY_REALTIME_VOICE";

/// The current model at OpenAI; names without a number are about to be retired.
const DEFAULT_OPENAI_MODEL: &str = "gpt-realtime-2.1";
/// The scope of Entra tokens for Azure's AI services, in the public cloud.
const DEFAULT_ENTRA_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// A minute is enough to open a connection, and a secret is not used up by it.
const DEFAULT_SECRET_SECONDS: u64 = 60;

/// A resource of Azure OpenAI.
#[derive(Debug)]
pub struct AzureOpenAi {
    /// Where it is.
    pub endpoint: RealtimeEndpoint,
    /// The name of the deployment, which is the model of a caller who chooses none.
    pub deployment: ModelOrVoice,
    /// The resource's key; `None`: an Entra token takes its place.
    pub api_key: Option<SecretSource>,
    /// The deployment that writes down what callers say.
    pub transcription_model: Option<ModelOrVoice>,
}

/// OpenAI's own API.
#[derive(Debug)]
pub struct OpenAi {
    /// Where it is.
    pub endpoint: RealtimeEndpoint,
    /// The model of a caller who chooses none.
    pub model: ModelOrVoice,
    /// A project's key.
    pub api_key: SecretSource,
}

/// What holds for both.
#[derive(Debug)]
pub struct RealtimeOptions {
    /// What an Entra token for Azure OpenAI must be good for.
    pub entra_scope: String,
    /// How often each caller may ask for a secret; `None` is the operator's own wish.
    pub rate_limit: Option<RateLimit>,
    /// What sessions are to be like, without a model for transcription.
    pub plan: SessionPlan,
}

/// All of it.
pub(super) struct Realtime {
    /// `None` where it is not configured or a fault was noted.
    pub azure_openai: Option<AzureOpenAi>,
    /// Likewise.
    pub openai: Option<OpenAi>,
    pub options: RealtimeOptions,
    pub choices: AllowedChoices,
}

/// Whether any setting of either provider is there.
#[must_use]
pub fn is_on(reader: &SettingsReader<'_>) -> bool {
    azure_is_on(reader) || openai_is_on(reader)
}

/// Reads the settings. What is wrong is noted and left out of the result.
pub(super) fn read(reader: &mut SettingsReader<'_>) -> Realtime {
    let azure_openai = if azure_is_on(reader) {
        azure_openai(reader)
    } else {
        None
    };
    let openai = if openai_is_on(reader) {
        openai(reader)
    } else {
        None
    };
    let entra_scope = reader
        .parsed_or("ROOMKEY_ENTRA_SCOPE", DEFAULT_ENTRA_SCOPE.to_owned(), scope)
        .unwrap_or_default();
    let mut choices = choices(reader);
    choices.azure_openai = azure_openai.as_ref().map(|azure| azure.deployment.clone());
    choices.openai = openai.as_ref().map(|openai| openai.model.clone());
    let plan = SessionPlan {
        instructions: reader.parsed("ROOMKEY_REALTIME_INSTRUCTIONS", instructions),
        transcription_model: None,
        extra: reader
            .parsed("ROOMKEY_REALTIME_SESSION", SessionExtra::parse)
            .unwrap_or_default(),
        secret_lifetime: reader
            .parsed("ROOMKEY_REALTIME_SECRET_SECONDS", lifetime)
            .unwrap_or(Duration::from_secs(DEFAULT_SECRET_SECONDS)),
    };
    let rate_limit = reader
        .parsed_or(
            "ROOMKEY_REALTIME_RATE_LIMIT",
            Some(RateLimit::MINTS),
            RateLimit::parse_or_off,
        )
        .flatten();
    Realtime {
        azure_openai,
        openai,
        options: RealtimeOptions {
            entra_scope,
            rate_limit,
            plan,
        },
        choices,
    }
}

/// Whether any setting of Azure OpenAI is there.
#[must_use]
pub fn azure_is_on(reader: &SettingsReader<'_>) -> bool {
    [AZURE_ENDPOINT, AZURE_DEPLOYMENT, AZURE_TRANSCRIPTION]
        .into_iter()
        .any(|name| reader.holds(name))
        || secret::is_set(reader, AZURE_KEY)
}

/// Whether any setting of OpenAI is there.
#[must_use]
pub fn openai_is_on(reader: &SettingsReader<'_>) -> bool {
    [OPENAI_BASE, OPENAI_MODEL]
        .into_iter()
        .any(|name| reader.holds(name))
        || secret::is_set(reader, OPENAI_KEY)
}

fn azure_openai(reader: &mut SettingsReader<'_>) -> Option<AzureOpenAi> {
    for name in [AZURE_ENDPOINT, AZURE_DEPLOYMENT] {
        if !reader.holds(name) {
            reader.fault(
                name,
                format!("must be set: other settings of Azure OpenAI are ({AZURE_ENDPOINT} and {AZURE_DEPLOYMENT} belong together)"),
            );
        }
    }
    let endpoint = reader.parsed(AZURE_ENDPOINT, RealtimeEndpoint::azure);
    let deployment = reader.parsed(AZURE_DEPLOYMENT, ModelOrVoice::parse);
    let api_key = secret::checked(reader, AZURE_KEY, secrets::api_key);
    let transcription_model = reader.parsed(AZURE_TRANSCRIPTION, ModelOrVoice::parse);
    Some(AzureOpenAi {
        endpoint: endpoint?,
        deployment: deployment?,
        api_key,
        transcription_model,
    })
}

fn openai(reader: &mut SettingsReader<'_>) -> Option<OpenAi> {
    if !secret::is_set(reader, OPENAI_KEY) {
        reader.fault(OPENAI_KEY, "must be set: other settings of OpenAI are");
    }
    let api_key = secret::checked(reader, OPENAI_KEY, secrets::api_key);
    let endpoint = reader
        .parsed(OPENAI_BASE, RealtimeEndpoint::openai)
        .or_else(|| RealtimeEndpoint::openai(RealtimeEndpoint::OPENAI).ok());
    let model = reader
        .parsed(OPENAI_MODEL, ModelOrVoice::parse)
        .or_else(|| ModelOrVoice::parse(DEFAULT_OPENAI_MODEL).ok());
    Some(OpenAi {
        endpoint: endpoint?,
        model: model?,
        api_key: api_key?,
    })
}

fn choices(reader: &mut SettingsReader<'_>) -> AllowedChoices {
    let mut choices = AllowedChoices::default();
    if let Some(models) = reader.parsed("ROOMKEY_REALTIME_MODELS", list) {
        choices.models = models;
    }
    let voices = reader.parsed_or(VOICES, choices.voices.clone(), |text| {
        voice_alone(text).and_then(|()| list(text))
    });
    let voice = reader.parsed_or(VOICE, choices.voice.clone(), voice);
    // Where one of them is wrong, nothing can be said of the other.
    if let (Some(voices), Some(voice)) = (voices, voice) {
        if !voices.contains(&voice) {
            reader.fault(
                VOICE,
                format!(
                    "must be on the list {VOICES} (its default is {})",
                    AllowedChoices::VOICE
                ),
            );
        }
        choices = AllowedChoices {
            voices,
            voice,
            ..choices
        };
    }
    choices
}

fn voice(text: &str) -> Result<ModelOrVoice, Requirement> {
    voice_alone(text).and_then(|()| ModelOrVoice::parse(text))
}

/// A custom voice is an object upstream, and is written here by its id.
fn voice_alone(text: &str) -> Result<(), Requirement> {
    if text.contains('{') {
        Err("must hold a custom voice by its id alone, such as voice_1234, not as an object".into())
    } else {
        Ok(())
    }
}

fn list(text: &str) -> Result<Vec<ModelOrVoice>, Requirement> {
    text.split(',')
        .map(|name| ModelOrVoice::parse(name.trim()))
        .collect::<Result<_, _>>()
        .map_err(|rule| format!("{rule}, separated by commas").into())
}

fn scope(text: &str) -> Result<String, Requirement> {
    let fits = (1..=256).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic())
        && text.ends_with("/.default");
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be a scope that ends with /.default".into())
    }
}

fn instructions(text: &str) -> Result<String, Requirement> {
    if text.len() <= MAX_OPERATOR_BYTES {
        Ok(text.to_owned())
    } else {
        Err(format!("must have at most {MAX_OPERATOR_BYTES} bytes").into())
    }
}

fn lifetime(text: &str) -> Result<Duration, Requirement> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(seconds @ 10..=600) if digits => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number of seconds from 10 to 600".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AZURE: [(&str, &str); 3] = [
        (AZURE_ENDPOINT, "https://r.openai.azure.com/"),
        (AZURE_DEPLOYMENT, "voice"),
        (AZURE_KEY, "canary-azure-key-0123"),
    ];
    const OPENAI: [(&str, &str); 1] = [(OPENAI_KEY, "sk-canary-openai-key-0123")];

    fn read_all(settings: &[(&str, &str)]) -> (Realtime, Vec<String>) {
        let environment = settings.iter().copied().collect();
        let mut reader = SettingsReader::new(&environment);
        let realtime = read(&mut reader);
        (
            realtime,
            reader
                .into_faults()
                .into_iter()
                .map(|fault| fault.to_string())
                .collect(),
        )
    }

    fn with<'a>(one: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
        AZURE
            .into_iter()
            .chain(OPENAI)
            .filter(|(name, _)| *name != one.0)
            .chain([one])
            .collect()
    }

    #[test]
    fn each_bad_value_is_refused_by_name_and_not_repeated() {
        let long = format!(r#"{{"canary":"{}"}}"#, "x".repeat(MAX_OPERATOR_BYTES));
        for (name, values) in [
            (
                AZURE_ENDPOINT,
                &[
                    "",
                    "canary",
                    "http://canary.openai.azure.com",
                    "https://canary?x",
                ][..],
            ),
            (AZURE_DEPLOYMENT, &["", "canary canary", "canary/x"]),
            (
                AZURE_KEY,
                &[
                    "",
                    "canary",
                    "your-canary-key-goes-here",
                    "canary canary canary canary",
                    "@Microsoft.KeyVault(canary)",
                ],
            ),
            (AZURE_TRANSCRIPTION, &["", "canary canary"]),
            (OPENAI_KEY, &["", "canary", "<canary-canary-canary>"]),
            (OPENAI_BASE, &["", "canary", "http://canary.example/v1"]),
            (OPENAI_MODEL, &["", "canary canary"]),
            (
                "ROOMKEY_ENTRA_SCOPE",
                &["", "canary", "https://canary example/.default"],
            ),
            (
                "ROOMKEY_REALTIME_MODELS",
                &["", ",", "canary canary", "a,,b"],
            ),
            (
                VOICES,
                &[
                    "",
                    "canary canary",
                    "marin,",
                    r#"marin,{"id":"voice_canary"}"#,
                    "\"marin\",\"canary\"",
                ],
            ),
            (
                VOICE,
                &["", "canary", "canary canary", r#"{"id":"voice_canary"}"#],
            ),
            ("ROOMKEY_REALTIME_INSTRUCTIONS", &["", &long]),
            (
                "ROOMKEY_REALTIME_SESSION",
                &[
                    "",
                    "canary",
                    "[]",
                    r#"{"model":"canary"}"#,
                    r#"{"canary":1,"canary":2}"#,
                    &long,
                ],
            ),
            (
                "ROOMKEY_REALTIME_SECRET_SECONDS",
                &["", "9", "601", "1m", "+60"],
            ),
            ("ROOMKEY_REALTIME_RATE_LIMIT", &["", "20", "canary"]),
        ] {
            for value in values {
                let (_, faults) = read_all(&with((name, value)));
                assert!(
                    faults.len() == 1 && faults[0].starts_with(&format!("{name}: ")),
                    "{name}={value:.40} {faults:?}"
                );
                assert!(
                    !faults[0].contains("canary") && !faults[0].to_lowercase().contains("warn"),
                    "{}",
                    faults[0]
                );
            }
        }
    }

    #[test]
    fn without_settings_no_provider_is_on() {
        let (realtime, faults) = read_all(&[]);
        assert!(faults.is_empty() && realtime.azure_openai.is_none() && realtime.openai.is_none());
        assert_eq!(realtime.options.rate_limit.unwrap().to_string(), "20/15m");
        assert_eq!(
            realtime.options.entra_scope,
            "https://cognitiveservices.azure.com/.default"
        );
        assert_eq!(realtime.choices, AllowedChoices::default());
    }

    #[test]
    fn one_setting_of_a_provider_asks_for_those_that_it_cannot_do_without() {
        for (setting, missing) in [
            (AZURE[0], &[AZURE_DEPLOYMENT][..]),
            (AZURE[1], &[AZURE_ENDPOINT]),
            (AZURE[2], &[AZURE_ENDPOINT, AZURE_DEPLOYMENT]),
            (
                (AZURE_TRANSCRIPTION, "t"),
                &[AZURE_ENDPOINT, AZURE_DEPLOYMENT],
            ),
            ((OPENAI_BASE, "https://h/v1"), &[OPENAI_KEY]),
            ((OPENAI_MODEL, "m"), &[OPENAI_KEY]),
        ] {
            let (_, faults) = read_all(&[setting]);
            assert!(
                faults
                    .iter()
                    .zip(missing)
                    .all(|(fault, name)| fault.starts_with(name))
                    && faults.len() == missing.len(),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn azure_may_do_without_a_key_and_openai_without_all_else() {
        let (realtime, faults) = read_all(&[AZURE[0], AZURE[1], OPENAI[0]]);
        assert!(faults.is_empty(), "{faults:?}");
        let (azure, openai) = (realtime.azure_openai.unwrap(), realtime.openai.unwrap());
        assert!(azure.api_key.is_none() && azure.transcription_model.is_none());
        assert_eq!(
            (
                azure.endpoint.host(),
                openai.endpoint.host(),
                openai.model.as_str()
            ),
            ("r.openai.azure.com", "api.openai.com", "gpt-realtime-2.1")
        );
        assert_eq!(
            realtime
                .choices
                .default_model(crate::domain::requests::provider::Provider::AzureOpenAi),
            Some(&azure.deployment)
        );
    }

    #[test]
    fn the_operators_lists_take_the_place_of_ours() {
        let (realtime, faults) = read_all(&[
            OPENAI[0],
            (VOICES, "alloy, ash"),
            (VOICE, "ash"),
            ("ROOMKEY_REALTIME_MODELS", "a,b"),
            ("ROOMKEY_REALTIME_RATE_LIMIT", "off"),
        ]);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(
            (
                realtime.choices.voices.len(),
                realtime.choices.models.len(),
                realtime.choices.voice.as_str()
            ),
            (2, 2, "ash")
        );
        assert_eq!(realtime.options.rate_limit, None);
        let (_, faults) = read_all(&[OPENAI[0], (VOICES, "alloy,ash")]);
        assert!(
            faults.len() == 1 && faults[0].starts_with(VOICE),
            "marin is not on it: {faults:?}"
        );
    }

    #[test]
    fn a_wrong_list_or_voice_is_one_fault() {
        for (voices, voice, faulted) in [
            ("canary canary", "ash-2", VOICES),
            ("alloy", "canary canary", VOICE),
            ("alloy", "ash", VOICE),
        ] {
            let (_, faults) = read_all(&[OPENAI[0], (VOICES, voices), (VOICE, voice)]);
            assert!(
                faults.len() == 1 && faults[0].starts_with(&format!("{faulted}: ")),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn no_key_is_printed() {
        let session = (
            "ROOMKEY_REALTIME_SESSION",
            r#"{"tools":[{"type":"mcp","authorization":"canary"}]}"#,
        );
        let (realtime, _) = read_all(&[&AZURE[..], &OPENAI, &[session]].concat());
        assert!(
            !format!(
                "{:?} {:?} {:?}",
                realtime.azure_openai, realtime.openai, realtime.options
            )
            .contains("canary")
        );
    }
}
