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

/// The headers that scripts of an allowed page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, X-RateLimit-Limit, \
     X-RateLimit-Remaining, X-RateLimit-Reset, ETag, Location",
);

/// Seconds for which a browser may cache a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Returns the response to `OPTIONS`: with CORS headers for a preflight from an allowed page,
/// without them for a preflight from another page, and with `Allow` for a plain `OPTIONS`.
pub fn options(cors: &Cors, allow: &str, headers: &HeaderMap) -> Reply {
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    let response = reply.headers_mut();
    let allow = HeaderValue::try_from(allow).ok();
    if !(headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)) {
        response.extend(allow.map(|methods| (ALLOW, methods)));
    } else if allowed_origin(cors, headers).is_some() {
        response.extend(allow.map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods)));
        response
            .extend(requested_headers(headers).map(|names| (ACCESS_CONTROL_ALLOW_HEADERS, names)));
        response.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
    reply
}

/// Adds the headers that let an allowed page read a response.
pub fn add_headers(cors: &Cors, request: &HeaderMap, response: &mut HeaderMap) {
    match &cors.origins {
        Origins::NoFile | Origins::Any => {}
        Origins::Listed(_) => {
            response.insert(VARY, HeaderValue::from_static("Origin"));
        }
    }
    let Some(origin) = allowed_origin(cors, request) else {
        return;
    };
    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if cors.credentials {
        response.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
}

/// Returns the value of `Access-Control-Allow-Origin`, `None` for pages that are not on the list.
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

/// Returns the header names that a page wants to send if all of them are valid (RFC 9110 §5.1).
/// Attacker-controlled.
fn requested_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let requested = headers.get(ACCESS_CONTROL_REQUEST_HEADERS)?;
    let names = requested.to_str().ok()?;
    let are_names = names
        .split(',')
        .all(|name| HeaderName::from_bytes(name.trim().as_bytes()).is_ok());
    are_names.then(|| requested.clone())
}
