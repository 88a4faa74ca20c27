//! A secret in Key Vault that is read again and again: one entry, or a key and its secret.
//!
//! Invariant: a value that fails its check never replaces the last good one, and a key and its
//! secret are only replaced together. The properties in `tests.rs` check it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;

use super::key_pair::{self, PairVerdict};
use super::vault_entry::{EntryError, VaultEntry};
use crate::app::dependency::DependencyStatus;
use crate::clock::Clock;
use crate::domain::settings::secrets::DependencyState;
use crate::entropy::Entropy;
use crate::upstream::key_vault::{ReadError, Vault};
use crate::upstream::refresher::{RefreshSource, Refresher};

/// A secret in the vault and the refresher that reads it.
pub(super) struct VaultSecret {
    content: Content,
    /// Some tokens cannot be issued without it.
    is_needed: bool,
    refresher: Arc<Refresher>,
}

/// The entries of a secret, and the function that publishes their values.
enum Content {
    Single(VaultEntry, Publish),
    Pair([VaultEntry; 2], PublishPair),
}

type Publish = Box<dyn Fn(SecretString) -> Result<(), ReadError> + Send + Sync>;
type PublishPair = Box<dyn Fn(SecretString, SecretString) + Send + Sync>;

/// The versions that were published last, in the order of the entries.
pub(super) type Versions = Vec<String>;

impl VaultSecret {
    /// Creates a secret of one entry. `publish` receives a value that has passed its check.
    pub(super) fn single(
        entry: VaultEntry,
        is_needed: bool,
        refresher: Arc<Refresher>,
        publish: impl Fn(SecretString) -> Result<(), ReadError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            content: Content::Single(entry, Box::new(publish)),
            is_needed,
            refresher,
        }
    }

    /// Creates a secret of a key and its secret, which are published together.
    pub(super) fn pair(
        entries: [VaultEntry; 2],
        refresher: Arc<Refresher>,
        publish: impl Fn(SecretString, SecretString) + Send + Sync + 'static,
    ) -> Self {
        Self {
            content: Content::Pair(entries, Box::new(publish)),
            is_needed: true,
            refresher,
        }
    }

    /// Starts to read it regularly. It must be called inside a Tokio runtime.
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

    /// Reads it and publishes new values. Returns the versions that are published now.
    pub(super) async fn read(
        &self,
        vault: &impl Vault,
        published: Option<&Versions>,
        now: SystemTime,
    ) -> Result<Versions, EntryError> {
        match &self.content {
            Content::Single(entry, publish) => {
                let read = entry.read(vault).await?;
                let versions = vec![read.version];
                if published != Some(&versions) {
                    publish(entry.checked(read.value)?).map_err(|error| entry.failed(error))?;
                }
                Ok(versions)
            }
            Content::Pair(entries, publish) => {
                read_pair(entries, publish, vault, published, now).await
            }
        }
    }

    /// Returns the status of each entry.
    pub(super) fn statuses(&self) -> impl Iterator<Item = DependencyStatus> + use<'_> {
        let status = self.refresher.status();
        let state = match (status.fetched_at, status.is_failing) {
            (None, _) => DependencyState::Missing,
            (Some(_), true) => DependencyState::Stale,
            (Some(_), false) => DependencyState::Fresh,
        };
        self.entries().iter().map(move |entry| DependencyStatus {
            name: entry.name,
            state,
            fetched_at: status.fetched_at,
            is_needed: self.is_needed,
        })
    }

    /// Returns how many reads succeeded and failed.
    pub(super) fn reads(&self) -> (u64, u64) {
        let status = self.refresher.status();
        (status.succeeded, status.failed)
    }

    /// Returns the refresher that reads it.
    #[cfg(test)]
    pub(super) fn refresher(&self) -> &Refresher {
        &self.refresher
    }

    fn entries(&self) -> &[VaultEntry] {
        match &self.content {
            Content::Single(entry, _) => std::slice::from_ref(entry),
            Content::Pair(entries, _) => entries,
        }
    }
}

async fn read_pair(
    entries: &[VaultEntry; 2],
    publish: &PublishPair,
    vault: &impl Vault,
    published: Option<&Versions>,
    now: SystemTime,
) -> Result<Versions, EntryError> {
    let published = published
        .and_then(|versions| Some([versions.first()?.as_str(), versions.get(1)?.as_str()]));
    let [key, secret] = key_pair::read(entries, vault, published).await?;
    let [key_entry, secret_entry] = entries;
    let verdict = key_pair::judge(published, [&key, &secret], now);
    match verdict {
        PairVerdict::Unchanged => return Ok(vec![key.version, secret.version]),
        PairVerdict::AwaitsKey => return Err(secret_entry.failed(ReadError::HalfRotated)),
        PairVerdict::AwaitsSecret => return Err(key_entry.failed(ReadError::HalfRotated)),
        PairVerdict::Complete | PairVerdict::WrittenApart => {}
    }
    let (key_value, secret_value) = (
        key_entry.checked(key.value)?,
        secret_entry.checked(secret.value)?,
    );
    publish(key_value, secret_value);
    if verdict == PairVerdict::WrittenApart {
        tracing::warn!(
            secret = key_entry.name,
            other = secret_entry.name,
            "a key and its secret were written far apart and are used together; if the server \
             refuses tokens, write a new version of both"
        );
    }
    Ok(vec![key.version, secret.version])
}

/// Reads a [`VaultSecret`] whenever its refresher asks for it.
pub(super) struct VaultSource<V> {
    secret: Arc<VaultSecret>,
    vault: Arc<V>,
    refresh: Duration,
    clock: Arc<dyn Clock>,
    published: Option<Versions>,
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
            published: None,
            is_failing: false,
        }
    }
}

impl<V: Vault> RefreshSource for VaultSource<V> {
    type Error = EntryError;

    async fn fetch(&mut self) -> Result<Duration, EntryError> {
        let (vault, published) = (&*self.vault, self.published.as_ref());
        let read = self.secret.read(vault, published, self.clock.now()).await;
        let was_failing = std::mem::replace(&mut self.is_failing, read.is_err());
        let versions = Some(read?);
        if self.published != versions || was_failing {
            for entry in self.secret.entries() {
                tracing::info!(secret = entry.name, "read from Key Vault");
            }
        }
        self.published = versions;
        Ok(self.refresh)
    }

    fn log_failure(&self, EntryError { name, error }: EntryError) {
        let (secret, cause) = (name, error.as_str());
        if self.published.is_some() {
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

    // `fetch` logs each entry that was read again.
    fn log_recovery(&self) {}
}
