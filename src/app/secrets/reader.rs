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
        let since_start = Stopwatch::start();
        let mut rhythm = Rhythm::default();
        let mut vault = Err(Unread::Client);
        loop {
            if vault.is_err() {
                vault = KeyVault::new(&settings.url, &identity).await;
            }
            let all = rhythm.all_is_due(since_start.elapsed());
            if all {
                let [random] = entropy.bytes();
                rhythm.read_all(since_start.elapsed(), jittered(settings.refresh, random));
            }
            self.round(vault.as_ref().map_err(|unread| *unread), all).await;
            let retry_at = self.until_retry().map(|pause| since_start.elapsed() + pause);
            while tokio::time::timeout(rhythm.pause(since_start.elapsed(), retry_at), wake.notified()).await.is_ok() {
                rhythm.ring(since_start.elapsed());
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

/// When everything is read; all times are since the start.
#[derive(Debug, Default)]
struct Rhythm {
    all_at: Duration,
    /// Nothing is read because of a ring before this.
    deaf_until: Duration,
    rung: bool,
}

impl Rhythm {
    fn all_is_due(&self, now: Duration) -> bool {
        now >= self.all_at
    }

    /// Everything is read now, and again after `refresh`.
    fn read_all(&mut self, now: Duration, refresh: Duration) {
        if std::mem::take(&mut self.rung) {
            self.deaf_until = now + BETWEEN_RINGS;
        }
        self.all_at = now + refresh;
    }

    /// Somebody wants everything to be read: now, or when the time after the last ring has passed.
    fn ring(&mut self, now: Duration) {
        self.all_at = self.all_at.min(now.max(self.deaf_until));
        self.rung = true;
    }

    fn pause(&self, now: Duration, retry_at: Option<Duration>) -> Duration {
        retry_at.map_or(self.all_at, |retry_at| retry_at.min(self.all_at)).saturating_sub(now)
    }
}

/// A tenth more or less, so that instances do not ask in step.
fn jittered(refresh: Duration, random: u8) -> Duration {
    refresh * 9 / 10 + refresh / 5 * u32::from(random) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn instances_do_not_ask_in_step() {
        let refresh = at(600);
        assert_eq!((jittered(refresh, 0), jittered(refresh, 255)), (at(540), at(660)));
    }

    #[test]
    fn a_ring_is_answered_at_once_and_many_are_answered_every_30_s() {
        let mut rhythm = Rhythm::default();
        assert!(rhythm.all_is_due(at(0)), "a start reads everything");
        rhythm.read_all(at(0), at(600));
        assert_eq!((rhythm.all_is_due(at(5)), rhythm.pause(at(5), None)), (false, at(595)));
        let mut read_at = Vec::new();
        for now in (5..100).map(at) {
            rhythm.ring(now);
            if rhythm.all_is_due(now) {
                read_at.push(now);
                rhythm.read_all(now, at(600));
            }
        }
        assert_eq!(read_at, [at(5), at(35), at(65), at(95)]);
        assert_eq!(rhythm.pause(at(99), None), at(26), "the last ring is not forgotten");
    }

    #[test]
    fn what_fails_is_tried_again_in_its_own_time_whoever_rings() {
        let mut rhythm = Rhythm::default();
        rhythm.ring(at(0));
        rhythm.read_all(at(0), at(600));
        assert_eq!(rhythm.pause(at(10), Some(at(12))), at(2));
        rhythm.ring(at(11));
        assert_eq!((rhythm.pause(at(11), Some(at(12))), rhythm.all_is_due(at(12))), (at(1), false));
        assert_eq!(rhythm.pause(at(11), None), at(19));
        assert_eq!(rhythm.pause(at(700), None), Duration::ZERO);
    }
}
