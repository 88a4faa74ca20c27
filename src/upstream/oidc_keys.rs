//! Caches the keys of the identity provider.
//!
//! A background loop fetches them at the start, every hour, after a failure, and at most once a
//! minute because a token names a key that is not cached. Without keys no caller is accepted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::key_source::{KeyFetchError, KeySource};
use super::refresher::{RefreshError, RefreshSource, RefreshStatus, Refresher};
use super::slot::Slot;
use crate::clock::Clock;
use crate::domain::callers::bearer::Issuer;
use crate::domain::callers::key_set::{Algorithm, Candidates, KeySelectionError, KeySet};
use crate::entropy::Entropy;

/// The time between two regular fetches.
const REFRESH_INTERVAL: Duration = Duration::from_hours(1);
/// The shortest time between two fetches that unknown keys cause, however many tokens name them.
const UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_mins(1);
/// The time for which cached keys are used after they were last fetched.
const MAX_AGE: Duration = Duration::from_hours(24);

/// A reason why no key was found for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyLookupError {
    /// The key that the token names is for another algorithm; the token is not accepted.
    #[error("the key is for another algorithm")]
    Rejected,
    /// The key is not cached; a newer key set may hold it.
    #[error("the key is not known")]
    UnknownKey,
    /// No keys are available, or too many requests already wait for a fetch. The token is neither
    /// accepted nor refused; the caller may retry.
    #[error("the keys are not available")]
    KeysUnavailable,
}

impl From<KeySelectionError> for KeyLookupError {
    fn from(error: KeySelectionError) -> Self {
        match error {
            KeySelectionError::UnknownId => Self::UnknownKey,
            KeySelectionError::OtherAlgorithm => Self::Rejected,
        }
    }
}

/// Holds the keys of one issuer.
pub struct KeyCache {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    issuer: Issuer,
    cached: Arc<Slot<CachedKeys>>,
    refresher: Arc<Refresher>,
}

#[derive(Clone)]
struct CachedKeys {
    keys: Arc<KeySet>,
    fetched_at: SystemTime,
    /// When this key set was first fetched; later fetches of an equal set do not change it.
    since: SystemTime,
}

impl CachedKeys {
    /// Returns whether the keys are recent enough. A clock that is set back makes them look newer.
    fn are_usable(&self, now: SystemTime) -> bool {
        now.duration_since(self.fetched_at).unwrap_or_default() <= MAX_AGE
    }
}

impl KeyCache {
    /// Creates a cache without keys; [`KeyCache::run`] fetches them.
    #[must_use]
    pub fn new(issuer: Issuer, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let refresher = Arc::new(Refresher::new(UNKNOWN_KEY_COOLDOWN));
        let cached = Arc::new(Slot::fetched_by(Arc::clone(&refresher)));
        Self {
            clock,
            entropy,
            issuer,
            cached,
            refresher,
        }
    }

    /// Fetches for as long as it is polled. Spawn it once.
    pub async fn run(&self) {
        let source = KeySetSource {
            source: KeySource::new(self.issuer.clone()),
            cached: Arc::clone(&self.cached),
            clock: Arc::clone(&self.clock),
        };
        self.refresher
            .run(source, &*self.clock, &*self.entropy)
            .await;
    }

    /// Finds the cached keys that may have signed a token. Waits for the very first fetch only.
    ///
    /// # Errors
    /// [`KeyLookupError`].
    pub async fn find(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<Candidates, KeyLookupError> {
        let cached = self.cached.fetched_value().await;
        let cached = cached
            .filter(|cached| cached.are_usable(now))
            .ok_or(KeyLookupError::KeysUnavailable)?;
        Ok(cached.keys.find(key_id, algorithm)?)
    }

    /// Waits for the one fetch a minute that unknown keys cause, which may bring the key of a
    /// token. All requests that wait share it.
    ///
    /// # Errors
    /// [`KeyLookupError::KeysUnavailable`] if too many requests already wait.
    pub async fn wait_for_refresh(&self) -> Result<(), KeyLookupError> {
        match self.refresher.refresh().await {
            Ok(()) | Err(RefreshError::Cooldown | RefreshError::TooSlow) => Ok(()),
            Err(RefreshError::TooManyWaiting) => Err(KeyLookupError::KeysUnavailable),
        }
    }

    /// Returns the number of entries in the cached key set that cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> Option<usize> {
        self.cached
            .value()
            .map(|cached| cached.keys.unreadable_entries())
    }

    /// Returns when the cached keys were last fetched.
    #[must_use]
    pub fn fetched_at(&self) -> Option<SystemTime> {
        self.cached.value().map(|cached| cached.fetched_at)
    }

    /// Returns when the key set in use was first fetched, or `None` if none is usable. A cached
    /// token check is valid only for the key set that it was made with.
    #[must_use]
    pub fn serving_since(&self, now: SystemTime) -> Option<SystemTime> {
        let cached = self.cached.value()?;
        cached.are_usable(now).then_some(cached.since)
    }

    /// Returns the outcome of the fetches so far.
    #[must_use]
    pub fn status(&self) -> RefreshStatus {
        self.refresher.status()
    }
}

/// Fetches the key set and publishes it in the cache.
struct KeySetSource {
    source: KeySource,
    cached: Arc<Slot<CachedKeys>>,
    clock: Arc<dyn Clock>,
}

impl RefreshSource for KeySetSource {
    type Error = KeyFetchError;

    async fn fetch(&mut self) -> Result<Duration, KeyFetchError> {
        let keys = self.source.fetch().await?;
        let fetched_at = self.clock.now();
        let unchanged = self
            .cached
            .value()
            .filter(|cached| cached.keys.is_same(&keys));
        let since = unchanged.map_or(fetched_at, |cached| cached.since);
        self.cached.put(CachedKeys {
            keys: Arc::new(keys),
            fetched_at,
            since,
        });
        Ok(REFRESH_INTERVAL)
    }

    fn log_failure(&self, error: KeyFetchError) {
        let cause = error.as_str();
        if self.cached.value().is_some() {
            tracing::warn!(
                cause,
                "fetching the identity provider's keys failed; the last keys are used for 24 h"
            );
        } else {
            tracing::warn!(
                cause,
                "fetching the identity provider's keys failed; signed-in callers get 503"
            );
        }
    }

    fn log_recovery(&self) {
        tracing::info!("the identity provider's keys were fetched again");
    }
}

#[cfg(test)]
mod tests;
