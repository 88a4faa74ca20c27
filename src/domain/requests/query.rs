//! Query parameters, read as strictly as the fields of a body.
//!
//! # Source
//! `application/x-www-form-urlencoded`: <https://url.spec.whatwg.org/#urlencoded-parsing>

use url::form_urlencoded;

use super::fields::{BodyError, ErrorRecorded, Fields, Requirement, sanitize_name};
use super::json::{Json, Object};
use crate::domain::digits::parse_digits;

/// The most entries of a page.
const MAX_LIMIT: usize = 1_000;
/// The entries of a page where the client does not say how many it wants.
const DEFAULT_LIMIT: usize = 100;

/// The requirement of a cursor.
pub const UNKNOWN_CURSOR: &str = "must be the next_cursor of an earlier page of this listing";

/// Reads the parameters of a query as text fields. A parameter that is sent twice is an error.
///
/// ```
/// use roomkey::domain::requests::query;
///
/// let mut fields = query::parse("limit=10&project_id=a%2Db");
/// let project_id = fields.text("project_id", |text| Ok(text.to_owned()));
/// let limit = query::limit(&mut fields);
/// fields.reject_unknown();
/// let parsed = fields.finish(|| Ok((project_id?, limit?)));
/// assert_eq!(parsed, Ok((Some("a-b".to_owned()), 10)));
/// ```
#[must_use]
pub fn parse(query: &str) -> Fields<'_> {
    let mut object = Object::new();
    let mut repeated = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if object.insert(name.clone(), Json::Text(value)).is_some() {
            repeated.push(sanitize_name(&name));
        }
    }
    let mut fields = Fields::from_object(object);
    for name in repeated {
        fields.record(name, "must not be sent twice");
    }
    fields
}

/// Refuses every parameter, for a route that has none.
///
/// # Errors
/// [`BodyError`] with each parameter.
pub fn refuse_all(query: Option<&str>) -> Result<(), BodyError> {
    let mut fields = parse(query.unwrap_or_default());
    fields.reject_unknown();
    fields.finish(|| Ok(()))
}

/// Takes the parameter `limit`: 1 to 1000, by default 100.
///
/// # Errors
/// [`ErrorRecorded`] for anything else.
pub fn limit(fields: &mut Fields<'_>) -> Result<usize, ErrorRecorded> {
    let limit = fields.text("limit", |text| {
        parse_digits(text)
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| Requirement::from("must be a whole number from 1 to 1000"))
    })?;
    Ok(limit.unwrap_or(DEFAULT_LIMIT))
}

/// Takes a parameter that is a moment in milliseconds since 1970.
///
/// # Errors
/// [`ErrorRecorded`] for anything else.
pub fn epoch_ms(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<u64>, ErrorRecorded> {
    fields.text(name, |text| {
        // Stores keep such moments as signed 64-bit numbers.
        parse_digits(text)
            .filter(|ms| i64::try_from(*ms).is_ok())
            .ok_or_else(|| Requirement::from("must be milliseconds since 1970, in digits"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(query: &str) -> Vec<String> {
        let mut fields = parse(query);
        let limit = limit(&mut fields);
        let from = epoch_ms(&mut fields, "from");
        fields.reject_unknown();
        match fields.finish(|| Ok((limit?, from?))) {
            Ok(_) => Vec::new(),
            Err(BodyError::Malformed) => panic!("a query is never malformed"),
            Err(BodyError::Invalid(errors)) => errors
                .into_iter()
                .map(|error| format!("{} {}", error.field, &*error.message))
                .collect(),
        }
    }

    #[test]
    fn a_wrong_repeated_or_unknown_parameter_is_refused_by_name() {
        let limit = "limit must be a whole number from 1 to 1000";
        for value in [
            "",
            "0",
            "-1",
            "+1",
            "1001",
            "1e9",
            "abc",
            "1.0",
            " 1",
            "1%00",
            "99999999999999999999",
        ] {
            assert_eq!(errors(&format!("limit={value}")), [limit], "{value:?}");
        }
        let from = "from must be milliseconds since 1970, in digits";
        for value in ["", "-1", "now", "9223372036854775808", "1.5"] {
            assert_eq!(errors(&format!("from={value}")), [from], "{value:?}");
        }
        assert_eq!(errors("limit"), [limit]);
        assert_eq!(errors("limit=1&limit=1"), ["limit must not be sent twice"]);
        assert_eq!(
            errors("limits=5&x%0Ay=1"),
            [
                "limits is not a field of this request",
                "x_y is not a field of this request"
            ]
        );
    }

    #[test]
    fn a_good_query_is_read() {
        for query in [
            "",
            "&",
            "limit=1",
            "limit=1000&from=0",
            "from=9223372036854775807",
        ] {
            assert_eq!(errors(query), Vec::<String>::new(), "{query:?}");
        }
        let mut fields = parse("a=%41+b%2Bc");
        let text = fields.text("a", |text| Ok(text.to_owned()));
        assert_eq!(fields.finish(|| text), Ok(Some("A b+c".to_owned())));
    }
}
