//! Reads what callers may request.

use super::livekit;
use super::reader::SettingsReader;
use super::realtime;
use crate::domain::livekit::agents::AllowedAgents;
use crate::domain::livekit::lifetime::MaxLifetime;
use crate::domain::livekit::names::RoomPattern;
use crate::domain::livekit::token_request::RequestPolicy;
use crate::domain::realtime::session::AllowedChoices;
use crate::domain::requests::provider::{Provider, Providers};

/// Reads the settings. A wrong setting is recorded as a fault and replaced by its default.
pub fn read(
    reader: &mut SettingsReader<'_>,
    dev_mode: bool,
    choices: AllowedChoices,
) -> RequestPolicy {
    RequestPolicy {
        room_pattern: reader.parsed("ROOMKEY_ROOM_PATTERN", RoomPattern::parse),
        ceiling: reader
            .parsed("ROOMKEY_MAX_TOKEN_SECONDS", MaxLifetime::parse)
            .unwrap_or_default(),
        agents: reader
            .parsed("ROOMKEY_AGENTS", AllowedAgents::parse)
            .unwrap_or_default(),
        providers: providers(reader, dev_mode),
        choices,
    }
}

/// Reads which providers are configured. One setting of a provider is enough: a wrong setting is a
/// fault of its own and must not make its provider unknown.
fn providers(reader: &mut SettingsReader<'_>, dev_mode: bool) -> Providers {
    let is_on = |provider: &Provider| match provider {
        Provider::LiveKit => dev_mode || livekit::is_on(reader),
        Provider::AzureOpenAi => realtime::azure_is_on(reader),
        Provider::OpenAi => realtime::openai_is_on(reader),
    };
    let configured: Vec<_> = Provider::ALL.into_iter().filter(is_on).collect();
    let known = Providers::new(configured.clone(), None);
    let default = reader.parsed("ROOMKEY_DEFAULT_PROVIDER", |text| known.parse(text));
    Providers::new(configured, default)
}
