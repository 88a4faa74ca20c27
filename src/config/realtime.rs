//! The settings of the Realtime providers: endpoints, keys, models, and the content of sessions.

use std::time::Duration;

use super::number::seconds;
use super::projects;
use super::reader::SettingsReader;
use super::secret::read_checked;
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

/// The current model of OpenAI. Names without a version number are about to be retired.
const DEFAULT_OPENAI_MODEL: &str = "gpt-realtime-2.1";
/// The scope of Entra tokens for Azure's AI services in the public cloud.
const DEFAULT_ENTRA_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// A minute is enough to connect, even several times.
const DEFAULT_SECRET_LIFETIME: Duration = Duration::from_mins(1);

/// The configuration of Azure OpenAI.
#[derive(Debug)]
pub struct AzureOpenAi {
    /// The address of the resource.
    pub endpoint: RealtimeEndpoint,
    /// The name of the deployment, which is the default model.
    pub deployment: ModelOrVoice,
    /// The key of the resource. `None` means that an Entra token is used instead.
    pub api_key: Option<SecretSource>,
    /// The deployment that transcribes the caller's speech.
    pub transcription_model: Option<ModelOrVoice>,
}

/// The API of OpenAI, without a key.
#[derive(Debug, Clone)]
pub struct OpenAiApi {
    /// The address of the API.
    pub endpoint: RealtimeEndpoint,
    /// The default model.
    pub model: ModelOrVoice,
}

/// The configuration of OpenAI.
#[derive(Debug)]
pub struct OpenAi {
    /// The address of the API.
    pub endpoint: RealtimeEndpoint,
    /// The default model.
    pub model: ModelOrVoice,
    /// The key of a project.
    pub api_key: SecretSource,
}

/// The options that both providers share.
#[derive(Debug)]
pub struct RealtimeOptions {
    /// The scope of Entra tokens for Azure OpenAI.
    pub entra_scope: String,
    /// The limit of each caller for client secrets. `None` means that it is turned off.
    pub rate_limit: Option<RateLimit>,
    /// The content of sessions, without a transcription model.
    pub plan: SessionPlan,
}

/// The configured Realtime providers.
#[derive(Debug)]
pub struct RealtimeProviders {
    /// Azure OpenAI, if it is configured.
    pub azure_openai: Option<AzureOpenAi>,
    /// OpenAI, if it is configured.
    pub openai: Option<OpenAi>,
    /// The API that mints with the keys of projects, where there are any.
    pub projects: Option<OpenAiApi>,
    /// The options that both share.
    pub options: RealtimeOptions,
}

/// Returns whether any setting of a Realtime provider is present.
#[must_use]
pub fn is_on(reader: &SettingsReader<'_>) -> bool {
    azure_is_on(reader) || openai_is_on(reader)
}

/// Reads the settings. A wrong provider is recorded as a fault and left out of the result.
pub fn read(reader: &mut SettingsReader<'_>, has_projects: bool) -> RealtimeProviders {
    let is_openai_on = openai_is_on(reader);
    let api = if is_openai_on || has_projects {
        read_openai_api(reader)
    } else {
        None
    };
    RealtimeProviders {
        azure_openai: if azure_is_on(reader) {
            read_azure_openai(reader)
        } else {
            None
        },
        openai: if is_openai_on {
            read_openai(reader, api.clone())
        } else {
            None
        },
        projects: api.filter(|_| has_projects),
        options: read_options(reader),
    }
}

/// Reads the models and voices that callers may request.
pub fn read_choices(
    reader: &mut SettingsReader<'_>,
    providers: &RealtimeProviders,
) -> AllowedChoices {
    let azure_openai = providers.azure_openai.as_ref();
    AllowedChoices {
        azure_openai: azure_openai.map(|azure| azure.deployment.clone()),
        openai: providers
            .openai
            .as_ref()
            .map(|openai| openai.model.clone())
            .or_else(|| providers.projects.as_ref().map(|api| api.model.clone())),
        ..read_models_and_voices(reader)
    }
}

/// Returns whether any setting of Azure OpenAI is present.
#[must_use]
pub fn azure_is_on(reader: &SettingsReader<'_>) -> bool {
    [AZURE_ENDPOINT, AZURE_DEPLOYMENT, AZURE_TRANSCRIPTION]
        .into_iter()
        .any(|name| reader.is_set(name))
        || reader.is_secret_set(AZURE_KEY)
}

/// Returns whether OpenAI is a provider of `POST /api/token`: a setting of it is present. Where
/// projects have keys of their own, only a key makes it one.
#[must_use]
pub fn openai_is_on(reader: &SettingsReader<'_>) -> bool {
    let has_api = [OPENAI_BASE, OPENAI_MODEL]
        .into_iter()
        .any(|name| reader.is_set(name));
    reader.is_secret_set(OPENAI_KEY) || (has_api && !projects::is_on(reader))
}

fn read_azure_openai(reader: &mut SettingsReader<'_>) -> Option<AzureOpenAi> {
    for name in [AZURE_ENDPOINT, AZURE_DEPLOYMENT] {
        if !reader.is_set(name) {
            reader.fault(
                name,
                format!(
                    "must be set, since another setting of Azure OpenAI is; set both \
                     {AZURE_ENDPOINT} and {AZURE_DEPLOYMENT}"
                ),
            );
        }
    }
    let endpoint = reader.parsed(AZURE_ENDPOINT, RealtimeEndpoint::azure);
    let deployment = reader.parsed(AZURE_DEPLOYMENT, ModelOrVoice::parse);
    let api_key = read_checked(reader, AZURE_KEY, secrets::api_key);
    let transcription_model = reader.parsed(AZURE_TRANSCRIPTION, ModelOrVoice::parse);
    Some(AzureOpenAi {
        endpoint: endpoint?,
        deployment: deployment?,
        api_key,
        transcription_model,
    })
}

fn read_openai(reader: &mut SettingsReader<'_>, api: Option<OpenAiApi>) -> Option<OpenAi> {
    if !reader.is_secret_set(OPENAI_KEY) {
        reader.fault(
            OPENAI_KEY,
            "must be set, since another setting of OpenAI is",
        );
    }
    let api_key = read_checked(reader, OPENAI_KEY, secrets::api_key);
    let OpenAiApi { endpoint, model } = api?;
    Some(OpenAi {
        endpoint,
        model,
        api_key: api_key?,
    })
}

fn read_openai_api(reader: &mut SettingsReader<'_>) -> Option<OpenAiApi> {
    let endpoint = reader
        .parsed(OPENAI_BASE, RealtimeEndpoint::openai)
        .or_else(|| RealtimeEndpoint::openai(RealtimeEndpoint::OPENAI).ok());
    let model = reader
        .parsed(OPENAI_MODEL, ModelOrVoice::parse)
        .or_else(|| ModelOrVoice::parse(DEFAULT_OPENAI_MODEL).ok());
    Some(OpenAiApi {
        endpoint: endpoint?,
        model: model?,
    })
}

fn read_options(reader: &mut SettingsReader<'_>) -> RealtimeOptions {
    let entra_scope = reader
        .parsed_or(
            "ROOMKEY_ENTRA_SCOPE",
            DEFAULT_ENTRA_SCOPE.to_owned(),
            entra_scope,
        )
        .unwrap_or_default();
    let rate_limit = reader
        .parsed_or(
            "ROOMKEY_REALTIME_RATE_LIMIT",
            Some(RateLimit::MINTS),
            RateLimit::parse_or_off,
        )
        .flatten();
    let plan = SessionPlan {
        instructions: reader.parsed("ROOMKEY_REALTIME_INSTRUCTIONS", instructions),
        transcription_model: None,
        extra: reader
            .parsed("ROOMKEY_REALTIME_SESSION", SessionExtra::parse)
            .unwrap_or_default(),
        secret_lifetime: reader
            .parsed("ROOMKEY_REALTIME_SECRET_SECONDS", |text| {
                seconds(text, 10..=600)
            })
            .unwrap_or(DEFAULT_SECRET_LIFETIME),
    };
    RealtimeOptions {
        entra_scope,
        rate_limit,
        plan,
    }
}

fn read_models_and_voices(reader: &mut SettingsReader<'_>) -> AllowedChoices {
    let mut choices = AllowedChoices::default();
    if let Some(models) = reader.parsed("ROOMKEY_REALTIME_MODELS", list) {
        choices.models = models;
    }
    let voices = reader.parsed_or(VOICES, choices.voices.clone(), |text| {
        check_voice_text(text).and_then(|()| list(text))
    });
    let voice = reader.parsed_or(VOICE, choices.voice.clone(), voice);
    // The two are compared only where both are valid.
    if let (Some(voices), Some(voice)) = (voices, voice) {
        if !voices.contains(&voice) {
            reader.fault(
                VOICE,
                format!(
                    "must be listed in {VOICES} (the default voice is {})",
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
    check_voice_text(text).and_then(|()| ModelOrVoice::parse(text))
}

/// Refuses a custom voice that is written as an object, as the provider's API does, instead of by
/// its id.
fn check_voice_text(text: &str) -> Result<(), Requirement> {
    if text.contains('{') {
        Err("must name a custom voice by its id only, such as voice_1234, not as an object".into())
    } else {
        Ok(())
    }
}

fn list(text: &str) -> Result<Vec<ModelOrVoice>, Requirement> {
    text.split(',')
        .map(|name| ModelOrVoice::parse(name.trim()))
        .collect::<Result<_, _>>()
        .map_err(|requirement| format!("{requirement}, separated by commas").into())
}

fn entra_scope(text: &str) -> Result<String, Requirement> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reader::read_settings;

    const AZURE: [(&str, &str); 3] = [
        (AZURE_ENDPOINT, "https://r.openai.azure.com/"),
        (AZURE_DEPLOYMENT, "voice"),
        (AZURE_KEY, "canary-azure-key-0123"),
    ];
    const OPENAI: [(&str, &str); 1] = [(OPENAI_KEY, "sk-canary-openai-key-0123")];

    fn read_all(settings: &[(&str, &str)]) -> (RealtimeProviders, AllowedChoices, Vec<String>) {
        let ((providers, choices), faults) = read_settings(settings, |reader| {
            let providers = read(reader, false);
            let choices = read_choices(reader, &providers);
            (providers, choices)
        });
        (providers, choices, faults)
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
                let (_, _, faults) = read_all(&with((name, value)));
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
        let (realtime, choices, faults) = read_all(&[]);
        assert!(faults.is_empty() && realtime.azure_openai.is_none() && realtime.openai.is_none());
        assert_eq!(realtime.options.rate_limit.unwrap().to_string(), "20/15m");
        assert_eq!(
            realtime.options.entra_scope,
            "https://cognitiveservices.azure.com/.default"
        );
        assert_eq!(choices, AllowedChoices::default());
    }

    #[test]
    fn one_setting_of_a_provider_requires_the_others() {
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
            let (_, _, faults) = read_all(&[setting]);
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
    fn azure_needs_no_key_and_openai_needs_only_a_key() {
        let (realtime, choices, faults) = read_all(&[AZURE[0], AZURE[1], OPENAI[0]]);
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
            choices.default_model(crate::domain::requests::provider::Provider::AzureOpenAi),
            Some(&azure.deployment)
        );
    }

    #[test]
    fn the_operators_lists_replace_the_defaults() {
        let (realtime, choices, faults) = read_all(&[
            OPENAI[0],
            (VOICES, "alloy, ash"),
            (VOICE, "ash"),
            ("ROOMKEY_REALTIME_MODELS", "a,b"),
            ("ROOMKEY_REALTIME_RATE_LIMIT", "off"),
        ]);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(
            (
                choices.voices.len(),
                choices.models.len(),
                choices.voice.as_str()
            ),
            (2, 2, "ash")
        );
        assert_eq!(realtime.options.rate_limit, None);
        let (_, _, faults) = read_all(&[OPENAI[0], (VOICES, "alloy,ash")]);
        assert!(
            faults.len() == 1 && faults[0].starts_with(VOICE),
            "marin is not listed: {faults:?}"
        );
    }

    #[test]
    fn a_wrong_list_or_voice_is_one_fault() {
        for (voices, voice, faulted) in [
            ("canary canary", "ash-2", VOICES),
            ("alloy", "canary canary", VOICE),
            ("alloy", "ash", VOICE),
        ] {
            let (_, _, faults) = read_all(&[OPENAI[0], (VOICES, voices), (VOICE, voice)]);
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
        let (realtime, _, _) = read_all(&[&AZURE[..], &OPENAI, &[session]].concat());
        assert!(
            !format!(
                "{:?} {:?} {:?}",
                realtime.azure_openai, realtime.openai, realtime.options
            )
            .contains("canary")
        );
    }
}
