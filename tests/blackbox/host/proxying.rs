//! The mode that streams (YARP, Microsoft's reverse proxy): the request goes on as it came, and is tried again while the
//! handler is down.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ALT_SVC, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE, UPGRADE_INSECURE_REQUESTS};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use tokio::time::sleep;
use uuid::Uuid;

use super::dot_net::{Body, one_line_each};
use super::routes::decoded;
use super::worker::Worker;
use super::{HOST_VERSION, INVOCATION_ID, VERSION, value};

/// What concerns one connection only, in either direction. `Proxy-*` is dropped as well.
const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, TRANSFER_ENCODING, HeaderName::from_static("keep-alive"), UPGRADE, TE, ALT_SVC, UPGRADE_INSECURE_REQUESTS];

const TRIES: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Where the platform's front end stands.
const FRONT_END: &str = "10.0.0.1";

/// Passes a request on; `None` where the handler did not answer it.
pub async fn pass(worker: &Worker, request: Request<Incoming>, invocation: Uuid) -> Option<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = Arc::new(Source { body: Mutex::new(body), was_read: AtomicBool::new(false) });
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=TRIES {
        let mut copy = Request::new(Reader(Arc::clone(&body)).boxed());
        *copy.method_mut() = head.method.clone();
        *copy.uri_mut() = uri(worker, &head.uri);
        *copy.headers_mut() = headers(&head.headers, invocation);
        match worker.client.request(copy).await {
            Ok(mut answer) => {
                strip(answer.headers_mut());
                return Some(answer.map(BodyExt::boxed));
            }
            // A body can be read only once.
            Err(_) if attempt == TRIES || body.was_read.load(Ordering::Acquire) => break,
            Err(_) => sleep(pause).await,
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    None
}

/// The path encoded anew, the query untouched.
fn uri(worker: &Worker, uri: &Uri) -> Uri {
    let mut url = worker.url();
    url.set_path(&decoded(uri.path()));
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{url}{query}").parse().unwrap()
}

fn headers(sent: &HeaderMap, invocation: Uuid) -> HeaderMap {
    let mut headers = sent.clone();
    strip(&mut headers);
    if sent.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    // The client library sets the handler's own address in place of the client's word.
    let host = headers.remove(HOST);
    headers.extend(host.map(|host| (HeaderName::from_static("x-forwarded-host"), host)));
    headers.insert("x-forwarded-for", HeaderValue::from_static(FRONT_END));
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    headers.remove("x-forwarded-prefix");
    headers.insert(HOST_VERSION, HeaderValue::from_static(VERSION));
    headers.insert(INVOCATION_ID, value(&invocation));
    headers.insert("x-ms-invocation-id", value(&invocation));
    one_line_each(&headers)
}

fn strip(headers: &mut HeaderMap) {
    let names: Vec<_> = headers.keys().filter(|name| HOP_BY_HOP.contains(name) || name.as_str().starts_with("proxy-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// A client's body, which outlives a try that did not read it.
struct Source {
    body: Mutex<Incoming>,
    was_read: AtomicBool,
}

/// One try's view of it.
struct Reader(Arc<Source>);

impl hyper::body::Body for Reader {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.was_read.store(true, Ordering::Release);
        Pin::new(&mut *self.0.body.lock().unwrap()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().unwrap().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().unwrap().size_hint()
    }
}

#[test]
fn proxying_drops_what_concerns_one_connection_and_overwrites_what_is_the_hosts() {
    let sent = [
        ("host", "voice.example.com"),
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("proxy-authorization", "Basic x"),
        ("upgrade-insecure-requests", "1"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-prefix", "/x"),
        ("x-azure-functions-invocationid", "forged"),
        ("x-ms-invocation-id", "forged"),
        ("user-agent", "browser/1"),
    ];
    let id = "00000000-0000-0000-0000-000000000000";
    let arrives = [
        ("content-encoding", "gzip"),
        ("content-type", "application/json"),
        ("user-agent", "browser/1"),
        ("x-azure-functions-hostversion", "4.1037.0.0"),
        ("x-azure-functions-invocationid", id),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "voice.example.com"),
        ("x-forwarded-proto", "http"),
        ("x-ms-invocation-id", id),
    ];
    assert_eq!(super::listed(&headers(&super::header_map(&sent), Uuid::nil())), arrives);
}
