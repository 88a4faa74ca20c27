//! The one task that reads the vault: at the start, on a timer, sooner after a failure, and when somebody rings because an upstream
//! or Redis does not accept a key.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::watched::{Failure, Versions, Watched};
use crate::clock::{Clock, Stopwatch};
use crate::config::key_vault::KeyVault as Settings;
use crate::domain::azure::Identity;
use crate::domain::backoff::{self, Rhythm};
use crate::entropy::Entropy;
use crate::upstream::key_vault::{KeyVault, Unread, Vault};
use crate::upstream::outcomes::Outcomes;

/// Reads for as long as it runs.
pub(super) struct Reader {
    tracked: Vec<Tracked>,
    counts: Arc<Outcomes>,
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
    pub(super) fn new(watched: &[Arc<Watched>], counts: Arc<Outcomes>, clock: Arc<dyn Clock>) -> Self {
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
            let [random] = entropy.bytes();
            let all = rhythm.is_due(since_start.elapsed());
            if all {
                rhythm.ask(since_start.elapsed(), jittered(settings.refresh, random));
            }
            self.round(vault.as_ref().map_err(|unread| *unread), all).await;
            let retry_at = self.until_retry(random).map(|pause| since_start.elapsed() + pause);
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
    pub(super) fn until_retry(&self, random: u8) -> Option<Duration> {
        let failures = self.tracked.iter().map(|tracked| tracked.failures).filter(|failures| *failures > 0).min()?;
        Some(backoff::pause(failures, random))
    }
}

impl Tracked {
    async fn read(&mut self, vault: Result<&impl Vault, Unread>, counts: &Outcomes, clock: &dyn Clock) {
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
                counts.count(true);
            }
            Err(failure) => {
                if self.said != Some(failure) {
                    self.say(failure);
                }
                self.failures = self.failures.saturating_add(1);
                self.watched.note(None);
                counts.count(false);
            }
        }
    }

    /// Said once, when reads begin to fail, and again when the cause is another.
    fn say(&mut self, failure: Failure) {
        let (secret, cause) = (failure.name, failure.unread.as_str());
        if self.held.is_some() {
            tracing::warn!(secret, cause, "Key Vault does not give a secret; the last good value serves");
        } else {
            tracing::warn!(secret, cause, "Key Vault does not give a secret; until it does, what cannot do without it answers 503");
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
        let seconds = |random| jittered(Duration::from_mins(10), random).as_secs();
        assert_eq!((seconds(0), seconds(255)), (540, 660));
    }
}
