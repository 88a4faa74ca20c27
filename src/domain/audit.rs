//! Audit events: one for each token that is issued or refused.
//!
//! An event answers later questions such as "who got a token for this room". It never contains the
//! token, or a person's name or address.

use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

use crate::domain::callers::admin_key::KeyId;
use crate::domain::livekit::names::RoomName;
use crate::domain::realtime::client_secret::SessionId;

/// One action that succeeded or was refused.
#[derive(Debug)]
pub struct AuditEvent<'a, C> {
    /// The actor.
    pub actor: Actor<C>,
    /// The action.
    pub action: Action,
    /// The provider, if the request was read far enough to know it.
    pub provider: Option<&'static str>,
    /// The room, if the request named a valid one.
    pub target: Option<&'a RoomName>,
    /// The outcome.
    pub outcome: Outcome<'a>,
    /// The request's one clock reading.
    pub occurred_at: SystemTime,
}

/// The actor of an event. `C` is a caller's keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<C> {
    /// An unidentified caller, whose credentials were rejected.
    Unknown,
    /// A caller, signed in or identified by address.
    Caller(C),
    /// The holder of an admin key.
    AdminKey(KeyId),
}

/// The action of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The issue of a token or client secret.
    IssueToken,
    /// The issue of TURN credentials.
    IssueTurnCredentials,
    /// The opening of a session with the key of a project.
    OpenSession,
    /// A test of a Realtime provider by an operator, whose secret is dropped.
    DiagnoseRealtime,
}

/// The id of an issued credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuedCredential {
    /// The claim `jti` of a token that was signed here.
    Token(Uuid),
    /// The upstream's id of the session for a minted secret, if the upstream returned one.
    Secret(Option<SessionId>),
    /// TURN credentials have no id: the name in them is the actor's hash.
    TurnCredentials,
}

/// The outcome of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// A credential was issued.
    Issued(&'a IssuedCredential),
    /// The request was refused.
    Refused {
        /// The error's code.
        code: &'static str,
    },
}

impl<C: fmt::Display> fmt::Display for Actor<C> {
    /// Writes the caller's hash as in the access log, `admin-key:` and the key's id, or `unknown`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("unknown"),
            Self::Caller(hash) => hash.fmt(formatter),
            Self::AdminKey(id) => write!(formatter, "admin-key:{id}"),
        }
    }
}

impl Action {
    /// Returns the label for the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IssueToken => "token.issue",
            Self::IssueTurnCredentials => "turn.issue",
            Self::OpenSession => "session.open",
            Self::DiagnoseRealtime => "realtime.diagnose",
        }
    }
}

impl Outcome<'_> {
    /// Returns the label for the log and the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued(_) => "issued",
            Self::Refused { .. } => "refused",
        }
    }

    /// Returns the id of the signed token.
    #[must_use]
    pub fn jti(self) -> Option<Uuid> {
        match self {
            Self::Issued(IssuedCredential::Token(jti)) => Some(*jti),
            Self::Issued(IssuedCredential::Secret(_) | IssuedCredential::TurnCredentials)
            | Self::Refused { .. } => None,
        }
    }

    /// Returns the session of the minted secret.
    #[must_use]
    pub fn session_id(&self) -> Option<&SessionId> {
        match self {
            Self::Issued(IssuedCredential::Secret(session_id)) => session_id.as_ref(),
            Self::Issued(IssuedCredential::Token(_) | IssuedCredential::TurnCredentials)
            | Self::Refused { .. } => None,
        }
    }

    /// Returns the code of the error that refused it.
    #[must_use]
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Issued(_) => None,
            Self::Refused { code } => Some(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::callers::admin_key::AdminKeys;

    #[test]
    fn actors_of_different_kinds_are_written_differently() {
        let key = "canary-one-0123456789-0123456789";
        let id = AdminKeys::parse(key).unwrap().find(key.as_bytes()).unwrap();
        assert_eq!(Actor::<&str>::Unknown.to_string(), "unknown");
        assert_eq!(Actor::Caller("00ff").to_string(), "00ff");
        assert_eq!(
            Actor::<&str>::AdminKey(id).to_string(),
            format!("admin-key:{id}")
        );
    }

    #[test]
    fn only_an_issued_credential_has_an_id_and_only_a_refusal_a_code() {
        let jti = Uuid::from_u128(7);
        let token = IssuedCredential::Token(jti);
        let (issued, refused) = (
            Outcome::Issued(&token),
            Outcome::Refused {
                code: "room_forbidden",
            },
        );
        let secret = IssuedCredential::Secret(SessionId::parse("sess_1"));
        let minted = Outcome::Issued(&secret);
        assert_eq!(
            (
                minted.as_str(),
                minted.jti(),
                minted.session_id().map(SessionId::as_str)
            ),
            ("issued", None, Some("sess_1"))
        );
        assert_eq!((issued.session_id(), refused.session_id()), (None, None));
        assert_eq!(
            (issued.as_str(), issued.jti(), issued.code()),
            ("issued", Some(jti), None)
        );
        assert_eq!(
            (refused.as_str(), refused.jti(), refused.code()),
            ("refused", None, Some("room_forbidden"))
        );
        assert_eq!(
            (
                Action::IssueToken.as_str(),
                Action::DiagnoseRealtime.as_str()
            ),
            ("token.issue", "realtime.diagnose")
        );
    }
}
