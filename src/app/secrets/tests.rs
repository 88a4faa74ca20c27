//! Tests of secrets that change or disappear, and of a key pair that is written while it is read.

mod redis_address;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use tokio::sync::watch;

use super::vault_secret::VaultSource;
use super::*;
use crate::clock::FixedClock;
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::settings::log_format::LogFormat;
use crate::domain::settings::secrets::SecretName;
use crate::entropy::FixedEntropy;
use crate::log_capture::LogCapture;
use crate::telemetry::subscriber;
use crate::upstream::key_vault::{ReadError, SecretVersion, Vault};
use crate::upstream::refresher::RefreshSource as _;

const NOW: SystemTime = UNIX_EPOCH;
/// A time long before `NOW`. The vault reports no time before 1970.
const LONG_AGO: Option<SystemTime> = None;

fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

fn in_vault(text: &str) -> SecretSource {
    SecretSource::InVault(name(text))
}

/// A vault with the given secrets. Others are missing.
#[derive(Default)]
struct Fake {
    held: Mutex<BTreeMap<String, Result<SecretVersion, ReadError>>>,
    reads: AtomicUsize,
    by_name: Mutex<BTreeMap<String, usize>>,
    /// Names whose reads do not finish.
    hanging: watch::Sender<BTreeSet<String>>,
}

impl Fake {
    fn put(&self, name: &str, value: &str) {
        let mut held = self.held.lock().unwrap();
        let version = self.reads.load(Ordering::Relaxed) + held.len();
        held.insert(
            name.to_owned(),
            Ok(SecretVersion {
                value: value.into(),
                version: format!("{version}-{value}"),
                written_at: Some(NOW),
            }),
        );
    }

    fn hold(&self, name: &str) {
        self.hanging
            .send_modify(|hanging| hanging.extend([name.to_owned()]));
    }

    fn release(&self, name: &str) {
        self.hanging
            .send_modify(|hanging| hanging.retain(|held| held != name));
    }

    fn reads_of(&self, name: &str) -> usize {
        self.by_name.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    fn fail(&self, name: &str, unread: ReadError) {
        self.held
            .lock()
            .unwrap()
            .insert(name.to_owned(), Err(unread));
    }
}

impl Vault for Fake {
    async fn read(&self, name: &SecretName) -> Result<SecretVersion, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        *self
            .by_name
            .lock()
            .unwrap()
            .entry(name.as_str().to_owned())
            .or_default() += 1;
        let mut hanging = self.hanging.subscribe();
        hanging
            .wait_for(|hanging| !hanging.contains(name.as_str()))
            .await
            .unwrap();
        self.held
            .lock()
            .unwrap()
            .get(name.as_str())
            .cloned()
            .unwrap_or(Err(ReadError::Missing))
    }
}

const REFRESH: Duration = Duration::from_mins(10);

/// Starts to read the secrets from this vault.
fn read_from(vault: &Arc<Fake>, secrets: &Secrets) {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock(NOW));
    let entropy: Arc<dyn Entropy> = Arc::new(FixedEntropy(0));
    secrets.read_with(vault, REFRESH, &clock, &entropy);
}

/// Secrets that stand in this vault, all that need no connection, and their first reads have
/// finished.
async fn all_in_vault(vault: &Arc<Fake>) -> Secrets {
    let secrets = Secrets::new(all_sources(), &FixedEntropy(0));
    read_from(vault, &secrets);
    for secret in &secrets.in_vault {
        secret.refresher().wait_for_first_fetch().await;
    }
    secrets
}

fn all_sources() -> SecretSources {
    SecretSources {
        livekit: Some(PairSource::InVault(name("k"), name("s"))),
        azure_openai_key: Some(in_vault("azure")),
        openai_key: Some(in_vault("openai")),
        cloudflare_turn_token: None,
        turn_secret: None,
        admin_keys: AdminKeySource::InVault(name("admin")),
        hash_key: Some(in_vault("hash")),
        keks: Vec::new(),
        redis: None,
        otlp_headers: None,
    }
}

/// Advances the paused time until every secret was read again.
async fn next_reads() {
    tokio::time::sleep(REFRESH + Duration::from_secs(1)).await;
}

const ALL: [(&str, &str); 6] = [
    ("k", "APIcanary"),
    ("s", "canary-secret-of-at-least-32-bytes"),
    ("azure", "canary-azure-key-0123456789"),
    ("openai", "canary-openai-key-0123456789"),
    ("admin", "canary-admin-key-0123456789-0123"),
    ("hash", "canary-hash-key-of-at-least-32-bytes"),
];

fn fill(vault: &Fake) {
    for (name, value) in ALL {
        vault.put(name, value);
    }
}

fn full() -> Arc<Fake> {
    let vault = Arc::default();
    fill(&vault);
    vault
}

fn states(secrets: &Secrets) -> Vec<(&'static str, &'static str)> {
    secrets
        .statuses()
        .map(|status| (status.name, status.state.as_str()))
        .collect()
}

fn name_of_caller(secrets: &Secrets) -> CallerHash {
    secrets.hash_key.value().unwrap().hash("test", b"alice")
}

fn name_of_caller_under(key: &str) -> CallerHash {
    HashKey::new(key.as_bytes()).hash("test", b"alice")
}

fn held(slot: &Slot<SecretString>) -> Option<String> {
    slot.value().map(|value| value.expose_secret().to_owned())
}

#[tokio::test(start_paused = true)]
async fn secrets_that_the_vault_returns_are_fresh_and_others_are_missing() {
    let vault = full();
    vault.fail("openai", ReadError::Missing);
    vault.fail("s", ReadError::Refused);
    let secrets = all_in_vault(&vault).await;
    assert_eq!(
        states(&secrets),
        [
            (LIVEKIT_API_KEY, "missing"),
            (LIVEKIT_API_SECRET, "missing"),
            (AZURE_OPENAI_API_KEY, "fresh"),
            (OPENAI_API_KEY, "missing"),
            (ADMIN_KEYS, "fresh"),
            (HASH_KEY, "fresh"),
        ]
    );
    assert!(
        secrets.livekit.value().is_none() && held(&secrets.openai_key).is_none(),
        "half a pair signs nothing"
    );
    assert_eq!(held(&secrets.azure_openai_key).as_deref(), Some(ALL[2].1));
    assert!(
        secrets
            .admin_keys
            .value()
            .unwrap()
            .find(ALL[4].1.as_bytes())
            .is_some()
    );
    assert_eq!(secrets.reads(), (3, 2));
    assert_eq!(name_of_caller(&secrets), name_of_caller_under(ALL[5].1));
    assert!(
        secrets
            .statuses()
            .all(|status| status.is_needed != (status.name == ADMIN_KEYS)),
        "only the operators' keys are not needed"
    );
}

#[tokio::test]
async fn a_request_waits_only_for_the_first_read_of_the_secret_that_it_needs() {
    let vault = full();
    vault.hold("k");
    let secrets = Secrets::new(all_sources(), &FixedEntropy(0));
    assert!(
        states(&secrets)
            .iter()
            .all(|(_, state)| *state == "missing")
    );
    read_from(&vault, &secrets);
    assert!(
        secrets.openai_key.fetched_value().await.is_some(),
        "the pair that hangs holds up nothing else"
    );
    let waiting = futures_util::future::join_all((0..40).map(|_| secrets.livekit.fetched_value()));
    let release = async {
        while vault.reads_of("k") == 0 {
            tokio::task::yield_now().await;
        }
        vault.release("k");
    };
    let (signers, ()) = tokio::join!(waiting, release);
    assert!(signers.iter().all(Option::is_some));
    assert_eq!(
        (vault.reads_of("k"), vault.reads_of("s")),
        (1, 1),
        "all share one read of an undisturbed pair"
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_failed_read_is_repeated_early() {
    let vault = full();
    vault.fail("openai", ReadError::Throttled);
    let secrets = all_in_vault(&vault).await;
    let reads = vault.reads.load(Ordering::Relaxed);
    vault.put("openai", ALL[3].1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(vault.reads.load(Ordering::Relaxed), reads + 1);
    assert_eq!(held(&secrets.openai_key).as_deref(), Some(ALL[3].1));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_value_stays_whatever_the_vault_returns() {
    let vault = full();
    let secrets = all_in_vault(&vault).await;
    let signer = secrets.livekit.value().unwrap();
    for unread in [
        ReadError::Missing,
        ReadError::Refused,
        ReadError::Throttled,
        ReadError::Failed,
        ReadError::Timeout,
        ReadError::NoToken,
        ReadError::Client,
    ] {
        for (name, _) in ALL {
            vault.fail(name, unread);
        }
        next_reads().await;
        assert!(
            states(&secrets).iter().all(|(_, state)| *state == "stale"),
            "{unread:?}"
        );
    }
    for bad in [
        "",
        "changeme",
        "@Microsoft.KeyVault(SecretUri=https://v.example/s)",
        "short",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ] {
        for (name, _) in ALL {
            vault.put(name, bad);
        }
        next_reads().await;
        let stale = states(&secrets)
            .iter()
            .filter(|(_, state)| *state == "stale")
            .count();
        assert_eq!(stale, ALL.len(), "{bad:?}");
    }
    assert!(Arc::ptr_eq(&signer, &secrets.livekit.value().unwrap()));
    assert_eq!(held(&secrets.azure_openai_key).as_deref(), Some(ALL[2].1));
    assert!(
        secrets
            .admin_keys
            .value()
            .unwrap()
            .find(ALL[4].1.as_bytes())
            .is_some()
    );
    assert!(
        secrets
            .statuses()
            .all(|status| status.fetched_at == Some(NOW))
    );
    fill(&vault);
    next_reads().await;
    assert!(
        states(&secrets).iter().all(|(_, state)| *state == "fresh"),
        "{:?}",
        states(&secrets)
    );
}

#[test]
fn secrets_from_the_settings_are_available_at_once_and_are_no_dependencies() {
    let secrets = Secrets::new(
        SecretSources {
            livekit: Some(PairSource::Given(ALL[0].1.into(), ALL[1].1.into())),
            azure_openai_key: None,
            openai_key: Some(SecretSource::Given(ALL[3].1.into())),
            cloudflare_turn_token: None,
            turn_secret: None,
            admin_keys: AdminKeySource::Given(AdminKeys::default()),
            hash_key: Some(SecretSource::Given(ALL[5].1.into())),
            keks: Vec::new(),
            redis: None,
            otlp_headers: None,
        },
        &FixedEntropy(0),
    );
    assert!(
        secrets.livekit.value().is_some()
            && secrets.admin_keys.value().is_some()
            && held(&secrets.openai_key).is_some()
    );
    assert_eq!(name_of_caller(&secrets), name_of_caller_under(ALL[5].1));
    assert!(held(&secrets.azure_openai_key).is_none() && secrets.statuses().next().is_none());
}

/// A vault in which time passes and an operator rotates a key pair, by one step of a schedule per
/// read.
struct Rotating<'s> {
    state: Mutex<Rotation<'s>>,
    held: Arc<Slot<(u32, u32)>>,
}

/// A step of the schedule: it writes or not, the secret first or the key, after some seconds.
type Step = (bool, bool, u64);

struct Rotation<'s> {
    now: SystemTime,
    /// The generation of the key and of the secret, and the time at which each was written.
    halves: [(u32, Option<SystemTime>); 2],
    schedule: std::slice::Iter<'s, Step>,
}

impl Rotation<'_> {
    fn write(&mut self, half: usize) {
        self.halves[half] = (self.halves[half].0 + 1, Some(self.now));
    }

    /// Returns the half that is behind the other, and since when.
    fn behind(&self) -> Option<(usize, SystemTime)> {
        let [(key, key_at), (secret, secret_at)] = self.halves;
        match key.cmp(&secret) {
            std::cmp::Ordering::Less => Some((0, secret_at?)),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some((1, key_at?)),
        }
    }

    fn generations(&self) -> (u32, u32) {
        (self.halves[0].0, self.halves[1].0)
    }
}

impl<'s> Rotating<'s> {
    fn new(held: &Arc<Slot<(u32, u32)>>, schedule: &'s [Step]) -> Self {
        let state = Rotation {
            now: NOW + Duration::from_hours(1),
            halves: [(0, LONG_AGO); 2],
            schedule: schedule.iter(),
        };
        Self {
            state: Mutex::new(state),
            held: Arc::clone(held),
        }
    }

    fn now(&self) -> SystemTime {
        self.state.lock().unwrap().now
    }

    /// Writes one of the two, the second within 20 s of the first. The next rotation begins when
    /// the previous one was published.
    fn step(&self, state: &mut Rotation<'_>, (writes, secret_first, seconds): Step) {
        let then = state.now + Duration::from_secs(seconds);
        if let Some((half, since)) = state.behind() {
            let in_haste = then.duration_since(since).unwrap() >= Duration::from_secs(20);
            if writes || in_haste {
                state.write(half);
            }
            state.now = then;
            return;
        }
        state.now = then;
        let arrived = self
            .held
            .value()
            .map_or(state.generations() == (0, 0), |held| {
                *held == state.generations()
            });
        if writes && arrived {
            state.write(usize::from(secret_first));
        }
    }
}

impl Vault for Rotating<'_> {
    async fn read(&self, name: &SecretName) -> Result<SecretVersion, ReadError> {
        let mut state = self.state.lock().unwrap();
        if let Some(step) = state.schedule.next() {
            self.step(&mut state, *step);
        }
        let (generation, written_at) = state.halves[usize::from(name.as_str() == "s")];
        Ok(SecretVersion {
            value: generation.to_string().into(),
            version: generation.to_string(),
            written_at,
        })
    }
}

/// Creates a pair of numbers, as [`Rotating`] returns them, and the slot that it is published to.
fn numbers() -> (VaultSecret, Arc<Slot<(u32, u32)>>) {
    let held = Arc::new(Slot::empty());
    let number = |value: &SecretString| value.expose_secret().parse::<u32>().unwrap();
    let slot = Arc::clone(&held);
    let parts = [
        VaultEntry::new("key", name("k"), |_| Ok(())),
        VaultEntry::new("secret", name("s"), |_| Ok(())),
    ];
    let refresher = Arc::new(Refresher::new(COOLDOWN));
    (
        VaultSecret::pair(parts, refresher, move |key, secret| {
            slot.put((number(&key), number(&secret)));
        }),
        held,
    )
}

fn read(
    secret: &VaultSecret,
    vault: &impl Vault,
    versions: &mut Option<Vec<String>>,
    now: SystemTime,
) -> Result<(), ReadError> {
    let read = secret
        .read(vault, versions.as_ref(), now)
        .now_or_never()
        .unwrap();
    read.map(|read| *versions = Some(read))
        .map_err(|failure| failure.error)
}

#[test]
fn a_key_that_changes_while_its_secret_is_read_is_read_again() {
    let (secret, held) = numbers();
    // The key, its secret, and then both are written, the key first, in the third read and the
    // fourth.
    let schedule = [
        (false, false, 0),
        (false, false, 0),
        (true, false, 0),
        (true, false, 0),
    ];
    let vault = Rotating::new(&held, &schedule);
    assert_eq!(read(&secret, &vault, &mut None, vault.now()), Ok(()));
    assert_eq!(held.value().as_deref(), Some(&(1, 1)));
}

#[test]
fn a_pair_that_was_mixed_at_start_is_logged_and_replaced_when_its_counterpart_arrives() {
    let (secret, held) = numbers();
    let vault = Rotating::new(&held, &[]);
    let pass = |seconds| vault.state.lock().unwrap().now += Duration::from_secs(seconds);
    let (mut versions, log) = (None, LogCapture::default());
    let mut read = || {
        let subscriber = subscriber(tracing::Level::INFO, LogFormat::Json, log.writer());
        tracing::subscriber::with_default(subscriber, || {
            read(&secret, &vault, &mut versions, vault.now())
        })
    };
    vault.state.lock().unwrap().write(0);
    assert_eq!(
        (read(), held.value().as_deref()),
        (Err(ReadError::HalfRotated), None),
        "the secret may be about to come"
    );
    pass(21);
    assert_eq!(
        (read(), held.value().as_deref()),
        (Ok(()), Some(&(1, 0))),
        "it has not come, and there is nothing better"
    );
    assert_eq!(
        (read(), log.text().matches("far apart").count()),
        (Ok(()), 1),
        "{log:?}"
    );
    vault.state.lock().unwrap().write(1);
    assert_eq!(
        (read(), held.value().as_deref()),
        (Err(ReadError::HalfRotated), Some(&(1, 0))),
        "the key may be about to come again"
    );
    pass(21);
    assert_eq!((read(), held.value().as_deref()), (Ok(()), Some(&(1, 1))));
}

proptest! {
    #[test]
    fn a_rotated_pair_never_mixes_and_is_always_published(schedule in prop::collection::vec((any::<bool>(), any::<bool>(), 0..19_u64), 0..200)) {
        let (secret, held) = numbers();
        let vault = Rotating::new(&held, &schedule);
        let mut versions = None;
        let mut rounds = 0;
        while vault.state.lock().unwrap().schedule.len() > 0 || rounds < 2 {
            rounds += 1;
            if let Err(unread) = read(&secret, &vault, &mut versions, vault.now()) {
                prop_assert_eq!(unread, ReadError::HalfRotated);
            }
            if let Some(pair) = held.value() {
                prop_assert_eq!(pair.0, pair.1);
            }
        }
        if vault.state.lock().unwrap().behind().is_some() {
            vault.step(&mut vault.state.lock().unwrap(), (true, false, 1));
        }
        prop_assert_eq!(read(&secret, &vault, &mut versions, vault.now()), Ok(()));
        prop_assert_eq!(*held.value().unwrap(), vault.state.lock().unwrap().generations());
    }
}
