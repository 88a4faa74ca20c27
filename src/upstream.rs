//! The outside world: what roomkey asks of others, each with a deadline, a size limit and no
//! redirects.

pub mod client;
pub mod entra;
pub mod key_source;
pub mod key_vault;
pub mod oidc_keys;
pub mod realtime;
pub mod refresher;
pub mod slot;

#[cfg(test)]
pub(crate) mod log;
