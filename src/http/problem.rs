//! Writes errors as problem documents (RFC 9457).

use http::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use uuid::Uuid;

use super::error::ApiError;
use super::reply::{self, Reply};
use crate::domain::requests::fields::FieldError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    request_id: Uuid,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remediation: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// Returns the response to a request that failed.
pub fn reply(error: &ApiError, request_id: Uuid) -> Reply {
    let kind = error.kind();
    let problem = Problem {
        r#type: format!("urn:roomkey:error:{}", kind.code),
        title: kind.title,
        status: kind.status.as_u16(),
        detail: error.to_string(),
        code: kind.code,
        request_id,
        retryable: kind.retryable,
        remediation: error.remediation(),
        errors: if let ApiError::InvalidRequest(errors) = error {
            errors
        } else {
            &[]
        },
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut reply = reply::with_body(kind.status, "application/problem+json", body);
    let headers = reply.headers_mut();
    if let ApiError::MethodNotAllowed(allow) = error {
        headers.extend(
            HeaderValue::try_from(allow)
                .ok()
                .map(|allow| (ALLOW, allow)),
        );
    }
    if let Some(seconds) = error.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if let Some(challenge) = kind.challenge {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if kind.closes_connection {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::realtime::mint::MintError;

    #[test]
    fn the_time_to_wait_is_a_header() {
        let full = reply(&ApiError::Upstream(MintError::Full), Uuid::nil());
        assert_eq!(full.headers()[RETRY_AFTER], "1");
        let not_found = reply(&ApiError::NotFound, Uuid::nil());
        assert!(!not_found.headers().contains_key(RETRY_AFTER));
    }
}
