//! The health check of the store: a round trip of a probe, which uses no project.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use tokio::sync::Mutex;

use crate::clock::Stopwatch;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::vault::associated_data::Versions;
use crate::domain::vault::envelope::{self, SealRandomness};
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKeys};
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::project_key::{KeyFingerprint, ProjectKey};
use crate::entropy::Entropy;
use crate::store::projects::ProjectStore;

/// The time for which a result is reused.
const CACHED: Duration = Duration::from_secs(1);
/// The most tries of a round trip. One fails if another process's check deletes the probe meanwhile.
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
pub(super) struct HealthCheck(Mutex<Option<(Stopwatch, VaultHealth)>>);

/// The services and keys of a round trip.
pub(super) struct RoundTrip<'a> {
    pub(super) store: &'a dyn ProjectStore,
    pub(super) keks: &'a KeyEncryptionKeys,
    pub(super) sealing_version: KekVersion,
    pub(super) hash_key: &'a HashKey,
    pub(super) entropy: &'a dyn Entropy,
}

impl HealthCheck {
    /// Returns the result of a round trip that is at most a second old.
    pub(super) async fn run(&self, round_trip: &RoundTrip<'_>) -> VaultHealth {
        let mut last = self.0.lock().await;
        if let Some((at, health)) = *last
            && at.elapsed() < CACHED
        {
            return health;
        }
        let mut health = VaultHealth::default();
        for _ in 0..TRIES {
            health = round_trip.run().await;
            if health.is_healthy() || !health.encryption {
                break;
            }
        }
        *last = Some((Stopwatch::start(), health));
        health
    }
}

impl RoundTrip<'_> {
    async fn run(&self) -> VaultHealth {
        let stopwatch = Stopwatch::start();
        let Some(fingerprint) = self.put().await else {
            return VaultHealth {
                round_trip: stopwatch.elapsed(),
                ..VaultHealth::default()
            };
        };
        let decryption = self.get().await == Some(fingerprint);
        let deletion = self.store.delete_probe().await.is_ok();
        VaultHealth {
            encryption: true,
            decryption,
            deletion,
            round_trip: stopwatch.elapsed(),
        }
    }

    /// Seals and stores a probe, in place of one that was left behind.
    async fn put(&self) -> Option<KeyFingerprint> {
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
        self.store.put_probe(sealed.ok()?.to_bytes()).await.ok()?;
        Some(KeyFingerprint::of(self.hash_key, &probe))
    }

    /// Reads and opens the probe.
    async fn get(&self) -> Option<KeyFingerprint> {
        let stored = self.store.get_probe().await.ok()??;
        let probe_id = ProjectId::health_probe();
        let probe = envelope::open(self.keks, &probe_id, VERSIONS, &stored).ok()?;
        Some(KeyFingerprint::of(self.hash_key, &probe))
    }
}
