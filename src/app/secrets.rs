//! The secrets that requests need, each in a slot that is read without a lock.
//!
//! A secret from the settings is in its slot at once. A secret in Key Vault is read in the
//! background; a request that needs it waits for the first read.

mod key_pair;
mod vault_entry;
mod vault_secret;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use self::vault_entry::VaultEntry;
use self::vault_secret::VaultSecret;
use super::counters::RedisAddress;
use super::dependency::DependencyStatus;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::admin::AdminKeySource;
use crate::config::key_vault::KeyVault;
use crate::config::projects::{KekSettings, ProjectSettings};
use crate::config::turn::TurnSettings;
use crate::domain::callers::admin_key::AdminKeys;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::livekit::access_token::Signer;
use crate::domain::settings::azure::Identity;
use crate::domain::settings::otlp;
use crate::domain::settings::redis_url;
use crate::domain::settings::secrets::{self, PairSource, SecretCheck, SecretSource};
use crate::domain::turn::credential::TurnSecret;
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKey};
use crate::entropy::Entropy;
use crate::upstream::key_vault::{LazyKeyVault, ReadError, Vault};
use crate::upstream::refresher::Refresher;
use crate::upstream::slot::Slot;

/// The names of secrets in readiness, log lines and metrics: those of their settings in lower case.
const LIVEKIT_API_KEY: &str = "livekit-api-key";
const LIVEKIT_API_SECRET: &str = "livekit-api-secret";
const AZURE_OPENAI_API_KEY: &str = "azure-openai-api-key";
const OPENAI_API_KEY: &str = "openai-api-key";
const CLOUDFLARE_TURN_API_TOKEN: &str = "cloudflare-turn-api-token";
const TURN_SECRET: &str = "roomkey-turn-secret";
const ADMIN_KEYS: &str = "roomkey-admin-keys";
const HASH_KEY: &str = "roomkey-hash-key";
const REDIS_URL: &str = "roomkey-redis-url";
const OTLP_HEADERS: &str = "otel-exporter-otlp-headers";

/// The shortest time between two reads that requests cause: an upstream may refuse the newest value
/// too.
const COOLDOWN: Duration = Duration::from_secs(30);

/// Tells where each secret is. `None` means that it is not configured.
pub struct SecretSources {
    /// LiveKit's key and secret.
    pub livekit: Option<PairSource>,
    /// Azure `OpenAI`'s key.
    pub azure_openai_key: Option<SecretSource>,
    /// `OpenAI`'s key.
    pub openai_key: Option<SecretSource>,
    /// The API token of Cloudflare's TURN key.
    pub cloudflare_turn_token: Option<SecretSource>,
    /// The secret shared with the operator's TURN servers.
    pub turn_secret: Option<SecretSource>,
    /// The operators' keys.
    pub admin_keys: AdminKeySource,
    /// The key that hashes callers. `None` means a random one.
    pub hash_key: Option<SecretSource>,
    /// The keys that seal project keys, lowest version first.
    pub keks: Vec<(KekVersion, SecretSource)>,
    /// The address of the shared counters, if it is in Key Vault.
    pub redis: Option<RedisAddress>,
    /// The headers for the collector of telemetry.
    pub otlp_headers: Option<SecretSource>,
}

impl SecretSources {
    /// Collects the sources from the configuration.
    #[must_use]
    pub fn new(config: &Config, redis: Option<RedisAddress>) -> Self {
        let (azure, openai) = (&config.realtime.azure_openai, &config.realtime.openai);
        let (cloudflare_turn_token, turn_secret) = config
            .turn
            .as_ref()
            .map_or((None, None), TurnSettings::secrets);
        Self {
            livekit: config.livekit.as_ref().map(|livekit| livekit.pair.clone()),
            azure_openai_key: azure.as_ref().and_then(|azure| azure.api_key.clone()),
            openai_key: openai.as_ref().map(|openai| openai.api_key.clone()),
            cloudflare_turn_token,
            turn_secret,
            admin_keys: config.admin_keys.clone(),
            hash_key: config.rate_limits.hash_key.clone(),
            keks: config.projects.as_ref().map_or_else(Vec::new, keks),
            redis,
            otlp_headers: config
                .open_telemetry
                .as_ref()
                .and_then(|settings| settings.headers.clone()),
        }
    }
}

/// The secrets of this process. A slot is empty while its secret is not configured or not fetched.
pub struct Secrets {
    /// Signs with LiveKit's key and secret, which are replaced together.
    pub livekit: Arc<Slot<Signer>>,
    /// Azure `OpenAI`'s key.
    pub azure_openai_key: Arc<Slot<SecretString>>,
    /// `OpenAI`'s key.
    pub openai_key: Arc<Slot<SecretString>>,
    /// The API token of Cloudflare's TURN key.
    pub cloudflare_turn_token: Arc<Slot<SecretString>>,
    /// The secret shared with the operator's TURN servers.
    pub turn_secret: Arc<Slot<TurnSecret>>,
    /// The operators' keys.
    pub admin_keys: Arc<Slot<AdminKeys>>,
    /// The key that hashes callers.
    pub hash_key: Arc<Slot<HashKey>>,
    /// The keys that seal project keys, lowest version first.
    pub keks: Vec<(KekVersion, Arc<Slot<KeyEncryptionKey>>)>,
    /// The headers for the collector of telemetry, if it needs any.
    pub otlp_headers: Option<Arc<Slot<SecretString>>>,
    in_vault: Vec<Arc<VaultSecret>>,
}

impl Secrets {
    /// Fills the slots of secrets from the settings. [`Secrets::read_from`] fills the others.
    #[must_use]
    pub fn new(sources: SecretSources, entropy: &dyn Entropy) -> Self {
        let mut in_vault = Vec::new();
        Self {
            livekit: livekit_slot(sources.livekit, &mut in_vault),
            azure_openai_key: api_key_slot(
                AZURE_OPENAI_API_KEY,
                sources.azure_openai_key,
                &mut in_vault,
            ),
            openai_key: api_key_slot(OPENAI_API_KEY, sources.openai_key, &mut in_vault),
            cloudflare_turn_token: api_key_slot(
                CLOUDFLARE_TURN_API_TOKEN,
                sources.cloudflare_turn_token,
                &mut in_vault,
            ),
            turn_secret: sources.turn_secret.map_or_else(Arc::default, |source| {
                let check = secrets::turn_secret;
                slot(TURN_SECRET, check, source, TurnSecret::from, &mut in_vault)
            }),
            admin_keys: admin_keys_slot(sources.admin_keys, &mut in_vault),
            hash_key: hash_key_slot(sources.hash_key, entropy, &mut in_vault),
            keks: sources
                .keks
                .into_iter()
                .map(|(version, source)| (version, kek_slot(version, source, &mut in_vault)))
                .collect(),
            otlp_headers: sources.otlp_headers.map(|source| {
                let (check, convert) = (otlp::headers, SecretString::from);
                slot(OTLP_HEADERS, check, source, convert, &mut in_vault)
            }),
            in_vault: {
                in_vault.extend(sources.redis.map(redis_address));
                in_vault.into_iter().map(Arc::new).collect()
            },
        }
    }

    /// Starts to read the secrets in the vault. It must be called inside a Tokio runtime.
    pub fn read_from(
        &self,
        KeyVault { url, refresh }: KeyVault,
        identity: Identity,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) {
        let vault = Arc::new(LazyKeyVault::new(url, identity));
        self.read_with(&vault, refresh, clock, entropy);
    }

    fn read_with(
        &self,
        vault: &Arc<impl Vault + 'static>,
        refresh: Duration,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) {
        for secret in &self.in_vault {
            secret.read_from(Arc::clone(vault), refresh, clock, entropy);
        }
    }

    /// Returns the status of each secret in the vault.
    pub fn statuses(&self) -> impl Iterator<Item = DependencyStatus> + '_ {
        self.in_vault.iter().flat_map(|secret| secret.statuses())
    }

    /// Returns how many reads of the vault succeeded and failed.
    #[must_use]
    pub fn reads(&self) -> (u64, u64) {
        let reads = self.in_vault.iter().map(|secret| secret.reads());
        reads.fold((0, 0), |(all, all_failed), (read, failed)| {
            (all + read, all_failed + failed)
        })
    }
}

/// Creates the slot of LiveKit's key and secret, which are published as one signer.
fn livekit_slot(source: Option<PairSource>, in_vault: &mut Vec<VaultSecret>) -> Arc<Slot<Signer>> {
    let (key, secret) = match source {
        None => return Arc::default(),
        Some(PairSource::Given(key, secret)) => {
            return Arc::new(Slot::holding(Signer::new(key, &secret)));
        }
        Some(PairSource::InVault(key, secret)) => (key, secret),
    };
    let entries = [
        VaultEntry::new(LIVEKIT_API_KEY, key, secrets::livekit_key),
        VaultEntry::new(LIVEKIT_API_SECRET, secret, secrets::livekit_secret),
    ];
    let (refresher, slot) = fetched_slot();
    let target = Arc::clone(&slot);
    let publish = move |key, secret: SecretString| target.put(Signer::new(key, &secret));
    in_vault.push(VaultSecret::pair(entries, refresher, publish));
    slot
}

fn api_key_slot(
    name: &'static str,
    source: Option<SecretSource>,
    in_vault: &mut Vec<VaultSecret>,
) -> Arc<Slot<SecretString>> {
    source.map_or_else(Arc::default, |source| {
        slot(name, secrets::api_key, source, SecretString::from, in_vault)
    })
}

fn hash_key_slot(
    source: Option<SecretSource>,
    entropy: &dyn Entropy,
    in_vault: &mut Vec<VaultSecret>,
) -> Arc<Slot<HashKey>> {
    match source {
        None => Arc::new(Slot::holding(HashKey::new(&entropy.bytes::<32>()))),
        Some(source) => slot(HASH_KEY, secrets::hash_key, source, HashKey::from, in_vault),
    }
}

/// Creates the slot of a secret that is replaced by itself. `convert` receives a value that has
/// passed the check.
fn slot<T: Send + Sync + 'static>(
    name: &'static str,
    check: SecretCheck,
    source: SecretSource,
    convert: fn(SecretString) -> T,
    in_vault: &mut Vec<VaultSecret>,
) -> Arc<Slot<T>> {
    let secret = match source {
        SecretSource::Given(value) => return Arc::new(Slot::holding(convert(value))),
        SecretSource::InVault(secret) => secret,
    };
    let entry = VaultEntry::new(name, secret, check);
    let (refresher, slot) = fetched_slot();
    let target = Arc::clone(&slot);
    // Traces are not worth a refused request.
    let is_needed = name != OTLP_HEADERS;
    in_vault.push(VaultSecret::single(
        entry,
        is_needed,
        refresher,
        move |value| {
            target.put(convert(value));
            Ok(())
        },
    ));
    slot
}

/// Creates the slot of the operators' keys. No caller's token depends on it.
fn admin_keys_slot(
    source: AdminKeySource,
    in_vault: &mut Vec<VaultSecret>,
) -> Arc<Slot<AdminKeys>> {
    const CHECK: SecretCheck = |value| secrets::admin_keys(value).map(|_| ());
    let secret = match source {
        AdminKeySource::Given(keys) => return Arc::new(Slot::holding(keys)),
        AdminKeySource::InVault(secret) => secret,
    };
    let entry = VaultEntry::new(ADMIN_KEYS, secret, CHECK);
    let (refresher, slot) = fetched_slot();
    let target = Arc::clone(&slot);
    in_vault.push(VaultSecret::single(entry, false, refresher, move |value| {
        target.put(secrets::admin_keys(&value).map_err(|_| ReadError::Unusable)?);
        Ok(())
    }));
    slot
}

/// Creates the slot of a key that seals project keys.
fn kek_slot(
    version: KekVersion,
    source: SecretSource,
    in_vault: &mut Vec<VaultSecret>,
) -> Arc<Slot<KeyEncryptionKey>> {
    const CHECK: SecretCheck = |value| KeyEncryptionKey::parse(value).map(|_| ());
    let slot = Arc::new(Slot::empty());
    let secret = match source {
        SecretSource::Given(value) => {
            // The settings were checked before.
            if let Ok(kek) = KeyEncryptionKey::parse(&value) {
                slot.put(kek);
            }
            return slot;
        }
        SecretSource::InVault(secret) => secret,
    };
    let entry = VaultEntry::new(kek_name(version), secret, CHECK);
    let (refresher, slot) = fetched_slot();
    let target = Arc::clone(&slot);
    in_vault.push(VaultSecret::single(entry, true, refresher, move |value| {
        target.put(KeyEncryptionKey::parse(&value).map_err(|_| ReadError::Unusable)?);
        Ok(())
    }));
    slot
}

/// Returns the name of a key that seals, for readiness, log lines and metrics. It lives as long as
/// the process, like all names there; there are as few as versions in use.
pub(super) fn kek_name(version: KekVersion) -> &'static str {
    format!("roomkey-kek-{version}").leak()
}

fn keks(projects: &ProjectSettings) -> Vec<(KekVersion, SecretSource)> {
    match &projects.keks {
        KekSettings::Configured { keys, .. } => keys.clone(),
        KekSettings::LocalFile(_) => Vec::new(),
    }
}

/// Reads the address of the shared counters. Until it arrives, each instance limits on its own.
fn redis_address((secret, redis): RedisAddress) -> VaultSecret {
    let entry = VaultEntry::new(REDIS_URL, secret, redis_url::check);
    let refresher = Arc::new(Refresher::new(COOLDOWN));
    let requested = Arc::clone(&refresher);
    let request_refresh: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        requested.request_refresh();
    });
    VaultSecret::single(entry, false, refresher, move |url| {
        redis
            .connect(url, Some(Arc::clone(&request_refresh)))
            .map_err(|_| ReadError::Unusable)
    })
}

/// Creates an empty slot and the refresher that fetches its value.
fn fetched_slot<T>() -> (Arc<Refresher>, Arc<Slot<T>>) {
    let refresher = Arc::new(Refresher::new(COOLDOWN));
    let slot = Arc::new(Slot::fetched_by(Arc::clone(&refresher)));
    (refresher, slot)
}

#[cfg(test)]
mod tests;
