//! What outlasts a request: how much of each budget every caller has used, in memory or shared
//! through Redis, and which tokens were checked before.
//!
//! What leaves the process is a keyed hash and a number; nothing there names a caller.

pub mod counters;
mod memory;
pub mod redis;
pub mod verified_tokens;
