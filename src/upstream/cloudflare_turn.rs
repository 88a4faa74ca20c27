//! Mints TURN credentials at Cloudflare. Of Cloudflare's response, only checked URLs and the
//! caller's credentials leave this file.

use std::sync::Arc;
use std::time::SystemTime;

use reqwest::{Client, RequestBuilder};

use super::minting::credential::Credential;
use super::minting::{Mint, MintingUpstream, SharedResources, UpstreamPermit};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::breaker::BreakerState;
use crate::domain::realtime::mint::{MintError, Minted};
use crate::domain::turn::cloudflare::{self, CloudflareEndpoint, TurnKeyId};
use crate::domain::turn::ice_server::IceServers;
use crate::domain::turn::lifetime::TurnLifetime;

/// The name in log lines and metrics.
pub const NAME: &str = "cloudflare";

/// A TURN key at Cloudflare.
pub struct CloudflareTurn {
    mint_url: String,
    minting: Arc<MintingUpstream>,
}

/// Permission for one mint. Dropping it unused returns it.
pub struct TurnPermit {
    mint_url: String,
    permit: UpstreamPermit,
}

impl CloudflareTurn {
    /// Creates an upstream and sends nothing yet.
    #[must_use]
    pub fn new(
        endpoint: &CloudflareEndpoint,
        key_id: &TurnKeyId,
        credential: Credential,
        shared: SharedResources,
    ) -> Self {
        Self {
            mint_url: endpoint.mint_url(key_id),
            minting: Arc::new(MintingUpstream::new(NAME, credential, shared)),
        }
    }

    /// Acquires permission for one mint and sends nothing yet. Waits for the first fetch of the
    /// token.
    ///
    /// # Errors
    /// [`MintError::NoCredential`], [`MintError::Full`] or [`MintError::Paused`].
    pub async fn mint_permit(&self, now: SystemTime) -> Result<TurnPermit, MintError> {
        Ok(TurnPermit {
            permit: self.minting.permit(None, now).await?,
            mint_url: self.mint_url.clone(),
        })
    }

    /// Returns the state of the breaker.
    #[must_use]
    pub fn breaker_state(&self, now: SystemTime) -> BreakerState {
        self.minting.breaker_state(now)
    }
}

impl TurnPermit {
    /// Mints credentials for one caller. The mint continues when the returned future is dropped,
    /// because its outcome counts for the breaker; only the credentials are lost.
    pub async fn mint(
        self,
        caller: CallerHash,
        lifetime: TurnLifetime,
        now: SystemTime,
    ) -> Minted<IceServers> {
        let mint = TurnMint {
            mint_url: self.mint_url,
            body: cloudflare::mint_body(lifetime, caller),
        };
        self.permit.mint(mint, now).await
    }
}

struct TurnMint {
    mint_url: String,
    body: Vec<u8>,
}

impl Mint for TurnMint {
    type Secret = IceServers;

    fn request(&self, client: &Client) -> RequestBuilder {
        client.post(&self.mint_url).body(self.body.clone())
    }

    fn parse(&self, body: &[u8]) -> Result<IceServers, MintError> {
        cloudflare::parse_answer(body).map_err(|unusable| MintError::Failed(unusable.as_str()))
    }
}
