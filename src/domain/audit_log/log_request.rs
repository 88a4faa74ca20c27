//! The request for a page of the audit log: text into types, all parameter errors at once.

use super::entry::EventType;
use crate::domain::requests::cursor::CursorKey;
use crate::domain::requests::fields::{BodyError, Requirement};
use crate::domain::requests::query;
use crate::domain::vault::project_id::ProjectId;

/// The name of the listing in cursors.
const LISTING: &str = "audit-logs";

/// A request for a page of the audit log.
#[derive(Debug, PartialEq, Eq)]
pub struct AuditLogRequest {
    /// The most records of the page.
    pub limit: usize,
    /// Only records of this event.
    pub event_type: Option<EventType>,
    /// Only records of this project.
    pub project_id: Option<ProjectId>,
    /// Only records from this moment on, in milliseconds since 1970.
    pub from_ms: Option<u64>,
    /// Only records up to this moment, in milliseconds since 1970.
    pub to_ms: Option<u64>,
    /// The position in the store where the page before ended.
    pub after: Option<String>,
}

impl AuditLogRequest {
    /// The parameters of this request.
    pub const PARAMETERS: [&str; 6] = ["limit", "cursor", "event_type", "project_id", "from", "to"];

    /// Reads a query.
    ///
    /// # Errors
    /// [`BodyError`] with every parameter that is wrong or unknown.
    pub fn parse(query: &str, cursors: &CursorKey) -> Result<Self, BodyError> {
        let mut fields = query::parse(query);
        let limit = query::limit(&mut fields);
        let event_type = fields.text("event_type", |text| {
            EventType::parse(text).ok_or_else(|| {
                let events = EventType::ALL.map(EventType::as_str).join(", ");
                Requirement::from(format!("must be one of {events}"))
            })
        });
        let project_id = fields.text("project_id", ProjectId::parse);
        let from_ms = query::epoch_ms(&mut fields, "from");
        let to_ms = query::epoch_ms(&mut fields, "to");
        if let (Ok(Some(from)), Ok(Some(to))) = (&from_ms, &to_ms)
            && from > to
        {
            fields.record("from", "must not be later than to");
        }
        let after = fields.text("cursor", |text| {
            cursors
                .decode(LISTING, text)
                .ok_or_else(|| Requirement::from(query::UNKNOWN_CURSOR))
        });
        fields.reject_unknown();
        fields.finish(|| {
            Ok(Self {
                limit: limit?,
                event_type: event_type?,
                project_id: project_id?,
                from_ms: from_ms?,
                to_ms: to_ms?,
                after: after?,
            })
        })
    }

    /// Returns the cursor of the page behind a position in the store.
    #[must_use]
    pub fn cursor_behind(position: &str, cursors: &CursorKey) -> String {
        cursors.encode(LISTING, position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::callers::caller_hash::HashKey;

    fn cursors() -> CursorKey {
        CursorKey::new(&HashKey::new(b"a-throw-away-hash-key-of-32-bytes"))
    }

    #[test]
    fn a_wrong_parameter_is_refused_by_name() {
        for (query, named) in [
            ("limit=-1", "limit"),
            ("event_type=vault_key_loaded", "event_type"),
            ("event_type=", "event_type"),
            ("project_id=a|b", "project_id"),
            ("from=yesterday", "from"),
            ("to=-5", "to"),
            ("from=2&to=1", "from"),
            ("from=2&to=yesterday", "to"),
            ("cursor=abc", "cursor"),
            ("since=5", "since"),
        ] {
            let Err(BodyError::Invalid(errors)) = AuditLogRequest::parse(query, &cursors()) else {
                panic!("{query} is accepted");
            };
            let fields: Vec<_> = errors.iter().map(|error| &*error.field).collect();
            assert_eq!(fields, [named], "{query}");
        }
    }

    #[test]
    fn every_filter_and_the_cursor_are_read() {
        let cursor = AuditLogRequest::cursor_behind("17", &cursors());
        let query =
            format!("limit=5&event_type=session_created&project_id=p&from=1&to=2&cursor={cursor}");
        let expected = AuditLogRequest {
            limit: 5,
            event_type: Some(EventType::SessionCreated),
            project_id: ProjectId::parse("p").ok(),
            from_ms: Some(1),
            to_ms: Some(2),
            after: Some("17".to_owned()),
        };
        assert_eq!(AuditLogRequest::parse(&query, &cursors()), Ok(expected));
    }
}
