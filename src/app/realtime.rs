//! The Realtime upstreams, as the operator has configured them.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;

use super::dependency::DependencyStatus;
use super::secrets::Secrets;
use crate::clock::Clock;
use crate::config::realtime::RealtimeProviders;
use crate::domain::realtime::session::SessionPlan;
use crate::domain::requests::provider::Provider;
use crate::domain::settings::azure::Identity;
use crate::entropy::Entropy;
use crate::upstream::entra::{self, Entra, EntraTokenCache};
use crate::upstream::realtime::SharedResources;
use crate::upstream::realtime::client::SharedClient;
use crate::upstream::realtime::credential::Credential;
use crate::upstream::realtime::deadlines::{MAX_MINTS_IN_FLIGHT, MintDeadlines};
pub use crate::upstream::realtime::{MintPermit, Minted, RealtimeUpstream};

/// Those that there are.
pub struct Upstreams {
    azure_openai: Option<Arc<RealtimeUpstream>>,
    openai: Option<Arc<RealtimeUpstream>>,
    /// The token that opens Azure `OpenAI` where no key does.
    entra: Option<EntraTokenCache>,
}

impl Upstreams {
    /// Begins to set up the HTTP client, and to ask for tokens of Entra ID where they open an
    /// upstream, in tasks of the Tokio runtime that this is called in.
    pub(super) fn new(
        RealtimeProviders {
            azure_openai,
            openai,
            options,
        }: RealtimeProviders,
        identity: Identity,
        secrets: &Secrets,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        let client = Arc::new(SharedClient::default());
        if azure_openai.is_some() || openai.is_some() {
            let warming = Arc::clone(&client);
            tokio::spawn(async move { warming.client().await });
        }
        let shared = SharedResources {
            client,
            permits: Arc::new(Semaphore::new(MAX_MINTS_IN_FLIGHT)),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            deadlines: MintDeadlines::default(),
        };
        let entra = azure_openai
            .as_ref()
            .filter(|azure| azure.api_key.is_none())
            .map(|_| {
                EntraTokenCache::fetched_from(
                    Entra::new(identity, options.entra_scope),
                    clock,
                    entropy,
                )
            });
        let azure_openai = azure_openai.map(|azure| {
            let credential = match &entra {
                Some(entra) => Credential::Entra(Arc::clone(&entra.token)),
                None => Credential::ApiKey(Arc::clone(&secrets.azure_openai_key)),
            };
            let plan = SessionPlan {
                transcription_model: azure.transcription_model,
                ..options.plan.clone()
            };
            let shared = shared.clone();
            Arc::new(RealtimeUpstream::new(
                Provider::AzureOpenAi,
                azure.endpoint,
                credential,
                plan,
                shared,
            ))
        });
        let openai = openai.map(|openai| {
            let credential = Credential::ApiKey(Arc::clone(&secrets.openai_key));
            let (endpoint, plan) = (openai.endpoint, options.plan);
            Arc::new(RealtimeUpstream::new(
                Provider::OpenAi,
                endpoint,
                credential,
                plan,
                shared,
            ))
        });
        Self {
            azure_openai,
            openai,
            entra,
        }
    }

    /// The upstream of a provider.
    #[must_use]
    pub fn of(&self, provider: Provider) -> Option<&Arc<RealtimeUpstream>> {
        match provider {
            Provider::LiveKit => None,
            Provider::AzureOpenAi => self.azure_openai.as_ref(),
            Provider::OpenAi => self.openai.as_ref(),
        }
    }

    /// Returns what is known of the token that opens Azure `OpenAI`, where no key does.
    #[must_use]
    pub fn token_status(&self, now: SystemTime) -> Option<DependencyStatus> {
        let entra = self.entra.as_ref()?;
        Some(DependencyStatus {
            name: entra::NAME,
            state: entra.state(now),
            fetched_at: entra.fetched_at(),
            is_needed: true,
        })
    }

    /// All that there are.
    pub fn all(&self) -> impl Iterator<Item = (Provider, &Arc<RealtimeUpstream>)> {
        Provider::REALTIME
            .into_iter()
            .filter_map(|provider| Some((provider, self.of(provider)?)))
    }
}
