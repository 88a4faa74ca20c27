//! The secrets that requests need, each in a slot that is read without a lock. Those that stand in
//! Key Vault are read in the background; a request that needs one waits for its first read.

mod pair;
mod vault_secret;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;

use self::vault_secret::{COOLDOWN, Part, VaultSecret};
use crate::clock::Clock;
use crate::config::admin::AdminKeySource;
use crate::config::key_vault::KeyVault;
use crate::domain::callers::admin_key::AdminKeys;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::livekit::access_token::Signer;
use crate::domain::settings::azure::Identity;
use crate::domain::settings::redis_url;
use crate::domain::settings::secrets::{
    self, DependencyState, PairSource, SecretCheck, SecretName, SecretSource,
};
use crate::entropy::Entropy;
use crate::store::redis::Redis;
use crate::upstream::key_vault::{LazyKeyVault, ReadError, Vault};
use crate::upstream::refresher::Refresher;
use crate::upstream::slot::Slot;

/// The names under which an operator sees secrets in readiness, log lines and metrics: their
/// settings', in lower case.
const LIVEKIT_API_KEY: &str = "livekit-api-key";
const LIVEKIT_API_SECRET: &str = "livekit-api-secret";
const AZURE_OPENAI_API_KEY: &str = "azure-openai-api-key";
const OPENAI_API_KEY: &str = "openai-api-key";
const ADMIN_KEYS: &str = "roomkey-admin-keys";
const HASH_KEY: &str = "roomkey-hash-key";
const REDIS_URL: &str = "roomkey-redis-url";

/// Where each secret is; `None` where it is not configured.
pub struct SecretSources {
    /// LiveKit's key and its secret.
    pub livekit: Option<PairSource>,
    /// Azure `OpenAI`'s key.
    pub azure_openai_key: Option<SecretSource>,
    /// `OpenAI`'s key.
    pub openai_key: Option<SecretSource>,
    /// The operators' keys.
    pub admin_keys: AdminKeySource,
    /// The key of hashed callers.
    pub hash_key: Option<SecretSource>,
    /// The name of the shared counters' address in Key Vault, and who waits for it.
    pub redis: Option<(SecretName, Arc<Redis>)>,
}

/// The secrets of this process. An empty slot: not configured, or not fetched yet.
pub struct Secrets {
    /// Signs with LiveKit's key and secret, which change together or not at all.
    pub livekit: Arc<Slot<Signer>>,
    /// Azure `OpenAI`'s key.
    pub azure_openai_key: Arc<Slot<SecretString>>,
    /// `OpenAI`'s key.
    pub openai_key: Arc<Slot<SecretString>>,
    /// The operators' keys.
    pub admin_keys: Arc<Slot<AdminKeys>>,
    /// The key under which callers are hashed.
    pub hash_key: Arc<Slot<HashKey>>,
    in_vault: Vec<Arc<VaultSecret>>,
}

/// What is known of one secret in the vault, or of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretStatus {
    /// Its setting's name in lower case, with `-`; of a token, what it opens.
    pub name: &'static str,
    /// Whether it is there.
    pub state: DependencyState,
    /// When it was last read.
    pub read_at: Option<SystemTime>,
    /// Some tokens cannot be had without it, so readiness waits for it.
    pub needed: bool,
}

impl Secrets {
    /// Puts what is given into its slot and waits for nothing.
    #[must_use]
    pub fn new(sources: SecretSources) -> Self {
        let mut in_vault = Vec::new();
        let livekit = livekit_pair(sources.livekit, &mut in_vault);
        let azure = Part::new(AZURE_OPENAI_API_KEY, secrets::api_key);
        let azure_openai_key = single(
            azure,
            sources.azure_openai_key,
            SecretString::from,
            &mut in_vault,
        );
        let openai = Part::new(OPENAI_API_KEY, secrets::api_key);
        let openai_key = single(
            openai,
            sources.openai_key,
            SecretString::from,
            &mut in_vault,
        );
        let admin_keys = operators(sources.admin_keys, &mut in_vault);
        let hash = Part::new(HASH_KEY, secrets::hash_key);
        let hash_key = single(hash, sources.hash_key, HashKey::from, &mut in_vault);
        in_vault.extend(
            sources
                .redis
                .map(|(secret, redis)| shared_counters(secret, redis)),
        );
        let in_vault = in_vault.into_iter().map(Arc::new).collect();
        Self {
            livekit,
            azure_openai_key,
            openai_key,
            admin_keys,
            hash_key,
            in_vault,
        }
    }

    /// Begins to read what stands in the vault, in tasks of the Tokio runtime that this is called
    /// in.
    pub fn read_from(
        &self,
        KeyVault { url, refresh }: KeyVault,
        identity: Identity,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) {
        self.read_with(
            &Arc::new(LazyKeyVault::new(url, identity)),
            refresh,
            clock,
            entropy,
        );
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

    /// Returns what is known of each secret in the vault.
    pub fn statuses(&self) -> impl Iterator<Item = SecretStatus> + '_ {
        self.in_vault.iter().flat_map(|secret| secret.status())
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

/// Fills the slot, or adds what it takes to fill it.
fn livekit_pair(source: Option<PairSource>, in_vault: &mut Vec<VaultSecret>) -> Arc<Slot<Signer>> {
    let (key, secret) = match source {
        None => return Arc::default(),
        Some(PairSource::Given(key, secret)) => {
            return Arc::new(Slot::holding(Signer::new(key, &secret)));
        }
        Some(PairSource::InVault(key, secret)) => (key, secret),
    };
    let parts = [
        Part::new(LIVEKIT_API_KEY, secrets::livekit_key)(key),
        Part::new(LIVEKIT_API_SECRET, secrets::livekit_secret)(secret),
    ];
    let (refresher, slot) = fetched();
    let filled = Arc::clone(&slot);
    let publish = move |key, secret: SecretString| filled.put(Signer::new(key, &secret));
    in_vault.push(VaultSecret::pair(parts, refresher, publish));
    slot
}

/// The same for a secret that changes by itself. `make` makes what requests need of a value that
/// has passed the check.
fn single<T: Send + Sync + 'static>(
    part: impl Fn(SecretName) -> Part,
    source: Option<SecretSource>,
    make: fn(SecretString) -> T,
    in_vault: &mut Vec<VaultSecret>,
) -> Arc<Slot<T>> {
    let secret = match source {
        None => return Arc::default(),
        Some(SecretSource::Given(value)) => return Arc::new(Slot::holding(make(value))),
        Some(SecretSource::InVault(secret)) => secret,
    };
    let (refresher, slot) = fetched();
    let filled = Arc::clone(&slot);
    in_vault.push(VaultSecret::one(
        part(secret),
        true,
        refresher,
        move |value| {
            filled.put(make(value));
            Ok(())
        },
    ));
    slot
}

/// Until the address is there, each instance limits on its own.
fn shared_counters(secret: SecretName, redis: Arc<Redis>) -> VaultSecret {
    let refresher = Arc::new(Refresher::new(COOLDOWN));
    let requested = Arc::clone(&refresher);
    let refused: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        requested.request_refresh();
    });
    VaultSecret::one(
        Part::new(REDIS_URL, redis_url::check)(secret),
        false,
        refresher,
        move |url| {
            redis
                .connect(url, Some(Arc::clone(&refused)))
                .map_err(|_| ReadError::Unusable)
        },
    )
}

/// Nobody's token depends on these.
fn operators(source: AdminKeySource, in_vault: &mut Vec<VaultSecret>) -> Arc<Slot<AdminKeys>> {
    const CHECK: SecretCheck = |value| secrets::admin_keys(value).map(|_| ());
    let secret = match source {
        AdminKeySource::Given(keys) => return Arc::new(Slot::holding(keys)),
        AdminKeySource::InVault(secret) => secret,
    };
    let (refresher, slot) = fetched();
    let filled = Arc::clone(&slot);
    in_vault.push(VaultSecret::one(
        Part::new(ADMIN_KEYS, CHECK)(secret),
        false,
        refresher,
        move |value| {
            filled.put(secrets::admin_keys(&value).map_err(|_| ReadError::Unusable)?);
            Ok(())
        },
    ));
    slot
}

/// Creates an empty slot and what fetches its value.
fn fetched<T>() -> (Arc<Refresher>, Arc<Slot<T>>) {
    let refresher = Arc::new(Refresher::new(COOLDOWN));
    let slot = Arc::new(Slot::fetched_by(Arc::clone(&refresher)));
    (refresher, slot)
}

#[cfg(test)]
mod tests;
