//! The requests of operators about project keys: text into types, all field errors at once.

use super::kek::KekVersion;
use super::project_id::ProjectId;
use super::project_key::ProjectKey;
use crate::domain::callers::admin_key::AdminKeys;
use crate::domain::requests::cursor::CursorKey;
use crate::domain::requests::fields::{BodyError, ErrorRecorded, Fields, Requirement};
use crate::domain::requests::json::Json;
use crate::domain::requests::query;

/// The name of the listing in cursors.
const LISTING: &str = "projects";

/// A request to save a key.
#[derive(Debug)]
pub struct SaveKeyRequest {
    /// The project.
    pub project_id: ProjectId,
    /// Its key.
    pub key: ProjectKey,
    /// The key is tried at its provider first.
    pub validate: bool,
    /// The KEK that is to seal; `None` for the default.
    pub kek_version: Option<KekVersion>,
}

impl SaveKeyRequest {
    /// The fields of this request.
    pub const FIELDS: [&str; 4] = ["project_id", "openai_key", "validate", "kek_version"];

    /// Reads a body. `configured` are the versions of the KEK that may seal; `admin_keys` are the
    /// operators' own, of which none is a project's.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong, unknown or missing.
    pub fn parse(
        body: &[u8],
        configured: &[KekVersion],
        admin_keys: Option<&AdminKeys>,
    ) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let project_id = project_id(&mut fields);
        let project_id = fields.required("project_id", project_id);
        let key = fields.text("openai_key", |text| {
            let is_own = admin_keys.is_some_and(|keys| keys.find(text.as_bytes()).is_some());
            if is_own {
                return Err("must be the project's key, not an admin key of this service".into());
            }
            ProjectKey::parse(text)
        });
        let key = fields.required("openai_key", key);
        let validate = boolean(&mut fields, "validate");
        let kek_version = kek_version(&mut fields, configured);
        fields.reject_unknown();
        fields.finish(|| {
            Ok(Self {
                project_id: project_id?,
                key: key?,
                validate: validate?.unwrap_or_default(),
                kek_version: kek_version?,
            })
        })
    }
}

/// A request to delete a key.
#[derive(Debug, PartialEq, Eq)]
pub struct DeleteKeyRequest {
    /// The project.
    pub project_id: ProjectId,
}

impl DeleteKeyRequest {
    /// The fields of this request.
    pub const FIELDS: [&str; 1] = ["project_id"];

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong, unknown or missing.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let project_id = project_id(&mut fields);
        let project_id = fields.required("project_id", project_id);
        fields.reject_unknown();
        fields.finish(|| {
            Ok(Self {
                project_id: project_id?,
            })
        })
    }
}

/// A request to reseal one key, or all, under another KEK.
#[derive(Debug, PartialEq, Eq)]
pub struct RotateKeyRequest {
    /// The one project; `None` for all.
    pub project_id: Option<ProjectId>,
    /// The KEK that is to seal.
    pub kek_version: KekVersion,
}

impl RotateKeyRequest {
    /// The fields of this request.
    pub const FIELDS: [&str; 3] = ["project_id", "all", "kek_version"];

    /// Reads a body. `configured` are the versions of the KEK that may seal.
    ///
    /// # Errors
    /// [`BodyError`] with every field that is wrong, unknown or missing.
    pub fn parse(body: &[u8], configured: &[KekVersion]) -> Result<Self, BodyError> {
        let mut fields = Fields::read(body)?;
        let project_id = project_id(&mut fields);
        let kek_version = kek_version(&mut fields, configured);
        let kek_version = fields.required("kek_version", kek_version);
        let all = boolean(&mut fields, "all").map(Option::unwrap_or_default);
        let project_id = match (all, project_id) {
            (Ok(true), Ok(Some(_))) => {
                Err(fields.record("project_id", "must not be sent together with all"))
            }
            (Ok(false), project_id) => fields.required("project_id", project_id).map(Some),
            (Ok(true), project_id) => project_id,
            (Err(recorded), _) => Err(recorded),
        };
        fields.reject_unknown();
        fields.finish(|| {
            Ok(Self {
                project_id: project_id?,
                kek_version: kek_version?,
            })
        })
    }
}

/// A request for a page of projects.
#[derive(Debug, PartialEq, Eq)]
pub struct ListProjectsRequest {
    /// The most projects of the page.
    pub limit: usize,
    /// The last project of the page before.
    pub after: Option<ProjectId>,
}

impl ListProjectsRequest {
    /// The parameters of this request.
    pub const PARAMETERS: [&str; 2] = ["limit", "cursor"];

    /// Reads a query.
    ///
    /// # Errors
    /// [`BodyError`] with every parameter that is wrong or unknown.
    pub fn parse(query: &str, cursors: &CursorKey) -> Result<Self, BodyError> {
        let mut fields = query::parse(query);
        let limit = query::limit(&mut fields);
        let after = fields.text("cursor", |text| {
            cursors
                .decode(LISTING, text)
                .and_then(|position| ProjectId::parse(&position).ok())
                .ok_or_else(|| Requirement::from(query::UNKNOWN_CURSOR))
        });
        fields.reject_unknown();
        fields.finish(|| {
            Ok(Self {
                limit: limit?,
                after: after?,
            })
        })
    }

    /// Returns the cursor of the page behind a project.
    #[must_use]
    pub fn cursor_behind(last: &ProjectId, cursors: &CursorKey) -> String {
        cursors.encode(LISTING, last.as_str())
    }
}

fn project_id(fields: &mut Fields<'_>) -> Result<Option<ProjectId>, ErrorRecorded> {
    fields.text("project_id", ProjectId::parse)
}

fn kek_version(
    fields: &mut Fields<'_>,
    configured: &[KekVersion],
) -> Result<Option<KekVersion>, ErrorRecorded> {
    fields.text("kek_version", |text| {
        let version = KekVersion::parse(text)?;
        if configured.contains(&version) {
            Ok(version)
        } else {
            Err("must be a version of the key-encryption key that is configured".into())
        }
    })
}

fn boolean(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<bool>, ErrorRecorded> {
    fields.value(name, |value| match value {
        Json::Bool(value) => Ok(value),
        _ => Err("must be true or false".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::callers::caller_hash::HashKey;

    const KEY: &str = "sk-proj-canary-project-key-0123";
    const ADMIN: &str = "canary-admin-key-of-32-characters";

    fn versions() -> [KekVersion; 2] {
        ["v1", "v3"].map(|label| KekVersion::parse(label).unwrap())
    }

    fn fields<T: std::fmt::Debug>(parsed: Result<T, BodyError>) -> Vec<String> {
        match parsed.unwrap_err() {
            BodyError::Malformed => vec!["malformed".to_owned()],
            BodyError::Invalid(errors) => errors
                .into_iter()
                .map(|error| {
                    assert!(!error.message.contains("canary"), "{error:?}");
                    error.field.into_owned()
                })
                .collect(),
        }
    }

    fn save(body: &str) -> Result<SaveKeyRequest, BodyError> {
        let admin_keys = AdminKeys::parse(ADMIN).unwrap();
        SaveKeyRequest::parse(body.as_bytes(), &versions(), Some(&admin_keys))
    }

    #[test]
    fn a_wrong_save_names_every_wrong_field() {
        let with = |key: &str| format!(r#"{{"project_id":"p","openai_key":{key}}}"#);
        for (body, named) in [
            (String::new(), &["project_id", "openai_key"][..]),
            ("[]".to_owned(), &["malformed"]),
            (
                r#"{"project_id":"a|b","openai_key":"short","validate":1,"kek_version":"v2"}"#
                    .to_owned(),
                &["project_id", "openai_key", "validate", "kek_version"],
            ),
            (
                format!(r#"{{"project_id":"p","openai_key":"{KEY}","ttl":1}}"#),
                &["ttl"],
            ),
            (with("null"), &["openai_key"]),
            (with("5"), &["openai_key"]),
            (with(&format!("\"{KEY} \"")), &["openai_key"]),
            (with(&format!("\"{KEY}\\n\"")), &["openai_key"]),
            (with(&format!("\"{ADMIN}\"")), &["openai_key"]),
            (with("\"changeme-changeme-changeme\""), &["openai_key"]),
        ] {
            assert_eq!(fields(save(&body)), named, "{body}");
        }
        let body = format!(
            r#"{{"project_id":"p-1","openai_key":"{KEY}","validate":true,"kek_version":"v3"}}"#
        );
        let request = save(&body).unwrap();
        assert_eq!(request.project_id.as_str(), "p-1");
        assert_eq!(
            (request.validate, request.kek_version),
            (true, Some(versions()[1]))
        );
        assert!(!format!("{request:?}").contains("canary"));
        let request = save(&format!(r#"{{"project_id":"p","openai_key":"{KEY}"}}"#)).unwrap();
        assert_eq!((request.validate, request.kek_version), (false, None));
    }

    #[test]
    fn a_rotation_is_of_one_project_or_of_all() {
        let rotate = |body: &str| RotateKeyRequest::parse(body.as_bytes(), &versions());
        for (body, named) in [
            ("", &["kek_version", "project_id"][..]),
            (r#"{"kek_version":"v1"}"#, &["project_id"]),
            (r#"{"project_id":"p"}"#, &["kek_version"]),
            (
                r#"{"project_id":"p","all":true,"kek_version":"v1"}"#,
                &["project_id"],
            ),
            (r#"{"all":"yes","kek_version":"v1"}"#, &["all"]),
            (r#"{"all":false,"kek_version":"v1"}"#, &["project_id"]),
            (r#"{"all":true,"kek_version":"v2"}"#, &["kek_version"]),
        ] {
            assert_eq!(fields(rotate(body)), named, "{body}");
        }
        let all = rotate(r#"{"all":true,"kek_version":"v3"}"#).unwrap();
        assert_eq!((all.project_id, all.kek_version), (None, versions()[1]));
        let one = rotate(r#"{"project_id":"p","kek_version":"v1"}"#).unwrap();
        assert_eq!(one.project_id.unwrap().as_str(), "p");
    }

    #[test]
    fn a_deletion_names_its_project_and_nothing_else() {
        let delete = |body: &str| DeleteKeyRequest::parse(body.as_bytes());
        assert_eq!(fields(delete("")), ["project_id"]);
        assert_eq!(fields(delete(r#"{"project_id":"p","all":true}"#)), ["all"]);
        assert_eq!(fields(delete(r#"{"project_id":"../p"}"#)), ["project_id"]);
        assert!(delete(r#"{"project_id":"p"}"#).is_ok());
    }

    #[test]
    fn only_a_cursor_of_this_listing_and_key_is_accepted() {
        let cursors = CursorKey::new(&HashKey::new(b"a-throw-away-hash-key-of-32-bytes"));
        let foreign = CursorKey::new(&HashKey::new(b"another-throw-away-key-of-32-bytes"));
        let project = ProjectId::parse("customer-42").unwrap();
        let list = |cursor: &str| ListProjectsRequest::parse(&format!("cursor={cursor}"), &cursors);
        let good = ListProjectsRequest::cursor_behind(&project, &cursors);
        assert_eq!(list(&good).unwrap().after, Some(project.clone()));
        for cursor in [
            "",
            "customer-42",
            &good[1..],
            &ListProjectsRequest::cursor_behind(&project, &foreign),
            &cursors.encode("audit", "customer-42"),
        ] {
            assert_eq!(fields(list(cursor)), ["cursor"], "{cursor:?}");
        }
        let request = ListProjectsRequest::parse("", &cursors).unwrap();
        assert_eq!((request.limit, request.after), (100, None));
    }
}
