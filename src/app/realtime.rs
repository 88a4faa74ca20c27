//! The Realtime upstreams, as the operator has configured them.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;

use crate::app::secrets::{Secrets, Seen};
use crate::clock::Clock;
use crate::config::{AzureOpenAi, OpenAi, RealtimeOptions};
use crate::domain::azure::Identity;
use crate::domain::provider::Provider;
use crate::domain::realtime_session::SessionPlan;
use crate::entropy::Entropy;
use crate::upstream::entra::{self, Entra, Kept};
use crate::upstream::realtime::client::SharedClient;
use crate::upstream::realtime::credential::Credential;
use crate::upstream::realtime::{Bounds, MINTS_IN_FLIGHT, Shared};
pub use crate::upstream::realtime::{Minted, Realtime, Turn};

/// What the operator has configured.
pub(super) struct Configured {
    pub azure_openai: Option<AzureOpenAi>,
    pub openai: Option<OpenAi>,
    pub options: RealtimeOptions,
}

/// Those that there are.
pub struct Upstreams {
    azure_openai: Option<Realtime>,
    openai: Option<Realtime>,
    /// The token that opens Azure `OpenAI` where no key does.
    entra: Option<Arc<Kept>>,
}

impl Upstreams {
    /// Begins to set up the HTTP client, and to ask for tokens of Entra ID where they open an upstream, in tasks of the Tokio
    /// runtime that this is called in.
    pub(super) fn new(
        Configured { azure_openai, openai, options }: Configured,
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
        let shared = Shared {
            client,
            seats: Arc::new(Semaphore::new(MINTS_IN_FLIGHT)),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            bounds: Bounds::default(),
        };
        let mut entra = None;
        let azure_openai = azure_openai.map(|azure| {
            let credential = if let Some(source) = &azure.api_key {
                Credential::ApiKey(Arc::clone(&secrets.azure_openai_key), secrets.wake_for(source))
            } else {
                let kept = entra.insert(Arc::new(Kept::default()));
                let (keeping, clock, entropy) = (Arc::clone(kept), Arc::clone(clock), Arc::clone(entropy));
                let authority = Entra::new(identity, options.entra_scope);
                tokio::spawn(async move { keeping.run(authority, clock, entropy).await });
                Credential::Entra(Arc::clone(&kept.token), Arc::clone(&kept.wake))
            };
            let plan = SessionPlan { transcription_model: azure.transcription_model, ..options.plan.clone() };
            Realtime::new(Provider::AzureOpenAi, azure.endpoint, credential, plan, shared.clone())
        });
        let openai = openai.map(|openai| {
            let credential = Credential::ApiKey(Arc::clone(&secrets.openai_key), secrets.wake_for(&openai.api_key));
            Realtime::new(Provider::OpenAi, openai.endpoint, credential, options.plan, shared)
        });
        Self { azure_openai, openai, entra }
    }

    /// The upstream of a provider.
    #[must_use]
    pub fn of(&self, provider: Provider) -> Option<&Realtime> {
        match provider {
            Provider::LiveKit => None,
            Provider::AzureOpenAi => self.azure_openai.as_ref(),
            Provider::OpenAi => self.openai.as_ref(),
        }
    }

    /// What is known of the token that opens Azure `OpenAI`, where no key does.
    #[must_use]
    pub fn token_seen(&self, now: SystemTime) -> Option<Seen> {
        let kept = self.entra.as_ref()?;
        Some(Seen { name: entra::NAME, state: kept.state(now), read_at: kept.brought_at(), needed: true })
    }

    /// All that there are.
    pub fn all(&self) -> impl Iterator<Item = (Provider, &Realtime)> {
        Provider::REALTIME.into_iter().filter_map(|provider| Some((provider, self.of(provider)?)))
    }
}
