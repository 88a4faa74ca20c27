//! The reasons why bearer credentials are rejected.

/// The reason why credentials were rejected. It is meant for the log and the metrics; callers never
/// learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejection {
    /// More than one Authorization header, another scheme, or not exactly one token.
    #[error("the Authorization header does not contain exactly one bearer token")]
    Credentials,
    /// More than 16 KiB.
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// Not three parts of base64url, or a header that is not a strict JSON object.
    #[error("the token is not a signed JWT")]
    Form,
    /// An `alg` that is missing or not allowed.
    #[error("the signature algorithm is missing or not allowed")]
    Algorithm,
    /// A `typ` of something other than an access token.
    #[error("the token is not an access token")]
    Type,
    /// A `crit` or `b64` member: the token requires an extension, and none is supported.
    #[error("the token requires an extension that is not supported")]
    Critical,
    /// A key id that is malformed, unknown, or of a key for another algorithm.
    #[error("the key set has no key for the token")]
    Key,
    /// A signature that the key did not make.
    #[error("the signature is not valid")]
    Signature,
    /// A payload that is not a strict JSON object, or a required claim that is missing or of
    /// another type.
    #[error("a required claim is missing or malformed")]
    Claims,
    /// An `exp` in the past.
    #[error("the token has expired")]
    Expired,
    /// An `nbf` or `iat` in the future.
    #[error("the token is not valid yet")]
    TooEarly,
    /// An `iss` that is not accepted.
    #[error("the issuer is not accepted")]
    Issuer,
    /// A `tid` that is not on the list.
    #[error("the tenant is not accepted")]
    Tenant,
    /// An `aud` without an accepted audience.
    #[error("the audience is not accepted")]
    Audience,
    /// A token that a front end of Azure put in place of the caller's.
    #[error("the token was issued by a front end of Azure")]
    Platform,
}

impl TokenRejection {
    /// Every reason, so that each can be counted from the start.
    pub const ALL: [Self; 15] = [
        Self::Credentials,
        Self::TooLong,
        Self::Form,
        Self::Algorithm,
        Self::Type,
        Self::Critical,
        Self::Key,
        Self::Signature,
        Self::Claims,
        Self::Expired,
        Self::TooEarly,
        Self::Issuer,
        Self::Tenant,
        Self::Audience,
        Self::Platform,
    ];

    /// Returns the one-word label for log lines and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::TooLong => "too_long",
            Self::Form => "form",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Critical => "critical",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::TooEarly => "too_early",
            Self::Issuer => "issuer",
            Self::Tenant => "tenant",
            Self::Audience => "audience",
            Self::Platform => "platform_token",
        }
    }
}
