//! From a checked JSON object to typed fields, with every field error reported at once.
//!
//! A parser takes its fields by name, each take either yields a value or notes an error, and
//! [`Fields::finish`] builds the request only when nothing was noted. Messages never hold what the
//! client sent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::json::{self, Json, Malformed, Object};

/// At most this many errors are listed, so that a small request cannot ask for a large answer.
pub const MAX_LISTED_ERRORS: usize = 20;

/// The name of an unknown field is shown cut to this many characters.
const MAX_SHOWN_NAME: usize = 40;

/// One field that is wrong, unknown or missing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// The field's name; an error inside a nested value names the field of the request that holds
    /// it.
    pub field: Cow<'static, str>,
    /// What it must be, without a word of what it was.
    pub message: Cow<'static, str>,
}

/// Why a request was refused before any rule looked at it.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not one strict JSON object.
    Malformed,
    /// These fields are not valid; at most 20 are listed.
    Invalid(Vec<FieldError>),
}

impl BodyError {
    /// One field is not valid.
    #[must_use]
    pub fn field(field: &'static str, message: &'static str) -> Self {
        Self::Invalid(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }
}

impl From<Malformed> for BodyError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// Proof that an error was noted. Only this file can make one, so `?` inside [`Fields::finish`]
/// cannot lose an error.
#[derive(Debug)]
pub struct ErrorRecorded(());

/// What a field must be.
pub type Requirement = Cow<'static, str>;

/// The fields of one object that no parser has taken yet, and the errors so far.
#[derive(Debug)]
pub struct Fields<'a> {
    object: Object<'a>,
    is_protobuf: bool,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// Reads a body; an empty one counts as `{}`. `null` is a value, and no field accepts it.
    ///
    /// # Errors
    /// [`Malformed`] when the body is not one strict JSON object.
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

    /// Reads as the JSON mapping of Protocol Buffers does: `null` stands for an absent field, and a
    /// field may have the camel-case form of its name. It may not have both.
    #[must_use]
    pub fn with_protobuf_mapping(mut self) -> Self {
        self.is_protobuf = true;
        self
    }

    /// Takes a text field that may be absent.
    ///
    /// # Errors
    /// [`ErrorRecorded`] when it is not text or breaks the rule.
    pub fn text<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Requirement>,
    ) -> Result<Option<T>, ErrorRecorded> {
        self.value(field, |value| match value {
            Json::Text(text) => parse(&text),
            _ => Err("must be text".into()),
        })
    }

    /// Takes a field of any kind that may be absent.
    ///
    /// # Errors
    /// [`ErrorRecorded`] when it breaks the rule.
    pub fn value<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(Json<'a>) -> Result<T, Requirement>,
    ) -> Result<Option<T>, ErrorRecorded> {
        let mut found = self.object.remove(field);
        if self.is_protobuf
            && let Some(value) = self.object.remove(camel_case(field).as_str())
            && found.replace(value).is_some()
        {
            return Err(self.note(
                field,
                "must not stand there twice, in snake case and in camel case",
            ));
        }
        match found {
            None => Ok(None),
            Some(Json::Null) if self.is_protobuf => Ok(None),
            Some(Json::Null) => Err(self.note(field, "must not be null; leave it out instead")),
            Some(value) => parse(value)
                .map(Some)
                .map_err(|rule| self.note(field, rule)),
        }
    }

    /// Turns an absent field into an error.
    ///
    /// # Errors
    /// [`ErrorRecorded`] when it is absent or was wrong.
    pub fn required<T>(
        &mut self,
        field: &'static str,
        taken: Result<Option<T>, ErrorRecorded>,
    ) -> Result<T, ErrorRecorded> {
        taken?.ok_or_else(|| self.note(field, "is required"))
    }

    /// Notes an error about a field.
    pub fn note(
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

    /// Refuses every field that was not taken, so that a typo never silently becomes a default.
    pub fn refuse_others(&mut self) {
        for name in std::mem::take(&mut self.object).into_keys() {
            self.note(shown_name(&name), "is not a field of this request");
        }
    }

    /// Builds the request if nothing was noted. Fields that were not taken are ignored.
    ///
    /// # Errors
    /// All errors noted so far, or the one that `build` meets.
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

/// The members of an object, or the rule that it must be one.
///
/// # Errors
/// The rule, for any other kind of value.
pub fn object(value: Json<'_>) -> Result<BTreeMap<Cow<'_, str>, Json<'_>>, Requirement> {
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

/// Returns a proto field's name for either of its two forms in JSON.
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

/// An unknown name made safe to repeat: at most 40 characters, each outside `[A-Za-z0-9_.-]` shown
/// as `_`.
#[must_use]
pub fn shown_name(name: &str) -> String {
    let shown: String = name
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
    if shown.is_empty() {
        "_".to_owned()
    } else {
        shown
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
        fields.refuse_others();
        let Err(BodyError::Invalid(errors)) = fields.finish(|| Ok((a?, b?, c?, d?))) else {
            panic!("accepted")
        };
        let errors: Vec<_> = errors
            .iter()
            .map(|error| (error.field.as_ref(), error.message.as_ref()))
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
    fn null_counts_as_absent_only_where_asked_for() {
        let mut fields = read(r#"{"a":null}"#).with_protobuf_mapping();
        let a = fields.text("a", word);
        assert_eq!(fields.finish(|| a), Ok(None));
    }

    #[test]
    fn camel_case_is_read_only_where_asked_for() {
        let taken = |mut fields: Fields<'_>| {
            let taken = fields.text("a_b", word);
            fields.refuse_others();
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
    fn a_body_of_typos_gets_a_short_answer() {
        let body =
            serde_json::Value::Object((0..2_000).map(|n| (n.to_string(), n.into())).collect())
                .to_string();
        let mut fields = read(&body);
        fields.refuse_others();
        let Err(BodyError::Invalid(errors)) = fields.finish(|| Ok(())) else {
            panic!("accepted")
        };
        assert_eq!(errors.len(), MAX_LISTED_ERRORS);
    }

    proptest! {
        #[test]
        fn a_shown_name_is_always_safe(name in any::<String>()) {
            let shown = shown_name(&name);
            prop_assert!((1..=40).contains(&shown.len()));
            prop_assert!(shown.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)));
        }
    }
}
