//! What a caller is told when a Realtime upstream gave no secret. The upstream's own words are
//! never among it.

use std::time::Duration;

use http::StatusCode;

use super::kinds::{OVERLOADED, kind as new};
use super::{KEYS_RETRY_AFTER_SECONDS, Kind};
use crate::domain::realtime::mint::MintError;

pub(super) const SECRET_UNAVAILABLE: Kind = new(
    "secret_unavailable",
    StatusCode::SERVICE_UNAVAILABLE,
    "A secret that is needed is not here.",
    "Try again after `Retry-After`. Operators: `GET /api/health/ready` says which one is missing; see docs/operations.md.",
);
pub(super) const CREDENTIALS_REJECTED: Kind = new(
    "upstream_credentials_rejected",
    StatusCode::BAD_GATEWAY,
    "The provider does not accept this service's credentials.",
    "Nothing that a caller can change. Operators: renew the key, or give the managed identity the role Cognitive Services OpenAI User on the \
     resource (it takes effect after about five minutes); a firewall of the resource answers alike.",
);
pub(super) const MISCONFIGURED: Kind = new(
    "upstream_misconfigured",
    StatusCode::BAD_GATEWAY,
    "The provider does not have what this service asks for.",
    "Nothing that a caller can change. Operators: compare AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_DEPLOYMENT, or OPENAI_BASE_URL and \
     ROOMKEY_OPENAI_MODEL, with what exists there; a new deployment takes about five minutes.",
);
pub(super) const REJECTED: Kind = new(
    "upstream_rejected",
    StatusCode::BAD_GATEWAY,
    "The provider refuses what this service asks for.",
    "Try another `voice` or `model`, if one was chosen. Operators: ROOMKEY_REALTIME_SESSION may hold something that this provider or model \
     does not take.",
);
pub(super) const ERROR: Kind = new(
    "upstream_error",
    StatusCode::BAD_GATEWAY,
    "The provider's answer is of no use.",
    "Try again. Operators: the log line with the same request id has the cause.",
);
pub(super) const RATE_LIMITED: Kind = new(
    "upstream_rate_limited",
    StatusCode::SERVICE_UNAVAILABLE,
    "The provider limits this service.",
    "Wait for as long as `Retry-After` says. Operators: the quota at the provider is used up, for a while or for good.",
);
pub(super) const UNAVAILABLE: Kind = new(
    "upstream_unavailable",
    StatusCode::SERVICE_UNAVAILABLE,
    "The provider cannot be reached.",
    "Wait for as long as `Retry-After` says. Operators: `roomkey_breaker_state` and `GET /api/diagnostics/realtime` tell more.",
);
pub(super) const TIMEOUT: Kind = new(
    "upstream_timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "The provider did not answer in time.",
    "Try again. Operators: `roomkey_upstream_duration_seconds` shows how long the provider takes.",
);

/// What is the same for all errors of one code.
pub(super) fn kind(error: MintError) -> &'static Kind {
    match error {
        MintError::NoCredential => &SECRET_UNAVAILABLE,
        MintError::Full => &OVERLOADED,
        MintError::Paused(_) | MintError::Network => &UNAVAILABLE,
        MintError::Timeout => &TIMEOUT,
        MintError::CredentialsRejected => &CREDENTIALS_REJECTED,
        MintError::Misconfigured => &MISCONFIGURED,
        MintError::RateLimited(_) => &RATE_LIMITED,
        MintError::Rejected => &REJECTED,
        MintError::Failed(_) => &ERROR,
    }
}

/// For a person; about this one error.
pub(super) fn detail(error: MintError) -> &'static str {
    match error {
        MintError::NoCredential => "The credential for the provider is not here yet.",
        MintError::Full => "Too many requests wait for providers; this one was not sent.",
        MintError::Paused(_) => {
            "The provider has failed several times, and is left alone for a while."
        }
        MintError::Network => "No connection to the provider.",
        MintError::Timeout => "The provider was asked, and its time is over.",
        MintError::CredentialsRejected => "The provider answered that this service may not ask.",
        MintError::Misconfigured => {
            "The provider answered that there is no such deployment, model or path."
        }
        MintError::RateLimited(_) => "The provider answered that this service has asked too often.",
        MintError::Rejected => "The provider answered that the request is not one that it serves.",
        MintError::Failed(_) => {
            "The provider failed, or what it answered is not a secret that can be used."
        }
    }
}

/// What only the log may say.
pub(super) fn cause(error: MintError) -> Option<&'static str> {
    match error {
        MintError::Failed(cause) => Some(cause),
        MintError::Full => Some("too many mints in flight"),
        MintError::Paused(_) => Some("the breaker is open"),
        MintError::NoCredential
        | MintError::Network
        | MintError::Timeout
        | MintError::CredentialsRejected
        | MintError::Misconfigured
        | MintError::RateLimited(_)
        | MintError::Rejected => None,
    }
}

/// What an operator can do about a secret that has not come, whichever it is.
pub(super) const SECRET_REMEDIATION: &str = "Put the secret into Key Vault under the name that the settings give, and let the app's identity read it (role Key Vault Secrets User).";

/// What an operator can do, for the body of the answer.
pub(super) fn remediation(error: MintError) -> &'static str {
    match error {
        MintError::NoCredential => {
            "By key: put it into Key Vault under the name that the settings give, and let the app's identity read it. By Entra token: give the \
             app a managed identity, and name it in AZURE_CLIENT_ID if it is user-assigned."
        }
        MintError::CredentialsRejected => {
            "Renew the provider's API key, or grant the managed identity the role Cognitive Services OpenAI User on the resource."
        }
        MintError::Misconfigured => {
            "Compare the configured endpoint and deployment or model with what exists at the provider."
        }
        MintError::Rejected => {
            "Compare the configured session, model and voice with what the provider takes."
        }
        MintError::RateLimited(_) => {
            "Raise the quota at the provider, or lower ROOMKEY_REALTIME_RATE_LIMIT."
        }
        MintError::Full => {
            "Add instances, or look at roomkey_upstream_duration_seconds: a slow provider keeps many waiting."
        }
        MintError::Paused(_) => {
            "Look for the failures before this one in the log; it is tried again by itself after 30 s."
        }
        MintError::Network => {
            "Check the configured address, and DNS, firewall and network between here and the provider."
        }
        MintError::Timeout => {
            "Look at the provider's status page, and at roomkey_upstream_duration_seconds."
        }
        MintError::Failed(_) => {
            "Look at the provider's status page; the log line with the same request id has the cause, and the provider's own id."
        }
    }
}

/// Whole seconds, never none.
pub(super) fn retry_after(error: MintError) -> Option<u64> {
    let wait = if error == MintError::NoCredential {
        Some(Duration::from_secs(KEYS_RETRY_AFTER_SECONDS))
    } else {
        error.retry_after()
    };
    wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
        .map(|seconds| seconds.max(1))
}
