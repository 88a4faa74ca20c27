//! `GET /api/audit-logs/verify`: checks every record of the audit log against the chain.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::reply::{self, Reply};
use super::request::Request;
use super::vault_access;
use crate::app::App;
use crate::app::projects::AuditVerification;
use crate::domain::requests::query;

#[derive(Serialize)]
struct Answer {
    /// `null` while a long log is being verified, which no client takes for a result.
    intact: Option<bool>,
    records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_broken: Option<String>,
}

/// Verifies the whole audit log. Where that takes longer than a request, the same request again
/// waits for the result.
pub async fn verify(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    guard::admit_operator(app, &mut request).await?;
    query::refuse_all(request.query)?;
    let vault = projects.open_vault().await?;
    let answer = match vault.verify_audit().await? {
        AuditVerification::Finished(report) => Answer {
            intact: Some(report.is_intact()),
            records: report.records,
            first_broken: report.first_broken,
        },
        AuditVerification::Running { records } => Answer {
            intact: None,
            records,
            first_broken: None,
        },
    };
    reply::json(StatusCode::OK, &answer)
}
