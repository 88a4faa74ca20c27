//! `GET /api/audit-logs/verify`: checks every record of the audit log against the chain.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::reply::{self, Reply};
use super::request::Request;
use super::vault_access;
use crate::app::App;
use crate::domain::requests::query;

#[derive(Serialize)]
struct Answer {
    intact: bool,
    records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_broken: Option<String>,
}

/// Verifies the whole audit log.
pub async fn verify(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    guard::admit_operator(app, &mut request).await?;
    query::refuse_all(request.query)?;
    let vault = projects.open_vault().await?;
    let report = vault.verify_audit().await?;
    let answer = Answer {
        intact: report.is_intact(),
        records: report.records,
        first_broken: report.first_broken,
    };
    reply::json(StatusCode::OK, &answer)
}
