//! The rules: who may have which key, and what is in it. Nothing here does I/O, reads a clock or
//! knows HTTP.

pub mod audit;
pub mod callers;
pub mod limits;
pub mod livekit;
pub mod realtime;
pub mod requests;
pub mod settings;
pub mod trace_context;
