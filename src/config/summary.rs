//! What would be served, and for whom, in a few lines for a person.

use std::net::SocketAddr;

use super::Config;
use super::admin::AdminKeySource;
use super::callers::CallerAuth;
use super::key_vault::KeyVault;
use super::origins::Origins;
use crate::domain::callers::bearer::TokenPolicy;
use crate::domain::settings::azure::Identity;

impl Config {
    /// The lines of a start: where it listens, who may ask, and in dev mode a command to try.
    #[must_use]
    pub fn start_lines(&self, address: SocketAddr) -> Vec<String> {
        let mut lines = vec![
            format!(
                "roomkey {} listens on http://{address}",
                env!("CARGO_PKG_VERSION")
            ),
            format!("Web pages that may call: {}", self.origins()),
            format!("Callers: {}", self.callers()),
            format!("Limits: {}", self.limiting.summary()),
        ];
        if self.dev_mode && matches!(self.caller_auth, CallerAuth::Anonymous) {
            lines.push(format!(
                "Try it: curl -sS http://{address}/api/token -H 'Content-Type: application/json' -d '{{\"roomName\":\"hello\"}}'"
            ));
        }
        lines
    }

    /// Returns the warning of a start without protection, or of tokens that travel in the clear.
    /// Dev mode has a loopback server, so there is never more than one.
    #[must_use]
    pub fn start_warning(&self) -> Option<String> {
        let livekit = self.livekit.as_ref()?;
        let server_url = &livekit.server_url;
        if self.dev_mode {
            return Some(format!(
                "WARNING: dev mode. Anyone on this machine gets tokens for {server_url}, signed with LiveKit's public dev key."
            ));
        }
        livekit.is_unencrypted_in_public().then(|| {
            format!(
                "WARNING: LIVEKIT_URL is {server_url}. Browsers send each token in that address without encryption, for everyone on the \
                 way to read. Use wss://."
            )
        })
    }

    /// The lines of `--check`.
    #[must_use]
    pub fn check_lines(&self) -> Vec<String> {
        let mode = if self.dev_mode {
            "dev mode: LiveKit's public dev key, this machine only"
        } else {
            "normal"
        };
        let pattern = if self.limits.room_pattern.is_some() {
            "as ROOMKEY_ROOM_PATTERN says"
        } else {
            "any"
        };
        let agents: Vec<_> = self.limits.agents.entries().collect();
        let agents = if agents.is_empty() {
            "none".to_owned()
        } else {
            agents.join(", ")
        };
        let mut lines = vec![
            format!("address   http://{}", self.address),
            format!("mode      {mode}"),
        ];
        lines.extend(
            self.providers()
                .map(|provider| format!("provider  {provider}")),
        );
        if self.azure_openai.is_some() || self.openai.is_some() {
            let mints = self
                .realtime
                .rate_limit
                .map_or("off (ROOMKEY_REALTIME_RATE_LIMIT)".to_owned(), |limit| {
                    format!("{limit} for each caller")
                });
            lines.push(format!(
                "secrets   {mints}, for {} s",
                self.realtime.plan.secret_lifetime.as_secs()
            ));
        }
        lines.extend([
            format!("vault     {}", self.vault()),
            format!("callers   {}", self.callers()),
            format!("limits    {}", self.limiting.summary()),
            format!("operators {}", self.operators()),
            format!("rooms     {pattern}"),
            format!("lifetime  at most {} s", self.limits.ceiling.seconds()),
            format!("agents    {agents}"),
            format!("pages     {}", self.origins()),
        ]);
        let for_azure = match &self.cors.origins {
            Origins::Listed(origins) => origins.join(" "),
            Origins::Any => "'*'".to_owned(),
            Origins::NoFile => String::new(),
        };
        if !for_azure.is_empty() {
            lines.push("In Azure the platform answers preflights. Give it the same list, and remove what is no longer on it:".to_owned());
            lines.push(format!("  az functionapp cors add --resource-group <group> --name <app> --allowed-origins {for_azure}"));
            lines.push(
                "  az functionapp cors show --resource-group <group> --name <app>".to_owned(),
            );
        }
        if self.cors.credentials {
            lines.push("  az functionapp cors credentials --resource-group <group> --name <app> --enable true".to_owned());
        }
        lines.extend(self.start_warning());
        lines
    }

    fn providers(&self) -> impl Iterator<Item = String> {
        let livekit = self
            .livekit
            .as_ref()
            .map(|livekit| format!("livekit at {}", livekit.server_url));
        let azure_openai = self.azure_openai.as_ref().map(|azure| {
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
        let openai = self.openai.as_ref().map(|openai| {
            format!(
                "openai at {}, model {}, with a key",
                openai.endpoint.host(),
                openai.model.as_str()
            )
        });
        [livekit, azure_openai, openai].into_iter().flatten()
    }

    fn callers(&self) -> String {
        match &self.caller_auth {
            CallerAuth::Anonymous => "anonymous: anyone who can reach the service".to_owned(),
            CallerAuth::Oidc(policy) => {
                format!("oidc: whoever has a token of {}", policy.issuer.published())
            }
            CallerAuth::EasyAuth(_) => "easy-auth: whoever signed in through Azure".to_owned(),
        }
    }

    fn operators(&self) -> String {
        let keys = match &self.admin_keys {
            AdminKeySource::InVault(name) => format!("keys in Key Vault, secret {name}"),
            AdminKeySource::Given(keys) => match keys
                .ids()
                .map(|id| id.to_string())
                .collect::<Vec<_>>()
                .as_slice()
            {
                [] if self.dev_mode => "a key made at each start".to_owned(),
                [] => "no key".to_owned(),
                ids => format!("keys {}", ids.join(", ")),
            },
        };
        match &self.caller_auth {
            CallerAuth::Anonymous => keys,
            CallerAuth::Oidc(TokenPolicy { rules, .. }) | CallerAuth::EasyAuth(rules) => {
                format!("{keys}, and the role {}", rules.admin_role)
            }
        }
    }

    fn vault(&self) -> String {
        let Some(KeyVault { url, refresh }) = &self.key_vault else {
            return "none: all secrets stand in the settings".to_owned();
        };
        let who = match self.identity {
            Identity::Managed(None) => "the app's own identity",
            Identity::Managed(Some(_)) => "the identity that AZURE_CLIENT_ID names",
            Identity::Developer => "your own sign-in (az or azd)",
        };
        format!(
            "{} as {who}, read every {} s",
            url.as_str(),
            refresh.as_secs()
        )
    }

    fn origins(&self) -> String {
        match &self.cors.origins {
            Origins::NoFile => "none (there is no host.json)".to_owned(),
            Origins::Listed(origins) if origins.is_empty() => {
                "none (host.json lists no origin)".to_owned()
            }
            Origins::Listed(origins) => format!("{} (host.json)", origins.join(", ")),
            Origins::Any => "any (host.json lists *)".to_owned(),
        }
    }
}
