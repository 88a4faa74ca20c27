//! The slot that a session holds while its client secret is minted. However the request ends, the
//! slot is never held longer than its session.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::error::ProjectError;
use crate::store::projects::{Admittance, SessionRequest, SessionStore};

/// The reason that a session gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// All places are taken, for at most the given time.
    #[error("all places of the project are taken")]
    Full(Duration),
    /// The sessions of the day are used up, until the given time has passed.
    #[error("the project's sessions of the day are used up")]
    DayUsedUp(Duration),
    /// The store gave no answer.
    #[error(transparent)]
    Project(#[from] ProjectError),
}

/// A session's place. Unless [`SessionLease::keep`] is called, it is given back: at once where no
/// secret exists, else when the secret has expired.
pub struct SessionLease {
    sessions: Arc<dyn SessionStore>,
    session_id: Uuid,
    on_drop: OnDrop,
}

#[derive(Clone, Copy)]
enum OnDrop {
    Nothing,
    /// No secret exists.
    Cancel,
    /// A secret may exist until this moment, in milliseconds since 1970.
    ExpireAt(u64),
}

impl SessionLease {
    /// Takes a place.
    ///
    /// # Errors
    /// [`PlaceError`]; a place that was taken all the same is given back.
    pub(super) async fn take(
        sessions: Arc<dyn SessionStore>,
        request: SessionRequest,
    ) -> Result<Self, PlaceError> {
        let mut lease = Self {
            session_id: request.session_id,
            // Also for a request that is dropped while the store works on it.
            on_drop: OnDrop::Cancel,
            sessions,
        };
        let admittance = lease.sessions.open_session(request).await;
        let refused = match admittance.map_err(ProjectError::from)? {
            Admittance::Admitted => return Ok(lease),
            Admittance::Full { retry_after_ms } => PlaceError::Full(wait(retry_after_ms)),
            Admittance::DayUsedUp { retry_after_ms } => PlaceError::DayUsedUp(wait(retry_after_ms)),
        };
        lease.on_drop = OnDrop::Nothing;
        Err(refused)
    }

    /// Notes that a secret may exist from now on, until the given moment.
    pub fn secret_may_exist_until(&mut self, expires_at_ms: u64) {
        self.on_drop = OnDrop::ExpireAt(expires_at_ms);
    }

    /// Notes that no secret was minted, so that the place is given back at once.
    pub fn no_secret_exists(&mut self) {
        self.on_drop = OnDrop::Cancel;
    }

    /// Keeps the place for the whole session.
    pub fn keep(mut self) {
        self.on_drop = OnDrop::Nothing;
    }
}

/// Returns a time to wait, never zero: a request at once would be refused again.
fn wait(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds.max(1))
}

impl Drop for SessionLease {
    fn drop(&mut self) {
        let (sessions, session_id) = (Arc::clone(&self.sessions), self.session_id);
        let on_drop = self.on_drop;
        // Without a runtime the process ends, and the place ends with the session's time.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // A store that fails is counted by itself, and the place ends with the session's time.
        match on_drop {
            OnDrop::Nothing => {}
            OnDrop::Cancel => {
                runtime.spawn(async move { sessions.cancel_session(session_id).await });
            }
            OnDrop::ExpireAt(expires_at_ms) => {
                runtime.spawn(
                    async move { sessions.shorten_session(session_id, expires_at_ms).await },
                );
            }
        }
    }
}
