//! The slots of projects' sessions in Redis, which all instances share.
//!
//! Each operation is one call of a script that is atomic. Times are the caller's; Redis' own clock
//! only removes keys that nobody needs any more. Slots have no local stand-in, because instances
//! that each admit a project's sessions would together exceed its limit: without Redis, every call
//! is an error.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{FromRedisValue, Script, ScriptInvocation};
use uuid::Uuid;

use super::Redis;
use crate::domain::vault::project_id::ProjectId;
use crate::store::projects::{
    EndedBy, EndedSession, SessionCounts, SessionDecision, SessionRequest, SessionStore,
};
use crate::store::store_error::{StoreError, StoreOutage};

/// A day in UTC, in milliseconds. How long a session is remembered after it has expired, too.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The beginning of a session's key; its id follows. The braces give all keys of sessions the same
/// slot, so that one script may use several of them on servers that sit behind one address and
/// share the slots, such as Azure Managed Redis with the cluster policy Enterprise.
const SESSION: &str = "roomkey:{sessions}:session:";
/// The beginning of the key of a project's slots; its id follows.
const SLOTS: &str = "roomkey:{sessions}:slots:";
/// The beginning of the key of a project's count of one day; the day since 1970, a colon and the
/// project's id follow.
const DAY: &str = "roomkey:{sessions}:day:";

/// The slots of sessions in the Redis that the counters use too.
pub struct RedisSessions {
    redis: Arc<Redis>,
    open: Script,
    cancel: Script,
    extend: Script,
    end: Script,
    count: Script,
}

impl RedisSessions {
    /// Creates the store over a Redis; calls fail until its address is known and it responds.
    #[must_use]
    pub fn new(redis: Arc<Redis>) -> Self {
        Self {
            redis,
            open: Script::new(include_str!("sessions/open.lua")),
            cancel: Script::new(include_str!("sessions/cancel.lua")),
            extend: Script::new(include_str!("sessions/extend.lua")),
            end: Script::new(include_str!("sessions/end.lua")),
            count: Script::new(include_str!("sessions/count.lua")),
        }
    }

    /// Calls a script; `key` is one of those that it uses.
    async fn call<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        key: String,
    ) -> Result<T, StoreError> {
        let server = self.redis.server.load_full();
        let server = server.ok_or(StoreOutage::Unreachable)?;
        let result = server.call_without_fallback(call, key).await;
        Ok(result.map_err(StoreOutage::from)?)
    }
}

#[async_trait]
impl SessionStore for RedisSessions {
    async fn open_session(&self, request: SessionRequest) -> Result<SessionDecision, StoreError> {
        let (id, project, now_ms) = (request.session_id, &request.project_id, request.now_ms);
        let key = session_key(id);
        let mut call = self.open.prepare_invoke();
        call.key(&key)
            .key(slots_key(project))
            .key(day_key(project, now_ms))
            .arg(id.to_string())
            .arg(project.as_str())
            .arg(request.owner.to_string())
            .arg(now_ms)
            .arg(request.expires_at_ms)
            .arg(request.concurrency)
            .arg(
                request
                    .daily_sessions
                    .map_or_else(String::new, |most| most.to_string()),
            )
            .arg(DAY_MS);
        let (outcome, retry_after_ms): (u8, u64) = self.call(&call, key).await?;
        match outcome {
            0 => Ok(SessionDecision::Admitted),
            1 => Ok(SessionDecision::Full { retry_after_ms }),
            2 => Ok(SessionDecision::DayUsedUp {
                retry_after_ms: (now_ms / DAY_MS + 1) * DAY_MS - now_ms,
            }),
            _ => Err(StoreOutage::Failed.into()),
        }
    }

    async fn cancel_session(&self, session_id: Uuid) -> Result<(), StoreError> {
        let key = session_key(session_id);
        let mut call = self.cancel.prepare_invoke();
        call.key(&key)
            .arg(session_id.to_string())
            .arg(SLOTS)
            .arg(DAY)
            .arg(DAY_MS);
        self.call(&call, key).await
    }

    async fn extend_session(&self, session_id: Uuid, expires_at_ms: u64) -> Result<(), StoreError> {
        let key = session_key(session_id);
        let mut call = self.extend.prepare_invoke();
        call.key(&key)
            .arg(session_id.to_string())
            .arg(SLOTS)
            .arg(expires_at_ms);
        self.call(&call, key).await
    }

    async fn end_session(
        &self,
        session_id: Uuid,
        by: EndedBy,
        now_ms: u64,
    ) -> Result<Option<EndedSession>, StoreError> {
        let owner = match by {
            EndedBy::Owner(owner) => owner.to_string(),
            EndedBy::Operator => String::new(),
        };
        let key = session_key(session_id);
        let mut call = self.end.prepare_invoke();
        call.key(&key)
            .arg(session_id.to_string())
            .arg(SLOTS)
            .arg(owner)
            .arg(now_ms)
            .arg(DAY_MS);
        let ended: Option<(String, bool)> = self.call(&call, key).await?;
        let Some((project_id, was_active)) = ended else {
            return Ok(None);
        };
        let project_id = ProjectId::parse(&project_id).map_err(|_| StoreError::RecordCorrupt)?;
        Ok(Some(EndedSession {
            project_id,
            was_active,
        }))
    }

    async fn count_sessions(
        &self,
        projects: &[ProjectId],
        now_ms: u64,
    ) -> Result<Vec<SessionCounts>, StoreError> {
        let Some(first) = projects.first() else {
            return Ok(Vec::new());
        };
        let mut call = self.count.prepare_invoke();
        for project in projects {
            call.key(slots_key(project)).key(day_key(project, now_ms));
        }
        call.arg(now_ms);
        let counts: Vec<(u64, u64)> = self.call(&call, slots_key(first)).await?;
        if counts.len() != projects.len() {
            return Err(StoreOutage::Failed.into());
        }
        let counts = counts.into_iter();
        Ok(counts
            .map(|(active, today)| SessionCounts { active, today })
            .collect())
    }
}

fn session_key(id: Uuid) -> String {
    format!("{SESSION}{id}")
}

fn slots_key(project: &ProjectId) -> String {
    format!("{SLOTS}{project}")
}

fn day_key(project: &ProjectId, now_ms: u64) -> String {
    format!("{DAY}{}:{project}", now_ms / DAY_MS)
}
