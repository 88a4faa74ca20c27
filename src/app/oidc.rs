//! Signed-in callers: a bearer token, held against the provider's keys or what is remembered of it.

use std::sync::Arc;
use std::time::SystemTime;

use crate::clock::Clock;
use crate::domain::bearer::{Policy, Rejected, UnverifiedToken};
use crate::domain::caller::Caller;
use crate::entropy::Entropy;
use crate::metrics::OidcKeys;
use crate::store::verified_tokens::{TokenDigest, VerifiedTokens};
use crate::upstream::oidc_keys::{KeyCache, NotFound};

/// What it takes to check a token.
pub struct Oidc {
    policy: Policy,
    /// The provider's keys.
    pub keys: Arc<KeyCache>,
    verified: VerifiedTokens,
}

/// Why a token proves nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Unproven {
    /// It is not accepted.
    Rejected(Rejected),
    /// The provider's keys are not there, so that nobody can be told from anybody.
    CannotTell,
}

impl Oidc {
    /// Begins to fetch the keys, in a task of the Tokio runtime that this is called in.
    pub(super) fn new(policy: Policy, clock: &Arc<dyn Clock>, entropy: &Arc<dyn Entropy>) -> Self {
        let keys = Arc::new(KeyCache::new(policy.issuer.clone(), Arc::clone(clock), Arc::clone(entropy)));
        let fetching = Arc::clone(&keys);
        tokio::spawn(async move { fetching.run().await });
        Self { policy, keys, verified: VerifiedTokens::new() }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`Unproven`].
    pub async fn caller(&self, token: &str, now: SystemTime) -> Result<Arc<Caller>, Unproven> {
        // Read before the key is: if new keys come in between, what the old one proved is not remembered for them.
        let keys_of = self.keys.serving_since(now);
        let digest = TokenDigest::of(token);
        if let Some(caller) = keys_of.and_then(|keys_of| self.verified.caller(&digest, keys_of, now)) {
            return Ok(caller);
        }
        let unverified = UnverifiedToken::parse(token)?;
        let key = self.keys.key(unverified.key_id(), unverified.algorithm(), now).await?;
        let verified = unverified.verify(&key, &self.policy, now)?;
        let caller = Arc::new(verified.caller);
        if let Some(keys_of) = keys_of {
            self.verified.remember(digest, keys_of, &caller, verified.good_until);
        }
        Ok(caller)
    }

    /// What a scrape asks of the keys.
    pub(super) fn keys_seen(&self, now: SystemTime) -> OidcKeys {
        OidcKeys {
            age: self.keys.fetched_at().map(|at| now.duration_since(at).unwrap_or_default()),
            fetched: self.keys.status().succeeded,
            failed: self.keys.status().failed,
        }
    }
}

impl From<Rejected> for Unproven {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<NotFound> for Unproven {
    fn from(not_found: NotFound) -> Self {
        match not_found {
            NotFound::Rejected => Self::Rejected(Rejected::Key),
            NotFound::NoKeys => Self::CannotTell,
        }
    }
}
