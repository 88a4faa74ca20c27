//! The mode that copies: a new request is made of what the host knows, and the whole answer is read before it goes on.

use http::header::{
    ALLOW, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, EXPIRES,
    HeaderName, LAST_MODIFIED, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use url::{Url, form_urlencoded};
use uuid::Uuid;

use super::dot_net::{Body, empty, full, one_line_each};
use super::routes::decoded;
use super::worker::Worker;
use super::{HOST_VERSION, INVOCATION_ID, VERSION, value};

/// What .NET keeps with a body. Of these only type and length are set again, and only if there is a body.
const CONTENT_HEADERS: [HeaderName; 11] = [
    ALLOW,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    EXPIRES,
    LAST_MODIFIED,
    HeaderName::from_static("content-md5"),
];

/// Passes a request on once; `None` where the handler did not answer it.
pub async fn pass(worker: &Worker, request: Request<Incoming>, invocation: Uuid) -> Option<Response<Body>> {
    let (head, body) = request.into_parts();
    let mut copy = Request::new(if has_body(&head.headers) { body.boxed() } else { empty() });
    *copy.method_mut() = head.method;
    *copy.uri_mut() = url(worker, &head.uri).as_str().parse().unwrap();
    *copy.headers_mut() = headers(&head.headers, invocation);
    let (mut head, body) = worker.client.request(copy).await.ok()?.into_parts();
    let whole = body.collect().await.ok()?.to_bytes();
    head.headers.remove(TRANSFER_ENCODING);
    Some(Response::from_parts(head, full(whole)))
}

/// A body counts by its announced length, so a chunked one is dropped.
fn has_body(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Built from the decoded path, which therefore ends at an escaped `?` or `#`, and from the query's parts.
fn url(worker: &Worker, uri: &http::Uri) -> Url {
    let mut url = worker.url();
    let path = decoded(uri.path());
    url.set_path(path.split(['?', '#']).next().unwrap());
    url.set_query(uri.query().map(rebuilt).as_deref());
    url
}

/// Values of the same key, whatever its case, become one with commas between them.
fn rebuilt(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match pairs.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&key)) {
            Some((_, values)) => *values = format!("{values},{value}"),
            None => pairs.push((key.into_owned(), value.into_owned())),
        }
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn headers(sent: &HeaderMap, invocation: Uuid) -> HeaderMap {
    let mut headers = sent.clone();
    for name in CONTENT_HEADERS {
        headers.remove(name);
    }
    if has_body(sent) {
        let kept = [CONTENT_LENGTH, CONTENT_TYPE].into_iter().filter_map(|name| Some((sent.get(&name)?.clone(), name)));
        headers.extend(kept.map(|(value, name)| (name, value)));
    }
    headers.remove(TRANSFER_ENCODING);
    headers.append(HOST_VERSION, HeaderValue::from_static(VERSION));
    headers.append(INVOCATION_ID, value(&invocation));
    headers.append(USER_AGENT, value(&format!("Azure-Functions-Host/{VERSION}")));
    one_line_each(&headers)
}

#[test]
fn forwarding_copies_all_headers_but_those_of_the_content() {
    let sent = [
        ("host", "voice.example.com"),
        ("content-length", "2"),
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("content-language", "en"),
        ("connection", "keep-alive"),
        ("x-forwarded-for", "203.0.113.7"),
        ("user-agent", "browser/1"),
        ("x-azure-functions-invocationid", "forged"),
        ("accept", "a/b"),
        ("accept", "c/d"),
    ];
    let arrives = [
        ("accept", "a/b, c/d"),
        ("connection", "keep-alive"),
        ("content-length", "2"),
        ("content-type", "application/json"),
        ("host", "voice.example.com"),
        ("user-agent", "browser/1 Azure-Functions-Host/4.1037.0.0"),
        ("x-azure-functions-hostversion", "4.1037.0.0"),
        ("x-azure-functions-invocationid", "forged, 00000000-0000-0000-0000-000000000000"),
        ("x-forwarded-for", "203.0.113.7"),
    ];
    assert_eq!(super::listed(&headers(&super::header_map(&sent), Uuid::nil())), arrives);
}

#[test]
fn forwarding_keeps_no_content_header_without_a_length() {
    let sent = super::header_map(&[("content-type", "application/json"), ("transfer-encoding", "chunked")]);
    let arrives = headers(&sent, Uuid::nil());
    assert!(!arrives.contains_key(CONTENT_TYPE) && !arrives.contains_key(TRANSFER_ENCODING));
}

#[test]
fn forwarding_joins_repeated_query_keys() {
    assert_eq!(rebuilt("a=1&b=x%26y&A=2"), "a=1%2C2&b=x%26y");
}
