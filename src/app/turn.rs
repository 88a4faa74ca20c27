//! The configured provider of TURN credentials: the operator's own servers or Cloudflare.

use std::sync::Arc;
use std::time::SystemTime;

use super::secrets::Secrets;
use crate::config::turn::{TurnServer, TurnSettings};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::breaker::BreakerState;
use crate::domain::realtime::mint::{MintError, Minted};
use crate::domain::turn::credential::TurnSecret;
use crate::domain::turn::ice_server::IceServers;
use crate::domain::turn::ice_url::IceUrls;
use crate::domain::turn::lifetime::TurnLifetime;
use crate::upstream::cloudflare_turn::{self, CloudflareTurn, TurnPermit};
use crate::upstream::minting::SharedResources;
use crate::upstream::minting::credential::Credential;
use crate::upstream::slot::Slot;

/// The name of the operator's own servers in log lines and metrics, also if they run other
/// software.
pub(super) const OWN_SERVERS: &str = "coturn";

/// Issues TURN credentials.
pub struct Turn {
    /// The lifetime of the credentials.
    pub lifetime: TurnLifetime,
    /// The name of the provider in log lines and metrics.
    pub provider: &'static str,
    /// The provider of the TURN servers.
    pub source: TurnSource,
}

/// The provider of TURN servers, ready to issue credentials.
pub enum TurnSource {
    /// The operator's own.
    SharedSecret(SharedSecret),
    /// Cloudflare's.
    Cloudflare(Cloudflare),
}

/// Cloudflare's TURN service.
pub struct Cloudflare(CloudflareTurn);

/// Permission for one mint at Cloudflare. Dropping it unused returns it.
pub struct ReservedTurnMint(TurnPermit);

/// Servers that share a secret with this service.
pub struct SharedSecret {
    urls: IceUrls,
    secret: Arc<Slot<TurnSecret>>,
}

impl Turn {
    /// Creates the provider from the settings.
    pub(super) fn new(config: TurnSettings, secrets: &Secrets, shared: SharedResources) -> Self {
        let provider = provider_of(&config.server);
        let source = match config.server {
            TurnServer::SharedSecret { urls, .. } => TurnSource::SharedSecret(SharedSecret {
                urls,
                secret: Arc::clone(&secrets.turn_secret),
            }),
            TurnServer::Cloudflare {
                endpoint, key_id, ..
            } => {
                shared.warm_up();
                let credential = Credential::BearerKey(Arc::clone(&secrets.cloudflare_turn_token));
                let upstream = CloudflareTurn::new(&endpoint, &key_id, credential, shared);
                TurnSource::Cloudflare(Cloudflare(upstream))
            }
        };
        Self {
            lifetime: config.lifetime,
            provider,
            source,
        }
    }

    /// Returns Cloudflare's service, if it is the provider.
    #[must_use]
    pub fn cloudflare(&self) -> Option<&Cloudflare> {
        match &self.source {
            TurnSource::SharedSecret(_) => None,
            TurnSource::Cloudflare(cloudflare) => Some(cloudflare),
        }
    }
}

/// Returns the name of a provider in log lines and metrics.
pub(super) fn provider_of(server: &TurnServer) -> &'static str {
    match server {
        TurnServer::SharedSecret { .. } => OWN_SERVERS,
        TurnServer::Cloudflare { .. } => cloudflare_turn::NAME,
    }
}

impl SharedSecret {
    /// Returns the servers with a credential for one caller, valid until `expires_at` in whole
    /// seconds since 1970. Waits for the first fetch of the secret. Returns `None` if the secret is
    /// not available.
    pub async fn ice_servers(&self, expires_at: u64, caller: CallerHash) -> Option<IceServers> {
        let secret = self.secret.fetched_value().await?;
        IceServers::of_urls(self.urls.as_slice(), secret.credential(expires_at, caller))
    }
}

impl Cloudflare {
    /// Returns the state of the breaker.
    #[must_use]
    pub fn breaker_state(&self, now: SystemTime) -> BreakerState {
        self.0.breaker_state(now)
    }

    /// Reserves one mint and sends nothing yet. It waits for the first fetch of the token.
    ///
    /// # Errors
    /// [`MintError::NoCredential`], [`MintError::Full`] or [`MintError::Paused`].
    pub async fn reserve_mint(&self, now: SystemTime) -> Result<ReservedTurnMint, MintError> {
        self.0.mint_permit(now).await.map(ReservedTurnMint)
    }
}

impl ReservedTurnMint {
    /// Mints credentials for one caller. The mint goes on in the background if the caller hangs up.
    pub async fn mint(
        self,
        caller: CallerHash,
        lifetime: TurnLifetime,
        now: SystemTime,
    ) -> Minted<IceServers> {
        self.0.mint(caller, lifetime, now).await
    }
}
