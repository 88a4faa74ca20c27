//! The reasons why the caller of a request is not authenticated.

use super::bearer::TokenRejection;

/// The reason why a caller is not authenticated. The words in it are for the log and the metrics;
/// callers never learn them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request has no credentials.
    #[error("there are no credentials")]
    MissingCredentials,
    /// The credentials are not accepted.
    #[error("the credentials are not accepted: {0}")]
    Rejected(&'static str),
    /// The credentials are not accepted with the cached keys of the identity provider; newer keys
    /// may accept them.
    #[error("the credentials are not accepted with the cached keys: {0}")]
    UnknownKey(&'static str),
    /// The identity provider's keys are missing, so no credentials can be checked.
    #[error("the identity provider's keys are not available")]
    KeysUnavailable,
}

impl From<TokenRejection> for AuthError {
    fn from(rejection: TokenRejection) -> Self {
        Self::Rejected(rejection.as_str())
    }
}
