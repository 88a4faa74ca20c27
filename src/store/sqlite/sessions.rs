//! The sessions of projects in SQLite. Each open session holds one slot of its project.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use super::steps;
use super::worker::CallHandle;
use crate::domain::vault::project_id::ProjectId;
use crate::store::projects::{
    EndedBy, EndedSession, SessionCounts, SessionDecision, SessionRequest,
};
use crate::store::store_error::StoreError;

/// A day in UTC, in milliseconds. An expired session is also kept for this time.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Most old sessions that one call removes.
const SWEPT: u32 = 100;

/// Opens a session if the project's limits allow it.
pub fn open(
    connection: &mut Connection,
    request: &SessionRequest,
    call: &CallHandle<'_>,
) -> Result<SessionDecision, StoreError> {
    let now_ms = request.now_ms;
    let project = request.project_id.as_str();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    call.check_waiting()?;
    steps::reached("session.locked");
    sweep(&transaction, now_ms)?;
    let day = now_ms / DAY_MS;
    if let Some(most) = request.daily_sessions
        && opened_on(&transaction, project, day)? >= u64::from(most)
    {
        return Ok(SessionDecision::DayUsedUp {
            retry_after_ms: (day + 1) * DAY_MS - now_ms,
        });
    }
    let (active, first_free): (u64, Option<u64>) = transaction.query_row(
        "SELECT count(*), min(expires_at_ms) FROM sessions
         WHERE project_id = ?1 AND ended_at_ms IS NULL AND expires_at_ms > ?2",
        params![project, now_ms],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if active >= u64::from(request.concurrency) {
        return Ok(SessionDecision::Full {
            retry_after_ms: first_free.unwrap_or(now_ms).saturating_sub(now_ms),
        });
    }
    transaction.execute(
        "INSERT INTO sessions (session_id, project_id, owner, opened_at_ms, expires_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            request.session_id.to_string(),
            project,
            request.owner.to_string(),
            now_ms,
            request.expires_at_ms
        ],
    )?;
    transaction.execute(
        "INSERT INTO session_days (day, project_id, opened) VALUES (?1, ?2, 1)
         ON CONFLICT DO UPDATE SET opened = opened + 1",
        params![day, project],
    )?;
    steps::reached("session.opened");
    call.check_waiting()?;
    transaction.commit()?;
    steps::reached("session.committed");
    Ok(SessionDecision::Admitted)
}

/// Removes a session whose client secret was never issued.
pub fn cancel(connection: &mut Connection, session_id: Uuid) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let session = transaction
        .query_row(
            "DELETE FROM sessions WHERE session_id = ?1 RETURNING project_id, opened_at_ms",
            [session_id.to_string()],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)),
        )
        .optional()?;
    if let Some((project, opened_at_ms)) = session {
        transaction.execute(
            "UPDATE session_days SET opened = opened - 1
             WHERE day = ?1 AND project_id = ?2 AND opened > 0",
            params![opened_at_ms / DAY_MS, project],
        )?;
    }
    steps::reached("session.cancelled");
    transaction.commit()?;
    Ok(())
}

/// Lets a session hold its slot longer.
pub fn extend(
    connection: &mut Connection,
    session_id: Uuid,
    expires_at_ms: u64,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE sessions SET expires_at_ms = max(expires_at_ms, ?2)
         WHERE session_id = ?1 AND ended_at_ms IS NULL",
        params![session_id.to_string(), expires_at_ms],
    )?;
    Ok(())
}

/// Ends a session if this caller is allowed to.
pub fn end(
    connection: &mut Connection,
    session_id: Uuid,
    by: EndedBy,
    now_ms: u64,
) -> Result<Option<EndedSession>, StoreError> {
    let owner = match by {
        EndedBy::Owner(owner) => Some(owner.to_string()),
        EndedBy::Operator => None,
    };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: Option<(String, bool)> = transaction
        .query_row(
            "SELECT project_id, ended_at_ms IS NULL AND expires_at_ms > ?2 FROM sessions
             WHERE session_id = ?1 AND (?3 IS NULL OR owner = ?3)",
            params![session_id.to_string(), now_ms, owner],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((project_id, was_active)) = found else {
        return Ok(None);
    };
    if was_active {
        transaction.execute(
            "UPDATE sessions SET ended_at_ms = ?2 WHERE session_id = ?1",
            params![session_id.to_string(), now_ms],
        )?;
    }
    steps::reached("session.ended");
    transaction.commit()?;
    let project_id = ProjectId::parse(&project_id).map_err(|_| StoreError::Corrupt)?;
    Ok(Some(EndedSession {
        project_id,
        was_active,
    }))
}

/// Counts the sessions of each project.
pub fn count(
    connection: &Connection,
    projects: &[ProjectId],
    now_ms: u64,
) -> Result<Vec<SessionCounts>, StoreError> {
    let mut active = connection.prepare(
        "SELECT count(*) FROM sessions
         WHERE project_id = ?1 AND ended_at_ms IS NULL AND expires_at_ms > ?2",
    )?;
    projects
        .iter()
        .map(|project| {
            let project = project.as_str();
            Ok(SessionCounts {
                active: active.query_row(params![project, now_ms], |row| row.get(0))?,
                today: opened_on(connection, project, now_ms / DAY_MS)?,
            })
        })
        .collect()
}

fn opened_on(connection: &Connection, project: &str, day: u64) -> Result<u64, StoreError> {
    let opened = connection
        .query_row(
            "SELECT opened FROM session_days WHERE day = ?1 AND project_id = ?2",
            params![day, project],
            |row| row.get(0),
        )
        .optional()?;
    Ok(opened.unwrap_or_default())
}

/// Removes sessions that expired more than a day ago, at most [`SWEPT`] per call, and the counts of
/// days before yesterday.
fn sweep(transaction: &Connection, now_ms: u64) -> Result<(), StoreError> {
    transaction.execute(
        "DELETE FROM sessions WHERE session_id IN
           (SELECT session_id FROM sessions WHERE expires_at_ms < ?1 LIMIT ?2)",
        params![now_ms.saturating_sub(DAY_MS), SWEPT],
    )?;
    transaction.execute(
        "DELETE FROM session_days WHERE day < ?1",
        params![(now_ms / DAY_MS).saturating_sub(1)],
    )?;
    Ok(())
}
