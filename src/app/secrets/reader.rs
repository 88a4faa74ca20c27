//! The one task that reads the vault: at the start, on a timer, sooner after a failure, and when somebody rings because an upstream
//! does not accept a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::watched::{Failure, Versions, Watched};
use crate::clock::{Clock, Stopwatch};
use crate::config::key_vault::KeyVault as Settings;
use crate::domain::azure::Identity;
use crate::entropy::Entropy;
use crate::upstream::key_vault::{KeyVault, Unread, Vault};

/// Time after the first failure; it doubles with each that follows.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest time between two tries.
const LAST_RETRY: Duration = Duration::from_mins(1);
/// Rings cause one read in this time, however many there are: an upstream may refuse a key that is the newest.
const BETWEEN_RINGS: Duration = Duration::from_secs(30);

/// How many reads ended how; for the metrics.
#[derive(Debug, Default)]
pub struct ReadCounts {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl ReadCounts {
    /// Reads that brought a value.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Reads that did not.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Reads for as long as it runs.
pub(super) struct Reader {
    tracked: Vec<Tracked>,
    counts: Arc<ReadCounts>,
    clock: Arc<dyn Clock>,
}

struct Tracked {
    watched: Arc<Watched>,
    held: Option<Versions>,
    failures: u32,
    /// What was last said in the log.
    said: Option<Failure>,
}

impl Reader {
    pub(super) fn new(watched: &[Arc<Watched>], counts: Arc<ReadCounts>, clock: Arc<dyn Clock>) -> Self {
        let track = |watched: &Arc<Watched>| Tracked { watched: Arc::clone(watched), held: None, failures: 0, said: None };
        Self { tracked: watched.iter().map(track).collect(), counts, clock }
    }

    pub(super) async fn run(mut self, settings: Settings, identity: Identity, wake: Arc<Notify>, entropy: Arc<dyn Entropy>) {
        let mut vault = Err(Unread::Client);
        let (mut since_all, mut next_all, mut last_ring) = (Stopwatch::start(), Duration::ZERO, None::<Stopwatch>);
        loop {
            if vault.is_err() {
                vault = KeyVault::new(&settings.url, &identity).await;
            }
            let all = since_all.elapsed() >= next_all;
            if all {
                let [random] = entropy.bytes();
                (since_all, next_all) = (Stopwatch::start(), jittered(settings.refresh, random));
            }
            self.round(vault.as_ref().map_err(|unread| *unread), all).await;
            let until_all = next_all.saturating_sub(since_all.elapsed());
            let pause = self.until_retry().map_or(until_all, |retry| retry.min(until_all));
            let resting = Stopwatch::start();
            if tokio::time::timeout(pause, wake.notified()).await.is_ok() {
                let deaf = last_ring.map_or(Duration::ZERO, |last| BETWEEN_RINGS.saturating_sub(last.elapsed()));
                let left = pause.saturating_sub(resting.elapsed());
                tokio::time::sleep(deaf.min(left)).await;
                if deaf <= left {
                    (last_ring, next_all) = (Some(Stopwatch::start()), Duration::ZERO);
                } else {
                    wake.notify_one(); // heard again once that time has passed
                }
            }
        }
    }

    /// Reads everything, or what failed the last time: all at once, so that one that hangs holds up no other.
    pub(super) async fn round(&mut self, vault: Result<&impl Vault, Unread>, all: bool) {
        let (counts, clock) = (&self.counts, &*self.clock);
        let due = self.tracked.iter_mut().filter(|tracked| all || tracked.failures > 0);
        join_all(due.map(|tracked| tracked.read(vault, counts, clock))).await;
    }

    /// The time until the next try of what fails; `None` where nothing does.
    pub(super) fn until_retry(&self) -> Option<Duration> {
        let failures = self.tracked.iter().map(|tracked| tracked.failures).filter(|failures| *failures > 0).min()?;
        Some(FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LAST_RETRY))
    }
}

impl Tracked {
    async fn read(&mut self, vault: Result<&impl Vault, Unread>, counts: &ReadCounts, clock: &dyn Clock) {
        let read = match vault {
            Ok(vault) => self.watched.read(vault, self.held.as_ref(), clock.now()).await,
            Err(unread) => Err(Failure { name: "key-vault", unread }),
        };
        match read {
            Ok(versions) => {
                if self.held.as_ref() != Some(&versions) || self.failures > 0 {
                    for seen in self.watched.seen() {
                        tracing::info!(secret = seen.name, "read from Key Vault");
                    }
                }
                (self.held, self.failures, self.said) = (Some(versions), 0, None);
                self.watched.note(Some(clock.now()));
                counts.succeeded.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => {
                if self.said != Some(failure) {
                    self.say(failure);
                }
                self.failures = self.failures.saturating_add(1);
                self.watched.note(None);
                counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Said once, when reads begin to fail, and again when the cause is another.
    fn say(&mut self, failure: Failure) {
        let (secret, cause) = (failure.name, failure.unread.as_str());
        if self.held.is_some() {
            tracing::warn!(secret, cause, "Key Vault does not give a secret; the last good value serves");
        } else {
            tracing::warn!(secret, cause, "Key Vault does not give a secret; until it does, what needs it answers 503");
        }
        self.said = Some(failure);
    }
}

/// A tenth more or less, so that instances do not ask in step.
fn jittered(refresh: Duration, random: u8) -> Duration {
    refresh * 9 / 10 + refresh / 5 * u32::from(random) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_do_not_ask_in_step() {
        let refresh = Duration::from_secs(600);
        assert_eq!((jittered(refresh, 0), jittered(refresh, 255)), (Duration::from_secs(540), Duration::from_secs(660)));
    }
}
