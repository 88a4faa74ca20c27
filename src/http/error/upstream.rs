//! The errors of a mint at an upstream. The upstream's own words never appear in them.

use super::kind::ErrorKind;
use super::kinds::{OVERLOADED, SECRET_UNAVAILABLE};
use super::upstream_kinds::{
    UPSTREAM_CREDENTIALS_REJECTED, UPSTREAM_ERROR, UPSTREAM_MISCONFIGURED, UPSTREAM_RATE_LIMITED,
    UPSTREAM_REJECTED, UPSTREAM_TIMEOUT, UPSTREAM_UNAVAILABLE,
};
use crate::domain::realtime::mint::MintError;

/// The texts of one failure of a mint, in addition to the row of its code.
pub(super) struct MintFailure {
    pub kind: &'static ErrorKind,
    pub detail: &'static str,
    pub remediation: &'static str,
    /// The cause for the log, where the code does not tell it.
    pub cause: Option<&'static str>,
}

/// Returns the texts of a failure.
pub(super) const fn failure(error: MintError) -> MintFailure {
    match error {
        MintError::NoCredential => MintFailure {
            kind: &SECRET_UNAVAILABLE,
            detail: "The credential for the provider is not available yet.",
            remediation: "By key: put it into Key Vault under the name that the settings give, \
                          and let the app's identity read it. By Entra token: give the app a \
                          managed identity, and name it in AZURE_CLIENT_ID if it is \
                          user-assigned.",
            cause: None,
        },
        MintError::Full => MintFailure {
            kind: &OVERLOADED,
            detail: "Too many requests to providers are in progress; this one was not sent.",
            remediation: "Add instances, or see roomkey_upstream_duration_seconds: a slow \
                          provider keeps many requests waiting.",
            cause: Some("too many mints in flight"),
        },
        MintError::Paused(_) => MintFailure {
            kind: &UPSTREAM_UNAVAILABLE,
            detail: "The provider has failed several times and is not called for a while.",
            remediation: "See the earlier failures in the log; the provider is tried again \
                          automatically after 30 s.",
            cause: Some("the breaker is open"),
        },
        MintError::Network => MintFailure {
            kind: &UPSTREAM_UNAVAILABLE,
            detail: "The connection to the provider failed.",
            remediation: "Check the configured address, and DNS, firewall and network between \
                          this service and the provider.",
            cause: None,
        },
        MintError::Timeout => MintFailure {
            kind: &UPSTREAM_TIMEOUT,
            detail: "The provider was called and did not respond within the deadline.",
            remediation: "See the provider's status page and roomkey_upstream_duration_seconds.",
            cause: None,
        },
        MintError::CredentialsRejected => MintFailure {
            kind: &UPSTREAM_CREDENTIALS_REJECTED,
            detail: "The provider responded that this service is not authorized.",
            remediation: "Renew the provider's API key, or grant the managed identity the role \
                          Cognitive Services OpenAI User on the resource.",
            cause: None,
        },
        MintError::Misconfigured => MintFailure {
            kind: &UPSTREAM_MISCONFIGURED,
            detail: "The provider responded that the deployment, model or path does not exist.",
            remediation: "Compare the configured endpoint and deployment or model with what \
                          exists at the provider.",
            cause: None,
        },
        MintError::RateLimited(_) => MintFailure {
            kind: &UPSTREAM_RATE_LIMITED,
            detail: "The provider responded that this service sends too many requests.",
            remediation: "Raise the quota at the provider, or lower ROOMKEY_REALTIME_RATE_LIMIT.",
            cause: None,
        },
        MintError::Rejected => MintFailure {
            kind: &UPSTREAM_REJECTED,
            detail: "The provider responded that it does not accept the request.",
            remediation: "Compare the configured session, model and voice with what the provider \
                          accepts.",
            cause: None,
        },
        MintError::Failed(cause) => MintFailure {
            kind: &UPSTREAM_ERROR,
            detail: "The provider failed, or its response contains no usable client secret.",
            remediation: "See the provider's status page; the log line with the same request id \
                          has the cause and the provider's own id.",
            cause: Some(cause),
        },
    }
}

/// Returns the texts of a failure at the provider of TURN servers.
pub(super) const fn turn_failure(error: MintError) -> MintFailure {
    let failure = failure(error);
    let remediation = match error {
        MintError::NoCredential => {
            "Put the TURN key's API token into Key Vault under the name that the settings give, \
             and let the app's identity read it."
        }
        MintError::CredentialsRejected => {
            "Renew CLOUDFLARE_TURN_API_TOKEN: it must be the API token of the TURN key, not one \
             of the account."
        }
        MintError::Misconfigured => {
            "Compare CLOUDFLARE_TURN_KEY_ID with the TURN keys in Cloudflare's dashboard."
        }
        MintError::RateLimited(_) => {
            "Lower ROOMKEY_RATE_LIMIT: clients request TURN credentials more often than \
             Cloudflare allows."
        }
        MintError::Rejected => "Compare ROOMKEY_TURN_SECONDS with what Cloudflare accepts.",
        MintError::Full
        | MintError::Paused(_)
        | MintError::Network
        | MintError::Timeout
        | MintError::Failed(_) => failure.remediation,
    };
    let detail = match error {
        MintError::Misconfigured => "The provider responded that the TURN key does not exist.",
        MintError::Failed(_) => {
            "The provider failed, or its response contains no usable TURN credentials."
        }
        MintError::NoCredential
        | MintError::Full
        | MintError::Paused(_)
        | MintError::Network
        | MintError::Timeout
        | MintError::CredentialsRejected
        | MintError::RateLimited(_)
        | MintError::Rejected => failure.detail,
    };
    MintFailure {
        detail,
        remediation,
        ..failure
    }
}
