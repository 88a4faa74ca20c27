//! The table of errors: one row for each code; those of providers are in `upstream_kinds.rs`. Texts
//! that depend on the failure are in `upstream.rs` and `project.rs`.

use http::StatusCode;

use super::kind::{DEFAULTS, ErrorKind};
use super::upstream_kinds::{
    UPSTREAM_CREDENTIALS_REJECTED, UPSTREAM_ERROR, UPSTREAM_MISCONFIGURED, UPSTREAM_RATE_LIMITED,
    UPSTREAM_REJECTED, UPSTREAM_TIMEOUT, UPSTREAM_UNAVAILABLE,
};

pub(super) const MISDIRECTED: ErrorKind = ErrorKind {
    code: "misdirected_request",
    status: StatusCode::MISDIRECTED_REQUEST,
    title: "The request is for another host.",
    remedy: "On a loopback address only requests for a name of this machine are served \
             (`localhost`, 127.0.0.1), so that no web page can reach the service under a host \
             name of its own. Operators: where a reverse proxy calls with its public name, set \
             ROOMKEY_TRUSTED_PROXIES.",
    remediation: Some(
        "Call localhost or 127.0.0.1. Behind a reverse proxy on this machine, set \
         ROOMKEY_TRUSTED_PROXIES to the proxy's address.",
    ),
    ..DEFAULTS
};

pub(super) const NOT_FOUND: ErrorKind = ErrorKind {
    code: "not_found",
    status: StatusCode::NOT_FOUND,
    title: "The resource was not found.",
    remedy: "Compare the path: a double slash or an encoded slash makes another path. Case and \
             one slash at the end do not matter. A project that does not exist or is not the \
             caller's looks the same.",
    ..DEFAULTS
};

pub(super) const METHOD_NOT_ALLOWED: ErrorKind = ErrorKind {
    code: "method_not_allowed",
    status: StatusCode::METHOD_NOT_ALLOWED,
    title: "The method is not allowed for this path.",
    remedy: "Use one of the methods in the `Allow` header.",
    ..DEFAULTS
};

pub(super) const OVERLOADED: ErrorKind = ErrorKind {
    code: "overloaded",
    status: StatusCode::SERVICE_UNAVAILABLE,
    retryable: true,
    title: "The service is at capacity.",
    remedy: "Wait for the time in `Retry-After`, then try again.",
    // Requests are short, so capacity is free again at once.
    retry_after: Some(1),
    ..DEFAULTS
};

pub(super) const ORIGIN_FORBIDDEN: ErrorKind = ErrorKind {
    code: "origin_forbidden",
    status: StatusCode::FORBIDDEN,
    title: "Requests from this web page are not allowed.",
    remedy: "Call from a page of the site itself. Operators: with `easy-auth` other pages must be \
             listed under `cors.allowedOrigins` in host.json, since a browser would send the \
             sign-in's cookie for any page.",
    remediation: Some("Add the page's origin to cors.allowedOrigins in host.json."),
    ..DEFAULTS
};

pub(super) const UNAUTHENTICATED: ErrorKind = ErrorKind {
    code: "unauthenticated",
    status: StatusCode::UNAUTHORIZED,
    title: "The credentials are missing or not valid.",
    remedy: "Send one `Authorization: Bearer` header with a fresh access token for this service, \
             or as an operator `X-Admin-API-Key`. All causes look alike; the operator's log and \
             metrics tell them apart.",
    challenge: Some(r#"Bearer realm="roomkey", error="invalid_token""#),
    ..DEFAULTS
};

/// A request without credentials is not told an error (RFC 6750 §3.1).
pub(super) const MISSING_CREDENTIALS: ErrorKind = ErrorKind {
    challenge: Some(r#"Bearer realm="roomkey""#),
    ..UNAUTHENTICATED
};

pub(super) const AUTH_UNAVAILABLE: ErrorKind = ErrorKind {
    code: "auth_unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    retryable: true,
    title: "Credentials cannot be checked at the moment.",
    remedy: "Try again after `Retry-After`. Operators: the identity provider's keys could not be \
             fetched; see docs/operations.md.",
    retry_after: Some(5),
    ..DEFAULTS
};

/// `Retry-After` comes from the budget, with the other headers of the rate limit.
pub(super) const RATE_LIMITED: ErrorKind = ErrorKind {
    code: "rate_limited",
    status: StatusCode::TOO_MANY_REQUESTS,
    retryable: true,
    title: "Too many requests.",
    remedy: "Wait for the time in `Retry-After`. The `RateLimit` headers in the responses of a \
             limited route tell how much is left.",
    ..DEFAULTS
};

/// `Retry-After` says when the oldest session ends by itself at the latest.
pub(super) const CONCURRENCY_LIMITED: ErrorKind = ErrorKind {
    code: "concurrency_limited",
    status: StatusCode::TOO_MANY_REQUESTS,
    retryable: true,
    title: "Too many sessions at the same time.",
    remedy: "End a session (`POST /api/session/end`), or wait for the time in `Retry-After`. \
             Operators: see ROOMKEY_PROJECT_CONCURRENCY.",
    ..DEFAULTS
};

pub(super) const UNSUPPORTED_MEDIA_TYPE: ErrorKind = ErrorKind {
    code: "unsupported_media_type",
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    title: "The request body is not declared as JSON.",
    remedy: "Send `Content-Type: application/json`, in UTF-8 and without `Content-Encoding`.",
    ..DEFAULTS
};

pub(super) const PAYLOAD_TOO_LARGE: ErrorKind = ErrorKind {
    code: "payload_too_large",
    status: StatusCode::PAYLOAD_TOO_LARGE,
    title: "The request body is too large.",
    remedy: "Send at most 16 KiB. The connection closes.",
    closes_connection: true,
    ..DEFAULTS
};

pub(super) const REQUEST_TIMEOUT: ErrorKind = ErrorKind {
    code: "request_timeout",
    status: StatusCode::REQUEST_TIMEOUT,
    title: "The request took too long.",
    remedy: "Send the whole request within 10 s. The connection closes.",
    closes_connection: true,
    ..DEFAULTS
};

pub(super) const MALFORMED_JSON: ErrorKind = ErrorKind {
    code: "malformed_json",
    status: StatusCode::BAD_REQUEST,
    title: "The request body is not valid JSON.",
    remedy: "Send one JSON object in UTF-8, without duplicate keys, comments or trailing bytes.",
    ..DEFAULTS
};

pub(super) const INVALID_REQUEST: ErrorKind = ErrorKind {
    code: "invalid_request",
    status: StatusCode::BAD_REQUEST,
    title: "The request is not valid.",
    remedy: "`errors` names each field and what it must be; at most 20 are listed.",
    ..DEFAULTS
};

pub(super) const INSUFFICIENT_SCOPE: ErrorKind = ErrorKind {
    code: "insufficient_scope",
    status: StatusCode::FORBIDDEN,
    title: "A required scope or role is missing.",
    remedy: "Request an access token with the scope or role that this service requires; operator \
             routes require the operators' role.",
    challenge: Some(r#"Bearer realm="roomkey", error="insufficient_scope""#),
    ..DEFAULTS
};

pub(super) const IDENTITY_MISMATCH: ErrorKind = ErrorKind {
    code: "identity_mismatch",
    status: StatusCode::FORBIDDEN,
    title: "The requested identity is not the caller's.",
    remedy: "Leave the identity out: it is derived from the caller's credentials.",
    ..DEFAULTS
};

pub(super) const ROOM_FORBIDDEN: ErrorKind = ErrorKind {
    code: "room_forbidden",
    status: StatusCode::FORBIDDEN,
    title: "The caller may not join this room.",
    remedy: "Request a room that the caller may join.",
    ..DEFAULTS
};

pub(super) const CONFLICT: ErrorKind = ErrorKind {
    code: "conflict",
    status: StatusCode::CONFLICT,
    title: "The resource exists already, or is newer than the request.",
    remedy: "To replace a project's key, send the `ETag` of its last save or listing, or `*`, in \
             `If-Match`. A key is not resealed under an older key-encryption key.",
    ..DEFAULTS
};

pub(super) const PRECONDITION_FAILED: ErrorKind = ErrorKind {
    code: "precondition_failed",
    status: StatusCode::PRECONDITION_FAILED,
    title: "The resource is not in the state that If-Match names.",
    remedy: "Read the current `etag` with `GET /api/projects`, and decide again.",
    ..DEFAULTS
};

pub(super) const RECORD_CORRUPT: ErrorKind = ErrorKind {
    code: "record_corrupt",
    status: StatusCode::INTERNAL_SERVER_ERROR,
    title: "A stored record cannot be opened.",
    remedy: "Operators: the record was changed outside of this service, or the key-encryption key \
             under its version is another key. It is kept as it is; restore it from a backup, or \
             save the project's key again.",
    ..DEFAULTS
};

pub(super) const STORE_UNAVAILABLE: ErrorKind = ErrorKind {
    code: "store_unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    retryable: true,
    title: "The store is not available at the moment.",
    remedy: "Try again after `Retry-After`. Operators: the log line `the store is not available` \
             has the cause; see docs/operations.md.",
    retry_after: Some(5),
    ..DEFAULTS
};

pub(super) const SECRET_UNAVAILABLE: ErrorKind = ErrorKind {
    code: "secret_unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    retryable: true,
    title: "A required secret is not available yet.",
    remedy: "Try again after `Retry-After`. Operators: `GET /api/health/ready` names the missing \
             secret; see docs/operations.md.",
    remediation: Some(
        "Put the secret into Key Vault under the name that the settings give, and let the app's \
         identity read it (role Key Vault Secrets User).",
    ),
    retry_after: Some(5),
    ..DEFAULTS
};

pub(super) const INTERNAL: ErrorKind = ErrorKind {
    code: "internal",
    status: StatusCode::INTERNAL_SERVER_ERROR,
    title: "An internal error occurred.",
    remedy: "A fault of this service. The log line with the same request id has the cause.",
    ..DEFAULTS
};

/// The row of each code, in the order of refusal.
pub const ERROR_KINDS: &[&ErrorKind] = &[
    &MISDIRECTED,
    &NOT_FOUND,
    &METHOD_NOT_ALLOWED,
    &OVERLOADED,
    &ORIGIN_FORBIDDEN,
    &UNAUTHENTICATED,
    &AUTH_UNAVAILABLE,
    &RATE_LIMITED,
    &CONCURRENCY_LIMITED,
    &UNSUPPORTED_MEDIA_TYPE,
    &PAYLOAD_TOO_LARGE,
    &REQUEST_TIMEOUT,
    &MALFORMED_JSON,
    &INVALID_REQUEST,
    &INSUFFICIENT_SCOPE,
    &IDENTITY_MISMATCH,
    &ROOM_FORBIDDEN,
    &CONFLICT,
    &PRECONDITION_FAILED,
    &SECRET_UNAVAILABLE,
    &STORE_UNAVAILABLE,
    &RECORD_CORRUPT,
    &UPSTREAM_UNAVAILABLE,
    &UPSTREAM_RATE_LIMITED,
    &UPSTREAM_CREDENTIALS_REJECTED,
    &UPSTREAM_MISCONFIGURED,
    &UPSTREAM_REJECTED,
    &UPSTREAM_ERROR,
    &UPSTREAM_TIMEOUT,
    &INTERNAL,
];
