//! Functions that the routes of projects share: access to the store, and the actor of an audit
//! entry.

use super::error::ApiError;
use super::guard::admission::{CallerAdmission, OperatorAdmission};
use super::request::Request;
use crate::app::App;
use crate::app::projects::{AuditContext, OpenVault, Projects};
use crate::domain::audit::Actor;
use crate::domain::audit_log::entry::AuditEntry;
use crate::telemetry;

/// Returns the projects of this service.
///
/// # Errors
/// 404 where no store is configured: then their routes do not exist.
pub fn projects(app: &App) -> Result<&Projects, ApiError> {
    app.projects.as_deref().ok_or(ApiError::NotFound)
}

/// Returns the part of an audit entry that an operator's request has.
pub fn operator_context(request: &Request<'_>, operator: &OperatorAdmission) -> AuditContext {
    AuditContext {
        actor: operator.actor,
        request_id: request.id,
        now: operator.now,
    }
}

/// Returns the part of an audit entry that a caller's request has.
pub fn caller_context(request: &Request<'_>, caller: &CallerAdmission) -> AuditContext {
    AuditContext {
        actor: Actor::Caller(caller.caller_hash),
        request_id: request.id,
        now: caller.now,
    }
}

/// Records that a change was refused, and returns the error. A store that gives no answer cannot
/// record it either; that of the counters, which holds the sessions too, can fail alone.
pub async fn record_refusal(vault: &OpenVault<'_>, entry: AuditEntry, error: ApiError) -> ApiError {
    if !matches!(error, ApiError::Project(error) if error.is_of_store()) {
        // The refusal stands whether it is recorded or not; the metrics count a failure.
        if let Ok(record) = vault.record(entry.failed(error.kind().code)).await {
            telemetry::audit_record(&record);
        }
    }
    error
}
