//! The environment and `host.json` become a [`Config`] here, all faults at once; nothing else reads
//! either.
//!
//! A fault names a setting and what it must be, never its value. What each setting means:
//! [`settings::SETTINGS`], from which `docs/settings.md` is written.

pub mod admin;
pub mod callers;
pub mod host_json;
pub mod key_vault;
pub mod limits;
mod livekit;
pub mod oidc;
pub mod origins;
pub mod platform_sign_in;
mod reader;
pub mod realtime;
mod regular_file;
pub mod secret;
pub mod settings;
pub mod summary;
pub mod surroundings;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tracing::Level;

use crate::config::admin::AdminKeySource;
use crate::config::callers::CallerAuth;
use crate::config::host_json::Cors;
use crate::config::key_vault::KeyVault;
use crate::config::limits::RateLimitSettings;
pub use crate::config::livekit::LiveKit;
use crate::config::reader::{Environment, SettingsReader};
use crate::config::realtime::Realtime;
pub use crate::config::realtime::{AzureOpenAi, OpenAi, RealtimeOptions};
use crate::config::surroundings::HostingEnvironment;
use crate::domain::livekit::agents::AllowedAgents;
use crate::domain::livekit::lifetime::MaxLifetime;
use crate::domain::livekit::names::RoomPattern;
use crate::domain::livekit::token_request::RequestPolicy;
use crate::domain::requests::fields::Requirement;
use crate::domain::requests::provider::{Provider, Providers};
use crate::domain::settings::azure::Identity;

/// The port of a start without the Functions host; the one that Core Tools uses too.
const DEFAULT_PORT: u16 = 7071;

/// Everything that an operator decides. Its `Debug` shows no secret.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub address: SocketAddr,
    /// Nothing of a deployment is configured and only this machine can reach the service.
    pub dev_mode: bool,
    /// Azure's front end stands in front, and its word on a client's address counts.
    pub in_azure: bool,
    /// Who starts this process, and which requests can reach it.
    pub surroundings: HostingEnvironment,
    /// The LiveKit server whose tokens are signed, if it is one of the providers.
    pub livekit: Option<LiveKit>,
    /// Azure OpenAI, where it is configured.
    pub azure_openai: Option<AzureOpenAi>,
    /// OpenAI, where it is configured.
    pub openai: Option<OpenAi>,
    /// What holds for both of them.
    pub realtime: RealtimeOptions,
    /// Where secrets are read from that are not in the settings.
    pub key_vault: Option<KeyVault>,
    /// Who asks Entra ID for tokens.
    pub identity: Identity,
    /// What callers may ask for.
    pub limits: RequestPolicy,
    /// Who may ask.
    pub caller_auth: CallerAuth,
    /// Azure's built-in sign-in is on, whoever may ask: its headers cannot be forged from outside.
    pub platform_signs_in: bool,
    /// Where the operators' keys are.
    pub admin_keys: AdminKeySource,
    /// How often callers may ask.
    pub limiting: RateLimitSettings,
    /// Which web pages may call.
    pub cors: Cors,
    /// The least important level of our own lines that is written.
    pub log_level: Level,
    /// How lines are written; where it is not set, `text` on a terminal and else `json`.
    pub log_format: Option<LogFormat>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person.
    Text,
}

/// One setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting's name, or `host.json`.
    pub setting: String,
    /// What to do, without a word of the value.
    pub remedy: Requirement,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.setting, self.remedy)
    }
}

/// The settings cannot be used.
#[derive(Debug)]
pub struct Faults {
    /// At least one, in the order of `docs/settings.md`.
    pub faults: Vec<Fault>,
    /// Where it would have listened, if that much is clear; a start also reports a port in use.
    pub address: Option<SocketAddr>,
}

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// [`Faults`] with every setting that is wrong, unknown or missing.
    pub fn read(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = SettingsReader::new(environment);
        let address = address(&mut reader);
        let cors = host_json::read(&mut reader);
        let pair = livekit::pair(&mut reader);
        let key_vault = key_vault::read(&mut reader);
        let azure_marker = surroundings::azure_marker(environment);
        let identity = key_vault::identity(&mut reader, azure_marker.is_some());
        let not_dev = why_not_dev(&reader, environment, address);
        let mints = realtime::is_on(&reader);
        let dev_mode = not_dev.is_none() && !mints && livekit::is_dev(&reader, &pair);
        // Beside a provider that mints, LiveKit may be absent.
        let livekit = livekit::read(
            &mut reader,
            pair,
            dev_mode,
            not_dev.as_deref().filter(|_| !mints),
        );
        let Realtime {
            azure_openai,
            openai,
            options,
            choices,
        } = realtime::read(&mut reader);
        let providers = providers(&mut reader, dev_mode);
        let limits = RequestPolicy {
            room_pattern: reader.parsed("ROOMKEY_ROOM_PATTERN", RoomPattern::parse),
            ceiling: reader
                .parsed("ROOMKEY_MAX_TOKEN_SECONDS", MaxLifetime::parse)
                .unwrap_or_default(),
            agents: reader
                .parsed("ROOMKEY_AGENTS", AllowedAgents::parse)
                .unwrap_or_default(),
            providers,
            choices,
        };
        let sign_in = platform_sign_in::read(&reader, azure_marker.is_some());
        let caller_auth = callers::read(&mut reader, dev_mode, sign_in);
        let admin_keys = admin::read(&mut reader);
        let limiting = limits::read(&mut reader);
        if azure_marker.is_some() && reader.holds("ROOMKEY_TRUSTED_PROXIES") {
            reader.fault(
                "ROOMKEY_TRUSTED_PROXIES",
                "has no effect in Azure, whose front end says where a caller comes from; unset it",
            );
        }
        let surroundings = surroundings::read(&reader, address, azure_marker.is_some());
        let log_level = reader
            .parsed("ROOMKEY_LOG", log_level)
            .unwrap_or(Level::INFO);
        let log_format = reader.parsed("ROOMKEY_LOG_FORMAT", log_format);
        reader.refuse_unknown();
        let faults = reader.into_faults();
        match (address, caller_auth) {
            (Some(address), Some(caller_auth)) if faults.is_empty() => Ok(Self {
                address,
                dev_mode,
                in_azure: azure_marker.is_some(),
                surroundings,
                livekit,
                azure_openai,
                openai,
                realtime: options,
                key_vault,
                identity,
                limits,
                caller_auth,
                platform_signs_in: sign_in.is_on,
                limiting,
                admin_keys,
                cors,
                log_level,
                log_format,
            }),
            _ => Err(Faults { faults, address }),
        }
    }
}

/// Returns what says that this is a deployment, or reachable from elsewhere, which ends dev mode.
/// LiveKit's own settings and those of the other providers are judged apart.
fn why_not_dev(
    reader: &SettingsReader<'_>,
    environment: &Environment,
    address: Option<SocketAddr>,
) -> Option<String> {
    if let Some(marker) = surroundings::azure_marker(environment) {
        return Some(format!("{marker} says so: this is Azure"));
    }
    if let Some(marker) = surroundings::orchestrator_marker(environment) {
        return Some(format!("{marker} is set: this is a cluster"));
    }
    if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
        return Some("ROOMKEY_BIND is not a loopback address".to_owned());
    }
    let set = |name: &'static str| reader.holds(name).then_some(name);
    let secret = |name: &'static str| secret::is_set(reader, name).then_some(name);
    let setting = set(key_vault::URL)
        .or_else(|| callers::authenticated_by(reader))
        .or_else(|| {
            [limits::REDIS_URL, limits::HASH_KEY, admin::KEYS]
                .into_iter()
                .find_map(secret)
        });
    setting.map(|name| format!("{name} is set"))
}

fn address(reader: &mut SettingsReader<'_>) -> Option<SocketAddr> {
    let port = reader.parsed_or("FUNCTIONS_CUSTOMHANDLER_PORT", DEFAULT_PORT, |text| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .ok_or("must be a port: 1 to 65535, or 0 for any free one".into())
    });
    let ip = reader.parsed_or("ROOMKEY_BIND", IpAddr::V4(Ipv4Addr::LOCALHOST), |text| {
        text.parse()
            .map_err(|_| "must be an IP address, such as 127.0.0.1 or 0.0.0.0".into())
    });
    Some(SocketAddr::new(ip?, port?))
}

/// Those of which a setting is there. A wrong setting is a fault of its own and must not make its
/// provider unknown.
fn providers(reader: &mut SettingsReader<'_>, dev_mode: bool) -> Providers {
    let is_on = |provider: &Provider| match provider {
        Provider::LiveKit => dev_mode || livekit::is_on(reader),
        Provider::AzureOpenAi => realtime::azure_is_on(reader),
        Provider::OpenAi => realtime::openai_is_on(reader),
    };
    let configured: Vec<_> = Provider::ALL.into_iter().filter(is_on).collect();
    let known = Providers::new(configured.clone(), None);
    let wish = reader.parsed("ROOMKEY_DEFAULT_PROVIDER", |text| known.parse(text));
    Providers::new(configured, wish)
}

fn log_level(text: &str) -> Result<Level, Requirement> {
    match text {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        // Without their names: the Functions host takes a line on stderr that holds "warn" for a
        // mere warning.
        _ => Err("must be one of the four levels in docs/settings.md".into()),
    }
}

fn log_format(text: &str) -> Result<LogFormat, Requirement> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("must be json or text".into()),
    }
}

#[cfg(test)]
mod tests;
