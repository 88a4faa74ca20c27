//! The Realtime providers as handlers use them: they mint client secrets and report their state.

use std::sync::Arc;
use std::time::SystemTime;

use super::dependency::DependencyStatus;
use super::secrets::Secrets;
use crate::config::realtime::{AzureOpenAi, OpenAi, OpenAiApi, RealtimeProviders};
use crate::domain::limits::breaker::BreakerState;
use crate::domain::realtime::client_secret::ClientSecret;
use crate::domain::realtime::mint::{MintError, MintRequest, Minted};
use crate::domain::realtime::session::{ModelOrVoice, SessionPlan};
use crate::domain::realtime::session_request::CallId;
use crate::domain::requests::provider::Provider;
use crate::domain::settings::azure::Identity;
use crate::domain::vault::project_key::ProjectKey;
use crate::upstream::entra::{self, Entra, EntraTokenCache};
use crate::upstream::minting::SharedResources;
use crate::upstream::minting::credential::Credential;
use crate::upstream::realtime::{MintPermit, RealtimeUpstream};

/// The label of mints with the keys of projects in metrics.
pub const PROJECTS: &str = "openai-projects";

/// The configured Realtime providers.
pub struct Upstreams {
    azure_openai: Option<Upstream>,
    openai: Option<Upstream>,
    /// `OpenAI` for the keys of projects. Its breakers are its own, so that projects and the
    /// operator's key do not affect each other.
    projects: Option<Upstream>,
    /// The token for Azure `OpenAI`, where no key is configured.
    entra: Option<EntraTokenCache>,
}

/// A configured Realtime provider.
pub struct Upstream {
    provider: Provider,
    label: &'static str,
    realtime: Arc<RealtimeUpstream>,
}

/// Permission for one mint at a provider. Dropping it unused returns it.
pub struct ReservedMint(MintPermit);

impl Upstreams {
    /// Starts to set up the HTTP client, and to fetch Entra tokens where they are needed. It must
    /// be called inside a Tokio runtime.
    pub(super) fn new(
        providers: RealtimeProviders,
        identity: Identity,
        secrets: &Secrets,
        shared: SharedResources,
    ) -> Self {
        let RealtimeProviders {
            azure_openai,
            openai,
            projects,
            options,
        } = providers;
        if azure_openai.is_some() || openai.is_some() {
            shared.warm_up();
        }
        let needs_entra = (azure_openai.as_ref()).is_some_and(|azure| azure.api_key.is_none());
        let entra = needs_entra.then(|| {
            let entra = Entra::new(identity, options.entra_scope);
            EntraTokenCache::fetched_from(entra, &shared.clock, &shared.entropy)
        });
        let plan = options.plan;
        Self {
            azure_openai: azure_openai.map(|azure| {
                let credential = match &entra {
                    Some(entra) => Credential::Entra(Arc::clone(&entra.token)),
                    None => Credential::ApiKey(Arc::clone(&secrets.azure_openai_key)),
                };
                Upstream::azure_openai(azure, credential, plan.clone(), shared.clone())
            }),
            openai: openai.map(|openai| {
                let credential = Credential::BearerKey(Arc::clone(&secrets.openai_key));
                Upstream::openai(openai, credential, plan.clone(), shared.clone())
            }),
            projects: projects.map(|api| Upstream::for_projects(api, plan, shared)),
            entra,
        }
    }

    /// Returns a provider, if it is configured.
    #[must_use]
    pub fn of(&self, provider: Provider) -> Option<&Upstream> {
        match provider {
            Provider::LiveKit => None,
            Provider::AzureOpenAi => self.azure_openai.as_ref(),
            Provider::OpenAi => self.openai.as_ref(),
        }
    }

    /// Returns the provider that mints with the keys of projects, if there are any.
    #[must_use]
    pub fn for_projects(&self) -> Option<&Upstream> {
        self.projects.as_ref()
    }

    /// Returns all configured providers.
    pub fn all(&self) -> impl Iterator<Item = &Upstream> {
        [&self.azure_openai, &self.openai].into_iter().flatten()
    }

    /// Returns the status of the Entra token, where one is needed.
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
}

impl Upstream {
    fn azure_openai(
        azure: AzureOpenAi,
        credential: Credential,
        plan: SessionPlan,
        shared: SharedResources,
    ) -> Self {
        let provider = Provider::AzureOpenAi;
        let plan = SessionPlan {
            transcription_model: azure.transcription_model,
            ..plan
        };
        let realtime = RealtimeUpstream::new(provider, azure.endpoint, credential, plan, shared);
        Self {
            provider,
            label: provider.as_str(),
            realtime: Arc::new(realtime),
        }
    }

    fn openai(
        openai: OpenAi,
        credential: Credential,
        plan: SessionPlan,
        shared: SharedResources,
    ) -> Self {
        let provider = Provider::OpenAi;
        let realtime = RealtimeUpstream::new(provider, openai.endpoint, credential, plan, shared);
        Self {
            provider,
            label: provider.as_str(),
            realtime: Arc::new(realtime),
        }
    }

    fn for_projects(api: OpenAiApi, plan: SessionPlan, shared: SharedResources) -> Self {
        let provider = Provider::OpenAi;
        // Each request brings a key of its own.
        let credential = Credential::BearerKey(Arc::default());
        let realtime = RealtimeUpstream::new(provider, api.endpoint, credential, plan, shared);
        Self {
            provider,
            label: PROJECTS,
            realtime: Arc::new(realtime),
        }
    }

    /// Returns the same provider for the key of a project and another session plan.
    #[must_use]
    pub fn with_key(&self, key: &ProjectKey, plan: SessionPlan) -> Self {
        Self {
            realtime: Arc::new(self.realtime.with_key(key.secret().clone(), plan)),
            ..*self
        }
    }

    /// Returns the content of its sessions.
    #[must_use]
    pub fn plan(&self) -> &SessionPlan {
        &self.realtime.plan
    }

    /// Returns the label of its metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.label
    }

    /// Returns which provider this is.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Returns the host of the provider's API.
    #[must_use]
    pub fn host(&self) -> &str {
        self.realtime.endpoint.host()
    }

    /// Returns the URL to which the browser sends its SDP offer.
    #[must_use]
    pub fn calls_url(&self) -> String {
        self.realtime.endpoint.calls_url()
    }

    /// Returns the kind of credential, for diagnostics.
    #[must_use]
    pub fn credential_kind(&self) -> &'static str {
        self.realtime.credential().kind()
    }

    /// Returns the worst state of the breakers of all models.
    #[must_use]
    pub fn breaker_state(&self, now: SystemTime) -> BreakerState {
        self.realtime.breaker_state(now)
    }

    /// Requests the list of models, which costs nothing, to find out whether a mint could succeed.
    ///
    /// # Errors
    /// The error that a mint would have.
    pub async fn probe(&self, now: SystemTime) -> Result<(), MintError> {
        self.realtime.probe(now).await
    }

    /// Hangs up a call. One that is over already counts as hung up.
    ///
    /// # Errors
    /// The error that a mint would have.
    pub async fn hang_up(&self, call_id: &CallId, now: SystemTime) -> Result<(), MintError> {
        self.realtime.hang_up(call_id, now).await
    }

    /// Reserves one mint and sends nothing yet. It waits for the first fetch of the credential.
    ///
    /// # Errors
    /// [`MintError::NoCredential`], [`MintError::Full`] or [`MintError::Paused`].
    pub async fn reserve_mint(
        &self,
        model: &ModelOrVoice,
        now: SystemTime,
    ) -> Result<ReservedMint, MintError> {
        self.realtime
            .acquire_permit(model, now)
            .await
            .map(ReservedMint)
    }
}

impl ReservedMint {
    /// Mints a client secret. The mint goes on in the background if its caller hangs up.
    pub async fn mint(self, request: MintRequest) -> Minted<ClientSecret> {
        self.0.mint(request).await
    }
}
