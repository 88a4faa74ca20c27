//! The rows of the errors of providers. A provider's own words are in none of them.

use http::StatusCode;

use super::kind::{DEFAULTS, ErrorKind};

/// `Retry-After` comes from the upstream or its breaker.
pub(super) const UPSTREAM_UNAVAILABLE: ErrorKind = ErrorKind {
    code: "upstream_unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    retryable: true,
    title: "The provider cannot be reached.",
    remedy: "Wait for the time in `Retry-After`. Operators: see `roomkey_breaker_state` and \
             `GET /api/diagnostics/realtime`.",
    ..DEFAULTS
};

/// `Retry-After` comes from the upstream.
pub(super) const UPSTREAM_RATE_LIMITED: ErrorKind = ErrorKind {
    code: "upstream_rate_limited",
    status: StatusCode::SERVICE_UNAVAILABLE,
    retryable: true,
    title: "The provider's rate limit is reached.",
    remedy: "Wait for the time in `Retry-After`. Operators: the quota at the provider is used up, \
             for a while or for good.",
    ..DEFAULTS
};

pub(super) const UPSTREAM_CREDENTIALS_REJECTED: ErrorKind = ErrorKind {
    code: "upstream_credentials_rejected",
    status: StatusCode::BAD_GATEWAY,
    title: "The provider rejected this service's credentials.",
    remedy: "A caller cannot change this. Operators: renew the key, or give the managed identity \
             the role Cognitive Services OpenAI User on the resource (it takes effect after about \
             five minutes); a firewall of the resource gives the same response. TURN: renew \
             CLOUDFLARE_TURN_API_TOKEN.",
    ..DEFAULTS
};

pub(super) const UPSTREAM_MISCONFIGURED: ErrorKind = ErrorKind {
    code: "upstream_misconfigured",
    status: StatusCode::BAD_GATEWAY,
    title: "The provider does not have the configured deployment, model or TURN key.",
    remedy: "A caller cannot change this. Operators: compare AZURE_OPENAI_ENDPOINT and \
             AZURE_OPENAI_DEPLOYMENT, or OPENAI_BASE_URL and ROOMKEY_OPENAI_MODEL, with what \
             exists there; a new deployment takes about five minutes. TURN: compare \
             CLOUDFLARE_TURN_KEY_ID.",
    ..DEFAULTS
};

pub(super) const UPSTREAM_REJECTED: ErrorKind = ErrorKind {
    code: "upstream_rejected",
    status: StatusCode::BAD_GATEWAY,
    title: "The provider rejected the request.",
    remedy: "Try another `voice` or `model`, if one was chosen. Operators: \
             ROOMKEY_REALTIME_SESSION may contain something that this provider or model does not \
             accept.",
    ..DEFAULTS
};

pub(super) const UPSTREAM_ERROR: ErrorKind = ErrorKind {
    code: "upstream_error",
    status: StatusCode::BAD_GATEWAY,
    retryable: true,
    title: "The provider returned an unusable response.",
    remedy: "Try again. Operators: the log line with the same request id has the cause.",
    ..DEFAULTS
};

pub(super) const UPSTREAM_TIMEOUT: ErrorKind = ErrorKind {
    code: "upstream_timeout",
    status: StatusCode::GATEWAY_TIMEOUT,
    retryable: true,
    title: "The provider did not respond in time.",
    remedy: "Try again. Operators: `roomkey_upstream_duration_seconds` shows how long the \
             provider takes.",
    ..DEFAULTS
};
