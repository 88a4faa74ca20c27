//! The outside world: what roomkey asks of others, each with a deadline, a size limit and no redirects.

pub mod key_source;
pub mod oidc_keys;
pub mod slot;
