//! Signed-in callers: a bearer token, held against the provider's keys or what is remembered of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::dependency::DependencyStatus;
use crate::clock::Clock;
use crate::domain::callers::bearer::{
    self, TokenPolicy, TokenRejection, UnverifiedToken, VerifiedCaller,
};
use crate::domain::callers::caller::Caller;
use crate::domain::settings::secrets::DependencyState;
use crate::entropy::Entropy;
use crate::metrics::OidcKeys;
use crate::store::verified_tokens::{TokenDigest, VerifiedTokens};
use crate::upstream::oidc_keys::{KeyCache, KeyLookupError};

/// The age at which keys count as stale: they are fetched hourly, so older ones mean that fetches
/// fail.
const STALE_AFTER: Duration = Duration::from_hours(2);

/// What it takes to check a token.
pub struct Oidc {
    policy: TokenPolicy,
    /// The provider's keys.
    keys: Arc<KeyCache>,
    verified: VerifiedTokens,
}

/// Why a token proves nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Unproven {
    /// It is not accepted.
    Rejected(TokenRejection),
    /// It is not accepted with the provider's keys that are held; with newer ones it may be.
    UnknownKey(TokenRejection),
    /// The provider's keys are not there, so that nobody can be told from anybody.
    CannotTell,
}

impl Oidc {
    /// Begins to fetch the keys, in a task of the Tokio runtime that this is called in.
    pub(super) fn new(
        policy: TokenPolicy,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        let keys = Arc::new(KeyCache::new(
            policy.issuer.clone(),
            Arc::clone(clock),
            Arc::clone(entropy),
        ));
        let fetching = Arc::clone(&keys);
        tokio::spawn(async move { fetching.run().await });
        Self {
            policy,
            keys,
            verified: VerifiedTokens::new(),
        }
    }

    /// Finds out whose token this is, with the keys that are held.
    ///
    /// # Errors
    /// [`Unproven`].
    pub async fn caller(&self, token: &str, now: SystemTime) -> Result<Arc<Caller>, Unproven> {
        // Read before the key is: if new keys come in between, what the old one proved is not
        // remembered for them.
        let keys_of = self.keys.serving_since(now);
        let digest = TokenDigest::of(token);
        if let Some(caller) =
            keys_of.and_then(|keys_of| self.verified.caller(&digest, keys_of, now))
        {
            return Ok(caller);
        }
        let verified = self
            .verify(token, now)
            .await
            .map_err(|unproven| match unproven {
                Unproven::Rejected(_) | Unproven::UnknownKey(_)
                    if bearer::is_platform_token(token) =>
                {
                    TokenRejection::Platform.into()
                }
                unproven => unproven,
            })?;
        let caller = Arc::new(verified.caller);
        if let Some(keys_of) = keys_of {
            self.verified
                .insert(digest, keys_of, &caller, verified.good_until);
        }
        Ok(caller)
    }

    /// Finds out whose token this is that the keys which were held did not prove: waits for newer
    /// keys first.
    ///
    /// # Errors
    /// [`Unproven`], but not [`Unproven::UnknownKey`].
    pub async fn caller_with_newer_keys(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<Arc<Caller>, Unproven> {
        self.keys.wait_for_refresh().await?;
        self.caller(token, now)
            .await
            .map_err(|unproven| match unproven {
                Unproven::UnknownKey(rejected) => rejected.into(),
                unproven => unproven,
            })
    }

    async fn verify(&self, token: &str, now: SystemTime) -> Result<VerifiedCaller, Unproven> {
        let unverified = UnverifiedToken::parse(token)?;
        let keys = self
            .keys
            .find(unverified.key_id(), unverified.algorithm(), now)
            .await?;
        unverified
            .verify(keys.iter(), &self.policy, now)
            .map_err(|rejected| match rejected {
                // Without names, only the signature tells whether the key is among those that are
                // held.
                TokenRejection::Signature if !keys.are_named => Unproven::UnknownKey(rejected),
                rejected => rejected.into(),
            })
    }

    /// Returns the status of the keys.
    pub(super) fn key_status(&self, now: SystemTime) -> DependencyStatus {
        let fetched_at = self.keys.fetched_at();
        let is_fresh =
            fetched_at.is_some_and(|at| now.duration_since(at).unwrap_or_default() <= STALE_AFTER);
        let state = match self.keys.serving_since(now) {
            None => DependencyState::Missing,
            Some(_) if is_fresh => DependencyState::Fresh,
            Some(_) => DependencyState::Stale,
        };
        DependencyStatus {
            name: "identity-provider",
            state,
            fetched_at,
            is_needed: true,
        }
    }

    /// Returns the metrics of the keys.
    pub(super) fn key_metrics(&self, now: SystemTime) -> OidcKeys {
        OidcKeys {
            age: self
                .keys
                .fetched_at()
                .map(|at| now.duration_since(at).unwrap_or_default()),
            fetched: self.keys.status().succeeded,
            failed: self.keys.status().failed,
            unreadable: self.keys.unreadable(),
        }
    }
}

impl From<TokenRejection> for Unproven {
    fn from(rejected: TokenRejection) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<KeyLookupError> for Unproven {
    fn from(not_found: KeyLookupError) -> Self {
        match not_found {
            KeyLookupError::Rejected => Self::Rejected(TokenRejection::Key),
            KeyLookupError::UnknownKey => Self::UnknownKey(TokenRejection::Key),
            KeyLookupError::KeysUnavailable => Self::CannotTell,
        }
    }
}
