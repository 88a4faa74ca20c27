//! `DELETE /api/projects/key`: deletes the key of a project.

use http::StatusCode;
use serde::Serialize;

use super::entity_tag;
use crate::app::App;
use crate::domain::audit_log::entry::EventType;
use crate::domain::vault::key_request::DeleteKeyRequest;
use crate::domain::vault::project_id::ProjectId;
use crate::http::error::ApiError;
use crate::http::guard;
use crate::http::reply::{self, Reply};
use crate::http::request::Request;
use crate::http::vault_access;
use crate::telemetry;

#[derive(Serialize)]
struct Answer<'a> {
    success: bool,
    project_id: &'a ProjectId,
}

/// Deletes a key.
pub async fn delete_key(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    let operator = guard::admit_operator(app, &mut request).await?;
    let body = request.json(&operator).await?;
    let DeleteKeyRequest { project_id } = DeleteKeyRequest::parse(&body)?;
    let precondition = entity_tag::if_match(request.headers)?;
    let context = vault_access::operator_context(&request, &operator);
    let vault = projects.open_vault().await?;
    match vault.delete(&project_id, &precondition, &context).await {
        Ok(record) => {
            telemetry::audit_record(&record);
            vault.log_open_sessions(&project_id, operator.now).await;
        }
        Err(error) => {
            let entry = context
                .entry(EventType::VaultKeyDeleted)
                .of_project(&project_id);
            return Err(vault_access::record_refusal(&vault, entry, error.into()).await);
        }
    }
    let answer = Answer {
        success: true,
        project_id: &project_id,
    };
    reply::json(StatusCode::OK, &answer)
}
