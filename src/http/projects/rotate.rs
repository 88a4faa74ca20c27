//! `POST /api/projects/key/rotate`: reseals one key, or all, under another key-encryption key.

use std::time::Duration;

use http::StatusCode;
use http::header::IF_MATCH;
use serde::Serialize;
use tokio::time::timeout;

use super::entity_tag;
use crate::app::App;
use crate::app::projects::{AuditContext, OpenVault, ProjectError};
use crate::clock::Stopwatch;
use crate::domain::audit_log::entry::EventType;
use crate::domain::requests::fields::BodyError;
use crate::domain::vault::changes::Precondition;
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::key_request::RotateKeyRequest;
use crate::domain::vault::project_id::ProjectId;
use crate::http::error::ApiError;
use crate::http::guard;
use crate::http::reply::{self, Reply};
use crate::http::request::Request;
use crate::http::vault_access;
use crate::telemetry;

/// The time after which one call begins no further key; the client calls again for the rest. With
/// the last key, up to 1 s more, it works for at most 5 s. The count of the rest takes up to 3 s and
/// the audit records of failures up to 1 s: together less than the 10 s of a request.
const SLICE: Duration = Duration::from_secs(4);
/// The time for the audit records of keys that could not be resealed.
const FAILURES: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct One<'a> {
    success: bool,
    project_id: &'a ProjectId,
    kek_version: String,
    rotated_at: Option<u64>,
}

#[derive(Serialize)]
struct All {
    success: bool,
    kek_version: String,
    rotated: u64,
    remaining: u64,
}

/// Reseals one key, or as many as one call has time for.
pub async fn rotate_key(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    let operator = guard::admit_operator(app, &mut request).await?;
    let body = request.json(&operator).await?;
    let wanted = RotateKeyRequest::parse(&body, &projects.kek_versions)?;
    let precondition = entity_tag::if_match(request.headers)?;
    let context = vault_access::operator_context(&request, &operator);
    let vault = projects.open_vault().await?;
    let RotateKeyRequest {
        project_id,
        kek_version,
    } = wanted;
    match project_id {
        Some(project_id) => {
            rotate_one(&vault, &project_id, kek_version, &precondition, &context).await
        }
        None if request.headers.contains_key(IF_MATCH) => {
            Err(BodyError::field("If-Match", "must not be sent together with all").into())
        }
        None => rotate_all(app, &vault, kek_version, &context).await,
    }
}

async fn rotate_one(
    vault: &OpenVault<'_>,
    project_id: &ProjectId,
    kek_version: KekVersion,
    precondition: &Precondition,
    context: &AuditContext,
) -> Result<Reply, ApiError> {
    let rotated = vault
        .rotate(project_id, kek_version, precondition, context)
        .await;
    let rotated = match rotated {
        Ok(rotated) => rotated,
        Err(error) => {
            let entry = context
                .entry(EventType::VaultKeyRotated)
                .of_project(project_id);
            return Err(vault_access::record_refusal(vault, entry, error.into()).await);
        }
    };
    if let Some(record) = &rotated.audit {
        telemetry::audit_record(record);
    }
    let answer = One {
        success: true,
        project_id,
        kek_version: rotated.summary.kek_version.to_string(),
        rotated_at: rotated.summary.rotated_at_ms,
    };
    let mut reply = reply::json(StatusCode::OK, &answer)?;
    entity_tag::add(reply.headers_mut(), &rotated.summary.tag);
    Ok(reply)
}

async fn rotate_all(
    app: &App,
    vault: &OpenVault<'_>,
    kek_version: KekVersion,
    context: &AuditContext,
) -> Result<Reply, ApiError> {
    let stopwatch = Stopwatch::start();
    let time_left = || SLICE.saturating_sub(stopwatch.elapsed());
    // Each line is written with its key, so that none is missing if a later key fails.
    let slice = vault
        .rotate_slice(kek_version, context, time_left, telemetry::audit_record)
        .await?;
    // The answer does not depend on it: they stay in `remaining`, and the next call tries again.
    let failed = slice.failed.into_iter();
    let failed = failed.map(|(project_id, error)| (project_id, error.into()));
    let _ = timeout(FAILURES, record_failures(vault, failed, context)).await;
    app.metrics.projects.rotated(slice.rotated, slice.remaining);
    let answer = All {
        success: true,
        kek_version: kek_version.to_string(),
        rotated: slice.rotated,
        remaining: slice.remaining,
    };
    reply::json(StatusCode::OK, &answer)
}

/// Records the keys that could not be resealed. They stay as they are and stop no other.
async fn record_failures(
    vault: &OpenVault<'_>,
    failed: impl IntoIterator<Item = (ProjectId, ProjectError)>,
    context: &AuditContext,
) {
    for (project_id, error) in failed {
        let entry = context
            .entry(EventType::VaultKeyRotated)
            .of_project(&project_id);
        vault_access::record_refusal(vault, entry, error.into()).await;
    }
}
