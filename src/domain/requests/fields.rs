//! Typed fields from a checked JSON object, with every field error reported at once.
//!
//! A parser takes its fields by name. Each take either returns a value or records an error, and
//! [`Fields::finish`] builds the request only if no error was recorded. Messages never contain what
//! the client sent.

use std::borrow::Cow;
use std::ops::Deref;

use serde::Serialize;

use super::json::{self, Json, Malformed, Object};

/// The most errors that one response lists, so that a small request cannot produce a large
/// response.
pub const MAX_LISTED_ERRORS: usize = 20;

/// The most characters of an unknown field's name that are shown.
const MAX_SHOWN_NAME: usize = 40;

/// One field that is wrong, unknown or missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field's name. An error inside a nested value names the field that contains it.
    pub field: Cow<'static, str>,
    /// The requirement that the field does not meet.
    pub message: Requirement,
}

/// The rule that a value does not follow, worded to stand after the value's name: "must be text".
///
/// It never contains the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
#[error("{0}")]
pub struct Requirement(Cow<'static, str>);

impl From<&'static str> for Requirement {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Requirement {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Deref for Requirement {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The reason why a request body is refused before any rule of access applies.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is not one strict JSON object.
    #[error("the body is not one strict JSON object")]
    Malformed,
    /// These fields are not valid; at most 20 are listed.
    #[error("{} of the fields are not valid", .0.len())]
    Invalid(Vec<FieldError>),
}

impl From<Malformed> for BodyError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl BodyError {
    /// Returns an error for one field.
    #[must_use]
    pub fn field(field: &'static str, message: &'static str) -> Self {
        Self::Invalid(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }
}

/// Refuses every field of a body, for a route that has none.
///
/// # Errors
/// [`BodyError`] with each field.
pub fn refuse_all(body: &[u8]) -> Result<(), BodyError> {
    let mut fields = Fields::read(body)?;
    fields.reject_unknown();
    fields.finish(|| Ok(()))
}

/// The proof that [`Fields`] recorded an error. Only this file can create one, so a `?` inside
/// [`Fields::finish`] cannot lose an error.
#[derive(Debug)]
pub struct ErrorRecorded(());

/// The value of an optional field that was taken, or the proof that it was wrong.
pub type TakenField<T> = Result<Option<T>, ErrorRecorded>;

/// The fields of one object that no parser has taken yet, and the errors so far.
///
/// # Examples
/// ```
/// use roomkey::domain::livekit::access_token::Role;
/// use roomkey::domain::livekit::names::RoomName;
/// use roomkey::domain::requests::fields::{BodyError, Fields};
///
/// let mut fields = Fields::read(br#"{ "room": "a b", "role": "admin", "size": 1 }"#)?;
/// let room = fields.text("room", RoomName::parse);
/// let role = fields.text("role", Role::parse);
/// fields.reject_unknown();
///
/// let Err(BodyError::Invalid(errors)) = fields.finish(|| Ok((room?, role?))) else {
///     panic!("three fields are wrong")
/// };
/// let errors: Vec<_> = errors.iter().map(|e| format!("{} {}", e.field, e.message)).collect();
/// assert_eq!(
///     errors,
///     [
///         "room must be 1 to 128 letters, digits, '-' or '_'",
///         "role must be speaker or listener",
///         "size is not a field of this request",
///     ]
/// );
/// # Ok::<(), BodyError>(())
/// ```
#[derive(Debug)]
pub struct Fields<'a> {
    object: Object<'a>,
    is_protobuf: bool,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// Reads a body. An empty one counts as `{}`, and no field accepts `null`.
    ///
    /// # Errors
    /// [`Malformed`] if the body is not one strict JSON object.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let object = if body.is_empty() {
            Object::new()
        } else {
            json::parse_object(body)?
        };
        Ok(Self {
            object,
            is_protobuf: false,
            errors: Vec::new(),
        })
    }

    /// Takes members that were read before.
    #[must_use]
    pub(super) fn from_object(object: Object<'a>) -> Self {
        Self {
            object,
            is_protobuf: false,
            errors: Vec::new(),
        }
    }

    /// Applies the JSON mapping of Protocol Buffers: `null` counts as an absent field, and a field
    /// may have the camel-case form of its name, but not both forms together.
    #[must_use]
    pub fn with_protobuf_mapping(mut self) -> Self {
        self.is_protobuf = true;
        self
    }

    /// Takes an optional text field.
    ///
    /// # Errors
    /// [`ErrorRecorded`] if it is not text or does not meet the requirement of `parse`.
    pub fn text<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Requirement>,
    ) -> TakenField<T> {
        self.value(field, |value| match value {
            Json::Text(text) => parse(&text),
            _ => Err("must be text".into()),
        })
    }

    /// Takes an optional field of any kind.
    ///
    /// # Errors
    /// [`ErrorRecorded`] if it does not meet the requirement of `parse`.
    pub fn value<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(Json<'a>) -> Result<T, Requirement>,
    ) -> TakenField<T> {
        let mut found = self.object.remove(field);
        if self.is_protobuf
            && let Some(value) = self.object.remove(camel_case(field).as_str())
            && found.replace(value).is_some()
        {
            return Err(self.record(field, "must not be sent in snake case and in camel case"));
        }
        match found {
            None => Ok(None),
            Some(Json::Null) if self.is_protobuf => Ok(None),
            Some(Json::Null) => Err(self.record(field, "must not be null; leave it out instead")),
            Some(value) => parse(value)
                .map(Some)
                .map_err(|requirement| self.record(field, requirement)),
        }
    }

    /// Records an error if a field is absent.
    ///
    /// # Errors
    /// [`ErrorRecorded`] if the field is absent or was wrong.
    pub fn required<T>(
        &mut self,
        field: &'static str,
        taken: TakenField<T>,
    ) -> Result<T, ErrorRecorded> {
        taken?.ok_or_else(|| self.record(field, "is required"))
    }

    /// Records an error about a field.
    pub fn record(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Requirement>,
    ) -> ErrorRecorded {
        self.errors.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
        ErrorRecorded(())
    }

    /// Records an error for each field that was not taken, so that a typo never silently becomes a
    /// default.
    pub fn reject_unknown(&mut self) {
        for name in std::mem::take(&mut self.object).into_keys() {
            self.record(sanitize_name(&name), "is not a field of this request");
        }
    }

    /// Builds the request if no error was recorded. Fields that were not taken are ignored.
    ///
    /// # Errors
    /// [`BodyError::Invalid`] with the recorded errors, including one that `build` returns.
    pub fn finish<T>(
        self,
        build: impl FnOnce() -> Result<T, ErrorRecorded>,
    ) -> Result<T, BodyError> {
        if let (true, Ok(built)) = (self.errors.is_empty(), build()) {
            return Ok(built);
        }
        let mut errors = self.errors;
        errors.truncate(MAX_LISTED_ERRORS);
        Err(BodyError::Invalid(errors))
    }
}

/// Returns the members of an object.
///
/// # Errors
/// The requirement that it must be an object, for any other kind of value.
pub fn object(value: Json<'_>) -> Result<Object<'_>, Requirement> {
    match value {
        Json::Object(members) => Ok(members),
        _ => Err("must be an object".into()),
    }
}

/// Returns the camel-case form of a proto field's name.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut after_underscore = false;
    for c in name.chars() {
        match c {
            '_' => after_underscore = true,
            c if std::mem::take(&mut after_underscore) => camel.push(c.to_ascii_uppercase()),
            c => camel.push(c),
        }
    }
    camel
}

/// Returns the proto field's name for either of its two JSON forms.
#[must_use]
pub fn proto_name(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Makes an unknown name safe to repeat: at most 40 characters, with `_` for each character that
/// is not in `[A-Za-z0-9_.-]`.
#[must_use]
pub fn sanitize_name(name: &str) -> String {
    let sanitized: String = name
        .chars()
        .take(MAX_SHOWN_NAME)
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    if sanitized.is_empty() {
        "_".to_owned()
    } else {
        sanitized
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word(text: &str) -> Result<String, Requirement> {
        if text == "good" {
            Ok(text.to_owned())
        } else {
            Err("must be good".into())
        }
    }

    fn read(body: &str) -> Fields<'_> {
        Fields::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let mut fields = read(r#"{"a":"bad","b":5,"c":null,"typo":1,"x y\n":2}"#);
        let a = fields.text("a", word);
        let b = fields.text("b", word);
        let c = fields.text("c", word);
        let d = fields.text("d", word);
        let d = fields.required("d", d);
        fields.reject_unknown();
        let Err(BodyError::Invalid(errors)) = fields.finish(|| Ok((a?, b?, c?, d?))) else {
            panic!("accepted")
        };
        let errors: Vec<_> = errors
            .iter()
            .map(|error| (error.field.as_ref(), &*error.message))
            .collect();
        assert_eq!(
            errors,
            [
                ("a", "must be good"),
                ("b", "must be text"),
                ("c", "must not be null; leave it out instead"),
                ("d", "is required"),
                ("typo", "is not a field of this request"),
                ("x_y_", "is not a field of this request"),
            ]
        );
    }

    #[test]
    fn null_counts_as_absent_only_with_the_protobuf_mapping() {
        let mut fields = read(r#"{"a":null}"#).with_protobuf_mapping();
        let a = fields.text("a", word);
        assert_eq!(fields.finish(|| a), Ok(None));
    }

    #[test]
    fn camel_case_is_read_only_with_the_protobuf_mapping() {
        let taken = |mut fields: Fields<'_>| {
            let taken = fields.text("a_b", word);
            fields.reject_unknown();
            fields.finish(|| taken)
        };
        assert_eq!(
            taken(read(r#"{"aB":"good"}"#).with_protobuf_mapping()),
            Ok(Some("good".to_owned()))
        );
        assert!(taken(read(r#"{"aB":"good"}"#)).is_err());
        for body in [
            r#"{"AB":"good"}"#,
            r#"{"a_B":"good"}"#,
            r#"{"aB":"good","a_b":"good"}"#,
        ] {
            assert!(taken(read(body).with_protobuf_mapping()).is_err(), "{body}");
        }
        for name in ["room_name", "participant_attributes", "agents", "a_b_c"] {
            assert_eq!(
                (proto_name(&camel_case(name)), proto_name(name)),
                (name.to_owned(), name.to_owned())
            );
        }
    }

    #[test]
    fn an_empty_body_counts_as_an_empty_object() {
        assert_eq!(read("").finish(|| Ok(())), Ok(()));
    }

    #[test]
    fn a_body_of_many_typos_gets_a_short_list_of_errors() {
        let body =
            serde_json::Value::Object((0..2_000).map(|n| (n.to_string(), n.into())).collect())
                .to_string();
        let mut fields = read(&body);
        fields.reject_unknown();
        let Err(BodyError::Invalid(errors)) = fields.finish(|| Ok(())) else {
            panic!("accepted")
        };
        assert_eq!(errors.len(), MAX_LISTED_ERRORS);
    }

    proptest! {
        #[test]
        fn a_sanitized_name_is_always_safe(name in any::<String>()) {
            let sanitized = sanitize_name(&name);
            prop_assert!((1..=40).contains(&sanitized.len()));
            let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            prop_assert!(sanitized.bytes().all(is_safe));
        }
    }
}
