//! roomkey gives a browser that wants to speak one short-lived key.
//!
//! The map of the house, in the order in which a start walks through it: [`config`] turns the
//! environment and `host.json` into a [`config::Config`]; [`app`] wires the parts once; [`http`] is
//! the edge and calls the rules in [`domain`]; [`upstream`] asks the outside world, [`store`]
//! counts callers, [`metrics`] and [`telemetry`] tell the operator, [`process`] asks the operating
//! system for what it does itself. `ARCHITECTURE.md` walks one request through these rooms.

pub mod app;
pub mod clock;
pub mod config;
pub mod domain;
pub mod entropy;
pub mod http;
pub mod metrics;
pub mod process;
pub mod store;
pub mod telemetry;
pub mod upstream;

#[cfg(test)]
#[path = "../tests/log_capture.rs"]
mod log_capture;
