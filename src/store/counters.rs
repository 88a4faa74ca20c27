//! Counts the requests of each caller against each [`Budget`], in memory or in Redis.

use std::sync::Arc;
use std::time::SystemTime;

use secrecy::SecretString;

use super::memory::Memory;
use super::redis::{InvalidRedisUrl, Redis, RedisDeadlines};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Cost, Decision};

/// The counters of all budgets.
pub enum Counters {
    /// Counters of this process alone.
    Memory(Memory),
    /// Counters that other instances share.
    Redis(Arc<Redis>),
}

impl Counters {
    /// Creates counters of this process alone.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::Memory(Memory::new())
    }

    /// Creates counters that all instances with the same Redis and the same hash key share. Must be
    /// called in a Tokio runtime; does not wait for Redis.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`] if the URL is not one of a Redis server.
    pub fn shared(url: SecretString) -> Result<Self, InvalidRedisUrl> {
        let redis = Redis::new(url, RedisDeadlines::default())?;
        Ok(Self::Redis(Arc::new(redis)))
    }

    /// Takes one request from the caller's budget, if the budget admits it. `now` is used by
    /// counters in memory; Redis uses its own clock.
    pub async fn take(&self, budget: &Budget, caller: CallerHash, now: SystemTime) -> Decision {
        self.decide(budget, caller, now, Cost::One).await
    }

    /// Returns the decision that [`Counters::take`] would make, without taking anything.
    pub async fn peek(&self, budget: &Budget, caller: CallerHash, now: SystemTime) -> Decision {
        self.decide(budget, caller, now, Cost::Nothing).await
    }

    /// Decides by the counters of this process first, and then by the shared ones. This instance
    /// thus never admits more requests than the budget has, even while Redis fails or after it was
    /// emptied. It protects secrets that could be guessed.
    pub async fn decide_local_first(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Decision {
        match self {
            Self::Memory(memory) => memory.decide(budget, caller, now, cost),
            Self::Redis(redis) => redis.decide_local_first(budget, caller, now, cost).await,
        }
    }

    async fn decide(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Decision {
        match self {
            Self::Memory(memory) => memory.decide(budget, caller, now, cost),
            Self::Redis(redis) => redis.decide(budget, caller, now, cost).await,
        }
    }

    /// Returns whether the shared counters cannot be reached, so that limits are per instance.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Redis(redis) => redis.is_degraded(),
        }
    }

    /// Returns the number of decisions that were made locally because Redis did not respond.
    #[must_use]
    pub fn local_decisions(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Redis(redis) => redis.local_decisions(),
        }
    }
}
