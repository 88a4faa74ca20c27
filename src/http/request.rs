//! A request as handlers see it, and its id.

use std::net::IpAddr;

use futures_util::{FutureExt, Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName};
use hyper::body::Bytes;
use uuid::Uuid;

use super::edge::MAX_BODY_BYTES;
use super::error::ApiError;
use super::guard::admission::Admission;
use super::record::Record;
use crate::entropy::Entropy;

/// Set by the Functions host. In forwarding mode a value from the client may precede it.
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");

/// A request body: chunks as they arrive.
pub type BodyStream = dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync + Unpin;

/// A request whose body has not been read, so that the guards of a route come first.
pub struct Request<'a> {
    /// The id that the response and its log lines share.
    pub id: Uuid,
    /// All headers. Attacker-controlled.
    pub headers: &'a HeaderMap,
    /// The part of the target after `?`. Attacker-controlled.
    pub query: Option<&'a str>,
    /// The address of the other end of the connection.
    pub peer: IpAddr,
    /// True if a stop was requested.
    pub is_stopping: bool,
    /// The facts about the request so far, for its log lines.
    pub record: &'a mut Record,
    /// The body. Handlers read it with [`Request::json`].
    pub(super) body: &'a mut BodyStream,
}

impl Request<'_> {
    /// Reads a JSON body once a guard admitted the request; an absent one is empty.
    ///
    /// # Errors
    /// 415 for another media type, a charset other than UTF-8, a body without a type, or any
    /// `Content-Encoding`; 413 past [`MAX_BODY_BYTES`], announced by the head or received.
    pub async fn json(&mut self, _proof: &impl Admission) -> Result<Vec<u8>, ApiError> {
        let has_type = has_json_type(self.headers)?;
        let announced = content_length(self.headers);
        if announced > MAX_BODY_BYTES as u64 {
            return Err(if has_type {
                ApiError::PayloadTooLarge
            } else {
                ApiError::UnsupportedMediaType
            });
        }
        self.record.has_read_body = true;
        // Exactly as large as announced: growing by doubling would hold up to twice as much.
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or_default());
        while let Some(chunk) = self.body.next().await {
            // The error may quote the client's bytes; a body that breaks off is not JSON.
            let Ok(chunk) = chunk else {
                return Err(ApiError::MalformedJson);
            };
            if !has_type && !chunk.is_empty() {
                return Err(ApiError::UnsupportedMediaType);
            }
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(ApiError::PayloadTooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Returns whether the body is complete, so that the next request can be found behind it. The rest
/// of an unread body is dropped if it has arrived already, and not waited for.
pub fn is_complete(body: &mut BodyStream) -> bool {
    let mut dropped = 0;
    while dropped <= MAX_BODY_BYTES {
        match body.next().now_or_never() {
            Some(None) => return true,
            Some(Some(Ok(chunk))) => dropped += chunk.len(),
            Some(Some(Err(_))) | None => return false,
        }
    }
    false
}

/// Returns whether the client sends the body only after `100 Continue` (RFC 9110 §10.1.1), which
/// hyper sends when the body is first read.
pub fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Returns the length that the head announces; 0 where it announces none. hyper has refused what is
/// not a number, or two of them.
fn content_length(headers: &HeaderMap) -> u64 {
    headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}

/// Returns whether there is a content type, which must then be JSON in UTF-8.
fn has_json_type(headers: &HeaderMap) -> Result<bool, ApiError> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) => Ok(false),
        (Some(only), None) if only.to_str().is_ok_and(is_json) => Ok(true),
        _ => Err(ApiError::UnsupportedMediaType),
    }
}

fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim_end().eq_ignore_ascii_case("charset") => {
                let value = value.trim_start();
                let unquoted = value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'));
                // The second is not a registered name, but many clients write it.
                ["utf-8", "utf8"]
                    .iter()
                    .any(|name| unquoted.unwrap_or(value).eq_ignore_ascii_case(name))
            }
            _ => true,
        })
}

/// Returns the id that a response and its log lines share: the host's invocation id if it is a UUID
/// in its usual form, else a fresh one. Of several, in several headers or in one joined by commas,
/// the last is the host's and the others are the client's.
pub fn request_id(headers: &HeaderMap, entropy: &dyn Entropy) -> Uuid {
    let last = headers
        .get_all(INVOCATION_ID)
        .iter()
        .next_back()
        .and_then(|value| value.as_bytes().rsplit(|b| *b == b',').next());
    let hyphenated = last
        .map(<[u8]>::trim_ascii)
        .filter(|id| id.len() == 36)
        .and_then(|id| Uuid::try_parse_ascii(id).ok());
    hyphenated.unwrap_or_else(|| entropy.uuid())
}
