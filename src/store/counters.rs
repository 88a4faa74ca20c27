//! How much of a budget each caller has used, wherever that is kept.
//!
//! A second budget is one more [`Budget`]; its callers have counts of their own.

use std::sync::Arc;
use std::time::SystemTime;

use secrecy::SecretString;

use super::memory::Memory;
use super::redis::{Redis, UnusableAddress};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Cost, Decision};

/// The counters of all budgets.
pub enum Counters {
    /// Of this process alone.
    Memory(Memory),
    /// Shared with other instances.
    Redis(Arc<Redis>),
}

impl Counters {
    /// Counters of this process alone.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::Memory(Memory::new())
    }

    /// Counters that all instances with the same Redis and the same hash key share. Must be called
    /// inside a Tokio runtime; does not wait for Redis.
    ///
    /// # Errors
    /// [`UnusableAddress`] when the URL is not one of a Redis server.
    pub fn shared(url: SecretString) -> Result<Self, UnusableAddress> {
        Ok(Self::Redis(Arc::new(Redis::new(url)?)))
    }

    /// Takes one request from the caller's budget, if it admits one. `now` counts where the
    /// counters are this process's own.
    pub async fn take(&self, budget: &Budget, caller: CallerHash, now: SystemTime) -> Decision {
        self.decide(budget, caller, now, Cost::One).await
    }

    /// What [`Counters::take`] would say, without taking.
    pub async fn peek(&self, budget: &Budget, caller: CallerHash, now: SystemTime) -> Decision {
        self.decide(budget, caller, now, Cost::Nothing).await
    }

    /// Decides as [`Counters::take`] or [`Counters::peek`] would, by the counts of this process
    /// first and then by the shared ones, so that no more requests are ever admitted here than the
    /// budget has, not even in the moment in which Redis stops to answer. A Redis that was emptied
    /// does not refill the budget here. For what must not be guessed.
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

    /// Whether shared counters are out of reach, so that each instance limits on its own for now.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Redis(redis) => redis.is_degraded(),
        }
    }

    /// How many decisions were made here although they should have been shared.
    #[must_use]
    pub fn stood_in(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Redis(redis) => redis.stood_in(),
        }
    }
}
