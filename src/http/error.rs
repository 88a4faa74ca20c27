//! The one error type of the API. [`super::problem`] writes it as a response.
//!
//! No text here ever contains a value that the client sent, what an upstream said, or a secret.
//! `docs/errors.md` is generated from [`ERROR_KINDS`].

mod kind;
mod kinds;
mod project;
mod upstream;
mod upstream_kinds;

use thiserror::Error;

pub use self::kind::ErrorKind;
pub use self::kinds::ERROR_KINDS;
use super::edge::MAX_BODY_BYTES;
use crate::app::projects::ProjectError;
use crate::domain::callers::caller::Forbidden;
use crate::domain::livekit::access_token::SigningError;
use crate::domain::realtime::mint::MintError;
use crate::domain::requests::fields::{BodyError, FieldError, MAX_LISTED_ERRORS};

/// An error of the API. Its `Display` is the `detail` of the response.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The body is not one strict JSON object.
    #[error("The request body must be a single JSON object in UTF-8.")]
    MalformedJson,
    /// Fields are wrong, unknown or missing.
    #[error("{}", invalid_fields(.0.len()))]
    InvalidRequest(Vec<FieldError>),
    /// The request has no credentials.
    #[error("A valid credential is required.")]
    MissingCredentials,
    /// The credentials are not accepted. The reason reaches only the log.
    #[error("A valid credential is required.")]
    Unauthenticated(&'static str),
    /// A scope or role is missing.
    #[error("The credential is valid but lacks a scope or role that this request requires.")]
    InsufficientScope,
    /// The requested identity is another caller's.
    #[error("The requested identity is not the caller's own.")]
    IdentityMismatch,
    /// The room is not one of the caller's.
    #[error("The caller may not join the requested room, or may not join any room.")]
    RoomForbidden,
    /// The calling web page is neither the site's own nor on the list.
    #[error("The Origin header names a page that is neither this site's own nor on the list.")]
    OriginForbidden,
    /// A budget is used up.
    #[error("The request limit is used up for now.")]
    RateLimited,
    /// All slots of a project are taken.
    #[error("The project has as many sessions as it may have at the same time.")]
    ConcurrencyLimited,
    /// The identity provider's keys are missing.
    #[error("The identity provider's keys are not available yet.")]
    AuthUnavailable,
    /// A secret of this service is missing.
    #[error("A required secret has not been read from Key Vault yet.")]
    SecretUnavailable,
    /// The `Host` is not a name of this machine, and only this machine may call.
    #[error("The Host header does not name this machine.")]
    Misdirected,
    /// The path or what it names does not exist.
    #[error("No resource exists at this path.")]
    NotFound,
    /// The path exists, the method does not. Carries the value of `Allow`.
    #[error("Allowed methods: {0}.")]
    MethodNotAllowed(String),
    /// The body is too large.
    #[error("The request body must be at most {MAX_BODY_BYTES} bytes.")]
    PayloadTooLarge,
    /// The body is not declared as JSON in UTF-8.
    #[error("The request body must be application/json in UTF-8, without Content-Encoding.")]
    UnsupportedMediaType,
    /// The request was not complete in time.
    #[error("The request must be complete within 10 s.")]
    RequestTimeout,
    /// Too many connections or requests at once.
    #[error("Too many requests are in progress; this one was not processed.")]
    Overloaded,
    /// A Realtime upstream gave no secret.
    #[error("{}", upstream::failure(*.0).detail)]
    Upstream(MintError),
    /// The provider of TURN servers gave no credentials.
    #[error("{}", upstream::turn_failure(*.0).detail)]
    Turn(MintError),
    /// The provider fails, so that a key could not be tried.
    #[error("The provider failed while the key was tried. Nothing was stored.")]
    ProviderFailing,
    /// A project's key was not read or changed.
    #[error("{}", project::failure(*.0).detail)]
    Project(ProjectError),
    /// A fault of this service. The cause reaches only the log.
    #[error("An internal error occurred; the log has the cause.")]
    Internal(&'static str),
}

impl ApiError {
    /// Returns the row of the error table.
    #[must_use]
    pub fn kind(&self) -> &'static ErrorKind {
        match self {
            Self::MalformedJson => &kinds::MALFORMED_JSON,
            Self::InvalidRequest(_) => &kinds::INVALID_REQUEST,
            Self::MissingCredentials => &kinds::MISSING_CREDENTIALS,
            Self::Unauthenticated(_) => &kinds::UNAUTHENTICATED,
            Self::InsufficientScope => &kinds::INSUFFICIENT_SCOPE,
            Self::IdentityMismatch => &kinds::IDENTITY_MISMATCH,
            Self::RoomForbidden => &kinds::ROOM_FORBIDDEN,
            Self::OriginForbidden => &kinds::ORIGIN_FORBIDDEN,
            Self::RateLimited => &kinds::RATE_LIMITED,
            Self::ConcurrencyLimited => &kinds::CONCURRENCY_LIMITED,
            Self::AuthUnavailable => &kinds::AUTH_UNAVAILABLE,
            Self::SecretUnavailable => &kinds::SECRET_UNAVAILABLE,
            Self::Misdirected => &kinds::MISDIRECTED,
            Self::NotFound => &kinds::NOT_FOUND,
            Self::MethodNotAllowed(_) => &kinds::METHOD_NOT_ALLOWED,
            Self::PayloadTooLarge => &kinds::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => &kinds::UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTimeout => &kinds::REQUEST_TIMEOUT,
            Self::Overloaded => &kinds::OVERLOADED,
            Self::Upstream(error) => upstream::failure(*error).kind,
            Self::Turn(error) => upstream::turn_failure(*error).kind,
            Self::ProviderFailing => &upstream_kinds::UPSTREAM_UNAVAILABLE,
            Self::Project(error) => project::failure(*error).kind,
            Self::Internal(_) => &kinds::INTERNAL,
        }
    }

    /// Returns the cause that only the log may tell.
    #[must_use]
    pub fn cause(&self) -> Option<&'static str> {
        if let Self::Internal(cause) | Self::Unauthenticated(cause) = self {
            Some(cause)
        } else if let Self::Upstream(error) | Self::Turn(error) = self {
            upstream::failure(*error).cause
        } else if let Self::Project(error) = self {
            project::failure(*error).cause
        } else {
            None
        }
    }

    /// Returns the action that an operator can take.
    #[must_use]
    pub fn remediation(&self) -> Option<&'static str> {
        if let Self::Upstream(error) = self {
            Some(upstream::failure(*error).remediation)
        } else if let Self::Turn(error) = self {
            Some(upstream::turn_failure(*error).remediation)
        } else if let Self::Project(error) = self {
            project::failure(*error).remediation
        } else {
            self.kind().remediation
        }
    }

    /// Returns the value of `Retry-After` in whole seconds, never zero.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let from_upstream = if let Self::Upstream(error) | Self::Turn(error) = self {
            error.retry_after()
        } else if matches!(self, Self::ProviderFailing) {
            MintError::Network.retry_after()
        } else {
            None
        };
        from_upstream
            .map(|wait| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
            .or(self.kind().retry_after)
    }
}

fn invalid_fields(count: usize) -> String {
    match count {
        1 => "One field is not valid.".to_owned(),
        MAX_LISTED_ERRORS => format!("At least {count} fields are not valid."),
        count => format!("{count} fields are not valid."),
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
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

impl From<ProjectError> for ApiError {
    fn from(error: ProjectError) -> Self {
        Self::Project(error)
    }
}

impl From<SigningError> for ApiError {
    fn from(_: SigningError) -> Self {
        Self::Internal("a token could not be signed")
    }
}
