//! CORS (the Fetch standard's protocol) from the one list in `host.json`.
//!
//! The Functions host ignores that list, so the headers come from here. In Azure the platform may
//! answer preflights itself.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use http::{HeaderMap, StatusCode};

use super::reply::{self, Reply};
use crate::domain::settings::origins::{Cors, Origins};

/// What scripts of an allowed page may read beside the body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, ETag, Location",
);

/// Seconds for which a browser may remember a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Answers `OPTIONS`: a preflight from an allowed page gets what the page may send, one from
/// elsewhere gets nothing of it, and a plain `OPTIONS` gets `Allow`.
pub fn options(cors: &Cors, allow: &str, headers: &HeaderMap) -> Reply {
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    let answer = reply.headers_mut();
    let allow = HeaderValue::try_from(allow).ok();
    if !(headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)) {
        answer.extend(allow.map(|methods| (ALLOW, methods)));
    } else if allowed_origin(cors, headers).is_some() {
        answer.extend(allow.map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods)));
        answer
            .extend(requested_headers(headers).map(|names| (ACCESS_CONTROL_ALLOW_HEADERS, names)));
        answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
    reply
}

/// Adds to any answer what lets an allowed page read it.
pub fn add_headers(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    match &cors.origins {
        Origins::NoFile | Origins::Any => {}
        Origins::Listed(_) => {
            answer.insert(VARY, HeaderValue::from_static("Origin"));
        }
    }
    let Some(origin) = allowed_origin(cors, request) else {
        return;
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if cors.credentials {
        answer.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
}

/// What `AccessRecord-Control-Allow-Origin` says to this request; `None` for pages that are not on the
/// list.
fn allowed_origin(cors: &Cors, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return None;
    };
    match &cors.origins {
        Origins::NoFile => None,
        Origins::Listed(listed) => listed
            .iter()
            .any(|one| one.as_bytes() == origin.as_bytes())
            .then(|| origin.clone()),
        Origins::Any => Some(HeaderValue::from_static("*")),
    }
}

/// The names that a page asks to send, given back only if each is a header name (RFC 9110 §5.1).
/// Attacker-controlled.
fn requested_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS)?;
    let names = asked.to_str().ok()?;
    let are_names = names
        .split(',')
        .all(|name| HeaderName::from_bytes(name.trim().as_bytes()).is_ok());
    are_names.then(|| asked.clone())
}
