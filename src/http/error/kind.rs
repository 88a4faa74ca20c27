//! One row of the table of errors.

use http::StatusCode;

/// One row of the table: everything that all errors of one code share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorKind {
    /// The code, which never changes, for programs.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// True if the same request may succeed a little later.
    pub retryable: bool,
    /// One sentence for a person.
    pub title: &'static str,
    /// When the error occurs and what to do about it, for `docs/errors.md`.
    pub remedy: &'static str,
    /// The action that an operator can take, for the response.
    pub remediation: Option<&'static str>,
    /// The value of `WWW-Authenticate` (RFC 6750 §3).
    pub challenge: Option<&'static str>,
    /// The value of `Retry-After` in seconds, where it is the same for all errors of this code.
    pub retry_after: Option<u64>,
    /// True if the connection closes, because the rest of the request was not read.
    pub closes_connection: bool,
}

/// The value of each field that a row leaves out.
pub(super) const DEFAULTS: ErrorKind = ErrorKind {
    code: "",
    status: StatusCode::INTERNAL_SERVER_ERROR,
    retryable: false,
    title: "",
    remedy: "",
    remediation: None,
    challenge: None,
    retry_after: None,
    closes_connection: false,
};
