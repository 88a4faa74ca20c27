//! Values of settings: addresses, secrets, and text that can never be a value.

pub mod azure;
pub mod log_format;
pub mod network_host;
pub mod origins;
pub mod otlp;
pub mod redis_url;
pub mod secrets;
pub mod setting_text;
pub mod trace_sampler;
