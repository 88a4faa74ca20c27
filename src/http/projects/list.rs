//! `GET /api/projects`: lists projects and what may be shown of their keys.

use http::StatusCode;
use serde::Serialize;

use crate::app::App;
use crate::domain::vault::key_request::ListProjectsRequest;
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::record::KeySummary;
use crate::http::error::ApiError;
use crate::http::guard;
use crate::http::reply::{self, Reply};
use crate::http::request::Request;
use crate::http::vault_access;

#[derive(Serialize)]
struct Answer {
    projects: Vec<Line>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Line {
    project_id: ProjectId,
    /// `null` with the next three where the stored record is damaged.
    kek_version: Option<String>,
    etag: Option<String>,
    fingerprint: Option<String>,
    created_at: Option<u64>,
    rotated_at: Option<u64>,
    active_sessions: u64,
    sessions_today: u64,
}

/// Lists a page of projects in the order of their ids.
pub async fn list(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    let operator = guard::admit_operator(app, &mut request).await?;
    let vault = projects.open_vault().await?;
    let query = request.query.unwrap_or_default();
    let ListProjectsRequest { limit, after } = ListProjectsRequest::parse(query, &vault.cursors)?;
    // One more shows whether there is another page.
    let mut listed = vault.list(after.as_ref(), limit + 1, operator.now).await?;
    let has_more = listed.len() > limit;
    listed.truncate(limit);
    let next_cursor = listed
        .last()
        .filter(|_| has_more)
        .map(|(last, _)| ListProjectsRequest::cursor_behind(&last.project_id, &vault.cursors));
    let lines = listed.into_iter().map(|(project, sessions)| Line {
        active_sessions: sessions.active,
        sessions_today: sessions.today,
        ..Line::new(project.project_id, project.summary.as_ref())
    });
    let answer = Answer {
        projects: lines.collect(),
        next_cursor,
    };
    reply::json(StatusCode::OK, &answer)
}

impl Line {
    /// Creates the line of a project without sessions. `None` stands for a damaged record.
    fn new(project_id: ProjectId, summary: Option<&KeySummary>) -> Self {
        Self {
            project_id,
            kek_version: summary.map(|key| key.kek_version.to_string()),
            etag: summary.map(|key| key.tag.to_quoted()),
            fingerprint: summary.map(|key| key.fingerprint.to_string()),
            created_at: summary.map(|key| key.created_at_ms),
            rotated_at: summary.and_then(|key| key.rotated_at_ms),
            active_sessions: 0,
            sessions_today: 0,
        }
    }
}
