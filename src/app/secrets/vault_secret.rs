//! One secret in the vault, or two that change together: how they are read whole, and what is
//! published of them.
//!
//! Invariant: a value that fails its check never replaces one that is held, and a pair is only ever
//! replaced as a pair. The property in `tests.rs` holds it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;

use super::SecretStatus;
use super::pair::{self, Verdict};
use crate::clock::Clock;
use crate::domain::settings::secrets::{DependencyState, SecretCheck, SecretName};
use crate::entropy::Entropy;
use crate::upstream::key_vault::{ReadError, SecretVersion, Vault};
use crate::upstream::refresher::{RefreshSource, Refresher};

/// The time between two reads that requests ask for: an upstream may refuse the newest value too.
pub(super) const COOLDOWN: Duration = Duration::from_secs(30);

/// Reads of a pair that changes meanwhile, before it is left for later.
const TRIES: usize = 3;

/// One secret in the vault.
pub(super) struct Part {
    name: &'static str,
    secret: SecretName,
    check: SecretCheck,
}

impl Part {
    /// All but the name in the vault, which is only known once it is found out that it stands
    /// there.
    pub(super) fn new(name: &'static str, check: SecretCheck) -> impl Fn(SecretName) -> Self {
        move |secret| Self {
            name,
            secret,
            check,
        }
    }
}

/// One secret in the vault, or a key and its secret, which are read and replaced together.
pub(super) struct VaultSecret {
    parts: Parts,
    needed: bool,
    refresher: Arc<Refresher>,
}

type Publish = Box<dyn Fn(SecretString) -> Result<(), ReadError> + Send + Sync>;
type PublishPair = Box<dyn Fn(SecretString, SecretString) + Send + Sync>;

enum Parts {
    One(Part, Publish),
    Pair([Part; 2], PublishPair),
}

/// The versions that are held, in the order of the parts.
pub(super) type Versions = Vec<String>;

/// A read that brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Which secret.
    pub(super) name: &'static str,
    /// Why.
    pub(super) unread: ReadError,
}

impl VaultSecret {
    /// A secret that changes by itself; `publish` takes a value that has passed its check, or says
    /// why it cannot.
    pub(super) fn one(
        part: Part,
        needed: bool,
        refresher: Arc<Refresher>,
        publish: impl Fn(SecretString) -> Result<(), ReadError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            parts: Parts::One(part, Box::new(publish)),
            needed,
            refresher,
        }
    }

    /// Two secrets that change together.
    pub(super) fn pair(
        parts: [Part; 2],
        refresher: Arc<Refresher>,
        publish: impl Fn(SecretString, SecretString) + Send + Sync + 'static,
    ) -> Self {
        Self {
            parts: Parts::Pair(parts, Box::new(publish)),
            needed: true,
            refresher,
        }
    }

    /// Begins to read it regularly, in a task of the Tokio runtime that this is called in.
    pub(super) fn read_from(
        self: &Arc<Self>,
        vault: Arc<impl Vault + 'static>,
        refresh: Duration,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) {
        let source = VaultSource::new(Arc::clone(self), vault, refresh, Arc::clone(clock));
        let secret = Arc::clone(self);
        let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
        tokio::spawn(async move { secret.refresher.run(source, &*clock, &*entropy).await });
    }

    /// Reads it and publishes what is new. Returns the versions that are held from now on.
    pub(super) async fn read(
        &self,
        vault: &impl Vault,
        held: Option<&Versions>,
        now: SystemTime,
    ) -> Result<Versions, Failure> {
        match &self.parts {
            Parts::One(part, publish) => {
                let reading = part.read(vault).await?;
                let versions = vec![reading.version];
                if held != Some(&versions) {
                    publish(part.checked(reading.value)?).map_err(|unread| part.failed(unread))?;
                }
                Ok(versions)
            }
            Parts::Pair(parts, publish) => {
                let held =
                    held.and_then(|held| Some([held.first()?.as_str(), held.get(1)?.as_str()]));
                let [key, secret] = whole(parts, vault, held).await?;
                let [key_part, secret_part] = parts;
                let are_far_apart = match pair::judge(held, [&key, &secret], now) {
                    Verdict::Same => return Ok(vec![key.version, secret.version]),
                    Verdict::Awaits(half) => {
                        let new = if half == 0 { secret_part } else { key_part };
                        return Err(new.failed(ReadError::HalfRotated));
                    }
                    verdict => verdict == Verdict::FarApart,
                };
                let values = (
                    key_part.checked(key.value)?,
                    secret_part.checked(secret.value)?,
                );
                publish(values.0, values.1);
                if are_far_apart {
                    let (secret, other) = (key_part.name, secret_part.name);
                    tracing::warn!(
                        secret,
                        other,
                        "a key and its secret were written far apart and are used together; \
                         if the server refuses tokens, write both"
                    );
                }
                Ok(vec![key.version, secret.version])
            }
        }
    }

    /// Returns what an operator may know of each part.
    pub(super) fn status(&self) -> impl Iterator<Item = SecretStatus> + use<'_> {
        let status = self.refresher.status();
        let state = match (status.fetched_at, status.is_failing) {
            (None, _) => DependencyState::Missing,
            (Some(_), true) => DependencyState::Stale,
            (Some(_), false) => DependencyState::Fresh,
        };
        let (read_at, needed) = (status.fetched_at, self.needed);
        self.parts().iter().map(move |part| SecretStatus {
            name: part.name,
            state,
            read_at,
            needed,
        })
    }

    /// Returns how many reads succeeded and failed.
    pub(super) fn reads(&self) -> (u64, u64) {
        let status = self.refresher.status();
        (status.succeeded, status.failed)
    }

    /// Returns what reads it regularly.
    #[cfg(test)]
    pub(super) fn refresher(&self) -> &Refresher {
        &self.refresher
    }

    fn parts(&self) -> &[Part] {
        match &self.parts {
            Parts::One(part, _) => std::slice::from_ref(part),
            Parts::Pair(parts, _) => parts,
        }
    }
}

/// Reads a secret again and again.
pub(super) struct VaultSource<V> {
    secret: Arc<VaultSecret>,
    vault: Arc<V>,
    refresh: Duration,
    clock: Arc<dyn Clock>,
    held: Option<Versions>,
    is_failing: bool,
}

impl<V: Vault> VaultSource<V> {
    pub(super) fn new(
        secret: Arc<VaultSecret>,
        vault: Arc<V>,
        refresh: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            secret,
            vault,
            refresh,
            clock,
            held: None,
            is_failing: false,
        }
    }
}

impl<V: Vault> RefreshSource for VaultSource<V> {
    type Error = Failure;

    async fn fetch(&mut self) -> Result<Duration, Failure> {
        let now = self.clock.now();
        let read = self
            .secret
            .read(&*self.vault, self.held.as_ref(), now)
            .await;
        let was_failing = std::mem::replace(&mut self.is_failing, read.is_err());
        let versions = Some(read?);
        if self.held != versions || was_failing {
            for part in self.secret.parts() {
                tracing::info!(secret = part.name, "read from Key Vault");
            }
        }
        self.held = versions;
        Ok(self.refresh)
    }

    fn log_failure(&self, Failure { name, unread }: Failure) {
        let (secret, cause) = (name, unread.as_str());
        if self.held.is_some() {
            tracing::warn!(
                secret,
                cause,
                "Key Vault read failed; the last good value is used"
            );
        } else {
            tracing::warn!(
                secret,
                cause,
                "Key Vault read failed; requests that need this secret return 503"
            );
        }
    }

    // `fetch` logs each part that was read again.
    fn log_recovery(&self) {}
}

impl Part {
    async fn read(&self, vault: &impl Vault) -> Result<SecretVersion, Failure> {
        vault
            .read(&self.secret)
            .await
            .map_err(|unread| self.failed(unread))
    }

    fn checked(&self, value: SecretString) -> Result<SecretString, Failure> {
        match (self.check)(&value) {
            Ok(()) => Ok(value),
            Err(_) => Err(self.failed(ReadError::Unusable)),
        }
    }

    fn failed(&self, unread: ReadError) -> Failure {
        Failure {
            name: self.name,
            unread,
        }
    }
}

/// Returns both values as they were at one moment.
///
/// The first pair is read at once and its halves are compared by when they were written. Where that
/// is not known, or one takes the place of another, the key must not have changed around the
/// secret.
async fn whole(
    [key_part, secret_part]: &[Part; 2],
    vault: &impl Vault,
    held: Option<[&str; 2]>,
) -> Result<[SecretVersion; 2], Failure> {
    let (key, secret) = tokio::join!(key_part.read(vault), secret_part.read(vault));
    let (mut key, secret) = (key?, secret?);
    let are_same = held == Some([&key.version, &secret.version]);
    let are_dated = key.written_at.is_some() && secret.written_at.is_some();
    if are_same || (held.is_none() && are_dated) {
        return Ok([key, secret]);
    }
    for _ in 0..TRIES {
        let secret = secret_part.read(vault).await?;
        let after = key_part.read(vault).await?;
        if key.version == after.version {
            return Ok([after, secret]);
        }
        key = after;
    }
    Err(key_part.failed(ReadError::HalfRotated))
}
