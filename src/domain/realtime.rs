//! Realtime client secrets: the session that an upstream is asked for, and its response.

pub mod client_secret;
pub mod endpoint;
pub mod mint;
pub mod request;
pub mod session;
pub mod session_request;
pub mod upstream_id;
