//! Bearer tokens whose signature was checked before, so that the next request with one costs a hash
//! instead of a signature check.
//!
//! Kept by the digest of the whole token, so that no token stands here. Only what was accepted is
//! remembered; an entry ends with its token, and all end when the provider's keys change, so that
//! no key that was taken back is believed any longer.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256};
use quick_cache::sync::Cache;

use crate::domain::callers::caller::Caller;

/// Tokens that are remembered; past it one that was not seen lately goes.
const CAPACITY: usize = 10_000;

/// Stands for a token, and says nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// SHA-256 of the whole token.
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

/// Remembers callers by their tokens.
pub struct VerifiedTokens(Cache<TokenDigest, Entry>);

#[derive(Clone)]
struct Entry {
    caller: Arc<Caller>,
    good_until: SystemTime,
    keys_of: SystemTime,
}

impl VerifiedTokens {
    /// Remembers nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// The caller that a token was good for, if it still is and `keys_of`, the moment at which the
    /// serving keys came, is still the one from when it was checked.
    #[must_use]
    pub fn caller(
        &self,
        digest: &TokenDigest,
        keys_of: SystemTime,
        now: SystemTime,
    ) -> Option<Arc<Caller>> {
        let entry = self.0.get(digest)?;
        (entry.keys_of == keys_of && now <= entry.good_until).then_some(entry.caller)
    }

    /// Remembers a token that was just checked with the keys that came at `keys_of`.
    pub fn remember(
        &self,
        digest: TokenDigest,
        keys_of: SystemTime,
        caller: &Arc<Caller>,
        good_until: SystemTime,
    ) {
        self.0.insert(
            digest,
            Entry {
                caller: Arc::clone(caller),
                good_until,
                keys_of,
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

    fn remembered() -> VerifiedTokens {
        let tokens = VerifiedTokens::new();
        tokens.remember(
            TokenDigest::of("a.b.c"),
            at(0),
            &Arc::new(Caller::anonymous(b"alice".to_vec())),
            at(100),
        );
        tokens
    }

    #[test]
    fn another_token_is_not_known() {
        for token in ["", "a.b.d", "a.b.c ", "A.b.c"] {
            assert!(
                remembered()
                    .caller(&TokenDigest::of(token), at(0), at(1))
                    .is_none(),
                "{token:?}"
            );
        }
        assert_eq!(
            remembered()
                .caller(&TokenDigest::of("a.b.c"), at(0), at(1))
                .unwrap()
                .name(),
            b"alice"
        );
    }

    #[test]
    fn a_token_is_forgotten_when_it_ends() {
        assert!(
            remembered()
                .caller(&TokenDigest::of("a.b.c"), at(0), at(100))
                .is_some()
        );
        assert!(
            remembered()
                .caller(
                    &TokenDigest::of("a.b.c"),
                    at(0),
                    at(100) + Duration::from_nanos(1)
                )
                .is_none()
        );
    }

    #[test]
    fn new_keys_end_what_older_ones_proved() {
        assert!(
            remembered()
                .caller(&TokenDigest::of("a.b.c"), at(60), at(61))
                .is_none()
        );
    }

    #[test]
    fn a_flood_of_tokens_stays_bounded() {
        let tokens = remembered();
        for n in 0..3 * CAPACITY {
            tokens.remember(
                TokenDigest::of(&n.to_string()),
                at(0),
                &Arc::new(Caller::anonymous(Vec::new())),
                at(100),
            );
        }
        assert!(tokens.0.len() <= CAPACITY);
    }
}
