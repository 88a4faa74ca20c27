//! The rules: which caller gets which credential, and what it contains.
//!
//! Nothing in this module does I/O, reads a clock or knows HTTP.

pub mod audit;
pub mod audit_log;
pub mod callers;
pub mod digits;
pub mod invisible;
pub mod limits;
pub mod livekit;
pub mod realtime;
pub mod requests;
pub mod settings;
pub mod trace_context;
pub mod turn;
pub mod vault;
