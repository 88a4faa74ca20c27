//! Entity tags: `ETag` of an answer and `If-Match` of a request.
//!
//! # Source
//! RFC 9110 §8.8.3 (entity tags), §13.1.1 (`If-Match`).

use http::HeaderMap;
use http::header::{ETAG, HeaderValue, IF_MATCH};

use crate::domain::requests::fields::BodyError;
use crate::domain::vault::changes::Precondition;
use crate::domain::vault::record::RecordTag;
use crate::http::error::ApiError;

/// Reads `If-Match`. Weak tags are read and never match (strong comparison).
///
/// # Errors
/// 400 for anything but `*` or a list of entity tags.
pub fn if_match(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let lines: Vec<_> = headers
        .get_all(IF_MATCH)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.is_empty() {
        return Ok(Precondition::None);
    }
    // Several lines are one list (RFC 9110 §5.3).
    let list = lines.join(&b", "[..]);
    if list.trim_ascii() == b"*" {
        return Ok(Precondition::AnyKey);
    }
    strong_tags(&list)
        .map(Precondition::OneOf)
        .ok_or_else(|| BodyError::field("If-Match", "must be * or entity tags in quotes").into())
}

/// Adds `ETag` to an answer.
pub fn add(headers: &mut HeaderMap, tag: &RecordTag) {
    // Tags are base64url, which every header may hold.
    let value = HeaderValue::try_from(tag.to_quoted()).ok();
    headers.extend(value.map(|value| (ETAG, value)));
}

/// Returns the strong tags of a list; `None` when it is empty or malformed.
fn strong_tags(list: &[u8]) -> Option<Vec<RecordTag>> {
    let (mut tags, mut is_empty) = (Vec::new(), true);
    let mut rest = list;
    loop {
        rest = rest.trim_ascii_start();
        let Some(next) = rest.first() else { break };
        if *next == b',' {
            rest = rest.get(1..)?;
            continue;
        }
        let (is_weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let opaque = quoted.strip_prefix(b"\"")?;
        let end = opaque.iter().position(|byte| *byte == b'"')?;
        let (tag, behind) = opaque.split_at(end);
        // `etagc`: visible characters without the quote, and bytes beyond ASCII.
        if !tag.iter().all(|byte| *byte > b' ' && *byte != 0x7f) {
            return None;
        }
        rest = behind.get(1..)?.trim_ascii_start();
        if !matches!(rest.first(), None | Some(b',')) {
            return None;
        }
        is_empty = false;
        if let (false, Ok(tag)) = (is_weak, str::from_utf8(tag)) {
            tags.push(RecordTag::from_text(tag));
        }
    }
    (!is_empty).then_some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<Precondition> {
        let headers: HeaderMap = lines
            .iter()
            .map(|line| (IF_MATCH, HeaderValue::from_bytes(line.as_bytes()).unwrap()))
            .collect();
        if_match(&headers).ok()
    }

    fn one_of(tags: &[&str]) -> Precondition {
        Precondition::OneOf(tags.iter().map(|tag| RecordTag::from_text(tag)).collect())
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_refused() {
        for line in [
            "",
            " ",
            ",",
            "abc",
            "\"",
            "\"abc",
            "abc\"",
            "\"a b\"",
            "\"a\"b",
            "\"a\" \"b\"",
            "W/abc",
            "w/\"a\"",
            "*, \"a\"",
            "\"a\", *",
            "'a'",
            "**",
            "W/",
        ] {
            assert_eq!(read(&[line]), None, "{line:?}");
        }
        assert_eq!(read(&["*", "*"]), None);
    }

    #[test]
    fn a_star_means_any_state_and_no_header_means_none() {
        assert_eq!(read(&[]), Some(Precondition::None));
        for line in ["*", " * "] {
            assert_eq!(read(&[line]), Some(Precondition::AnyKey), "{line:?}");
        }
    }

    #[test]
    fn strong_tags_are_read_and_weak_ones_never_match() {
        for (lines, tags) in [
            (&["\"abc\""][..], &["abc"][..]),
            (&["\"\""], &[""]),
            (&["\"a\",\"b\" , \"c,d\""], &["a", "b", "c,d"]),
            (&[", \"a\",,", "\"b\""], &["a", "b"]),
            (&["W/\"a\""], &[]),
            (&["W/\"a\", \"b\""], &["b"]),
            (&["\"W/a\""], &["W/a"]),
            (&["\"*\""], &["*"]),
        ] {
            assert_eq!(read(lines), Some(one_of(tags)), "{lines:?}");
        }
    }
}
