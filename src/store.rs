//! State that outlives a request: the counters of rate limits, in memory or shared through Redis;
//! the bearer tokens that were verified before; and projects' keys, sessions and audit log in a
//! durable store.
//!
//! Counters leave the process as keyed hashes and numbers only, which identify no caller.

pub mod blob;
pub mod counters;
#[cfg(test)]
pub(crate) mod hanging_store;
mod memory;
pub mod projects;
pub mod redis;
pub mod sqlite;
pub mod store_error;
pub mod verified_tokens;
