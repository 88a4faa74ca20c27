//! Entries of the audit log, one for each change of the vault and each session.

use std::borrow::Cow;
use std::fmt;

use uuid::Uuid;

use crate::domain::audit::Actor;
use crate::domain::vault::project_id::ProjectId;

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// A project's key was saved or replaced.
    VaultKeySaved,
    /// A project's key was deleted.
    VaultKeyDeleted,
    /// A project's key was resealed under another key-encryption key.
    VaultKeyRotated,
    /// A session was opened.
    SessionCreated,
    /// A session was ended on request.
    SessionEnded,
    /// A session could not be opened or ended.
    SessionError,
}

impl EventType {
    /// Every event type.
    pub const ALL: [Self; 6] = [
        Self::VaultKeySaved,
        Self::VaultKeyDeleted,
        Self::VaultKeyRotated,
        Self::SessionCreated,
        Self::SessionEnded,
        Self::SessionError,
    ];

    /// Returns the name that responses and stores use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VaultKeySaved => "vault_key_saved",
            Self::VaultKeyDeleted => "vault_key_deleted",
            Self::VaultKeyRotated => "vault_key_rotated",
            Self::SessionCreated => "session_created",
            Self::SessionEnded => "session_ended",
            Self::SessionError => "session_error",
        }
    }

    /// Reads the name of an event type.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// The content of an audit record. Its texts are fixed ones or keyed hashes, never a client's or an
/// upstream's.
///
/// They are plain texts, so that a record that was tampered with can be shown unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The time of the event in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The name of an [`EventType`].
    pub event_type: Cow<'static, str>,
    /// The actor: an admin key's id or a hashed caller, as [`Actor`] writes them.
    pub actor: String,
    /// The project, if the request named one.
    pub project_id: Option<String>,
    /// Our id of the session, if there is one.
    pub session_id: Option<String>,
    /// The code of the error, or `None` for a success.
    pub code: Option<Cow<'static, str>>,
    /// The id of the request.
    pub request_id: String,
}

impl AuditEntry {
    /// Creates an entry for a success without a project or a session.
    #[must_use]
    pub fn new<C: fmt::Display>(
        event_type: EventType,
        actor: &Actor<C>,
        request_id: Uuid,
        timestamp_ms: u64,
    ) -> Self {
        Self {
            timestamp_ms,
            event_type: event_type.as_str().into(),
            actor: actor.to_string(),
            project_id: None,
            session_id: None,
            code: None,
            request_id: request_id.to_string(),
        }
    }

    /// Sets the project.
    #[must_use]
    pub fn of_project(self, project_id: &ProjectId) -> Self {
        Self {
            project_id: Some(project_id.to_string()),
            ..self
        }
    }

    /// Sets the session.
    #[must_use]
    pub fn of_session(self, session_id: Uuid) -> Self {
        Self {
            session_id: Some(session_id.to_string()),
            ..self
        }
    }

    /// Marks the entry as failed with an error code.
    #[must_use]
    pub fn failed(self, code: &'static str) -> Self {
        Self {
            code: Some(code.into()),
            ..self
        }
    }

    /// Returns `success` or `failure`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.code.is_none() {
            "success"
        } else {
            "failure"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_type_reads_back_and_no_other_word_does() {
        for event in EventType::ALL {
            assert_eq!(EventType::parse(event.as_str()), Some(event));
        }
        for text in [
            "",
            "vault_key_loaded",
            "VAULT_KEY_SAVED",
            "session_created ",
        ] {
            assert_eq!(EventType::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_entry_names_what_it_was_given_and_fails_only_with_a_code() {
        let project = ProjectId::parse("customer-42").unwrap();
        let (request, session) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let actor = Actor::Caller("00ff");
        let entry = AuditEntry::new(EventType::SessionError, &actor, request, 5)
            .of_project(&project)
            .of_session(session);
        assert_eq!((entry.status(), entry.actor.as_str()), ("success", "00ff"));
        assert_eq!(entry.project_id.as_deref(), Some("customer-42"));
        assert_eq!(entry.session_id, Some(session.to_string()));
        assert_eq!(entry.request_id, request.to_string());
        let failed = entry.clone().failed("store_unavailable");
        assert_eq!(
            (failed.status(), failed.code.as_deref()),
            ("failure", Some("store_unavailable"))
        );
        assert_eq!(failed.event_type, "session_error");
    }
}
