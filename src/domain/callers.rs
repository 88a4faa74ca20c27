//! Callers: the credentials and addresses that identify one, and what each may do.

pub mod admin_key;
pub mod auth_error;
pub mod bearer;
pub mod caller;
pub mod caller_hash;
pub mod client_address;
pub mod easy_auth;
pub mod key_set;
mod subject;
