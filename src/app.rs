//! The parts that handlers use, wired once at start.

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, host_json::Cors};
use crate::domain::access_token::Signer;
use crate::domain::token_request::Limits;
use crate::entropy::{Entropy, SystemEntropy};

/// Everything that a request may need.
pub struct App {
    /// The time.
    pub clock: Box<dyn Clock>,
    /// Randomness.
    pub entropy: Box<dyn Entropy>,
    /// What callers may ask for.
    pub limits: Limits,
    /// The LiveKit server as browsers reach it.
    pub server_url: String,
    /// Signs LiveKit's tokens.
    pub signer: Signer,
    /// Which web pages may call.
    pub cors: Cors,
}

impl App {
    /// Wires the parts as the operator wants them.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            clock: Box::new(SystemClock),
            entropy: Box::new(SystemEntropy),
            limits: config.limits,
            signer: Signer::new(config.livekit.api_key, &config.livekit.api_secret),
            server_url: config.livekit.server_url,
            cors: config.cors,
        }
    }
}
