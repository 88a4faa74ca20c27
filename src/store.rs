//! State that outlives a request: the counters of rate limits, in memory or shared through Redis, and
//! the bearer tokens that were verified before.
//!
//! Only keyed hashes and numbers leave the process; they identify no caller.

pub mod counters;
mod memory;
pub mod redis;
pub mod verified_tokens;
