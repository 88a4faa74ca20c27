//! Against real parts: LiveKit's server, its three server SDKs and its browser client, an identity provider and Redis.
//! `make tools` installs them.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

mod callers;
mod callers_refused;
mod livekit_server;
mod openid_provider;
mod outages;
mod peers;
#[path = "../process.rs"]
#[expect(dead_code, reason = "how a program ends is the black-box tests' business")]
mod process;
mod redis;
mod redis_server;
mod shared_limit;
mod signed_in;
mod three_verifiers;
mod token_source;
