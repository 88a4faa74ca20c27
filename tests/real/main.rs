//! Tests with real peers: LiveKit's server, its three server SDKs and its browser client, an
//! identity provider and Redis; and with fakes of Azure and of Realtime services, which are tested
//! with Microsoft's and OpenAI's own SDKs. `make tools` installs them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod azurite;
mod blob_projects;
mod blob_store;
mod callers;
mod callers_refused;
mod cold_start;
mod collector;
mod fake;
mod fake_azure;
mod fake_realtime;
mod leaks;
mod livekit_server;
#[path = "../log_capture.rs"]
mod log_capture;
mod openid_provider;
mod otlp_metrics;
mod outages;
mod peers;
#[path = "../process.rs"]
#[expect(
    dead_code,
    reason = "how a program ends is the black-box tests' business"
)]
mod process;
mod projects;
mod proxies;
mod realtime;
mod redis;
mod redis_lost;
mod redis_server;
mod redis_sessions;
#[path = "../reserved_port.rs"]
mod reserved_port;
mod shared_limit;
mod signed_in;
mod three_verifiers;
mod token_source;
mod traces;
mod turn;
mod turn_server;
#[path = "../undisturbed.rs"]
mod undisturbed;
mod vault;
mod witness_azure;
mod witness_openai;
mod wrong_keys;
