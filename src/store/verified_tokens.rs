//! Caches bearer tokens that were verified, so that the next request with the same token costs a
//! hash instead of a signature check.
//!
//! The cache is keyed by the digest of the whole token and holds no token. It holds accepted tokens
//! only. An entry ends when its token expires, and all entries end when the provider's keys change,
//! so that no revoked key is trusted.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256};
use quick_cache::sync::Cache;

use crate::domain::callers::caller::Caller;

/// The number of tokens in the cache; a full one evicts a token that was not seen lately.
const CAPACITY: usize = 10_000;

/// The SHA-256 digest of a whole token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Computes the digest of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes
            .iter_mut()
            .zip(digest::digest(&SHA256, token.as_bytes()).as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(bytes)
    }
}

/// A cache of callers by their verified tokens.
pub struct VerifiedTokens(Cache<TokenDigest, Entry>);

#[derive(Clone)]
struct Entry {
    caller: Arc<Caller>,
    accepted_until: SystemTime,
    keys_since: SystemTime,
}

impl VerifiedTokens {
    /// Creates an empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Returns the caller of a verified token, if the token has not expired and the key set is
    /// still the one that verified it. `keys_since` is when the current key set was first fetched.
    #[must_use]
    pub fn caller(
        &self,
        digest: &TokenDigest,
        keys_since: SystemTime,
        now: SystemTime,
    ) -> Option<Arc<Caller>> {
        let entry = self.0.get(digest)?;
        (entry.keys_since == keys_since && now <= entry.accepted_until).then_some(entry.caller)
    }

    /// Adds a token that was verified with the key set of `keys_since`.
    pub fn insert(
        &self,
        digest: TokenDigest,
        keys_since: SystemTime,
        caller: &Arc<Caller>,
        accepted_until: SystemTime,
    ) {
        self.0.insert(
            digest,
            Entry {
                caller: Arc::clone(caller),
                accepted_until,
                keys_since,
            },
        );
    }
}

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn cached() -> VerifiedTokens {
        let tokens = VerifiedTokens::new();
        tokens.insert(
            TokenDigest::of("a.b.c"),
            at(0),
            &Arc::new(Caller::anonymous(b"alice".to_vec())),
            at(100),
        );
        tokens
    }

    #[test]
    fn another_token_is_not_found() {
        for token in ["", "a.b.d", "a.b.c ", "A.b.c"] {
            assert!(
                cached()
                    .caller(&TokenDigest::of(token), at(0), at(1))
                    .is_none(),
                "{token:?}"
            );
        }
        assert_eq!(
            cached()
                .caller(&TokenDigest::of("a.b.c"), at(0), at(1))
                .unwrap()
                .name(),
            b"alice"
        );
    }

    #[test]
    fn an_entry_ends_when_its_token_expires() {
        assert!(
            cached()
                .caller(&TokenDigest::of("a.b.c"), at(0), at(100))
                .is_some()
        );
        assert!(
            cached()
                .caller(
                    &TokenDigest::of("a.b.c"),
                    at(0),
                    at(100) + Duration::from_nanos(1)
                )
                .is_none()
        );
    }

    #[test]
    fn new_keys_end_all_entries() {
        assert!(
            cached()
                .caller(&TokenDigest::of("a.b.c"), at(60), at(61))
                .is_none()
        );
    }

    #[test]
    fn a_flood_of_tokens_stays_bounded() {
        let tokens = cached();
        for n in 0..3 * CAPACITY {
            tokens.insert(
                TokenDigest::of(&n.to_string()),
                at(0),
                &Arc::new(Caller::anonymous(Vec::new())),
                at(100),
            );
        }
        assert!(tokens.0.len() <= CAPACITY);
    }
}
