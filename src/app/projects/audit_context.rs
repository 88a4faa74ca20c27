//! The part of an audit entry that comes from a request, and the times of entries.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::domain::audit::Actor;
use crate::domain::audit_log::entry::{AuditEntry, EventType};
use crate::domain::callers::caller_hash::CallerHash;

/// The part of an audit entry that comes from the request: actor, request id and time.
#[derive(Debug, Clone, Copy)]
pub struct AuditContext {
    /// The caller or operator who makes the change.
    pub actor: Actor<CallerHash>,
    /// The id of the request.
    pub request_id: Uuid,
    /// The request's one clock reading.
    pub now: SystemTime,
}

impl AuditContext {
    /// Starts an entry of something that succeeded.
    #[must_use]
    pub fn entry(&self, event: EventType) -> AuditEntry {
        AuditEntry::new(event, &self.actor, self.request_id, epoch_ms(self.now))
    }
}

/// Returns the milliseconds since 1970.
#[must_use]
pub fn epoch_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
