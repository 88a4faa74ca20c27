//! Proofs that a guard admitted a request. Only [`super`] can create one.

use std::sync::Arc;
use std::time::SystemTime;

use crate::domain::callers::caller::{Caller, Forbidden};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::livekit::names::{ParticipantIdentity, RoomName};

/// A proof that lets a handler read the body of its request.
pub trait Admission {}

/// An admitted caller.
pub struct CallerAdmission {
    pub(super) caller: Arc<Caller>,
    /// Identifies the caller in counters, in the log, and to an upstream that distinguishes end
    /// users.
    pub caller_hash: CallerHash,
    /// The request's one clock reading.
    pub now: SystemTime,
}

/// An admitted operator.
pub struct OperatorAdmission {
    /// The request's one clock reading.
    pub now: SystemTime,
}

impl Admission for CallerAdmission {}
impl Admission for OperatorAdmission {}

impl CallerAdmission {
    /// Applies the policy to the identity and the room that the caller requests. Returns the
    /// identity to use, `None` for an anonymous caller who requested none.
    ///
    /// # Errors
    /// A missing scope, another caller's identity, or a room that the caller may not join.
    pub fn authorize(
        &self,
        requested: Option<ParticipantIdentity>,
        room_name: Option<&RoomName>,
    ) -> Result<Option<ParticipantIdentity>, Forbidden> {
        self.caller.authorize(requested, room_name)
    }
}
