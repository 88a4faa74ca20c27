//! The caller of a request: how a credential or an address becomes a caller, and what it may do.

pub mod admin_key;
pub mod bearer;
pub mod caller;
pub mod caller_hash;
pub mod client_address;
pub mod easy_auth;
pub mod key_set;
