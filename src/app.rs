//! The parts that handlers use, wired once at start.

pub mod oidc;
pub mod realtime;
pub mod secrets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::app::oidc::Oidc;
use crate::app::realtime::{Configured, Upstreams};
use crate::app::secrets::{SecretSources, SecretStatus, Secrets};
use crate::clock::Clock;
use crate::config::callers::CallerAuth;
use crate::config::host_json::Cors;
use crate::config::{Config, Fault};
use crate::domain::callers::bearer::TokenRejection;
use crate::domain::callers::caller::CallerRules;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::callers::client_address::TrustedProxies;
use crate::domain::limits::breaker::BreakerState;
use crate::domain::limits::rate_limit::{Budget, RateLimit};
use crate::domain::livekit::token_request::RequestPolicy;
use crate::domain::requests::provider::Provider;
use crate::domain::settings::secrets::SecretSource;
use crate::entropy::Entropy;
use crate::metrics::{LabelValues, Metrics, ScrapeInputs};
use crate::store::counters::Counters;
use crate::store::redis::Redis;

/// Everything that a request may need.
pub struct App {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Who may ask.
    pub callers: Callers,
    /// The keys that sign, open upstreams, let operators in and hash callers.
    pub secrets: Secrets,
    /// Whose word on a client's address counts.
    pub proxies: Proxies,
    /// Whether only requests for names of this machine are served.
    pub loopback_hosts_only: bool,
    /// How often callers may ask.
    pub budgets: RateBudgets,
    /// How often they have asked.
    pub counters: Counters,
    /// What callers may ask for.
    pub limits: RequestPolicy,
    /// The LiveKit server as browsers reach it, if LiveKit is one of the providers.
    pub server_url: Option<String>,
    /// Mint Realtime client secrets.
    pub upstreams: Upstreams,
    /// Which web pages may call.
    pub cors: Cors,
    /// What the operator sees.
    pub metrics: Metrics,
}

/// How callers are told apart.
pub enum Callers {
    /// By address only.
    Anonymous,
    /// By a token of the identity provider.
    Oidc(Box<Oidc>),
    /// By Azure's built-in sign-in.
    EasyAuth(EasyAuth),
}

/// What it takes to read the headers of Azure's built-in sign-in.
pub struct EasyAuth {
    /// What the claims mean.
    pub rules: CallerRules,
    /// Whether it was said that a setting names a claim which callers do not bring.
    has_warned: AtomicBool,
}

impl EasyAuth {
    /// Says once that a setting which needs claims finds none behind Static Web Apps.
    pub fn warn_of_missing_claims(&self) {
        let CallerRules {
            rooms_claim,
            roles_claim,
            ..
        } = &self.rules;
        if (rooms_claim.is_some() || roles_claim.is_some())
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                cause = "no_claims",
                "Static Web Apps hands on no claims: with ROOMKEY_ROOMS_CLAIM its callers may enter no room, and ROOMKEY_ROLES_CLAIM adds no role"
            );
        }
    }
}

/// Who stands between a client and this process.
pub enum Proxies {
    /// Azure's front end.
    Azure {
        /// The built-in sign-in is on, so that nobody outside can write its headers.
        signs_in: bool,
    },
    /// Proxies of the operator's own, if any.
    Own(TrustedProxies),
}

/// What each caller may take, and each address that shows wrong credentials.
pub struct RateBudgets {
    /// Tokens, for each caller; `None` where the operator wants no limit.
    pub tokens: Option<Budget>,
    /// Realtime client secrets, for each caller; `None` where the operator wants no limit.
    pub mints: Option<Budget>,
    /// Bearer tokens that are refused, for each address. Past it they are still refused as before,
    /// but leave no log line and cause no look-up of keys.
    pub refused_bearers: Budget,
    /// Operators' keys that are wrong, for each address.
    pub wrong_keys: Budget,
}

/// The budgets that an operator may turn off; the metrics have a line for each all the same.
const TOKENS: &str = "token";
const MINTS: &str = "realtime";

/// The word for the provider of a request that was refused before it named one.
pub const NO_PROVIDER: &str = "none";
/// The word under which wrong operators' keys are counted, beside those of [`Rejected`].
pub const WRONG_ADMIN_KEY: &str = "admin_key";
/// The same for a header of Azure's sign-in that names nobody.
pub const UNPROVEN_PRINCIPAL: &str = "principal";

impl App {
    /// Wires the parts as the operator wants them, and begins to fetch what they need from outside.
    /// Must be called inside a Tokio runtime; waits for nothing.
    ///
    /// # Errors
    /// A [`Fault`] in a setting that only the part which uses it can find.
    pub fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Fault> {
        let callers = match config.caller_auth {
            CallerAuth::Anonymous => Callers::Anonymous,
            CallerAuth::Oidc(policy) => {
                Callers::Oidc(Box::new(Oidc::new(policy, &clock, &entropy)))
            }
            CallerAuth::EasyAuth(rules) => Callers::EasyAuth(EasyAuth {
                rules,
                has_warned: AtomicBool::new(false),
            }),
        };
        let budgets = RateBudgets {
            tokens: config.limiting.rate_limit.map(|limit| Budget {
                name: TOKENS,
                limit,
            }),
            mints: config
                .realtime
                .rate_limit
                .map(|limit| Budget { name: MINTS, limit }),
            refused_bearers: Budget {
                name: "refused-bearer",
                limit: RateLimit::REFUSED_BEARERS,
            },
            wrong_keys: Budget {
                name: "wrong-key",
                limit: RateLimit::WRONG_KEYS,
            },
        };
        let (counters, redis) = match config.limiting.redis_url {
            None => (Counters::in_memory(), None),
            Some(SecretSource::Given(url)) => (
                Counters::shared(url).map_err(|_| Fault {
                    setting: "ROOMKEY_REDIS_URL".to_owned(),
                    remedy: "is not the address of a Redis server".into(),
                })?,
                None,
            ),
            Some(SecretSource::InVault(secret)) => {
                let redis = Arc::new(Redis::awaiting_address());
                (Counters::Redis(Arc::clone(&redis)), Some((secret, redis)))
            }
        };
        let is_hash_key_ours = config.limiting.hash_key.is_none();
        let (server_url, livekit) = config
            .livekit
            .map(|livekit| (livekit.server_url, livekit.pair))
            .unzip();
        let secrets = Secrets::new(SecretSources {
            livekit,
            azure_openai_key: config
                .azure_openai
                .as_ref()
                .and_then(|azure| azure.api_key.clone()),
            openai_key: config.openai.as_ref().map(|openai| openai.api_key.clone()),
            admin_keys: config.admin_keys,
            hash_key: config.limiting.hash_key,
            redis,
        });
        if is_hash_key_ours {
            secrets.hash_key.put(HashKey::new(&entropy.bytes::<32>()));
        }
        if let Some(vault) = config.key_vault {
            secrets.read_from(vault, config.identity.clone(), &clock, &entropy);
        }
        let reasons: Vec<_> = TokenRejection::ALL
            .map(TokenRejection::as_str)
            .into_iter()
            .chain([WRONG_ADMIN_KEY, UNPROVEN_PRINCIPAL])
            .collect();
        let providers: Vec<_> = config
            .limits
            .providers
            .configured()
            .iter()
            .map(|provider| provider.as_str())
            .chain([NO_PROVIDER])
            .collect();
        let realtime: Vec<_> = Provider::REALTIME
            .into_iter()
            .filter(|provider| config.limits.providers.contains(*provider))
            .map(Provider::as_str)
            .collect();
        let known = LabelValues {
            budgets: &[
                TOKENS,
                MINTS,
                budgets.refused_bearers.name,
                budgets.wrong_keys.name,
            ],
            reasons: &reasons,
            providers: &providers,
            upstreams: &realtime,
        };
        let configured = Configured {
            azure_openai: config.azure_openai,
            openai: config.openai,
            options: config.realtime,
        };
        let upstreams = Upstreams::new(configured, config.identity, &secrets, &clock, &entropy);
        Ok(Self {
            metrics: Metrics::new(clock.now(), &known),
            callers,
            secrets,
            proxies: if config.in_azure {
                Proxies::Azure {
                    signs_in: config.platform_signs_in,
                }
            } else {
                Proxies::Own(config.limiting.trusted_proxies)
            },
            loopback_hosts_only: config.surroundings.loopback_hosts_only,
            budgets,
            limits: config.limits,
            server_url,
            upstreams,
            counters,
            cors: config.cors,
            clock,
            entropy,
        })
    }

    /// What is known of each secret that comes from outside: those in Key Vault, and the token that
    /// opens Azure `OpenAI`.
    pub fn secret_statuses(&self, now: SystemTime) -> impl Iterator<Item = SecretStatus> + '_ {
        self.secrets
            .statuses()
            .chain(self.upstreams.token_status(now))
    }

    /// What a scrape of the metrics asks of the other parts.
    #[must_use]
    pub fn scrape(&self, now: SystemTime) -> ScrapeInputs {
        let oidc_keys = match &self.callers {
            Callers::Anonymous | Callers::EasyAuth(_) => None,
            Callers::Oidc(oidc) => Some(oidc.keys_seen(now)),
        };
        let secrets = self
            .secret_statuses(now)
            .map(|seen| (seen.name, seen.state.as_str()))
            .collect();
        let breakers = self
            .upstreams
            .all()
            .map(|(provider, upstream)| (provider.as_str(), level(upstream.breaker_state(now))))
            .collect();
        ScrapeInputs {
            rate_limit_degraded: self.counters.is_degraded(),
            oidc_keys,
            secrets,
            secret_reads: self.secrets.reads(),
            breakers,
            ..ScrapeInputs::default()
        }
    }
}

/// A breaker's state as a gauge has it.
fn level(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }
}
