//! The health check of the store: a round trip of a probe, which uses no project.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::clock::Stopwatch;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::vault::associated_data::Versions;
use crate::domain::vault::envelope::{self, SealRandomness};
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKeys};
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::project_key::{KeyFingerprint, ProjectKey};
use crate::entropy::Entropy;
use crate::store::projects::ProjectStore;

/// The time limit of a check with all its tries, as of one call to a store.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// The time for which a result is reused.
const CACHED: Duration = Duration::from_secs(1);
/// The most tries of a round trip. One fails if another process's check deletes the probe
/// meanwhile.
const TRIES: usize = 3;
/// The versions of every probe.
const VERSIONS: Versions = Versions {
    secret: 1,
    record: 1,
};

/// The result of a round trip.
#[derive(Debug, Clone, Copy, Default)]
pub struct VaultHealth {
    /// A probe was sealed and stored.
    pub encryption: bool,
    /// It was read and opened.
    pub decryption: bool,
    /// It was deleted.
    pub deletion: bool,
    /// The time of the last try.
    pub round_trip: Duration,
}

impl VaultHealth {
    /// Returns whether every step succeeded.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.encryption && self.decryption && self.deletion
    }
}

/// Runs one check at a time, however many requests ask for one.
#[derive(Default)]
pub(super) struct HealthCheck {
    last: Mutex<Option<(Stopwatch, VaultHealth)>>,
}

/// The time that is left for a check.
struct TimeLeft(Stopwatch);

impl TimeLeft {
    fn is_over(&self) -> bool {
        self.0.elapsed() >= TIME_LIMIT
    }

    /// Waits for a step of the store. `None` if it failed, or the time is over first.
    async fn step<T, E>(&self, step: impl Future<Output = Result<T, E>>) -> Option<T> {
        let left = TIME_LIMIT.saturating_sub(self.0.elapsed());
        timeout(left, step).await.ok()?.ok()
    }
}

/// The services and keys of a round trip.
pub(super) struct RoundTrip<'a> {
    pub(super) store: &'a dyn ProjectStore,
    pub(super) keks: &'a KeyEncryptionKeys,
    pub(super) sealing_version: KekVersion,
    pub(super) hash_key: &'a HashKey,
    pub(super) entropy: &'a dyn Entropy,
}

impl HealthCheck {
    /// Returns the result of a round trip that is at most a second old. A step that the store does
    /// not answer within the time limit has failed.
    pub(super) async fn run(&self, round_trip: &RoundTrip<'_>) -> VaultHealth {
        let mut last = self.last.lock().await;
        if let Some((at, health)) = *last
            && at.elapsed() < CACHED
        {
            return health;
        }
        let mut health = VaultHealth::default();
        let time_left = TimeLeft(Stopwatch::start());
        for _ in 0..TRIES {
            health = round_trip.run(&time_left).await;
            if health.is_healthy() || !health.encryption || time_left.is_over() {
                break;
            }
        }
        *last = Some((Stopwatch::start(), health));
        health
    }
}

impl RoundTrip<'_> {
    async fn run(&self, time_left: &TimeLeft) -> VaultHealth {
        let stopwatch = Stopwatch::start();
        let Some(fingerprint) = self.put(time_left).await else {
            return VaultHealth {
                round_trip: stopwatch.elapsed(),
                ..VaultHealth::default()
            };
        };
        let decryption = self.get(time_left).await == Some(fingerprint);
        let deletion = time_left.step(self.store.delete_probe()).await.is_some();
        VaultHealth {
            encryption: true,
            decryption,
            deletion,
            round_trip: stopwatch.elapsed(),
        }
    }

    /// Seals and stores a probe, in place of one that was left behind.
    async fn put(&self, time_left: &TimeLeft) -> Option<KeyFingerprint> {
        let probe = BASE64URL_NOPAD.encode(&self.entropy.bytes::<32>());
        let probe = ProjectKey::parse(&probe).ok()?;
        let sealed = envelope::seal(
            self.keks,
            self.sealing_version,
            &ProjectId::health_probe(),
            VERSIONS,
            &probe,
            &SealRandomness::draw(|bytes| self.entropy.fill(bytes)),
        );
        let put = self.store.put_probe(sealed.ok()?.to_bytes());
        time_left.step(put).await?;
        Some(KeyFingerprint::of(self.hash_key, &probe))
    }

    /// Reads and opens the probe.
    async fn get(&self, time_left: &TimeLeft) -> Option<KeyFingerprint> {
        let stored = time_left.step(self.store.get_probe()).await??;
        let probe_id = ProjectId::health_probe();
        let probe = envelope::open(self.keks, &probe_id, VERSIONS, &stored).ok()?;
        Some(KeyFingerprint::of(self.hash_key, &probe))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::vault::kek::KeyEncryptionKey;
    use crate::entropy::SystemEntropy;
    use crate::store::hanging_store::HangingStore;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn a_check_ends_in_time_and_names_the_step_of_the_store_that_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::new(&folder.path().join("store.db")).unwrap();
        let store = HangingStore::new(sqlite);
        let kek = KeyEncryptionKey::parse(&"Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg".into());
        let keks = [(KekVersion::FIRST, Arc::new(kek.unwrap()))]
            .into_iter()
            .collect();
        let round_trip = RoundTrip {
            store: &store,
            keks: &keks,
            sealing_version: KekVersion::FIRST,
            hash_key: &HashKey::new(&[7; 32]),
            entropy: &SystemEntropy,
        };
        for (method, expected) in [
            ("none", [Some(true), Some(true), Some(true)]),
            ("put_probe", [Some(false), Some(false), Some(false)]),
            // No time is left for the deletion, which may be quick enough all the same.
            ("get_probe", [Some(true), Some(false), None]),
            ("delete_probe", [Some(true), Some(true), Some(false)]),
        ] {
            store.hang(method, 0);
            let check = HealthCheck::default();
            let health = timeout(Duration::from_secs(20), check.run(&round_trip)).await;
            let health = health.expect("it hangs");
            let steps = [health.encryption, health.decryption, health.deletion];
            for (step, expected) in steps.into_iter().zip(expected) {
                assert!(expected.is_none_or(|expected| step == expected), "{method}");
            }
        }
    }
}
