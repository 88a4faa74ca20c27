//! The keys of the identity provider, held here between fetches.
//!
//! One task fetches, so there is never more than one fetch at a time: at the start, hourly, after a failure, and at most once a
//! minute because a token names a key that is not among them. Everyone else only reads. Without keys nobody is let in.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::key_source::{DEADLINE, FetchError, KeySource};
use super::outcomes::Outcomes;
use crate::clock::Clock;
use crate::domain::backoff;
use crate::domain::bearer::Issuer;
use crate::domain::key_set::{Algorithm, KeySet, NoKey, VerifyingKey};
use crate::entropy::Entropy;

/// Time between two fetches of which nobody is in need, ± a tenth, so that instances do not ask in step.
const REFRESH: Duration = Duration::from_hours(1);
/// Unknown keys cause one fetch in this time, whoever names them and however many.
const UNKNOWN_KEY: Duration = Duration::from_mins(1);
/// Keys serve this long after they were last fetched.
const LAST_GOOD: Duration = Duration::from_hours(24);

/// Why a token's key is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// There are keys and the token's is not among them: it is not accepted.
    Rejected,
    /// There are no keys, so that nobody can be let in or refused for good. The caller may try again.
    NoKeys,
}

/// The keys of one issuer.
pub struct KeyCache {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    issuer: Issuer,
    held: RwLock<Option<Held>>,
    /// When an unknown key last caused a fetch.
    asked_at: Mutex<Option<SystemTime>>,
    progress: watch::Sender<Progress>,
    /// For the metrics.
    pub fetches: Outcomes,
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

/// What callers wished for and what became of it. A wish is met when a fetch ends that began after it, well or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    /// Wishes made.
    wished: u64,
    /// Wishes that a finished fetch has met.
    met: u64,
    /// Fetches that ended.
    ended: u64,
}

impl KeyCache {
    /// Without keys; [`KeyCache::run`] fetches them.
    #[must_use]
    pub fn new(issuer: Issuer, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            clock,
            entropy,
            issuer,
            held: RwLock::default(),
            asked_at: Mutex::default(),
            progress: watch::Sender::default(),
            fetches: Outcomes::default(),
        }
    }

    /// Fetches for as long as it is polled: spawn it once.
    pub async fn run(&self) {
        let mut source = KeySource::new(self.issuer.clone());
        let mut progress = self.progress.subscribe();
        let mut failures = 0;
        loop {
            let wished = self.progress.borrow().wished;
            match source.fetch().await {
                Ok(keys) => {
                    if failures > 0 {
                        tracing::info!("the identity provider's keys are back");
                    }
                    failures = 0;
                    self.hold(keys);
                    self.fetches.count(true);
                }
                Err(error) => {
                    if failures == 0 {
                        self.say(error);
                    }
                    failures += 1;
                    self.fetches.count(false);
                }
            }
            self.progress.send_modify(|progress| *progress = Progress { met: wished, ended: progress.ended + 1, ..*progress });
            let [random] = self.entropy.bytes();
            // A wish ends the pause; one that came during the fetch may be for keys that were not yet there, and ends it at once.
            let _ = tokio::time::timeout(pause(failures, random), progress.wait_for(|progress| progress.wished > progress.met)).await;
        }
    }

    /// The key for a token.
    ///
    /// Waits, 2 s at most, in two cases: for the very first fetch, and for the one fetch a minute that an unknown key causes.
    ///
    /// # Errors
    /// [`NotFound`].
    pub async fn key(&self, key_id: Option<&str>, algorithm: Algorithm, now: SystemTime) -> Result<Arc<VerifyingKey>, NotFound> {
        if self.good_keys(now).is_none() && self.progress.borrow().ended == 0 {
            self.wait_until(|progress| progress.ended > 0).await;
        }
        match self.good_keys(now).ok_or(NotFound::NoKeys)?.find(key_id, algorithm) {
            Ok(key) => return Ok(key),
            Err(NoKey::UnknownId) => {}
            Err(NoKey::Unnamed | NoKey::OtherAlgorithm) => return Err(NotFound::Rejected),
        }
        let wished = self.wish(now);
        if !self.wait_until(|progress| progress.met >= wished).await {
            return Err(NotFound::Rejected);
        }
        self.good_keys(now).ok_or(NotFound::NoKeys)?.find(key_id, algorithm).map_err(|_| NotFound::Rejected)
    }

    /// When the keys that are held came.
    #[must_use]
    pub fn fetched_at(&self) -> Option<SystemTime> {
        self.held().map(|held| held.fetched_at)
    }

    /// Since when the keys have been served that serve now; `None` where none do. For readiness, and for whoever remembers what
    /// they proved.
    #[must_use]
    pub fn serving_since(&self, now: SystemTime) -> Option<SystemTime> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|held| held.are_good(now)).map(|held| held.since)
    }

    fn held(&self) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn good_keys(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        self.held().filter(|held| held.are_good(now)).map(|held| held.keys)
    }

    fn hold(&self, keys: KeySet) {
        let fetched_at = self.clock.now();
        let since = self.held().filter(|held| held.keys.is_same(&keys)).map_or(fetched_at, |held| held.since);
        let held = Held { keys: Arc::new(keys), fetched_at, since };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }

    /// Asks for a fetch if a minute has passed since the last that was asked for. The number of the latest wish, met or not: who
    /// comes while it is being met shares it.
    fn wish(&self, now: SystemTime) -> u64 {
        let mut asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was moved back must not stop the fetches.
        let lately = asked_at.is_some_and(|asked_at| now.duration_since(asked_at).is_ok_and(|since| since < UNKNOWN_KEY));
        if !lately {
            *asked_at = Some(now);
            self.progress.send_modify(|progress| progress.wished += 1);
        }
        self.progress.borrow().wished
    }

    /// Said once, when fetches begin to fail.
    fn say(&self, error: FetchError) {
        let cause = error.as_str();
        if self.held().is_some() {
            tracing::warn!(cause, "the identity provider's keys cannot be fetched; the last good ones serve for 24 h");
        } else {
            tracing::warn!(cause, "the identity provider's keys cannot be fetched; until they are, no signed-in caller gets in");
        }
    }

    async fn wait_until(&self, reached: impl FnMut(&Progress) -> bool) -> bool {
        let mut progress = self.progress.subscribe();
        tokio::time::timeout(DEADLINE, progress.wait_for(reached)).await.is_ok_and(|reached| reached.is_ok())
    }
}

/// How long to rest after so many failures in a row, with a random byte for the jitter.
fn pause(failures: u32, random: u8) -> Duration {
    match failures {
        0 => REFRESH * 9 / 10 + REFRESH / 5 * u32::from(random) / 255,
        _ => backoff::pause(failures, random),
    }
}

#[cfg(test)]
mod tests;
