//! Clients for the services that roomkey calls. Each call has a deadline and a size limit, and
//! follows no redirect.

pub mod client;
pub mod cloudflare_turn;
pub mod entra;
pub mod key_source;
pub mod key_vault;
pub mod minting;
pub mod oidc_keys;
pub mod otlp;
pub mod realtime;
pub mod refresher;
mod response_body;
pub mod slot;
