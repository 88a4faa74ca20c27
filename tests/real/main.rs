//! Against real parts: LiveKit's server, its three server SDKs and its browser client. `make tools` installs them.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

mod livekit_server;
mod peers;
#[path = "../process.rs"]
#[expect(dead_code, reason = "how a program ends is the black-box tests' business")]
mod process;
mod three_verifiers;
mod token_source;
