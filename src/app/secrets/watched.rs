//! One secret in the vault, or two that change together: how they are read whole, and what becomes of what was read.
//!
//! Invariant: a value that fails its check never replaces one that is held, and a pair is only ever replaced as a pair. The
//! property in `tests.rs` holds it.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use secrecy::SecretString;

use super::Seen;
use super::pair::{self, Verdict};
use crate::domain::secrets::{Check, SecretName, State};
use crate::upstream::key_vault::{Reading, Unread, Vault};

/// Reads of a pair that changes meanwhile, before it is left for later.
const TRIES: usize = 3;

/// One secret in the vault.
pub(super) struct Part {
    name: &'static str,
    secret: SecretName,
    check: Check,
}

impl Part {
    /// All but the name in the vault, which is only known once it is found out that it stands there.
    pub(super) fn new(name: &'static str, check: Check) -> impl Fn(SecretName) -> Self {
        move |secret| Self { name, secret, check }
    }
}

/// What is read as one.
pub(super) struct Watched {
    parts: Parts,
    needed: bool,
    known: Mutex<Known>,
}

enum Parts {
    One(Part, Box<dyn Fn(SecretString) -> Result<(), Unread> + Send + Sync>),
    Pair([Part; 2], Box<dyn Fn(SecretString, SecretString) + Send + Sync>),
}

/// For operators; no request reads it.
#[derive(Default)]
struct Known {
    read_at: Option<SystemTime>,
    fails: bool,
}

/// The versions that are held, in the order of the parts.
pub(super) type Versions = Vec<String>;

/// A read that brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Which secret.
    pub(super) name: &'static str,
    /// Why.
    pub(super) unread: Unread,
}

impl Watched {
    /// A secret that changes by itself; `put` takes a value that has passed its check, or says why it cannot.
    pub(super) fn one(part: Part, needed: bool, put: impl Fn(SecretString) -> Result<(), Unread> + Send + Sync + 'static) -> Self {
        Self { parts: Parts::One(part, Box::new(put)), needed, known: Mutex::default() }
    }

    /// Two secrets that change together.
    pub(super) fn pair(parts: [Part; 2], put: impl Fn(SecretString, SecretString) + Send + Sync + 'static) -> Self {
        Self { parts: Parts::Pair(parts, Box::new(put)), needed: true, known: Mutex::default() }
    }

    /// Reads it and puts what is new. The versions that are held from now on.
    pub(super) async fn read(&self, vault: &impl Vault, held: Option<&Versions>, now: SystemTime) -> Result<Versions, Failure> {
        match &self.parts {
            Parts::One(part, put) => {
                let reading = part.read(vault).await?;
                let versions = vec![reading.version];
                if held != Some(&versions) {
                    put(part.checked(reading.value)?).map_err(|unread| part.failed(unread))?;
                }
                Ok(versions)
            }
            Parts::Pair(parts, put) => {
                let [key, secret] = whole(parts, vault).await?;
                let [key_part, secret_part] = parts;
                let held = held.and_then(|held| Some([held.first()?.as_str(), held.get(1)?.as_str()]));
                let are_far_apart = match pair::judge(held, [&key, &secret], now) {
                    Verdict::Same => return Ok(vec![key.version, secret.version]),
                    Verdict::Awaits(half) => {
                        let new = if half == 0 { secret_part } else { key_part };
                        return Err(new.failed(Unread::HalfRotated));
                    }
                    verdict => verdict == Verdict::FarApart,
                };
                let values = (key_part.checked(key.value)?, secret_part.checked(secret.value)?);
                put(values.0, values.1);
                if are_far_apart {
                    let (secret, other) = (key_part.name, secret_part.name);
                    tracing::warn!(
                        secret,
                        other,
                        "a key and its secret were written far apart and are used together; if the server refuses tokens, write both"
                    );
                }
                Ok(vec![key.version, secret.version])
            }
        }
    }

    /// Remembers how a read ended.
    pub(super) fn note(&self, read_at: Option<SystemTime>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.fails = read_at.is_none();
        known.read_at = read_at.or(known.read_at);
    }

    /// What an operator sees.
    pub(super) fn seen(&self) -> impl Iterator<Item = Seen> + use<'_> {
        let parts = match &self.parts {
            Parts::One(part, _) => std::slice::from_ref(part),
            Parts::Pair(parts, _) => parts.as_slice(),
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match (known.read_at, known.fails) {
            (None, _) => State::Missing,
            (Some(_), true) => State::Stale,
            (Some(_), false) => State::Fresh,
        };
        let (read_at, needed) = (known.read_at, self.needed);
        parts.iter().map(move |part| Seen { name: part.name, state, read_at, needed })
    }
}

impl Part {
    async fn read(&self, vault: &impl Vault) -> Result<Reading, Failure> {
        vault.read(&self.secret).await.map_err(|unread| self.failed(unread))
    }

    fn checked(&self, value: SecretString) -> Result<SecretString, Failure> {
        match (self.check)(&value) {
            Ok(()) => Ok(value),
            Err(_) => Err(self.failed(Unread::Unusable)),
        }
    }

    fn failed(&self, unread: Unread) -> Failure {
        Failure { name: self.name, unread }
    }
}

/// Both values, between which the first did not change.
async fn whole([key_part, secret_part]: &[Part; 2], vault: &impl Vault) -> Result<[Reading; 2], Failure> {
    let mut before = key_part.read(vault).await?;
    for _ in 0..TRIES {
        let secret = secret_part.read(vault).await?;
        let after = key_part.read(vault).await?;
        if before.version == after.version {
            return Ok([after, secret]);
        }
        before = after;
    }
    Err(key_part.failed(Unread::HalfRotated))
}
