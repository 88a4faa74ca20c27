//! What .NET's HTTP client, through which both modes reach the handler, does to any request.

use std::time::Duration;

use http::header::{COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// A body of a request or an answer.
pub type Body = BoxBody<Bytes, hyper::Error>;

/// A pool of kept-alive HTTP/1.1 connections. Idle ones are dropped after .NET's 60 s.
pub type Client = legacy::Client<HttpConnector, Body>;

pub fn client() -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_mins(1)).build(connector)
}

/// .NET writes all values of one name into one line, whatever lines they came in.
pub fn one_line_each(headers: &HeaderMap) -> HeaderMap {
    let line = |name| {
        let separator = match name {
            USER_AGENT => " ",
            COOKIE => "; ",
            _ => ", ",
        };
        let values: Vec<_> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        (name, HeaderValue::from_bytes(&values.join(separator.as_bytes())).unwrap())
    };
    headers.keys().cloned().map(line).collect()
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}
