//! The secrets that requests need, each in a slot that is read without a lock. Those that stand in Key Vault are brought by one
//! task; until they are there, whoever needs them answers 503, and a start does not wait.

mod pair;
mod reader;
mod watched;

use std::sync::Arc;
use std::time::SystemTime;

use secrecy::SecretString;
use tokio::sync::Notify;

use self::reader::Reader;
use self::watched::{Part, Watched};
use crate::clock::Clock;
use crate::config::admin::AdminKeySource;
use crate::config::key_vault::KeyVault;
use crate::domain::access_token::Signer;
use crate::domain::admin_key::AdminKeys;
use crate::domain::azure::Identity;
use crate::domain::caller_hash::HashKey;
use crate::domain::redis_url;
use crate::domain::secrets::{self, Check, PairSource, SecretName, Source, State};
use crate::entropy::Entropy;
use crate::store::redis::Redis;
use crate::upstream::key_vault::Unread;
use crate::upstream::outcomes::Outcomes;
use crate::upstream::slot::Slot;

/// The names under which an operator sees secrets in readiness, log lines and metrics: their settings', in lower case.
const LIVEKIT_API_KEY: &str = "livekit-api-key";
const LIVEKIT_API_SECRET: &str = "livekit-api-secret";
const AZURE_OPENAI_API_KEY: &str = "azure-openai-api-key";
const OPENAI_API_KEY: &str = "openai-api-key";
const ADMIN_KEYS: &str = "roomkey-admin-keys";
const HASH_KEY: &str = "roomkey-hash-key";
const REDIS_URL: &str = "roomkey-redis-url";

/// Where each secret is; `None` where it is not configured.
pub struct Sources {
    /// LiveKit's key and its secret.
    pub livekit: Option<PairSource>,
    /// Azure `OpenAI`'s key.
    pub azure_openai_key: Option<Source>,
    /// `OpenAI`'s key.
    pub openai_key: Option<Source>,
    /// The operators' keys.
    pub admin_keys: AdminKeySource,
    /// The key of hashed callers.
    pub hash_key: Option<Source>,
    /// The name of the shared counters' address in Key Vault, and who waits for it.
    pub redis: Option<(SecretName, Arc<Redis>)>,
}

/// The secrets of this process. An empty slot: not configured, or not there yet.
pub struct Secrets {
    /// Signs with LiveKit's key and secret, which change together or not at all.
    pub livekit: Arc<Slot<Signer>>,
    /// Azure `OpenAI`'s key.
    pub azure_openai_key: Arc<Slot<SecretString>>,
    /// `OpenAI`'s key.
    pub openai_key: Arc<Slot<SecretString>>,
    /// The operators' keys.
    pub admin_keys: Arc<Slot<AdminKeys>>,
    /// Under which callers are hashed.
    pub hash_key: Arc<Slot<HashKey>>,
    /// Lets the vault be read again at once.
    wake: Arc<Notify>,
    /// Reads so far.
    pub reads: Arc<Outcomes>,
    watched: Vec<Arc<Watched>>,
}

/// What is known of one secret in the vault, or of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its setting's name in lower case, with `-`; of a token, what it opens.
    pub name: &'static str,
    /// Whether it is there.
    pub state: State,
    /// When it was last read.
    pub read_at: Option<SystemTime>,
    /// Some tokens cannot be had without it, so readiness waits for it.
    pub needed: bool,
}

impl Secrets {
    /// Puts what is given into its slot and waits for nothing.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let (livekit, azure_openai_key, openai_key, admin_keys, hash_key) = Default::default();
        let wake = Arc::default();
        let watched = [
            sources.livekit.and_then(|source| livekit_pair(source, &livekit)),
            single(AZURE_OPENAI_API_KEY, secrets::api_key, sources.azure_openai_key, &azure_openai_key, SecretString::from),
            single(OPENAI_API_KEY, secrets::api_key, sources.openai_key, &openai_key, SecretString::from),
            operators(sources.admin_keys, &admin_keys),
            single(HASH_KEY, secrets::hash_key, sources.hash_key, &hash_key, HashKey::from),
            sources.redis.map(|(secret, redis)| shared_counters(secret, redis, &wake)),
        ];
        let watched = watched.into_iter().flatten().map(Arc::new).collect();
        Self { livekit, azure_openai_key, openai_key, admin_keys, hash_key, wake, reads: Arc::default(), watched }
    }

    /// Begins to read what stands in the vault, in a task of the Tokio runtime that this is called in.
    pub fn read_from(&self, vault: KeyVault, identity: Identity, clock: &Arc<dyn Clock>, entropy: &Arc<dyn Entropy>) {
        if self.watched.is_empty() {
            return;
        }
        let reader = Reader::new(&self.watched, Arc::clone(&self.reads), Arc::clone(clock));
        tokio::spawn(reader.run(vault, identity, Arc::clone(&self.wake), Arc::clone(entropy)));
    }

    /// Whom to ring when an upstream does not accept a secret from there: only the vault can bring another.
    #[must_use]
    pub fn wake_for(&self, source: &Source) -> Option<Arc<Notify>> {
        match source {
            Source::Given(_) => None,
            Source::InVault(_) => Some(Arc::clone(&self.wake)),
        }
    }

    /// What is known of each secret in the vault.
    pub fn seen(&self) -> impl Iterator<Item = Seen> + '_ {
        self.watched.iter().flat_map(|watched| watched.seen())
    }
}

/// Fills the slot, or says what it takes to fill it.
fn livekit_pair(source: PairSource, slot: &Arc<Slot<Signer>>) -> Option<Watched> {
    match source {
        PairSource::Given(key, secret) => {
            slot.put(Signer::new(key, &secret));
            None
        }
        PairSource::InVault(key, secret) => {
            let slot = Arc::clone(slot);
            let parts =
                [Part::new(LIVEKIT_API_KEY, secrets::livekit_key)(key), Part::new(LIVEKIT_API_SECRET, secrets::livekit_secret)(secret)];
            Some(Watched::pair(parts, move |key, secret| slot.put(Signer::new(key, &secret))))
        }
    }
}

/// The same for a secret that changes by itself. `make` makes what requests need of a value that has passed the check.
fn single<T: Send + Sync + 'static>(
    name: &'static str,
    check: Check,
    source: Option<Source>,
    slot: &Arc<Slot<T>>,
    make: fn(SecretString) -> T,
) -> Option<Watched> {
    match source? {
        Source::Given(value) => {
            slot.put(make(value));
            None
        }
        Source::InVault(secret) => {
            let slot = Arc::clone(slot);
            Some(Watched::one(Part::new(name, check)(secret), true, move |value| {
                slot.put(make(value));
                Ok(())
            }))
        }
    }
}

/// Where it is not there, each instance limits on its own.
fn shared_counters(secret: SecretName, redis: Arc<Redis>, wake: &Arc<Notify>) -> Watched {
    let wake = Arc::clone(wake);
    Watched::one(Part::new(REDIS_URL, redis_url::check)(secret), false, move |url| {
        redis.connect(url, Some(Arc::clone(&wake))).map_err(|_| Unread::Unusable)
    })
}

/// Nobody's token depends on these.
fn operators(source: AdminKeySource, slot: &Arc<Slot<AdminKeys>>) -> Option<Watched> {
    const CHECK: Check = |value| secrets::admin_keys(value).map(|_| ());
    match source {
        AdminKeySource::Given(keys) => {
            slot.put(keys);
            None
        }
        AdminKeySource::InVault(secret) => {
            let slot = Arc::clone(slot);
            Some(Watched::one(Part::new(ADMIN_KEYS, CHECK)(secret), false, move |value| {
                slot.put(secrets::admin_keys(&value).map_err(|_| Unread::Unusable)?);
                Ok(())
            }))
        }
    }
}

#[cfg(test)]
mod tests;
