//! Calls scripts in Redis: the one of rate limits, and any other.

use redis::aio::ConnectionManager;
use redis::{FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation};

use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Cost, Gcra};

/// The script; tests compare it with [`Gcra`].
pub const SCRIPT: &str = include_str!("../gcra.lua");

/// The arguments of one call; `gcra.lua` explains them.
pub(super) struct ScriptCall {
    key: String,
    spacing_us: u64,
    capacity_us: u64,
    cost: Cost,
}

/// The result of one call.
pub(super) struct ScriptResult {
    /// True if the budget admits the request.
    pub(super) is_allowed: bool,
    /// The part of the budget that is in use, in microseconds.
    pub(super) used_us: u64,
}

impl ScriptCall {
    /// Creates a call that takes from a caller's budget.
    pub(super) fn decide(budget: &Budget, caller: CallerHash, cost: Cost) -> Self {
        let gcra = Gcra::from(budget.limit);
        Self {
            key: format!("roomkey:{}:{caller}", budget.name),
            spacing_us: gcra.spacing_us(),
            capacity_us: gcra.capacity_us(),
            cost,
        }
    }

    /// Creates a call that checks whether Redis accepts writes. Its budget is full again at once,
    /// so that the script writes each time.
    pub(super) fn write_probe() -> Self {
        Self {
            key: "roomkey:probe".to_owned(),
            spacing_us: 1,
            capacity_us: 1_000,
            cost: Cost::One,
        }
    }

    /// Creates a call that checks whether Redis serves a key. Its budget is so large that nothing
    /// is taken or written.
    pub(super) fn read_probe(key: String) -> Self {
        Self {
            key,
            spacing_us: 1,
            capacity_us: 1 << 52,
            cost: Cost::Nothing,
        }
    }

    /// Returns the key that the call reads and writes.
    pub(super) fn into_key(self) -> String {
        self.key
    }

    /// Sends the call.
    pub(super) async fn send(
        &self,
        script: &Script,
        connection: ConnectionManager,
    ) -> RedisResult<ScriptResult> {
        let mut call = script.prepare_invoke();
        call.key(&self.key)
            .arg(self.spacing_us)
            .arg(self.capacity_us)
            .arg(u8::from(self.cost == Cost::One));
        let (is_allowed, used_us, _now): (bool, u64, u64) = invoke(&call, connection).await?;
        Ok(ScriptResult {
            is_allowed,
            used_us,
        })
    }
}

/// Calls a script, and once more if the connection was closed while idle: its first use shows that
/// and opens a new one. At worst the script runs twice.
pub(super) async fn invoke<T: FromRedisValue>(
    call: &ScriptInvocation<'_>,
    mut connection: ConnectionManager,
) -> RedisResult<T> {
    let response = call.invoke_async(&mut connection).await;
    if response
        .as_ref()
        .is_err_and(RedisError::is_connection_dropped)
    {
        return call.invoke_async(&mut connection).await;
    }
    response
}
