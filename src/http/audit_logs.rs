//! `GET /api/audit-logs`: a page of the audit log, newest record first.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::reply::{self, Reply};
use super::request::Request;
use super::vault_access;
use crate::app::App;
use crate::domain::audit_log::chain::AuditRecord;
use crate::domain::audit_log::log_request::AuditLogRequest;

#[derive(Serialize)]
struct Page<'a> {
    logs: Vec<Entry<'a>>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    timestamp: u64,
    event_type: &'a str,
    actor: &'a str,
    project_id: Option<&'a str>,
    session_id: Option<&'a str>,
    status: &'static str,
    code: Option<&'a str>,
    request_id: &'a str,
    hash: String,
}

/// Returns a page of the audit log.
pub async fn page(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    guard::admit_operator(app, &mut request).await?;
    let vault = projects.open_vault().await?;
    let query = request.query.unwrap_or_default();
    let wanted = AuditLogRequest::parse(query, &vault.cursors)?;
    let page = vault.audit_page(wanted).await?;
    let next = page.next.as_deref();
    let answer = Page {
        logs: page.records.iter().map(entry).collect(),
        next_cursor: next.map(|next| AuditLogRequest::cursor_behind(next, &vault.cursors)),
    };
    reply::json(StatusCode::OK, &answer)
}

fn entry(record: &AuditRecord) -> Entry<'_> {
    let entry = &record.entry;
    Entry {
        id: &record.id,
        timestamp: entry.timestamp_ms,
        event_type: &entry.event_type,
        actor: &entry.actor,
        project_id: entry.project_id.as_deref(),
        session_id: entry.session_id.as_deref(),
        status: entry.status(),
        code: entry.code.as_deref(),
        request_id: &entry.request_id,
        hash: record.hash.to_string(),
    }
}
