//! Answers, before [`super::dispatch`] adds what every answer carries.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use super::error::ApiError;

/// Bytes that an answer with a token usually fits into.
const USUAL_BODY: usize = 1024;

/// Headers of an answer with a token, for a page and with what is left of a budget.
const USUAL_HEADERS: usize = 16;

/// An answer.
pub type Reply = warp::reply::Response;

/// An answer with a JSON body.
///
/// # Errors
/// `internal` when the value cannot be written as JSON, which no value of ours can cause.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, ApiError> {
    let mut body = Vec::with_capacity(USUAL_BODY);
    serde_json::to_writer(&mut body, value)
        .map_err(|_| ApiError::Internal("an answer could not be written as JSON"))?;
    Ok(with_body(status, "application/json", body))
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Vec::new().into());
    *reply.status_mut() = status;
    reply
}

/// An answer with the given body.
pub fn with_body(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Reply {
    typed(status, content_type, Response::new(body.into()))
}

/// An answer with a body that is part of the program, so that it takes no memory however many
/// clients are slow to read it.
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
