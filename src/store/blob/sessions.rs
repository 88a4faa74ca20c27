//! The sessions of projects in blobs: one blob for each project, changed by compare-and-swap, and
//! one small blob for each session that names its project.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::container::{BlobContainer, Metadata, WriteCondition};
use crate::domain::vault::project_id::ProjectId;
use crate::store::projects::{
    EndedBy, EndedSession, SessionCounts, SessionDecision, SessionRequest,
};
use crate::store::store_error::StoreError;

/// A day in UTC, in milliseconds. An expired session is also kept for this time.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Most attempts of one call when other writers change the blob first.
const ROUNDS: usize = 64;

/// The sessions of a project.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sessions {
    sessions: BTreeMap<Uuid, Session>,
    /// The number of sessions opened on each day; a day is its number since 1970-01-01.
    days: BTreeMap<u64, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Session {
    owner: String,
    opened_at_ms: u64,
    expires_at_ms: u64,
    ended: bool,
}

impl Sessions {
    fn active(&self, now_ms: u64) -> impl Iterator<Item = &Session> {
        self.sessions
            .values()
            .filter(move |session| !session.ended && session.expires_at_ms > now_ms)
    }

    fn today(&self, now_ms: u64) -> u64 {
        self.days
            .get(&(now_ms / DAY_MS))
            .copied()
            .unwrap_or_default()
    }

    /// Removes sessions that expired more than a day ago, and returns their ids.
    fn sweep(&mut self, now_ms: u64) -> Vec<Uuid> {
        let oldest_ms = now_ms.saturating_sub(DAY_MS);
        let is_over = |session: &Session| session.expires_at_ms < oldest_ms;
        let over = self.sessions.iter().filter(|(_, session)| is_over(session));
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        self.sessions.retain(|_, session| !is_over(session));
        let yesterday = (now_ms / DAY_MS).saturating_sub(1);
        self.days.retain(|day, _| *day >= yesterday);
        over
    }

    fn admit(&mut self, request: &SessionRequest) -> SessionDecision {
        let (now_ms, day) = (request.now_ms, request.now_ms / DAY_MS);
        if let Some(most) = request.daily_sessions
            && self.today(now_ms) >= u64::from(most)
        {
            return SessionDecision::DayUsedUp {
                retry_after_ms: (day + 1) * DAY_MS - now_ms,
            };
        }
        let expiries = self.active(now_ms).map(|session| session.expires_at_ms);
        let (active, first_free) = (self.active(now_ms).count() as u64, expiries.min());
        if active >= u64::from(request.concurrency) {
            return SessionDecision::Full {
                retry_after_ms: first_free.unwrap_or(now_ms).saturating_sub(now_ms),
            };
        }
        let session = Session {
            owner: request.owner.to_string(),
            opened_at_ms: now_ms,
            expires_at_ms: request.expires_at_ms,
            ended: false,
        };
        self.sessions.insert(request.session_id, session);
        *self.days.entry(day).or_default() += 1;
        SessionDecision::Admitted
    }
}

/// Opens a session if the project's limits allow it.
pub async fn open(
    container: &dyn BlobContainer,
    request: &SessionRequest,
) -> Result<SessionDecision, StoreError> {
    let id = request.session_id;
    // Written first, so that a session which holds a slot can always be ended.
    let (absent, project) = (WriteCondition::Absent, request.project_id.as_str());
    container
        .write(&index(id), absent, Metadata::new(), project.into())
        .await?;
    let (decision, over) = change(container, &request.project_id, |sessions| {
        let over = sessions.sweep(request.now_ms);
        let decision = sessions.admit(request);
        let changes = decision == SessionDecision::Admitted;
        (changes.then_some(()), (decision, over))
    })
    .await?;
    // If a removal fails, the blob that is left names a session that no project contains.
    if decision == SessionDecision::Admitted {
        for id in over {
            let _ = container.remove(&index(id)).await;
        }
    } else {
        let _ = container.remove(&index(id)).await;
    }
    Ok(decision)
}

/// Removes a session whose client secret was never issued.
pub async fn cancel(container: &dyn BlobContainer, id: Uuid) -> Result<(), StoreError> {
    let Some(project) = project_of(container, id).await? else {
        return Ok(());
    };
    change(container, &project, |sessions| {
        let session = sessions.sessions.remove(&id);
        if let Some(session) = &session
            && let Some(opened) = sessions.days.get_mut(&(session.opened_at_ms / DAY_MS))
        {
            *opened = opened.saturating_sub(1);
        }
        (session.map(drop), ())
    })
    .await?;
    container.remove(&index(id)).await
}

/// Lets a session hold its slot longer.
pub async fn extend(
    container: &dyn BlobContainer,
    id: Uuid,
    expires_at_ms: u64,
) -> Result<(), StoreError> {
    let Some(project) = project_of(container, id).await? else {
        return Ok(());
    };
    change(container, &project, |sessions| {
        let session = sessions.sessions.get_mut(&id);
        let extended =
            session.filter(|session| !session.ended && session.expires_at_ms < expires_at_ms);
        (
            extended.map(|session| session.expires_at_ms = expires_at_ms),
            (),
        )
    })
    .await
}

/// Ends a session if this caller is allowed to.
pub async fn end(
    container: &dyn BlobContainer,
    id: Uuid,
    by: EndedBy,
    now_ms: u64,
) -> Result<Option<EndedSession>, StoreError> {
    let Some(project_id) = project_of(container, id).await? else {
        return Ok(None);
    };
    let owner = match by {
        EndedBy::Owner(owner) => Some(owner.to_string()),
        EndedBy::Operator => None,
    };
    let was_active = change(container, &project_id, |sessions| {
        let session = sessions.sessions.get_mut(&id);
        let may = |session: &Session| owner.as_ref().is_none_or(|owner| session.owner == *owner);
        let Some(session) = session.filter(|session| may(session)) else {
            return (None, None);
        };
        let was_active = !session.ended && session.expires_at_ms > now_ms;
        session.ended = true;
        (was_active.then_some(()), Some(was_active))
    })
    .await?;
    Ok(was_active.map(|was_active| EndedSession {
        project_id,
        was_active,
    }))
}

/// Counts the sessions of a project.
pub async fn count(
    container: &dyn BlobContainer,
    project: &ProjectId,
    now_ms: u64,
) -> Result<SessionCounts, StoreError> {
    let (sessions, _) = read(container, project).await?;
    Ok(SessionCounts {
        active: sessions.active(now_ms).count() as u64,
        today: sessions.today(now_ms),
    })
}

/// Changes a project's sessions. `change` returns whether anything has changed, and is called again
/// if another writer changed the blob first.
async fn change<T: Send>(
    container: &dyn BlobContainer,
    project: &ProjectId,
    change: impl Fn(&mut Sessions) -> (Option<()>, T) + Send + Sync,
) -> Result<T, StoreError> {
    for _ in 0..ROUNDS {
        let (mut sessions, etag) = read(container, project).await?;
        let (changed, result) = change(&mut sessions);
        if changed.is_none() {
            return Ok(result);
        }
        let condition = etag
            .as_deref()
            .map_or(WriteCondition::Absent, WriteCondition::Unchanged);
        let bytes = serde_json::to_vec(&sessions)?;
        match container
            .write(&name(project), condition, Metadata::new(), bytes)
            .await
        {
            Err(StoreError::LostRace) => {}
            written => return written.map(|()| result),
        }
    }
    Err(StoreError::LostRace)
}

async fn read(
    container: &dyn BlobContainer,
    project: &ProjectId,
) -> Result<(Sessions, Option<String>), StoreError> {
    match container.read(&name(project)).await? {
        None => Ok((Sessions::default(), None)),
        Some(blob) => {
            let sessions =
                serde_json::from_slice(&blob.bytes).map_err(|_| StoreError::RecordCorrupt)?;
            Ok((sessions, Some(blob.etag)))
        }
    }
}

async fn project_of(
    container: &dyn BlobContainer,
    id: Uuid,
) -> Result<Option<ProjectId>, StoreError> {
    let blob = container.read(&index(id)).await?;
    let project = blob.and_then(|blob| String::from_utf8(blob.bytes).ok());
    Ok(project.and_then(|project| ProjectId::parse(&project).ok()))
}

fn name(project: &ProjectId) -> String {
    format!("sessions/{project}")
}

fn index(id: Uuid) -> String {
    format!("session-ids/{id}")
}
