//! Limits on calls: rate limits, the circuit breaker of an upstream, and backoff.

pub mod backoff;
pub mod breaker;
pub mod rate_limit;
