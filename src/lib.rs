//! roomkey issues short-lived keys for voice in the browser: signed LiveKit tokens, Realtime client
//! secrets of `OpenAI` and Azure `OpenAI`, and TURN credentials.
//!
//! [`config`] reads the environment and `host.json` into a [`config::Config`]. [`app`] wires the
//! services once. [`http`] is the HTTP edge and applies the rules in [`domain`]. [`upstream`] calls
//! other services, [`store`] counts requests and keeps project keys, [`metrics`] and [`telemetry`]
//! report to the operator, [`platform`] is what differs between operating systems, and [`clock`]
//! and [`entropy`] are the only sources of time and randomness. `ARCHITECTURE.md` follows one
//! request through these modules.

pub mod app;
pub mod clock;
pub mod config;
pub mod domain;
pub mod entropy;
pub mod http;
pub mod metrics;
pub mod platform;
pub mod store;
pub mod telemetry;
pub mod traces;
pub mod upstream;

#[cfg(test)]
#[path = "../tests/log_capture.rs"]
mod log_capture;
