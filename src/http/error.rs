//! One error type, one shape on the wire: problem details (RFC 9457).
//!
//! No text here ever holds a value that the client sent, what an upstream said, or a secret.
//! `docs/errors.md` is written from [`KINDS`].

mod kinds;
mod upstream;

use http::StatusCode;
use http::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use uuid::Uuid;

pub use self::kinds::KINDS;
use self::kinds::{
    AUTH_UNAVAILABLE, IDENTITY_MISMATCH, INSUFFICIENT_SCOPE, INTERNAL, INVALID_REQUEST,
    MALFORMED_JSON, METHOD_NOT_ALLOWED, MISDIRECTED, MISDIRECTED_REMEDIATION, NOT_FOUND,
    ORIGIN_FORBIDDEN, OVERLOADED, PAYLOAD_TOO_LARGE, RATE_LIMITED, REQUEST_TIMEOUT, ROOM_FORBIDDEN,
    UNAUTHENTICATED, UNSUPPORTED_MEDIA_TYPE,
};
use super::reply::{self, Reply};
use super::request::MAX_BODY_BYTES;
use super::routes;
use crate::domain::callers::caller::Forbidden;
use crate::domain::livekit::access_token::SigningError;
use crate::domain::realtime::mint::MintError;
use crate::domain::requests::fields::{BodyError, FieldError, MAX_LISTED_ERRORS};

/// Everything that can go wrong with a request.
#[derive(Debug)]
pub enum ApiError {
    /// The body is not one strict JSON object.
    MalformedJson,
    /// Fields are wrong, unknown or missing.
    InvalidRequest(Vec<FieldError>),
    /// No, bad or expired credentials; the reason reaches only the log, and there is none where
    /// there were no credentials.
    Unauthenticated(Option<&'static str>),
    /// A scope or role is missing.
    InsufficientScope,
    /// The identity belongs to someone else.
    IdentityMismatch,
    /// The room is not one of the caller's.
    RoomForbidden,
    /// The web page that asks is neither the site's own nor on the list.
    OriginForbidden,
    /// A budget is used up.
    RateLimited,
    /// The identity provider's keys are not there.
    AuthUnavailable,
    /// A key of ours is not there yet.
    SecretUnavailable,
    /// The request is for the name of another machine, where only this machine may ask.
    Misdirected,
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
    /// A Realtime upstream gave no secret.
    Upstream(MintError),
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

impl Kind {
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ) || self.code == upstream::ERROR.code
    }
}

/// Seconds after which a full service is worth another try: requests are short, so seats come free
/// at once.
pub(super) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Seconds after which keys that were missing, the identity provider's or ours, may have come.
const KEYS_RETRY_AFTER_SECONDS: u64 = 5;

/// RFC 6750 §3: what to present, and what was wrong with it. A request without credentials is told
/// no error.
const NO_CREDENTIALS: HeaderValue = HeaderValue::from_static(r#"Bearer realm="roomkey""#);
const INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="roomkey", error="invalid_token""#);
const MISSING_SCOPE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="roomkey", error="insufficient_scope""#);

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
    #[serde(skip_serializing_if = "Option::is_none")]
    remediation: Option<&'static str>,
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
            Self::OriginForbidden => &ORIGIN_FORBIDDEN,
            Self::RateLimited => &RATE_LIMITED,
            Self::AuthUnavailable => &AUTH_UNAVAILABLE,
            Self::SecretUnavailable => &upstream::SECRET_UNAVAILABLE,
            Self::Misdirected => &MISDIRECTED,
            Self::NotFound => &NOT_FOUND,
            Self::MethodNotAllowed { .. } => &METHOD_NOT_ALLOWED,
            Self::PayloadTooLarge => &PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => &UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTimeout => &REQUEST_TIMEOUT,
            Self::Overloaded => &OVERLOADED,
            Self::Upstream(error) => upstream::kind(*error),
            Self::Internal(_) => &INTERNAL,
        }
    }

    /// What only the log may say.
    #[must_use]
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Internal(cause) => Some(cause),
            Self::Unauthenticated(reason) => *reason,
            Self::Upstream(error) => upstream::cause(*error),
            Self::MalformedJson
            | Self::InsufficientScope
            | Self::IdentityMismatch
            | Self::RoomForbidden
            | Self::OriginForbidden
            | Self::RateLimited
            | Self::AuthUnavailable
            | Self::SecretUnavailable
            | Self::InvalidRequest(_)
            | Self::Misdirected
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
            remediation: self.remediation(),
            errors: if let Self::InvalidRequest(errors) = &self {
                errors
            } else {
                &[]
            },
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut reply = reply::with_body(kind.status, "application/problem+json", body);
        match self {
            Self::MethodNotAllowed { path } => {
                reply.headers_mut().extend(
                    HeaderValue::try_from(routes::allow(path))
                        .ok()
                        .map(|allow| (ALLOW, allow)),
                );
            }
            // The rest of the body was not read, so the next request could not be found.
            Self::PayloadTooLarge | Self::RequestTimeout => {
                reply
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Overloaded => {
                reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            Self::AuthUnavailable | Self::SecretUnavailable => {
                reply
                    .headers_mut()
                    .insert(RETRY_AFTER, KEYS_RETRY_AFTER_SECONDS.into());
            }
            Self::Upstream(error) => {
                reply.headers_mut().extend(
                    upstream::retry_after(error).map(|seconds| (RETRY_AFTER, seconds.into())),
                );
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
            | Self::OriginForbidden
            | Self::Misdirected
            | Self::NotFound
            | Self::UnsupportedMediaType
            | Self::Internal(_) => {}
        }
        reply
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn remediation(&self) -> Option<&'static str> {
        match self {
            Self::Misdirected => Some(MISDIRECTED_REMEDIATION),
            Self::SecretUnavailable => Some(upstream::SECRET_REMEDIATION),
            Self::OriginForbidden => {
                Some("List the page's origin under cors.allowedOrigins in host.json.")
            }
            Self::Upstream(error) => Some(upstream::remediation(*error)),
            Self::MalformedJson
            | Self::InvalidRequest(_)
            | Self::Unauthenticated(_)
            | Self::InsufficientScope
            | Self::IdentityMismatch
            | Self::RoomForbidden
            | Self::RateLimited
            | Self::AuthUnavailable
            | Self::NotFound
            | Self::MethodNotAllowed { .. }
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::RequestTimeout
            | Self::Overloaded
            | Self::Internal(_) => None,
        }
    }

    /// For a person; about this one error.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::MalformedJson => "The body must be one JSON object in UTF-8.".to_owned(),
            Self::InvalidRequest(errors) if errors.len() == 1 => {
                "One field is not valid.".to_owned()
            }
            Self::InvalidRequest(errors) if errors.len() == MAX_LISTED_ERRORS => {
                format!("At least {MAX_LISTED_ERRORS} fields are not valid.")
            }
            Self::InvalidRequest(errors) => format!("{} fields are not valid.", errors.len()),
            Self::Unauthenticated(_) => {
                "A valid credential in the right header is needed.".to_owned()
            }
            Self::InsufficientScope => {
                "The credential is valid, but lacks a scope or role that is required here."
                    .to_owned()
            }
            Self::IdentityMismatch => "The identity asked for is not the caller's own.".to_owned(),
            Self::RoomForbidden => {
                "The caller may not enter the room asked for, or may enter none.".to_owned()
            }
            Self::OriginForbidden => {
                "The Origin header names a page that is neither this site's own nor on the list."
                    .to_owned()
            }
            Self::RateLimited => "The budget is used up for now.".to_owned(),
            Self::AuthUnavailable => "The identity provider's keys are not here yet.".to_owned(),
            Self::SecretUnavailable => {
                "A secret that this needs has not come from Key Vault yet.".to_owned()
            }
            Self::Misdirected => {
                "The Host of the request is not a name of this machine.".to_owned()
            }
            Self::NotFound => "The path leads nowhere.".to_owned(),
            Self::MethodNotAllowed { path } => format!("Allowed here: {}.", routes::allow(path)),
            Self::PayloadTooLarge => format!("The body may have at most {MAX_BODY_BYTES} bytes."),
            Self::UnsupportedMediaType => {
                "The body must be application/json in UTF-8, without Content-Encoding.".to_owned()
            }
            Self::RequestTimeout => "The request must be complete within 10 s.".to_owned(),
            Self::Overloaded => {
                "Too many requests are being served; this one was not looked at.".to_owned()
            }
            Self::Upstream(error) => upstream::detail(*error).to_owned(),
            Self::Internal(_) => "The fault is on this side; the log has its cause.".to_owned(),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(refused: BodyError) -> Self {
        match refused {
            BodyError::Malformed => Self::MalformedJson,
            BodyError::Invalid(errors) => Self::InvalidRequest(errors),
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

impl From<SigningError> for ApiError {
    fn from(SigningError: SigningError) -> Self {
        Self::Internal("a token could not be signed")
    }
}
