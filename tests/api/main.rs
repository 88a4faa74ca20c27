//! Tests of the real routes over a real connection, with a fixed clock and seeded randomness.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise; UPDATE_DOCS is the one variable that it reads"
)]

mod attack;
mod audit;
mod budgets;
mod callers;
mod canary;
mod connection_details;
mod cors;
mod documents;
mod easy_auth;
mod edge;
mod faults;
#[path = "../forgery.rs"]
mod forgery;
mod harness;
mod honest_tokens;
mod hostile_heads;
mod issuer;
mod limits;
#[path = "../log_capture.rs"]
mod log_capture;
mod minting;
mod order;
mod project_keys;
mod project_rotation;
mod projects_app;
mod realtime;
#[path = "../reserved_port.rs"]
mod reserved_port;
mod secrets;
mod sessions;
mod store_faults;
mod token;
mod turn;
#[path = "../undisturbed.rs"]
mod undisturbed;
mod upstream;
#[path = "../wire.rs"]
mod wire;
