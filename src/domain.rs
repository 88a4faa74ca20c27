//! The rules: who may have which key, and what is in it. Nothing here does I/O, reads a clock or knows HTTP.

pub mod access_token;
pub mod admin_key;
pub mod append;
pub mod audit;
pub mod azure;
pub mod bearer;
pub mod caller;
pub mod caller_hash;
pub mod client_address;
pub mod connection_request;
pub mod easy_auth;
pub mod fields;
pub mod json;
pub mod key_set;
pub mod lifetime;
pub mod names;
pub mod provider;
pub mod rate_limit;
pub mod secrets;
pub mod token_request;
pub mod trace_context;
