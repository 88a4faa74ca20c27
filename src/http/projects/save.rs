//! `POST /api/projects/key`: saves the key of a project.

use http::StatusCode;
use serde::Serialize;
use zeroize::Zeroizing;

use super::entity_tag;
use crate::app::App;
use crate::app::projects::{AuditContext, OpenVault};
use crate::domain::audit_log::entry::EventType;
use crate::domain::vault::changes::Precondition;
use crate::domain::vault::key_request::SaveKeyRequest;
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::record::KeySummary;
use crate::http::error::ApiError;
use crate::http::guard;
use crate::http::key_validation;
use crate::http::reply::{self, Reply};
use crate::http::request::Request;
use crate::http::vault_access;
use crate::telemetry;

#[derive(Serialize)]
struct Answer<'a> {
    success: bool,
    project_id: &'a ProjectId,
    kek_version: String,
    created_at: u64,
}

/// Saves a key, and tries it at its provider first where the operator asks for that.
pub async fn save_key(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    let operator = guard::admit_operator(app, &mut request).await?;
    let body = Zeroizing::new(request.json(&operator).await?);
    let admin_keys = app.secrets.admin_keys.value();
    let wanted = SaveKeyRequest::parse(&body, &projects.kek_versions, admin_keys.as_deref())?;
    let precondition = entity_tag::if_match(request.headers)?;
    let context = vault_access::operator_context(&request, &operator);
    let vault = projects.open_vault().await?;
    request.record.mints = wanted.validate;
    let tried = if wanted.validate {
        try_key(app, &vault, &wanted, &precondition, &context).await
    } else {
        Ok(())
    };
    let saved = match tried {
        Ok(()) => vault
            .save(&wanted, &precondition, &context)
            .await
            .map_err(ApiError::from),
        Err(error) => Err(error),
    };
    match saved {
        Ok(saved) => {
            telemetry::audit_record(&saved.audit);
            answer(&wanted.project_id, saved.is_new, &saved.summary)
        }
        Err(error) => {
            let entry = context
                .entry(EventType::VaultKeySaved)
                .of_project(&wanted.project_id);
            Err(vault_access::record_refusal(&vault, entry, error).await)
        }
    }
}

/// Tries a key at its provider. A save that is refused anyway costs no secret.
async fn try_key(
    app: &App,
    vault: &OpenVault<'_>,
    wanted: &SaveKeyRequest,
    precondition: &Precondition,
    context: &AuditContext,
) -> Result<(), ApiError> {
    vault.check_save(&wanted.project_id, precondition).await?;
    key_validation::try_key(app, &wanted.key, context.now).await
}

fn answer(project_id: &ProjectId, is_new: bool, summary: &KeySummary) -> Result<Reply, ApiError> {
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let answer = Answer {
        success: true,
        project_id,
        kek_version: summary.kek_version.to_string(),
        created_at: summary.created_at_ms,
    };
    let mut reply = reply::json(status, &answer)?;
    entity_tag::add(reply.headers_mut(), &summary.tag);
    Ok(reply)
}
