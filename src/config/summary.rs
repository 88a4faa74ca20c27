//! Describes the configuration in a few lines: for the start and for `--check`.

use std::net::SocketAddr;

use super::Config;
use super::admin::AdminKeySource;
use super::callers::CallerAuth;
use super::key_vault::KeyVault;
use super::open_telemetry::OpenTelemetrySettings;
use super::projects::{ProjectSettings, SessionSettings};
use crate::domain::callers::bearer::TokenPolicy;
use crate::domain::settings::azure::Identity;
use crate::domain::settings::origins::Origins;
use crate::domain::vault::anonymous_projects::AnonymousProjects;
use crate::domain::vault::project_id::ProjectId;

impl Config {
    /// Returns the lines of a start: the address, the callers, and in dev mode a command to try.
    #[must_use]
    pub fn start_lines(&self, address: SocketAddr) -> Vec<String> {
        let mut lines = vec![
            format!(
                "roomkey {} listens on http://{address}",
                env!("CARGO_PKG_VERSION")
            ),
            format!("Allowed origins: {}", self.origins()),
            format!("Callers: {}", self.callers()),
            format!("Rate limits: {}", self.rate_limits.summary()),
        ];
        if self.dev_mode && matches!(self.caller_auth, CallerAuth::Anonymous) {
            lines.push(format!(
                "Try it: curl -sS http://{address}/api/token -H 'Content-Type: application/json' \
                 -d '{{\"roomName\":\"hello\"}}'"
            ));
        }
        lines
    }

    /// Returns the warning of dev mode, or of tokens that are sent without encryption. Dev mode has
    /// a loopback server, so there is never more than one.
    #[must_use]
    pub fn start_warning(&self) -> Option<String> {
        let livekit = self.livekit.as_ref()?;
        let server_url = &livekit.server_url;
        if self.dev_mode {
            return Some(format!(
                "WARNING: dev mode. Anyone on this machine gets tokens for {server_url}, signed \
                 with LiveKit's public dev key."
            ));
        }
        livekit.is_unencrypted_in_public().then(|| {
            format!(
                "WARNING: LIVEKIT_URL is {server_url}. Browsers send each token to that address \
                 without encryption, and anyone on the network path can read it. Use wss://."
            )
        })
    }

    /// Returns the lines of `--check`.
    #[must_use]
    pub fn check_lines(&self) -> Vec<String> {
        let mode = if self.dev_mode {
            "dev mode: LiveKit's public dev key, this machine only"
        } else {
            "normal"
        };
        let mut lines = vec![
            format!("address   http://{}", self.address),
            format!("mode      {mode}"),
        ];
        lines.extend(
            self.providers()
                .map(|provider| format!("provider  {provider}")),
        );
        lines.extend(self.client_secrets());
        lines.extend(
            self.turn
                .as_ref()
                .map(|turn| format!("turn      {}", turn.summary())),
        );
        lines.push(format!("projects  {}", self.projects()));
        let sessions = self.projects.as_ref().map(|projects| &projects.sessions);
        lines.extend(sessions.map(|sessions| format!("sessions  {}", self.sessions(sessions))));
        lines.extend([
            format!("vault     {}", self.vault()),
            format!("callers   {}", self.callers()),
            format!("limits    {}", self.rate_limits.summary()),
            format!("operators {}", self.operators()),
            format!("rooms     {}", self.rooms()),
            format!(
                "lifetime  at most {} s",
                self.request_policy.ceiling.seconds()
            ),
            format!("agents    {}", self.agents()),
            format!("origins   {}", self.origins()),
        ]);
        lines.extend(
            self.open_telemetry
                .iter()
                .flat_map(OpenTelemetrySettings::summary),
        );
        lines.extend(self.cors_commands());
        lines.extend(self.start_warning());
        lines
    }

    fn providers(&self) -> impl Iterator<Item = String> {
        let livekit = self
            .livekit
            .as_ref()
            .map(|livekit| format!("livekit at {}", livekit.server_url));
        let azure_openai = self.realtime.azure_openai.as_ref().map(|azure| {
            let credential = if azure.api_key.is_some() {
                "a key"
            } else {
                "an Entra token"
            };
            format!(
                "azure-openai at {}, deployment {}, with {credential}",
                azure.endpoint.host(),
                azure.deployment.as_str()
            )
        });
        let openai = self.realtime.openai.as_ref().map(|openai| {
            format!(
                "openai at {}, model {}, with a key",
                openai.endpoint.host(),
                openai.model.as_str()
            )
        });
        [livekit, azure_openai, openai].into_iter().flatten()
    }

    fn client_secrets(&self) -> Option<String> {
        if self.realtime.azure_openai.is_none() && self.realtime.openai.is_none() {
            return None;
        }
        let options = &self.realtime.options;
        let limit = options.rate_limit.map_or_else(
            || "off (ROOMKEY_REALTIME_RATE_LIMIT)".to_owned(),
            |limit| format!("{limit} per caller"),
        );
        let seconds = options.plan.secret_lifetime.as_secs();
        Some(format!("secrets   {limit}, valid for {seconds} s"))
    }

    fn callers(&self) -> String {
        match &self.caller_auth {
            CallerAuth::Anonymous => "anonymous: anyone who can reach the service".to_owned(),
            CallerAuth::Oidc(policy) => {
                let issuer = policy.issuer.published();
                format!("oidc: anyone with an access token of {issuer}")
            }
            CallerAuth::EasyAuth(_) => {
                "easy-auth: anyone signed in through Azure's built-in authentication".to_owned()
            }
        }
    }

    fn operators(&self) -> String {
        let keys = match &self.admin_keys {
            AdminKeySource::InVault(name) => format!("keys in Key Vault, secret {name}"),
            AdminKeySource::Given(keys) => {
                let ids: Vec<_> = keys.ids().map(|id| id.to_string()).collect();
                match ids.as_slice() {
                    [] if self.dev_mode => "a key created at each start".to_owned(),
                    [] => "no key".to_owned(),
                    ids => format!("keys {}", ids.join(", ")),
                }
            }
        };
        match &self.caller_auth {
            CallerAuth::Anonymous => keys,
            CallerAuth::Oidc(TokenPolicy { rules, .. }) | CallerAuth::EasyAuth(rules) => {
                format!("{keys}, and the role {}", rules.admin_role)
            }
        }
    }

    fn projects(&self) -> String {
        self.projects.as_ref().map_or_else(
            || "none (ROOMKEY_STORE is not set)".to_owned(),
            ProjectSettings::summary,
        )
    }

    fn sessions(&self, sessions: &SessionSettings) -> String {
        let projects = match (&self.caller_auth, &sessions.anonymous) {
            (CallerAuth::Anonymous, AnonymousProjects::All) => "any project".to_owned(),
            (CallerAuth::Anonymous, AnonymousProjects::Listed(ids)) if ids.is_empty() => {
                return "none: anonymous callers have no project (ROOMKEY_ANONYMOUS_PROJECTS)"
                    .to_owned();
            }
            (CallerAuth::Anonymous, AnonymousProjects::Listed(ids)) => {
                let ids: Vec<_> = ids.iter().map(ProjectId::as_str).collect();
                ids.join(", ")
            }
            (CallerAuth::Oidc(TokenPolicy { rules, .. }) | CallerAuth::EasyAuth(rules), _) => {
                rules.projects_claim.as_ref().map_or_else(
                    || "any project (ROOMKEY_PROJECTS_CLAIM is not set)".to_owned(),
                    |claim| format!("the projects in a caller's claim {claim}"),
                )
            }
        };
        let day = sessions
            .daily_sessions
            .map_or_else(|| "any number".to_owned(), |count| count.to_string());
        let rate = sessions
            .rate_limit
            .map_or_else(|| "no rate limit".to_owned(), |limit| limit.to_string());
        let at_once = sessions.concurrency;
        format!("of {projects}; per project {at_once} at once, {day} a day, {rate}")
    }

    fn vault(&self) -> String {
        let Some(KeyVault { url, refresh }) = &self.key_vault else {
            return "none: all secrets are in the settings".to_owned();
        };
        let identity = match self.identity {
            Identity::Managed(None) => "the app's own identity",
            Identity::Managed(Some(_)) => "the identity in AZURE_CLIENT_ID",
            Identity::Developer => "your own sign-in (az or azd)",
        };
        format!(
            "{} as {identity}, read every {} s",
            url.as_str(),
            refresh.as_secs()
        )
    }

    fn rooms(&self) -> &'static str {
        if self.request_policy.room_pattern.is_some() {
            "those that match ROOMKEY_ROOM_PATTERN"
        } else {
            "any"
        }
    }

    fn agents(&self) -> String {
        let agents: Vec<_> = self.request_policy.agents.entries().collect();
        if agents.is_empty() {
            "none".to_owned()
        } else {
            agents.join(", ")
        }
    }

    fn origins(&self) -> String {
        match &self.cors.origins {
            Origins::NoFile => "none (host.json does not exist)".to_owned(),
            Origins::Listed(origins) if origins.is_empty() => {
                "none (host.json lists no origin)".to_owned()
            }
            Origins::Listed(origins) => format!("{} (host.json)", origins.join(", ")),
            Origins::Any => "any (host.json lists *)".to_owned(),
        }
    }

    /// Returns the commands that give Azure the same list of origins.
    fn cors_commands(&self) -> Vec<String> {
        const APP: &str = "--resource-group <group> --name <app>";
        let origins = match &self.cors.origins {
            Origins::Listed(origins) => origins.join(" "),
            Origins::Any => "'*'".to_owned(),
            Origins::NoFile => String::new(),
        };
        let mut lines = Vec::new();
        if !origins.is_empty() {
            lines.extend([
                "In Azure the platform answers preflights. Set the same list there and remove \
                 other origins:"
                    .to_owned(),
                format!("  az functionapp cors add {APP} --allowed-origins {origins}"),
                format!("  az functionapp cors show {APP}"),
            ]);
        }
        if self.cors.credentials {
            lines.push(format!(
                "  az functionapp cors credentials {APP} --enable true"
            ));
        }
        lines
    }
}
