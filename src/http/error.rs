//! One error type, one shape on the wire: problem details (RFC 9457).
//!
//! No text here ever holds a value that the client sent, what an upstream said, or a secret. `docs/errors.md` is written from
//! [`KINDS`].

use http::StatusCode;
use http::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use uuid::Uuid;

use super::reply::{self, Reply};
use super::request::MAX_BODY_BYTES;
use super::routes;
use crate::domain::access_token::CannotSign;
use crate::domain::caller::Forbidden;
use crate::domain::fields::{FieldError, MAX_LISTED_ERRORS, Refused};

/// Everything that can go wrong with a request.
#[derive(Debug)]
pub enum ApiError {
    /// The body is not one strict JSON object.
    MalformedJson,
    /// Fields are wrong, unknown or missing.
    InvalidRequest(Vec<FieldError>),
    /// No, bad or expired credentials; the reason reaches only the log, and there is none where there were no credentials.
    Unauthenticated(Option<&'static str>),
    /// A scope or role is missing.
    InsufficientScope,
    /// The identity belongs to someone else.
    IdentityMismatch,
    /// The room is not one of the caller's.
    RoomForbidden,
    /// A budget is used up.
    RateLimited,
    /// The identity provider's keys are not there.
    AuthUnavailable,
    /// A key of ours is not there yet.
    SecretUnavailable,
    /// No such route.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed {
        /// The path, as the route table has it.
        path: &'static str,
    },
    /// The body is too large.
    PayloadTooLarge,
    /// The body is not declared as JSON in UTF-8.
    UnsupportedMediaType,
    /// The request was not complete in time.
    RequestTimeout,
    /// Too many connections or requests at once.
    Overloaded,
    /// A fault of ours. The cause reaches only the log.
    Internal(&'static str),
}

/// What is the same for all errors of one code.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Stable, for programs.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// For a person; the same for all errors of this code.
    pub title: &'static str,
    /// When it happens and what to do, for `docs/errors.md`.
    pub remedy: &'static str,
}

const fn kind(code: &'static str, status: StatusCode, title: &'static str, remedy: &'static str) -> Kind {
    Kind { code, status, title, remedy }
}

const MALFORMED_JSON: Kind = kind(
    "malformed_json",
    StatusCode::BAD_REQUEST,
    "The body is not JSON.",
    "Send one JSON object in UTF-8: no key twice, no comments, nothing after it.",
);
const INVALID_REQUEST: Kind = kind(
    "invalid_request",
    StatusCode::BAD_REQUEST,
    "The request is not valid.",
    "`errors` names each field and what it must be; at most 20 are listed.",
);
const NOT_FOUND: Kind = kind(
    "not_found",
    StatusCode::NOT_FOUND,
    "There is no such route.",
    "Compare the path byte for byte: a trailing slash, other case or an encoded slash is another path.",
);
const METHOD_NOT_ALLOWED: Kind = kind(
    "method_not_allowed",
    StatusCode::METHOD_NOT_ALLOWED,
    "This route does not have this method.",
    "The header `Allow` lists those it has.",
);
const UNAUTHENTICATED: Kind = kind(
    "unauthenticated",
    StatusCode::UNAUTHORIZED,
    "Credentials are needed, or those sent are not accepted.",
    "Send one `Authorization: Bearer` header with a fresh access token for this service, or as an operator `X-Admin-API-Key`. All causes \
     look alike; the operator's log and metrics tell them apart.",
);
const AUTH_UNAVAILABLE: Kind = kind(
    "auth_unavailable",
    StatusCode::SERVICE_UNAVAILABLE,
    "Credentials cannot be checked at present.",
    "Try again after `Retry-After`. Operators: the identity provider's keys could not be fetched; see docs/operations.md.",
);
const SECRET_REMEDY: &str =
    "Try again after `Retry-After`. Operators: Key Vault has not given a secret; `/api/health/ready` says which, the log why.";
const SECRET_UNAVAILABLE: Kind =
    kind("secret_unavailable", StatusCode::SERVICE_UNAVAILABLE, "A key of this service is not there yet.", SECRET_REMEDY);
const RATE_LIMITED: Kind = kind(
    "rate_limited",
    StatusCode::TOO_MANY_REQUESTS,
    "Too many requests.",
    "Wait for as long as `Retry-After` says. The `RateLimit` headers of a limited route's answers tell how much is left.",
);
const INSUFFICIENT_SCOPE: Kind = kind(
    "insufficient_scope",
    StatusCode::FORBIDDEN,
    "A scope or role is missing.",
    "Ask for an access token with the scope or role that this service requires; operator routes want the operators' role.",
);
const IDENTITY_MISMATCH: Kind =
    kind("identity_mismatch", StatusCode::FORBIDDEN, "This identity is not yours.", "Leave the identity out: it follows from who you are.");
const ROOM_FORBIDDEN: Kind =
    kind("room_forbidden", StatusCode::FORBIDDEN, "This room is not open to you.", "Ask for a room that you may enter.");
const PAYLOAD_TOO_LARGE: Kind =
    kind("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.", "Send at most 16 KiB. The connection closes.");
const UNSUPPORTED_MEDIA_TYPE: Kind = kind(
    "unsupported_media_type",
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "The body is not declared as JSON.",
    "Send `Content-Type: application/json`, in UTF-8 and without `Content-Encoding`.",
);
const REQUEST_TIMEOUT: Kind = kind(
    "request_timeout",
    StatusCode::REQUEST_TIMEOUT,
    "The request took too long.",
    "Send all of it within 10 s. The connection closes.",
);
const OVERLOADED: Kind =
    kind("overloaded", StatusCode::SERVICE_UNAVAILABLE, "The service is full.", "Wait for as long as `Retry-After` says, then try again.");
const INTERNAL: Kind = kind(
    "internal",
    StatusCode::INTERNAL_SERVER_ERROR,
    "Something went wrong here.",
    "A fault of ours. The log line with the same request id has the cause.",
);

/// All kinds, in the order of refusal.
pub const KINDS: [&Kind; 16] = [
    &NOT_FOUND,
    &METHOD_NOT_ALLOWED,
    &OVERLOADED,
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
    &SECRET_UNAVAILABLE,
    &INTERNAL,
];

impl Kind {
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
    }
}

/// Seconds after which a full service is worth another try: requests are short, so seats come free at once.
pub(super) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Seconds after which an identity provider that was out of reach may have been asked again.
pub(super) const KEYS_RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// RFC 6750 §3: what to present, and what was wrong with it. A request without credentials is told no error.
const NO_CREDENTIALS: HeaderValue = HeaderValue::from_static(r#"Bearer realm="roomkey""#);
const INVALID_TOKEN: HeaderValue = HeaderValue::from_static(r#"Bearer realm="roomkey", error="invalid_token""#);
const MISSING_SCOPE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="roomkey", error="insufficient_scope""#);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    request_id: Uuid,
    retryable: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl ApiError {
    /// What is the same for all errors of this code.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        match self {
            Self::MalformedJson => &MALFORMED_JSON,
            Self::InvalidRequest(_) => &INVALID_REQUEST,
            Self::Unauthenticated(_) => &UNAUTHENTICATED,
            Self::InsufficientScope => &INSUFFICIENT_SCOPE,
            Self::IdentityMismatch => &IDENTITY_MISMATCH,
            Self::RoomForbidden => &ROOM_FORBIDDEN,
            Self::RateLimited => &RATE_LIMITED,
            Self::AuthUnavailable => &AUTH_UNAVAILABLE,
            Self::SecretUnavailable => &SECRET_UNAVAILABLE,
            Self::NotFound => &NOT_FOUND,
            Self::MethodNotAllowed { .. } => &METHOD_NOT_ALLOWED,
            Self::PayloadTooLarge => &PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => &UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTimeout => &REQUEST_TIMEOUT,
            Self::Overloaded => &OVERLOADED,
            Self::Internal(_) => &INTERNAL,
        }
    }

    /// What only the log may say.
    #[must_use]
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Internal(cause) => Some(cause),
            Self::Unauthenticated(reason) => *reason,
            Self::MalformedJson
            | Self::InsufficientScope
            | Self::IdentityMismatch
            | Self::RoomForbidden
            | Self::RateLimited
            | Self::AuthUnavailable
            | Self::SecretUnavailable
            | Self::InvalidRequest(_)
            | Self::NotFound
            | Self::MethodNotAllowed { .. }
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::RequestTimeout
            | Self::Overloaded => None,
        }
    }

    /// The answer.
    #[must_use]
    pub fn into_reply(self, request_id: Uuid) -> Reply {
        let kind = self.kind();
        let problem = Problem {
            r#type: format!("urn:roomkey:error:{}", kind.code),
            title: kind.title,
            status: kind.status.as_u16(),
            detail: self.detail(),
            code: kind.code,
            request_id,
            retryable: kind.retryable(),
            errors: if let Self::InvalidRequest(errors) = &self { errors } else { &[] },
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut reply = reply::with_body(kind.status, "application/problem+json", body);
        match self {
            Self::MethodNotAllowed { path } => {
                reply.headers_mut().extend(HeaderValue::try_from(routes::allow(path)).ok().map(|allow| (ALLOW, allow)));
            }
            // The rest of the body was not read, so the next request could not be found.
            Self::PayloadTooLarge | Self::RequestTimeout => {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Overloaded => {
                reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            Self::AuthUnavailable | Self::SecretUnavailable => {
                reply.headers_mut().insert(RETRY_AFTER, KEYS_RETRY_AFTER_SECONDS);
            }
            Self::Unauthenticated(None) => {
                reply.headers_mut().insert(WWW_AUTHENTICATE, NO_CREDENTIALS);
            }
            Self::Unauthenticated(Some(_)) => {
                reply.headers_mut().insert(WWW_AUTHENTICATE, INVALID_TOKEN);
            }
            Self::InsufficientScope => {
                reply.headers_mut().insert(WWW_AUTHENTICATE, MISSING_SCOPE);
            }
            // What a budget has to say is added to refusals and good answers alike, in `dispatch`.
            Self::RateLimited
            | Self::MalformedJson
            | Self::InvalidRequest(_)
            | Self::IdentityMismatch
            | Self::RoomForbidden
            | Self::NotFound
            | Self::UnsupportedMediaType
            | Self::Internal(_) => {}
        }
        reply
    }

    fn detail(&self) -> String {
        match self {
            Self::MalformedJson => "The body must be one JSON object in UTF-8.".to_owned(),
            Self::InvalidRequest(errors) if errors.len() == 1 => "One field is not valid.".to_owned(),
            Self::InvalidRequest(errors) if errors.len() == MAX_LISTED_ERRORS => {
                format!("At least {MAX_LISTED_ERRORS} fields are not valid.")
            }
            Self::InvalidRequest(errors) => format!("{} fields are not valid.", errors.len()),
            Self::Unauthenticated(_) => "A valid credential in the right header is needed.".to_owned(),
            Self::InsufficientScope => "The credential is valid, but lacks a scope or role that is required here.".to_owned(),
            Self::IdentityMismatch => "The identity asked for is not the caller's own.".to_owned(),
            Self::RoomForbidden => "The caller may not enter the room asked for.".to_owned(),
            Self::RateLimited => "The budget is used up for now.".to_owned(),
            Self::AuthUnavailable => "The identity provider's keys are not here yet.".to_owned(),
            Self::SecretUnavailable => "A key that this needs has not come from Key Vault yet.".to_owned(),
            Self::NotFound => "The path leads nowhere.".to_owned(),
            Self::MethodNotAllowed { path } => format!("Allowed here: {}.", routes::allow(path)),
            Self::PayloadTooLarge => format!("The body may have at most {MAX_BODY_BYTES} bytes."),
            Self::UnsupportedMediaType => "The body must be application/json in UTF-8, without Content-Encoding.".to_owned(),
            Self::RequestTimeout => "The request must be complete within 10 s.".to_owned(),
            Self::Overloaded => "Too many requests are being served; this one was not looked at.".to_owned(),
            Self::Internal(_) => "The fault is on this side; the log has its cause.".to_owned(),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Self::MalformedJson,
            Refused::Invalid(errors) => Self::InvalidRequest(errors),
        }
    }
}

impl From<Forbidden> for ApiError {
    fn from(forbidden: Forbidden) -> Self {
        match forbidden {
            Forbidden::Scope => Self::InsufficientScope,
            Forbidden::Identity => Self::IdentityMismatch,
            Forbidden::Room => Self::RoomForbidden,
        }
    }
}

impl From<CannotSign> for ApiError {
    fn from(CannotSign: CannotSign) -> Self {
        Self::Internal("a token could not be signed")
    }
}
