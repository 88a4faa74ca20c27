//! What is the same for all errors of one code.

use http::StatusCode;

use super::{Kind, upstream};

pub(super) const fn kind(
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    remedy: &'static str,
) -> Kind {
    Kind {
        code,
        status,
        title,
        remedy,
    }
}

pub(super) const MALFORMED_JSON: Kind = kind(
    "malformed_json",
    StatusCode::BAD_REQUEST,
    "The body is not JSON.",
    "Send one JSON object in UTF-8: no key twice, no comments, nothing after it.",
);
pub(super) const INVALID_REQUEST: Kind = kind(
    "invalid_request",
    StatusCode::BAD_REQUEST,
    "The request is not valid.",
    "`errors` names each field and what it must be; at most 20 are listed.",
);
pub(super) const NOT_FOUND: Kind = kind(
    "not_found",
    StatusCode::NOT_FOUND,
    "There is no such route.",
    "Compare the path: a double slash or an encoded slash makes another one. Case and one slash at the end do not matter.",
);
pub(super) const METHOD_NOT_ALLOWED: Kind = kind(
    "method_not_allowed",
    StatusCode::METHOD_NOT_ALLOWED,
    "This route does not have this method.",
    "The header `Allow` lists those it has.",
);
pub(super) const MISDIRECTED: Kind = kind(
    "misdirected_request",
    StatusCode::MISDIRECTED_REQUEST,
    "The request is for another machine.",
    "On a loopback address only names of this machine are served (`localhost`, 127.0.0.1), so that no web page can reach the service under a \
     name of its own. Operators: where a reverse proxy calls with its public name, set ROOMKEY_TRUSTED_PROXIES.",
);
/// What an operator can do about it, for the body of the answer.
pub(super) const MISDIRECTED_REMEDIATION: &str = "Ask for localhost or 127.0.0.1. Behind a reverse proxy on this machine, set ROOMKEY_TRUSTED_PROXIES to the proxy's address.";
pub(super) const UNAUTHENTICATED: Kind = kind(
    "unauthenticated",
    StatusCode::UNAUTHORIZED,
    "Credentials are needed, or those sent are not accepted.",
    "Send one `Authorization: Bearer` header with a fresh access token for this service, or as an operator `X-Admin-API-Key`. All causes \
     look alike; the operator's log and metrics tell them apart.",
);
pub(super) const ORIGIN_FORBIDDEN: Kind = kind(
    "origin_forbidden",
    StatusCode::FORBIDDEN,
    "This web page may not ask.",
    "Call from a page of the site itself. Operators: with `easy-auth` other pages must be listed under `cors.allowedOrigins` in \
     host.json, since a browser would send the sign-in's cookie for any page.",
);
pub(super) const AUTH_UNAVAILABLE: Kind = kind(
    "auth_unavailable",
    StatusCode::SERVICE_UNAVAILABLE,
    "Credentials cannot be checked at present.",
    "Try again after `Retry-After`. Operators: the identity provider's keys could not be fetched; see docs/operations.md.",
);
pub(super) const RATE_LIMITED: Kind = kind(
    "rate_limited",
    StatusCode::TOO_MANY_REQUESTS,
    "Too many requests.",
    "Wait for as long as `Retry-After` says. The `RateLimit` headers of a limited route's answers tell how much is left.",
);
pub(super) const INSUFFICIENT_SCOPE: Kind = kind(
    "insufficient_scope",
    StatusCode::FORBIDDEN,
    "A scope or role is missing.",
    "Ask for an access token with the scope or role that this service requires; operator routes want the operators' role.",
);
pub(super) const IDENTITY_MISMATCH: Kind = kind(
    "identity_mismatch",
    StatusCode::FORBIDDEN,
    "This identity is not yours.",
    "Leave the identity out: it follows from who you are.",
);
pub(super) const ROOM_FORBIDDEN: Kind = kind(
    "room_forbidden",
    StatusCode::FORBIDDEN,
    "This room is not open to you.",
    "Ask for a room that you may enter.",
);
pub(super) const PAYLOAD_TOO_LARGE: Kind = kind(
    "payload_too_large",
    StatusCode::PAYLOAD_TOO_LARGE,
    "The body is too large.",
    "Send at most 16 KiB. The connection closes.",
);
pub(super) const UNSUPPORTED_MEDIA_TYPE: Kind = kind(
    "unsupported_media_type",
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "The body is not declared as JSON.",
    "Send `Content-Type: application/json`, in UTF-8 and without `Content-Encoding`.",
);
pub(super) const REQUEST_TIMEOUT: Kind = kind(
    "request_timeout",
    StatusCode::REQUEST_TIMEOUT,
    "The request took too long.",
    "Send all of it within 10 s. The connection closes.",
);
pub(super) const OVERLOADED: Kind = kind(
    "overloaded",
    StatusCode::SERVICE_UNAVAILABLE,
    "The service is full.",
    "Wait for as long as `Retry-After` says, then try again.",
);
pub(super) const INTERNAL: Kind = kind(
    "internal",
    StatusCode::INTERNAL_SERVER_ERROR,
    "Something went wrong here.",
    "A fault of ours. The log line with the same request id has the cause.",
);

/// All kinds, in the order of refusal.
pub const KINDS: [&Kind; 25] = [
    &MISDIRECTED,
    &NOT_FOUND,
    &METHOD_NOT_ALLOWED,
    &OVERLOADED,
    &ORIGIN_FORBIDDEN,
    &UNAUTHENTICATED,
    &AUTH_UNAVAILABLE,
    &RATE_LIMITED,
    &UNSUPPORTED_MEDIA_TYPE,
    &PAYLOAD_TOO_LARGE,
    &REQUEST_TIMEOUT,
    &MALFORMED_JSON,
    &INVALID_REQUEST,
    &INSUFFICIENT_SCOPE,
    &IDENTITY_MISMATCH,
    &ROOM_FORBIDDEN,
    &upstream::SECRET_UNAVAILABLE,
    &upstream::UNAVAILABLE,
    &upstream::RATE_LIMITED,
    &upstream::CREDENTIALS_REJECTED,
    &upstream::MISCONFIGURED,
    &upstream::REJECTED,
    &upstream::ERROR,
    &upstream::TIMEOUT,
    &INTERNAL,
];
