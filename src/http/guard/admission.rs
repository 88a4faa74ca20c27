//! Proofs that a guard admitted a request. Only [`super`] can create one.

use std::sync::Arc;
use std::time::SystemTime;

use crate::domain::audit::Actor;
use crate::domain::callers::caller::{Caller, Forbidden};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::livekit::names::{ParticipantIdentity, RoomName};
use crate::domain::vault::anonymous_projects::AnonymousProjects;
use crate::domain::vault::project_id::ProjectId;
use crate::traces::{self, Step};

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

/// An admitted caller or operator, who ends a session.
pub struct EndAdmission {
    /// The caller or operator, for the audit log.
    pub actor: Actor<CallerHash>,
    /// The caller whose sessions it may end; `None` for an operator, who may end any.
    pub owner: Option<CallerHash>,
    /// The request's one clock reading.
    pub now: SystemTime,
}

/// An admitted operator.
pub struct OperatorAdmission {
    /// The operator, for the audit log.
    pub actor: Actor<CallerHash>,
    /// The request's one clock reading.
    pub now: SystemTime,
}

impl Admission for CallerAdmission {}
impl Admission for OperatorAdmission {}
impl Admission for EndAdmission {}

impl CallerAdmission {
    /// Checks the scope or role that the operator requires.
    ///
    /// # Errors
    /// [`Forbidden::Scope`] where it is missing.
    pub fn require_scope(&self) -> Result<(), Forbidden> {
        self.caller.require_scope()
    }

    /// Returns whether the caller may use a project.
    pub fn may_use(&self, project_id: &ProjectId, anonymous: &AnonymousProjects) -> bool {
        self.caller.may_use(project_id, anonymous)
    }

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
        let _span = traces::start(Step::Decide);
        self.caller.authorize(requested, room_name)
    }
}
