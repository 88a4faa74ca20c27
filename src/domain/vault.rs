//! Project keys at rest: names, the envelope that holds a key, and the rules of changing one.
//!
//! A key is sealed under a fresh data key, and the data key under a key-encryption key (KEK) of the
//! operator's. Nothing here reads a store, a clock or random bytes; all three are parameters.
//!
//! # Source
//! Envelope encryption with AES-256-GCM (NIST SP 800-38D) and HKDF-SHA256 (RFC 5869).

pub mod anonymous_projects;
pub mod associated_data;
pub mod changes;
pub mod envelope;
pub mod kek;
pub mod key_request;
pub mod project_id;
pub mod project_key;
pub mod record;
