//! Responses, before [`super::dispatch`] adds the headers of every response.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use super::error::ApiError;

/// Bytes of a body that a response with a token usually fits into.
const USUAL_BODY: usize = 1024;

/// Headers of a response with a token, with those of CORS and of the rate limit.
const USUAL_HEADERS: usize = 16;

/// A response.
pub type Reply = warp::reply::Response;

/// Returns a response with a JSON body.
///
/// # Errors
/// `internal` if the value cannot be serialized, which is a bug.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, ApiError> {
    let mut body = Vec::with_capacity(USUAL_BODY);
    serde_json::to_writer(&mut body, value)
        .map_err(|_| ApiError::Internal("an answer could not be written as JSON"))?;
    Ok(with_body(status, "application/json", body))
}

/// Returns a response without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Vec::new().into());
    *reply.status_mut() = status;
    reply
}

/// Returns a response with a body.
pub fn with_body(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Reply {
    typed(status, content_type, Response::new(body.into()))
}

/// Returns a response with a body that is part of the program, so that it takes no memory however
/// many clients are slow to read it.
pub fn with_static_body(
    status: StatusCode,
    content_type: &'static str,
    body: &'static str,
) -> Reply {
    typed(status, content_type, Response::new(body.into()))
}

fn typed(status: StatusCode, content_type: &'static str, mut reply: Reply) -> Reply {
    *reply.status_mut() = status;
    reply.headers_mut().reserve(USUAL_HEADERS);
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
