//! Counters that several instances share through Redis, with local counters as a fallback.
//!
//! Each request costs one call of a script that is atomic and uses the server's clock. If a call
//! fails or takes longer than 50 ms, the local counters decide; they know the last results of Redis
//! for the callers of this instance. A failure never means "unlimited".
//!
//! The slots of projects' sessions are in the same Redis: [`sessions`].

mod deadlines;
mod failure;
mod script;
mod server;
pub mod sessions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use secrecy::SecretString;

pub use self::deadlines::RedisDeadlines;
pub use self::script::SCRIPT;
use self::script::ScriptCall;
pub use self::server::InvalidRedisUrl;
use self::server::Server;
use super::memory::Memory;
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Cost, Decision, Gcra};

/// Counters that are shared through Redis.
pub struct Redis {
    /// Empty until the address is known.
    server: ArcSwapOption<Server>,
    deadlines: RedisDeadlines,
    /// True if the address arrives after the first requests. Limits are per instance until then, so
    /// the log must tell when they are shared.
    is_address_deferred: bool,
    /// Stays when the address changes, so that no budget is full again.
    local: Memory,
    local_decisions: AtomicU64,
}

impl Redis {
    /// Creates counters whose address is not known yet. Each instance limits on its own until
    /// [`Redis::connect`].
    #[must_use]
    pub fn awaiting_address(deadlines: RedisDeadlines) -> Self {
        tracing::info!("limits are per instance until Key Vault gives the address of Redis");
        Self::without_address(deadlines, true)
    }

    /// Creates counters and begins to connect, in a task of the current Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`], as [`Redis::connect`].
    pub fn new(url: SecretString, deadlines: RedisDeadlines) -> Result<Self, InvalidRedisUrl> {
        let redis = Self::without_address(deadlines, false);
        redis.connect(url, None)?;
        Ok(redis)
    }

    fn without_address(deadlines: RedisDeadlines, is_address_deferred: bool) -> Self {
        Self {
            server: ArcSwapOption::empty(),
            deadlines,
            is_address_deferred,
            local: Memory::new(),
            local_decisions: AtomicU64::new(0),
        }
    }

    /// Replaces the server and begins to connect, in a task of the current Tokio runtime. Calls
    /// `on_refused_credentials` when Redis refuses the credentials.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`] if the URL is not of the form `redis://…` or `rediss://…`; nothing
    /// changes then.
    pub fn connect(
        &self,
        url: SecretString,
        on_refused_credentials: Option<Arc<dyn Fn() + Send + Sync>>,
    ) -> Result<(), InvalidRedisUrl> {
        let previous = self.server.load_full();
        if previous.as_ref().is_some_and(|server| server.has_url(&url)) {
            return Ok(());
        }
        let server = Arc::new(Server::new(url, self.deadlines, on_refused_credentials)?);
        let was_lost = previous.map_or(self.is_address_deferred, |previous| previous.replace());
        if was_lost {
            server.mark_lost();
        }
        self.server.store(Some(Arc::clone(&server)));
        if was_lost {
            // The log says that limits are per instance, so it must say when they are shared.
            tokio::spawn(Server::connect_after_loss(Arc::downgrade(&server)));
        } else {
            tokio::spawn(server.connect_first());
        }
        Ok(())
    }

    /// Decides and counts in Redis, or locally if Redis does not respond.
    pub async fn decide(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Decision {
        if let Some(decision) = self.decide_shared(budget, caller, now, cost).await {
            return decision;
        }
        self.local_decisions.fetch_add(1, Ordering::Relaxed);
        self.local.decide(budget, caller, now, cost)
    }

    /// Decides and counts locally, and if that admits the request, in Redis too.
    pub async fn decide_local_first(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Decision {
        let local = self.local.decide(budget, caller, now, cost);
        if !local.allowed {
            return local;
        }
        if let Some(decision) = self.decide_shared(budget, caller, now, cost).await {
            return decision;
        }
        self.local_decisions.fetch_add(1, Ordering::Relaxed);
        local
    }

    /// Decides in Redis, and records the result in the local counters.
    async fn decide_shared(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Option<Decision> {
        let server = self.server.load_full()?;
        let result = server
            .call(ScriptCall::decide(budget, caller, cost))
            .await?;
        let decision = Gcra::from(budget.limit).decision(result.is_allowed, result.used_us);
        self.local
            .record_shared_usage(budget, caller, now, decision.reset_after);
        Some(decision)
    }

    /// Returns whether limits are per instance at the moment.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.server
            .load()
            .as_ref()
            .is_none_or(|server| server.is_lost())
    }

    /// Returns the number of decisions that the local counters made.
    #[must_use]
    pub fn local_decisions(&self) -> u64 {
        self.local_decisions.load(Ordering::Relaxed)
    }
}
