//! The keys of the identity provider, held here between fetches.
//!
//! One loop fetches: at the start, hourly, after a failure, and at most once a minute because a
//! token names a key that is not among them. Everyone else only reads. Without keys nobody is let
//! in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::key_source::{FetchError, KeySource};
use super::refresher::{RefreshError, RefreshSource, RefreshStatus, Refresher};
use super::slot::Slot;
use crate::clock::Clock;
use crate::domain::callers::bearer::Issuer;
use crate::domain::callers::key_set::{Algorithm, Candidates, KeySelectionError, KeySet};
use crate::entropy::Entropy;

/// Time between two fetches that nobody requested.
const REFRESH: Duration = Duration::from_hours(1);
/// Unknown keys cause one fetch in this time, whoever names them and however many.
const UNKNOWN_KEY: Duration = Duration::from_mins(1);
/// Keys serve this long after they were last fetched.
const LAST_GOOD: Duration = Duration::from_hours(24);

/// Why there is no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyLookupError {
    /// There are keys, and the one that the token names is for another algorithm: it is not
    /// accepted.
    Rejected,
    /// There are keys and the token's is not among them; newer ones may hold it.
    UnknownKey,
    /// There are no keys, or they are being fetched and too many requests wait for that, so that
    /// nobody can be let in or refused for good. The caller may try again.
    NoKeys,
}

/// The keys of one issuer.
pub struct KeyCache {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    issuer: Issuer,
    held: Arc<Slot<Held>>,
    refresher: Arc<Refresher>,
}

#[derive(Clone)]
struct Held {
    keys: Arc<KeySet>,
    fetched_at: SystemTime,
    /// When these keys came first; later fetches that brought the same change nothing.
    since: SystemTime,
}

impl Held {
    /// A clock that was moved back makes keys look younger, never older.
    fn are_good(&self, now: SystemTime) -> bool {
        now.duration_since(self.fetched_at).unwrap_or_default() <= LAST_GOOD
    }
}

impl KeyCache {
    /// Creates a cache without keys; [`KeyCache::run`] fetches them.
    #[must_use]
    pub fn new(issuer: Issuer, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let refresher = Arc::new(Refresher::new(UNKNOWN_KEY));
        let held = Arc::new(Slot::fetched_by(Arc::clone(&refresher)));
        Self {
            clock,
            entropy,
            issuer,
            held,
            refresher,
        }
    }

    /// Fetches for as long as it is polled: spawn it once.
    pub async fn run(&self) {
        let source = KeySetSource {
            source: KeySource::new(self.issuer.clone()),
            held: Arc::clone(&self.held),
            clock: Arc::clone(&self.clock),
        };
        self.refresher
            .run(source, &*self.clock, &*self.entropy)
            .await;
    }

    /// Finds the keys that may have signed a token, among those that are held. Waits for the very
    /// first fetch only.
    ///
    /// # Errors
    /// [`KeyLookupError`].
    pub async fn find(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<Candidates, KeyLookupError> {
        let held = self
            .held
            .fetched_value()
            .await
            .filter(|held| held.are_good(now));
        held.ok_or(KeyLookupError::NoKeys)?
            .keys
            .find(key_id, algorithm)
            .map_err(|none| match none {
                KeySelectionError::UnknownId => KeyLookupError::UnknownKey,
                KeySelectionError::OtherAlgorithm => KeyLookupError::Rejected,
            })
    }

    /// Waits for newer keys, in case a token's is among them: for the one fetch a minute that
    /// unknown keys cause, together with whoever else waits for it.
    ///
    /// # Errors
    /// [`KeyLookupError::NoKeys`] where too many requests wait already.
    pub async fn refreshed(&self) -> Result<(), KeyLookupError> {
        match self.refresher.refresh().await {
            Ok(()) | Err(RefreshError::Cooldown | RefreshError::TooSlow) => Ok(()),
            Err(RefreshError::TooManyWaiting) => Err(KeyLookupError::NoKeys),
        }
    }

    /// Returns how many entries of the key set that is held could not be read.
    #[must_use]
    pub fn unreadable(&self) -> Option<usize> {
        self.held.value().map(|held| held.keys.unreadable())
    }

    /// Returns when the keys that are held came.
    #[must_use]
    pub fn fetched_at(&self) -> Option<SystemTime> {
        self.held.value().map(|held| held.fetched_at)
    }

    /// Returns since when the keys have been served that serve now; `None` where none do. For
    /// readiness, and for whoever remembers what they proved.
    #[must_use]
    pub fn serving_since(&self, now: SystemTime) -> Option<SystemTime> {
        self.good_keys(now).map(|held| held.since)
    }

    /// Returns what is known of the fetches so far.
    #[must_use]
    pub fn status(&self) -> RefreshStatus {
        self.refresher.status()
    }

    fn good_keys(&self, now: SystemTime) -> Option<Arc<Held>> {
        self.held.value().filter(|held| held.are_good(now))
    }
}

/// Fetches the key set and publishes it.
struct KeySetSource {
    source: KeySource,
    held: Arc<Slot<Held>>,
    clock: Arc<dyn Clock>,
}

impl RefreshSource for KeySetSource {
    type Error = FetchError;

    async fn fetch(&mut self) -> Result<Duration, FetchError> {
        let keys = self.source.fetch().await?;
        let fetched_at = self.clock.now();
        let before = self.held.value().filter(|held| held.keys.is_same(&keys));
        let since = before.map_or(fetched_at, |held| held.since);
        self.held.put(Held {
            keys: Arc::new(keys),
            fetched_at,
            since,
        });
        Ok(REFRESH)
    }

    fn log_failure(&self, error: FetchError) {
        let cause = error.as_str();
        if self.held.value().is_some() {
            tracing::warn!(
                cause,
                "the identity provider's keys cannot be fetched; the last good ones serve for 24 h"
            );
        } else {
            tracing::warn!(
                cause,
                "the identity provider's keys cannot be fetched; until they are, no signed-in caller gets in"
            );
        }
    }

    fn log_recovery(&self) {
        tracing::info!("the identity provider's keys are back");
    }
}

#[cfg(test)]
mod tests;
