//! The package that is published, unpacked alone in an empty folder and run as a process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod attack;
mod package;
#[path = "../process.rs"]
mod process;
mod start;
mod stop;
#[path = "../wire.rs"]
mod wire;
