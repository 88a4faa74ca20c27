//! Limits on calls: rate limits per caller, the circuit breaker of an upstream, and retry delays.

pub mod backoff;
pub mod breaker;
pub mod rate_limit;
