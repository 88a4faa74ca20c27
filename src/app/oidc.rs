//! The authentication of callers by bearer token, with the identity provider's keys and a cache of
//! verified tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::dependency::DependencyStatus;
use crate::clock::Clock;
use crate::domain::callers::auth_error::AuthError;
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

/// Verifies bearer tokens.
pub struct Oidc {
    policy: TokenPolicy,
    /// The provider's keys.
    keys: Arc<KeyCache>,
    verified: VerifiedTokens,
}

impl Oidc {
    /// Starts to fetch the keys. It must be called inside a Tokio runtime.
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

    /// Authenticates the caller of a token with the cached keys.
    ///
    /// # Errors
    /// Every [`AuthError`] except [`AuthError::MissingCredentials`].
    pub async fn authenticate(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<Arc<Caller>, AuthError> {
        // Read before the key is: if new keys arrive in between, a verification by the old ones is
        // not cached for the new ones.
        let serving_since = self.keys.serving_since(now);
        let digest = TokenDigest::of(token);
        if let Some(caller) =
            serving_since.and_then(|since| self.verified.caller(&digest, since, now))
        {
            return Ok(caller);
        }
        let verified = self.verify(token, now).await.map_err(|error| match error {
            AuthError::Rejected(_) | AuthError::UnknownKey(_)
                if bearer::is_platform_token(token) =>
            {
                TokenRejection::Platform.into()
            }
            error => error,
        })?;
        let caller = Arc::new(verified.caller);
        if let Some(since) = serving_since {
            self.verified
                .insert(digest, since, &caller, verified.good_until);
        }
        Ok(caller)
    }

    /// Waits for newer keys and authenticates the caller of a token that the cached ones did not
    /// verify.
    ///
    /// # Errors
    /// [`AuthError::Rejected`] or [`AuthError::KeysUnavailable`].
    pub async fn authenticate_with_newer_keys(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<Arc<Caller>, AuthError> {
        self.keys.wait_for_refresh().await?;
        self.authenticate(token, now)
            .await
            .map_err(|error| match error {
                AuthError::UnknownKey(reason) => AuthError::Rejected(reason),
                error => error,
            })
    }

    async fn verify(&self, token: &str, now: SystemTime) -> Result<VerifiedCaller, AuthError> {
        let unverified = UnverifiedToken::parse(token)?;
        let keys = self
            .keys
            .find(unverified.key_id(), unverified.algorithm(), now)
            .await?;
        unverified
            .verify(keys.iter(), &self.policy, now)
            .map_err(|rejection| match rejection {
                // Without key ids, only the signature tells whether the key is among the cached
                // ones.
                TokenRejection::Signature if !keys.are_named => {
                    AuthError::UnknownKey(rejection.as_str())
                }
                rejection => rejection.into(),
            })
    }

    /// Returns the status of the keys.
    pub(super) fn key_status(&self, now: SystemTime) -> DependencyStatus {
        let fetched_at = self.keys.fetched_at();
        let are_usable = self.keys.serving_since(now).is_some();
        DependencyStatus {
            name: "identity-provider",
            state: key_state(are_usable, fetched_at, now),
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

/// Returns the state of keys by whether they are usable and when they were fetched.
fn key_state(are_usable: bool, fetched_at: Option<SystemTime>, now: SystemTime) -> DependencyState {
    let is_fresh =
        fetched_at.is_some_and(|at| now.duration_since(at).unwrap_or_default() <= STALE_AFTER);
    match (are_usable, is_fresh) {
        (false, _) => DependencyState::Missing,
        (true, true) => DependencyState::Fresh,
        (true, false) => DependencyState::Stale,
    }
}

impl From<KeyLookupError> for AuthError {
    fn from(error: KeyLookupError) -> Self {
        match error {
            KeyLookupError::Rejected => TokenRejection::Key.into(),
            KeyLookupError::UnknownKey => Self::UnknownKey(TokenRejection::Key.as_str()),
            KeyLookupError::KeysUnavailable => Self::KeysUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn keys_are_stale_two_hours_after_their_fetch() {
        let fetched = UNIX_EPOCH + Duration::from_hours(1);
        for (are_usable, age, state) in [
            (true, Duration::ZERO, DependencyState::Fresh),
            (true, STALE_AFTER, DependencyState::Fresh),
            (
                true,
                STALE_AFTER + Duration::from_millis(1),
                DependencyState::Stale,
            ),
            (false, Duration::ZERO, DependencyState::Missing),
        ] {
            assert_eq!(
                key_state(are_usable, Some(fetched), fetched + age),
                state,
                "{age:?}"
            );
        }
        assert_eq!(
            key_state(false, None, fetched),
            DependencyState::Missing,
            "never fetched"
        );
    }
}
