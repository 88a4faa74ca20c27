//! Requests to an upstream for one client secret, and the reasons why they fail.

use std::time::{Duration, SystemTime};

use super::session::ModelOrVoice;
use super::upstream_id::UpstreamId;
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::breaker::CallOutcome;

/// The time after which an unreachable upstream may be back.
const NETWORK_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A request for one client secret.
#[derive(Debug, Clone)]
pub struct MintRequest {
    /// The model or deployment.
    pub model: ModelOrVoice,
    /// The voice.
    pub voice: ModelOrVoice,
    /// The caller who gets the secret.
    pub caller: CallerHash,
    /// The request's one clock reading.
    pub now: SystemTime,
}

/// The outcome of a mint.
#[derive(Debug)]
pub struct Minted<T> {
    /// The secret, or why there is none.
    pub outcome: Result<T, MintError>,
    /// The upstream's id of the last request, for its support.
    pub upstream_id: Option<UpstreamId>,
    /// The time that the mint took, both attempts and the pause between them.
    pub duration: Duration,
}

/// The reason why no secret was minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The API key or the Entra token is not available.
    #[error("the credential for the upstream is not available")]
    NoCredential,
    /// Too many mints are in flight.
    #[error("too many mints are in flight")]
    Full,
    /// The circuit breaker is open for the given time.
    #[error("the circuit breaker of the upstream is open")]
    Paused(Duration),
    /// No connection could be made.
    #[error("the upstream is unreachable")]
    Network,
    /// No response arrived in time.
    #[error("the upstream did not respond in time")]
    Timeout,
    /// The upstream answered 401 or 403.
    #[error("the upstream rejected the credential")]
    CredentialsRejected,
    /// The upstream answered 404.
    #[error("the upstream does not know the deployment or model")]
    Misconfigured,
    /// The upstream answered 429, to be retried after the given time.
    #[error("the upstream limits the request rate")]
    RateLimited(Duration),
    /// The upstream answered another 4xx.
    #[error("the upstream rejected the request")]
    Rejected,
    /// The upstream answered 5xx, a redirect or an unusable response. The cause is for the log.
    #[error("{0}")]
    Failed(&'static str),
}

impl MintError {
    /// The upstream answered 5xx.
    pub const SERVER_ERROR: Self = Self::Failed("the upstream returned 5xx");

    /// Returns the time after which a caller should retry, if it is known.
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

    /// Returns the word for the error in traces.
    #[must_use]
    pub fn error_type(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::Full => "full",
            Self::Paused(_) => "paused",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::CredentialsRejected => "credentials_rejected",
            Self::Misconfigured => "misconfigured",
            Self::RateLimited(_) => "rate_limited",
            Self::Rejected => "rejected",
            Self::Failed(_) => "failed",
        }
    }

    /// Returns the outcome for the circuit breaker: an upstream that refuses is healthy.
    #[must_use]
    pub fn outcome(self) -> CallOutcome {
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
