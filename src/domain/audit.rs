//! What is written down of each token that is issued or refused: who did what to what, with which
//! outcome, and when.
//!
//! Enough to ask later "who got into this room, and by which token", and nothing that opens a room:
//! never the token, never a name or an address of a person.

use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

use crate::domain::callers::admin_key::KeyId;
use crate::domain::livekit::names::RoomName;
use crate::domain::realtime::client_secret::SessionId;
use crate::domain::requests::provider::Provider;

/// One thing that somebody did or was refused.
#[derive(Debug)]
pub struct AuditEvent<'a, C> {
    /// Who.
    pub actor: Actor<C>,
    /// What.
    pub action: Action,
    /// Who was to give the key; absent where it did not come to that.
    pub provider: Option<Provider>,
    /// The room, if the request named one that follows the rule of names.
    pub target: Option<&'a RoomName>,
    /// What came of it.
    pub outcome: Outcome<'a>,
    /// The request's one clock reading.
    pub occurred_at: SystemTime,
}

/// Who acted. `C` is a caller's keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<C> {
    /// Nobody that is known: the credentials were refused.
    Unknown,
    /// A caller, signed in or known by address.
    Caller(C),
    /// The holder of an operator's key.
    AdminKey(KeyId),
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A token for a room.
    IssueToken,
    /// A trial of a Realtime provider, by an operator, whose secret nobody gets.
    DiagnoseRealtime,
}

/// By what a key that was issued is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuedCredential {
    /// A token that was signed here: its own id, its claim `jti`.
    Token(Uuid),
    /// A secret that was minted at an upstream: the upstream's id of the session, where it gave
    /// one.
    Secret(Option<SessionId>),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was done.
    Issued(&'a IssuedCredential),
    /// It was not done.
    Refused {
        /// The error's code.
        code: &'static str,
    },
}

impl<C: fmt::Display> fmt::Display for Actor<C> {
    /// A caller's hash as it stands in the access line, `admin-key:` and the key's id, or
    /// `unknown`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("unknown"),
            Self::Caller(hash) => hash.fmt(formatter),
            Self::AdminKey(id) => write!(formatter, "admin-key:{id}"),
        }
    }
}

impl Action {
    /// The word of the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IssueToken => "token.issue",
            Self::DiagnoseRealtime => "realtime.diagnose",
        }
    }
}

impl Outcome<'_> {
    /// The word of the log and of the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued(_) => "issued",
            Self::Refused { .. } => "refused",
        }
    }

    /// The id of the token that was signed.
    #[must_use]
    pub fn jti(self) -> Option<Uuid> {
        match self {
            Self::Issued(IssuedCredential::Token(jti)) => Some(*jti),
            Self::Issued(IssuedCredential::Secret(_)) | Self::Refused { .. } => None,
        }
    }

    /// The session of the secret that was minted.
    #[must_use]
    pub fn session_id(&self) -> Option<&SessionId> {
        match self {
            Self::Issued(IssuedCredential::Secret(session_id)) => session_id.as_ref(),
            Self::Issued(IssuedCredential::Token(_)) | Self::Refused { .. } => None,
        }
    }

    /// Why it was refused.
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
    fn no_actor_can_be_taken_for_one_of_another_kind() {
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
    fn only_an_issued_key_has_an_id_and_only_a_refused_one_a_code() {
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
