//! What an upstream is asked for, and why it may give nothing.

use std::time::{Duration, SystemTime};

use super::session::ModelOrVoice;
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::breaker::CallOutcome;

/// An upstream that is out of reach may be back after this.
const NETWORK_RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a secret is asked for.
#[derive(Debug, Clone)]
pub struct MintRequest {
    /// The model or deployment.
    pub model: ModelOrVoice,
    /// The voice.
    pub voice: ModelOrVoice,
    /// For whom.
    pub caller: CallerHash,
    /// The request's one clock reading.
    pub now: SystemTime,
}

/// Why there is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintError {
    /// The key, or the Entra token, is not here.
    NoCredential,
    /// Too many mints are in flight.
    Full,
    /// The breaker is open.
    Paused(Duration),
    /// No connection.
    Network,
    /// No answer in time.
    Timeout,
    /// 401 or 403.
    CredentialsRejected,
    /// 404.
    Misconfigured,
    /// 429, and after how long to come back.
    RateLimited(Duration),
    /// Another 4xx.
    Rejected,
    /// 5xx, a redirect, or an answer that is of no use. The cause is for the log.
    Failed(&'static str),
}

impl MintError {
    /// How long a caller should wait, where the upstream or its absence says so.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Full => Some(Duration::from_secs(1)),
            Self::Network => Some(NETWORK_RETRY_AFTER),
            Self::Paused(wait) | Self::RateLimited(wait) => Some(wait),
            Self::NoCredential
            | Self::Timeout
            | Self::CredentialsRejected
            | Self::Misconfigured
            | Self::Rejected
            | Self::Failed(_) => None,
        }
    }

    /// What it says about the upstream's health: one that refuses is well.
    #[must_use]
    pub fn finding(self) -> CallOutcome {
        match self {
            Self::Network | Self::Timeout | Self::Failed(_) => CallOutcome::Failed,
            Self::CredentialsRejected
            | Self::Misconfigured
            | Self::RateLimited(_)
            | Self::Rejected => CallOutcome::Answered,
            Self::NoCredential | Self::Full | Self::Paused(_) => CallOutcome::Unknown,
        }
    }
}
