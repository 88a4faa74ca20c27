//! The rules: who may have which key, and what is in it. Nothing here does I/O, reads a clock or knows HTTP.

pub mod access_token;
pub mod connection_request;
pub mod fields;
pub mod json;
pub mod lifetime;
pub mod names;
pub mod provider;
pub mod token_request;
