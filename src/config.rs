//! Reads the environment and `host.json` into a [`Config`] and reports all faults at once. Nothing
//! else reads either.
//!
//! A fault names a setting and its requirement, never its value. [`settings`] describes every
//! setting; `docs/settings.md` is generated from it.

pub mod address;
pub mod admin;
pub mod callers;
pub mod dev_mode;
pub mod environment;
pub mod fault;
pub mod host_json;
pub mod hosting;
pub mod key_vault;
pub mod livekit;
pub mod log;
mod number;
pub mod oidc;
pub mod open_telemetry;
pub mod platform_sign_in;
pub mod projects;
pub mod rate_limits;
pub mod reader;
pub mod realtime;
mod regular_file;
pub mod request_policy;
pub mod secret;
pub mod settings;
pub mod summary;
pub mod turn;

use std::net::SocketAddr;

use self::admin::AdminKeySource;
use self::callers::CallerAuth;
use self::environment::Environment;
use self::fault::Faults;
use self::hosting::HostingEnvironment;
use self::key_vault::KeyVault;
use self::livekit::LiveKit;
use self::log::LogSettings;
use self::open_telemetry::OpenTelemetrySettings;
use self::projects::ProjectSettings;
use self::rate_limits::RateLimitSettings;
use self::reader::SettingsReader;
use self::realtime::RealtimeProviders;
use self::turn::TurnSettings;
use crate::domain::livekit::token_request::RequestPolicy;
use crate::domain::settings::azure::Identity;
use crate::domain::settings::origins::Cors;

/// The whole configuration. Its `Debug` output contains no secret.
#[derive(Debug)]
pub struct Config {
    /// The address to listen on.
    pub address: SocketAddr,
    /// Nothing that only a deployment has is configured, and only this machine can connect.
    pub dev_mode: bool,
    /// The environment of the process: Azure, the Functions host, or neither.
    pub hosting: HostingEnvironment,
    /// The LiveKit server for which tokens are signed, if it is configured.
    pub livekit: Option<LiveKit>,
    /// The providers of Realtime client secrets.
    pub realtime: RealtimeProviders,
    /// The TURN servers, if they are configured.
    pub turn: Option<TurnSettings>,
    /// The store of project keys, if it is configured.
    pub projects: Option<ProjectSettings>,
    /// The vault that holds secrets, if it is configured.
    pub key_vault: Option<KeyVault>,
    /// The identity that requests tokens from Entra ID.
    pub identity: Identity,
    /// The restrictions on requests.
    pub request_policy: RequestPolicy,
    /// The authentication of callers.
    pub caller_auth: CallerAuth,
    /// Azure's built-in authentication is on, so that no client can send its headers.
    pub platform_signs_in: bool,
    /// The operators' keys, or their name in Key Vault.
    pub admin_keys: AdminKeySource,
    /// The rate limits of callers.
    pub rate_limits: RateLimitSettings,
    /// The web pages that may call.
    pub cors: Cors,
    /// The log lines to write.
    pub log: LogSettings,
    /// The export of traces and metrics, if there is a collector.
    pub open_telemetry: Option<OpenTelemetrySettings>,
}

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// [`Faults`] with every setting that is wrong, unknown or missing.
    pub fn read(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = SettingsReader::new(environment);
        let address = address::read(&mut reader);
        let config = Self::read_with(&mut reader, address);
        reader.refuse_unknown();
        let faults = reader.into_faults();
        config
            .filter(|_| faults.is_empty())
            .ok_or(Faults { faults, address })
    }

    /// Reads the settings one subject after the other. `None` means that a fault was recorded, but
    /// a fault may be recorded otherwise too.
    fn read_with(reader: &mut SettingsReader<'_>, address: Option<SocketAddr>) -> Option<Self> {
        let hosting = hosting::read(reader, address);
        let cors = host_json::read(reader);
        let key_pair = livekit::read_key_pair(reader);
        let dev_mode = dev_mode::decide(reader, address, &key_pair);
        let livekit_required = dev_mode.livekit_required.as_deref();
        let livekit = livekit::read(reader, key_pair, dev_mode.is_on, livekit_required);
        let has_projects = dev_mode.is_on || projects::is_on(reader);
        let realtime = realtime::read(reader, has_projects);
        let choices = realtime::read_choices(reader, &realtime);
        let turn = turn::read(reader);
        let request_policy = request_policy::read(reader, dev_mode.is_on, choices);
        let sign_in = platform_sign_in::read(reader, hosting.in_azure);
        let caller_auth = callers::read(reader, dev_mode.is_on, sign_in);
        let key_vault = key_vault::read(reader);
        let identity = key_vault::read_identity(reader, hosting.in_azure);
        let admin_keys = admin::read(reader);
        let rate_limits = rate_limits::read(reader);
        let projects = projects::read(reader, dev_mode.is_on, hosting.in_azure);
        let log = log::read(reader);
        let open_telemetry = open_telemetry::read(reader);
        Some(Self {
            address: address?,
            dev_mode: dev_mode.is_on,
            hosting,
            livekit,
            realtime,
            turn,
            projects,
            key_vault,
            identity,
            request_policy,
            caller_auth: caller_auth?,
            platform_signs_in: sign_in.is_on,
            admin_keys,
            rate_limits,
            cors,
            log,
            open_telemetry,
        })
    }
}

#[cfg(test)]
mod tests;
