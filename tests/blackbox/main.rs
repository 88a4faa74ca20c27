//! The package that is published, unpacked alone in an empty folder and run as a process.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod attack;
mod deployment;
mod early_answers;
mod host;
mod host_tests;
mod memory;
mod package;
#[path = "../process.rs"]
mod process;
#[path = "../reserved_port.rs"]
mod reserved_port;
mod start;
mod stop;
mod through_host;
#[path = "../undisturbed.rs"]
mod undisturbed;
mod windows;
#[path = "../wire.rs"]
mod wire;
