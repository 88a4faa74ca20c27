//! Wires the services that handlers use, once at start.

pub mod callers;
pub mod counters;
pub mod dependency;
pub mod oidc;
pub mod projects;
pub mod rate_budgets;
pub mod realtime;
pub mod secrets;
pub mod telemetry_exports;
pub mod turn;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

pub use self::callers::{CallerAuthentication, EasyAuth, Proxies};
use self::dependency::DependencyStatus;
use self::projects::Projects;
use self::rate_budgets::RateBudgets;
use self::realtime::Upstreams;
use self::secrets::{SecretSources, Secrets};
use self::telemetry_exports::{Snapshot, TelemetryExports};
use self::turn::Turn;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::fault::Fault;
use crate::domain::callers::bearer::TokenRejection;
use crate::domain::limits::breaker::BreakerState;
use crate::domain::livekit::token_request::RequestPolicy;
use crate::domain::requests::provider::Provider;
use crate::domain::settings::origins::Cors;
use crate::entropy::Entropy;
use crate::metrics::{LabelValues, Metrics, ScrapeInputs};
use crate::store::counters::Counters;
use crate::telemetry;
use crate::traces::Traces;
use crate::upstream::minting::SharedResources;

/// The provider label of a request that was refused before it named one.
pub const NO_PROVIDER: &str = "none";
/// The reason label of a wrong operator key, in addition to those of [`TokenRejection`].
pub const WRONG_ADMIN_KEY: &str = "admin_key";
/// The reason label of an Easy Auth header that identifies nobody.
pub const UNPROVEN_PRINCIPAL: &str = "principal";

/// The services of this process.
pub struct App {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The authentication of callers.
    pub callers: CallerAuthentication,
    /// The keys that sign, authenticate to upstreams and operators, and hash callers.
    pub secrets: Secrets,
    /// Proxies trusted to report the client address.
    pub proxies: Proxies,
    /// Only requests for a loopback host name are served.
    pub loopback_hosts_only: bool,
    /// The rate budgets of callers.
    pub budgets: RateBudgets,
    /// The counters of those budgets.
    pub counters: Counters,
    /// The restrictions on requests.
    pub request_policy: RequestPolicy,
    /// The address of the LiveKit server for browsers, if LiveKit is configured.
    pub server_url: Option<String>,
    /// The upstreams that mint Realtime client secrets.
    pub upstreams: Upstreams,
    /// Issues TURN credentials, if TURN servers are configured.
    pub turn: Option<Turn>,
    /// The projects, if a store is configured.
    pub projects: Option<Arc<Projects>>,
    /// The web pages that may call.
    pub cors: Cors,
    /// The metrics.
    pub metrics: Metrics,
    /// The exports of traces and metrics.
    pub exports: TelemetryExports,
}

impl App {
    /// Wires the services by the configuration, and starts to fetch what they need from outside.
    /// It must be called inside a Tokio runtime and does not block.
    ///
    /// # Errors
    /// A [`Fault`] in a setting that only the service which uses it can detect.
    pub fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Fault> {
        let (counters, redis) = counters::from_settings(config.rate_limits.redis_url.as_ref())?;
        let secrets = Secrets::new(SecretSources::new(&config, redis), &*entropy);
        let (budgets, proxies) = (RateBudgets::new(&config), Proxies::new(&config));
        let started_at = clock.now();
        let metrics = Metrics::new(started_at, &label_values(&config));
        let identity = config.identity;
        if let Some(vault) = config.key_vault {
            secrets.read_from(vault, identity.clone(), &clock, &entropy);
        }
        let projects = config.projects.map(|projects| {
            let (metrics, id) = (metrics.projects.clone(), identity.clone());
            Projects::new(projects, id, &secrets, &counters, metrics, &clock, &entropy)
        });
        let exports = TelemetryExports::new(config.open_telemetry, &secrets, started_at, &entropy);
        let shared = SharedResources::new(&clock, &entropy);
        Ok(Self {
            callers: CallerAuthentication::new(config.caller_auth, &clock, &entropy),
            proxies,
            loopback_hosts_only: config.hosting.loopback_hosts_only,
            request_policy: config.request_policy,
            server_url: config.livekit.map(|livekit| livekit.server_url),
            turn: (config.turn).map(|turn| Turn::new(turn, &secrets, shared.clone())),
            upstreams: Upstreams::new(config.realtime, identity, &secrets, shared),
            projects: projects.transpose()?.map(Arc::new),
            exports,
            cors: config.cors,
            metrics,
            clock,
            entropy,
            secrets,
            budgets,
            counters,
        })
    }

    /// Returns the status of everything that is fetched from outside: the identity provider's keys,
    /// the secrets in Key Vault, and the Entra token for Azure `OpenAI`.
    pub fn dependencies(&self, now: SystemTime) -> impl Iterator<Item = DependencyStatus> + '_ {
        self.callers
            .key_status(now)
            .into_iter()
            .chain(self.secret_statuses(now))
            .chain(
                self.projects
                    .iter()
                    .flat_map(|projects| projects.statuses()),
            )
    }

    /// Returns what a scrape of the metrics reads from the services.
    #[must_use]
    pub fn scrape(&self, now: SystemTime) -> ScrapeInputs {
        let traces = &self.exports.traces;
        ScrapeInputs {
            rate_limit_degraded: self.counters.is_degraded(),
            oidc_keys: self.callers.key_metrics(now),
            secrets: self
                .secret_statuses(now)
                .map(|status| (status.name, status.state.as_str()))
                .collect(),
            secret_reads: self.secrets.reads(),
            is_store_available: self
                .projects
                .as_ref()
                .and_then(|projects| projects.is_store_available()),
            breakers: self
                .breakers(now)
                .map(|(provider, state)| (provider, gauge_value(state)))
                .collect(),
            log_lines_dropped: telemetry::lines_dropped().to_vec(),
            trace_spans: traces.iter().flat_map(Traces::counts).collect(),
        }
    }

    /// Exports the metrics at each interval, if there is a collector for them.
    pub async fn export_metrics(&self) -> Infallible {
        self.exports.export_metrics(|| self.snapshot()).await
    }

    /// Exports the last traces and metrics within a second, or nothing more if the stop is hurried.
    pub async fn finish_exports(&self, is_hurried: bool) {
        self.exports.finish(|| self.snapshot(), is_hurried).await;
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        (self.metrics.snapshot(&self.scrape(now)), now)
    }

    fn breakers(&self, now: SystemTime) -> impl Iterator<Item = (&'static str, BreakerState)> {
        let turn = self.turn.as_ref();
        let cloudflare = turn.and_then(|turn| Some((turn.provider, turn.cloudflare()?)));
        self.upstreams
            .all()
            .chain(self.upstreams.for_projects())
            .map(move |upstream| (upstream.label(), upstream.breaker_state(now)))
            .chain(cloudflare.map(|(provider, upstream)| (provider, upstream.breaker_state(now))))
    }

    fn secret_statuses(&self, now: SystemTime) -> impl Iterator<Item = DependencyStatus> + '_ {
        self.secrets
            .statuses()
            .chain(self.upstreams.token_status(now))
    }
}

/// Returns the label values that are known at start.
fn label_values(config: &Config) -> LabelValues {
    let providers = &config.request_policy.providers;
    let configured = providers.configured().iter();
    let minting = Provider::REALTIME.into_iter();
    let reasons = TokenRejection::ALL.into_iter();
    let turn = config
        .turn
        .as_ref()
        .map(|turn| turn::provider_of(&turn.server));
    LabelValues {
        budgets: rate_budgets::NAMES.to_vec(),
        reasons: reasons
            .map(TokenRejection::as_str)
            .chain([WRONG_ADMIN_KEY, UNPROVEN_PRINCIPAL])
            .collect(),
        providers: configured
            .map(|provider| provider.as_str())
            .chain([NO_PROVIDER])
            .collect(),
        upstreams: minting
            .filter(|provider| providers.contains(*provider))
            .map(Provider::as_str)
            .chain(turn.filter(|provider| *provider != turn::OWN_SERVERS))
            .chain(config.projects.as_ref().map(|_| realtime::PROJECTS))
            .collect(),
        turn,
    }
}

/// Returns the value of a breaker's gauge.
fn gauge_value(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }
}
