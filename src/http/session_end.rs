//! `POST /api/session/end`: ends a session and, where its caller names one, hangs up its call.
//!
//! A call's id is known only to the browser that opened it at the provider: neither the mint nor
//! the provider's answer to a hang-up tells which session a call belongs to. So whoever may end one
//! session of a project can hang up any call of that project whose id it knows. The ids are random,
//! and another project's key does not end the call.

use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::error::ApiError;
use super::guard;
use super::reply::{self, Reply};
use super::request::Request;
use super::vault_access;
use crate::app::App;
use crate::app::projects::{AuditContext, OpenVault, ProjectError};
use crate::domain::audit_log::entry::EventType;
use crate::domain::realtime::session_request::{CallId, EndSessionRequest};
use crate::domain::vault::changes::ChangeRefused;
use crate::domain::vault::project_id::ProjectId;
use crate::telemetry;

#[derive(Serialize)]
struct Answer {
    success: bool,
    session_id: Uuid,
    hung_up: bool,
}

/// Ends a session of the caller's own, or as an operator any.
pub async fn end(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    let admission = guard::admit_caller_or_operator(app, &mut request).await?;
    let body = request.json(&admission).await?;
    let EndSessionRequest {
        session_id,
        call_id,
    } = EndSessionRequest::parse(&body)?;
    let context = AuditContext {
        actor: admission.actor,
        request_id: request.id,
        now: admission.now,
    };
    let vault = projects.open_vault().await?;
    let ended = projects
        .end_session(session_id, admission.owner, context.now)
        .await?
        .ok_or(ProjectError::Refused(ChangeRefused::NotFound))?;
    // The slot is free by now, whatever the provider says.
    let hung_up = match &call_id {
        None => Ok(false),
        Some(call_id) => hang_up(app, &vault, &ended.project_id, call_id, &context).await,
    };
    let code = hung_up
        .as_ref()
        .map_or_else(|error| error.kind().code, |_| "ended");
    app.metrics.projects.session(code);
    let has_changed = ended.was_active || call_id.is_some();
    let hung_up = match hung_up {
        Ok(hung_up) => hung_up,
        Err(error) => {
            let entry = context
                .entry(EventType::SessionError)
                .of_project(&ended.project_id)
                .of_session(session_id);
            return Err(vault_access::record_refusal(&vault, entry, error).await);
        }
    };
    if has_changed {
        let entry = context
            .entry(EventType::SessionEnded)
            .of_project(&ended.project_id)
            .of_session(session_id);
        telemetry::audit_record(&vault.record(entry).await?);
    }
    let answer = Answer {
        success: true,
        session_id,
        hung_up,
    };
    reply::json(StatusCode::OK, &answer)
}

/// Hangs up a call with the project's key. Returns false where the project has no key any more.
async fn hang_up(
    app: &App,
    vault: &OpenVault<'_>,
    project_id: &ProjectId,
    call_id: &CallId,
    context: &AuditContext,
) -> Result<bool, ApiError> {
    let key = match vault.open_key(project_id, true).await {
        Ok(key) => key,
        Err(ProjectError::Refused(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let upstream = app
        .upstreams
        .for_projects()
        .ok_or(ApiError::Internal("projects have no upstream"))?;
    let upstream = upstream.with_key(&key, upstream.plan().clone());
    upstream
        .hang_up(call_id, context.now)
        .await
        .map_err(ApiError::Upstream)?;
    Ok(true)
}
