//! Mints Realtime client secrets at Azure OpenAI and OpenAI, which differ only in the header of the
//! credential and in the URL for the browser. Nothing that an upstream sends leaves this module
//! except the secret, its expiry and checked ids.

use std::sync::Arc;
use std::time::SystemTime;

use reqwest::{Client, RequestBuilder};
use secrecy::SecretString;

use super::minting::credential::Credential;
use super::minting::{Mint, MintingUpstream, SharedResources, UpstreamPermit};
use super::slot::Slot;
use crate::domain::limits::breaker::BreakerState;
use crate::domain::realtime::client_secret::ClientSecret;
use crate::domain::realtime::endpoint::RealtimeEndpoint;
use crate::domain::realtime::mint::{MintError, MintRequest, Minted};
use crate::domain::realtime::session::{ModelOrVoice, SessionPlan};
use crate::domain::realtime::session_request::CallId;
use crate::domain::requests::provider::Provider;

/// Identifies an end user to OpenAI, so that abuse by one can be told apart from the others. Azure
/// does not document the header, so it is not sent there.
const SAFETY_IDENTIFIER: &str = "OpenAI-Safety-Identifier";

/// A provider that mints Realtime client secrets.
pub struct RealtimeUpstream {
    provider: Provider,
    /// The URLs of the upstream.
    pub endpoint: RealtimeEndpoint,
    /// The content of its sessions.
    pub plan: SessionPlan,
    minting: Arc<MintingUpstream>,
}

/// Permission for one mint, which is returned if it is dropped unused.
pub struct MintPermit {
    upstream: Arc<RealtimeUpstream>,
    permit: UpstreamPermit,
}

impl RealtimeUpstream {
    /// Creates an upstream to which nothing has been sent yet.
    #[must_use]
    pub fn new(
        provider: Provider,
        endpoint: RealtimeEndpoint,
        credential: Credential,
        plan: SessionPlan,
        shared: SharedResources,
    ) -> Self {
        let minting = MintingUpstream::new(provider.as_str(), credential, shared);
        Self {
            provider,
            endpoint,
            plan,
            minting: Arc::new(minting),
        }
    }

    /// Returns the same upstream for another key and session plan. Both share breakers, connections
    /// and limits.
    #[must_use]
    pub fn with_key(&self, key: SecretString, plan: SessionPlan) -> Self {
        let credential = Credential::BearerKey(Arc::new(Slot::holding(key)));
        Self {
            provider: self.provider,
            endpoint: self.endpoint.clone(),
            plan,
            minting: Arc::new(self.minting.with_credential(credential)),
        }
    }

    /// Returns the credential that authenticates roomkey to the upstream.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.minting.credential
    }

    /// Acquires permission for one mint and sends nothing yet. Waits for the first fetch of the
    /// credential.
    ///
    /// # Errors
    /// [`MintError::NoCredential`], [`MintError::Full`] or [`MintError::Paused`].
    pub async fn acquire_permit(
        self: &Arc<Self>,
        model: &ModelOrVoice,
        now: SystemTime,
    ) -> Result<MintPermit, MintError> {
        Ok(MintPermit {
            permit: self.minting.permit(Some(model), now).await?,
            upstream: Arc::clone(self),
        })
    }

    /// Returns the worst state of the breakers of all models.
    #[must_use]
    pub fn breaker_state(&self, now: SystemTime) -> BreakerState {
        self.minting.breaker_state(now)
    }

    /// Hangs up a call. One that is over already, or never was, counts as hung up.
    ///
    /// # Errors
    /// The error that a mint would have.
    pub async fn hang_up(&self, call_id: &CallId, now: SystemTime) -> Result<(), MintError> {
        let url = self.endpoint.hangup_url(call_id);
        self.minting.hang_up(url, now).await
    }

    /// Requests the list of models, which costs nothing, to find out whether a mint could succeed.
    ///
    /// # Errors
    /// The error that a mint would have.
    pub async fn probe(&self, now: SystemTime) -> Result<(), MintError> {
        self.minting.probe(self.endpoint.models_url(), now).await
    }
}

impl MintPermit {
    /// Mints one secret. The mint goes on when the returned future is dropped, and its outcome
    /// counts for the breaker; only the secret is lost.
    pub async fn mint(self, request: MintRequest) -> Minted<ClientSecret> {
        let Self { upstream, permit } = self;
        let now = request.now;
        let mint = ClientSecretMint {
            body: upstream.plan.mint_body(&request.model, &request.voice),
            upstream,
            request,
        };
        permit.mint(mint, now).await
    }
}

/// The mint of one client secret.
struct ClientSecretMint {
    upstream: Arc<RealtimeUpstream>,
    request: MintRequest,
    body: Vec<u8>,
}

impl Mint for ClientSecretMint {
    type Secret = ClientSecret;

    fn request(&self, client: &Client) -> RequestBuilder {
        let RealtimeUpstream {
            provider, endpoint, ..
        } = &*self.upstream;
        let request = client.post(endpoint.mint_url()).body(self.body.clone());
        if *provider == Provider::OpenAi {
            request.header(SAFETY_IDENTIFIER, self.request.caller.to_string())
        } else {
            request
        }
    }

    fn parse(&self, body: &[u8]) -> Result<ClientSecret, MintError> {
        ClientSecret::parse(body, self.request.now)
            .map_err(|error| MintError::Failed(error.as_str()))
    }
}

#[cfg(test)]
mod tests;
