//! The slot that a session holds while its client secret is minted. However the request ends, also
//! if the process is killed, the slot is held no longer than a secret may exist.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::error::ProjectError;
use crate::store::projects::{SessionDecision, SessionRequest, SessionStore};
use crate::store::store_error::StoreError;

/// The reason that a session gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SlotError {
    /// All slots are taken, for at most the given time.
    #[error("all slots of the project are taken")]
    Full(Duration),
    /// The sessions of the day are used up, until the given time has passed.
    #[error("the project's sessions of the day are used up")]
    DayUsedUp(Duration),
    /// The store gave no answer.
    #[error(transparent)]
    Project(#[from] ProjectError),
}

/// The store that counts sessions.
#[derive(Clone)]
pub(super) struct SessionSlots {
    pub(super) store: Arc<dyn SessionStore>,
    /// It is another store than that of the keys, which then still records that this one fails.
    pub(super) is_apart: bool,
}

impl SessionSlots {
    /// Returns the error of a request for a failure of this store.
    pub(super) fn failure(&self, error: StoreError) -> ProjectError {
        match ProjectError::from(error) {
            ProjectError::StoreUnavailable(cause) if self.is_apart => {
                ProjectError::SessionsUnavailable(cause)
            }
            error => error,
        }
    }
}

/// A session's slot. It is taken for as long as a client secret that is minted now may be valid,
/// so that it becomes free by itself if the request ends in any way; [`SessionLease::keep`] extends
/// it to the whole session. While no secret exists, dropping it gives the slot back at once.
pub struct SessionLease {
    sessions: SessionSlots,
    session_id: Uuid,
    cancels_on_drop: bool,
}

impl SessionLease {
    /// Takes a slot.
    ///
    /// # Errors
    /// [`SlotError`]; a slot that was taken all the same is given back.
    pub(super) async fn take(
        sessions: SessionSlots,
        request: SessionRequest,
    ) -> Result<Self, SlotError> {
        let mut lease = Self {
            session_id: request.session_id,
            // Also for a request that is dropped while the store works on it.
            cancels_on_drop: true,
            sessions,
        };
        let decision = lease.sessions.store.open_session(request).await;
        let refused = match decision.map_err(|error| lease.sessions.failure(error))? {
            SessionDecision::Admitted => return Ok(lease),
            SessionDecision::Full { retry_after_ms } => SlotError::Full(wait(retry_after_ms)),
            SessionDecision::DayUsedUp { retry_after_ms } => {
                SlotError::DayUsedUp(wait(retry_after_ms))
            }
        };
        lease.cancels_on_drop = false;
        Err(refused)
    }

    /// Notes that a secret may exist from now on.
    pub fn secret_may_exist(&mut self) {
        self.cancels_on_drop = false;
    }

    /// Gives the slot back, since no secret was minted. If the store fails, or the caller stops
    /// waiting, another attempt is made in the background.
    pub async fn cancel(mut self) {
        self.cancels_on_drop = true;
        let cancelled = self.sessions.store.cancel_session(self.session_id).await;
        self.cancels_on_drop = cancelled.is_err();
    }

    /// Keeps the slot for the whole session.
    ///
    /// # Errors
    /// [`ProjectError`]; the slot is then free when the secret has expired.
    pub async fn keep(self, expires_at_ms: u64) -> Result<(), ProjectError> {
        let sessions = &self.sessions;
        let extended = sessions
            .store
            .extend_session(self.session_id, expires_at_ms);
        extended.await.map_err(|error| sessions.failure(error))
    }
}

/// Returns a time to wait, never zero: a request at once would be refused again.
fn wait(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds.max(1))
}

impl Drop for SessionLease {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the slot ends by itself, as it does where the
        // store fails.
        if self.cancels_on_drop
            && let Ok(runtime) = Handle::try_current()
        {
            let (sessions, session_id) = (Arc::clone(&self.sessions.store), self.session_id);
            runtime.spawn(async move { sessions.cancel_session(session_id).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::callers::caller_hash::HashKey;
    use crate::domain::vault::project_id::ProjectId;
    use crate::store::sqlite::SqliteStore;

    const NOW_MS: u64 = 1_800_000_000_000;
    const UNTIL_MS: u64 = NOW_MS + 73_000;

    async fn taken(store: &Arc<SqliteStore>) -> SessionLease {
        let request = SessionRequest {
            session_id: Uuid::from_u128(1),
            project_id: ProjectId::parse("p").unwrap(),
            owner: HashKey::new(&[0; 32]).hash("test", b"alice"),
            now_ms: NOW_MS,
            expires_at_ms: UNTIL_MS,
            concurrency: 1,
            daily_sessions: None,
        };
        let sessions = SessionSlots {
            store: Arc::clone(store) as _,
            is_apart: false,
        };
        SessionLease::take(sessions, request).await.unwrap()
    }

    async fn active(store: &SqliteStore, now_ms: u64) -> u64 {
        let projects = [ProjectId::parse("p").unwrap()];
        store.count_sessions(&projects, now_ms).await.unwrap()[0].active
    }

    #[tokio::test]
    async fn a_slot_lasts_for_the_secret_unless_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::new(&folder.path().join("store.db")).unwrap());
        let mut lease = taken(&store).await;
        lease.secret_may_exist();
        // As if the process had been killed: nothing runs on drop.
        drop(lease);
        assert_eq!(active(&store, UNTIL_MS - 1).await, 1);
        assert_eq!(active(&store, UNTIL_MS).await, 0);
    }

    #[tokio::test]
    async fn a_kept_slot_lasts_for_the_session() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::new(&folder.path().join("store.db")).unwrap());
        let mut lease = taken(&store).await;
        lease.secret_may_exist();
        lease.keep(NOW_MS + 3_600_000).await.unwrap();
        assert_eq!(active(&store, NOW_MS + 3_599_999).await, 1);
        assert_eq!(active(&store, NOW_MS + 3_600_000).await, 0);
    }
}
