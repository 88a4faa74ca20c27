//! The errors of project keys and their store.

use super::kind::ErrorKind;
use super::kinds::{
    CONFLICT, INTERNAL, NOT_FOUND, PRECONDITION_FAILED, RECORD_CORRUPT, SECRET_UNAVAILABLE,
    STORE_UNAVAILABLE,
};
use crate::app::projects::ProjectError;
use crate::domain::vault::changes::ChangeRefused;

/// The row of a failure's code, with the detail and cause of this failure.
pub(super) struct ProjectFailure {
    pub kind: &'static ErrorKind,
    pub detail: &'static str,
    /// The cause for the log, where the code does not tell it.
    pub cause: Option<&'static str>,
    /// The advice to an operator.
    pub remediation: Option<&'static str>,
}

/// The advice that brings back the keys that were sealed under a KEK.
const CONFIGURE_KEK: &str = "Configure the key-encryption key that GET /api/health/ready names \
                             again. What it sealed cannot be opened without it.";

/// Returns the texts of a failure.
pub(super) fn failure(error: ProjectError) -> ProjectFailure {
    let (kind, detail, cause) = match error {
        ProjectError::LostRace => (
            &STORE_UNAVAILABLE,
            "Others change this project at the same time.",
            Some("lost_race"),
        ),
        ProjectError::StoreUnavailable(cause) => (
            &STORE_UNAVAILABLE,
            "The store did not respond.",
            Some(cause),
        ),
        ProjectError::SessionsUnavailable(cause) => (
            &STORE_UNAVAILABLE,
            "The store of sessions did not respond.",
            Some(cause),
        ),
        ProjectError::StoreUnusable(cause) => (
            &STORE_UNAVAILABLE,
            "The store cannot be used. It is left as it is.",
            Some(cause),
        ),
        ProjectError::Refused(refused) => return refusal(refused),
        ProjectError::MissingKek => (
            &SECRET_UNAVAILABLE,
            "A key-encryption key that this request needs is not available.",
            Some("a key-encryption key is missing"),
        ),
        ProjectError::MissingHashKey => (
            &SECRET_UNAVAILABLE,
            "A required secret has not been read from Key Vault yet.",
            None,
        ),
        ProjectError::RecordCorrupt => (
            &RECORD_CORRUPT,
            "The project's stored key cannot be opened. It is kept as it is.",
            Some("a stored key does not open"),
        ),
        ProjectError::Crypto => (
            &INTERNAL,
            "An internal error occurred; the log has the cause.",
            Some("the cryptographic library failed"),
        ),
    };
    let remediation = if error == ProjectError::MissingKek {
        Some(CONFIGURE_KEK)
    } else {
        kind.remediation
    };
    ProjectFailure {
        kind,
        detail,
        cause,
        remediation,
    }
}

fn refusal(refused: ChangeRefused) -> ProjectFailure {
    let (kind, detail) = match refused {
        ChangeRefused::NotFound => (&NOT_FOUND, "The project or session does not exist."),
        ChangeRefused::Exists => (
            &CONFLICT,
            "The project has a key already. To replace it, send its ETag or * in If-Match.",
        ),
        ChangeRefused::PreconditionFailed => (
            &PRECONDITION_FAILED,
            "The project has no key, or another one than If-Match names.",
        ),
        ChangeRefused::LowerKekVersion => (
            &CONFLICT,
            "A key is sealed under a newer key-encryption key already.",
        ),
    };
    ProjectFailure {
        kind,
        detail,
        cause: None,
        remediation: kind.remediation,
    }
}
