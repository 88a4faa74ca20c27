//! The mode that streams (YARP, Microsoft's reverse proxy): the request goes on as it came, and is
//! tried again while the handler is down.

use tokio::time::sleep;
use uuid::Uuid;

use super::dot_net::{Failure, Request as Copy};
use super::headers::Headers;
use super::kestrel::{Answer, Request};
use super::source::Source;
use super::worker::Worker;
use super::{HOST_VERSION, INVOCATION_ID, VERSION, path};

/// What concerns one connection only, in either direction. `Proxy-*` is dropped as well.
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "transfer-encoding",
    "keep-alive",
    "upgrade",
    "te",
    "alt-svc",
    "upgrade-insecure-requests",
];

/// What the host says itself, or keeps from the handler.
const OVERWRITTEN: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-azure-functions-hostversion",
    "x-azure-functions-invocationid",
    "x-ms-invocation-id",
];

/// Passes a request on; `None` where the handler did not answer it, or the client went away.
pub async fn pass(
    worker: &Worker,
    request: &Request,
    source: &mut Source<'_>,
    invocation: Uuid,
) -> Result<Option<Answer>, Failure> {
    source.watch_client();
    let query = request
        .query
        .as_ref()
        .map(|query| format!("?{}", path::proxied_query(query)))
        .unwrap_or_default();
    let headers = headers(request, worker, invocation);
    let copy = Copy {
        method: request.method.clone(),
        target: path::proxied(&request.path) + &query,
        headers,
    };
    let mut pauses = worker.timing.pauses();
    loop {
        // A body can be read only once; a try that finds it used up fails before it sends anything.
        if !source.was_read() {
            match worker.client.send(&copy, source).await {
                Ok(mut answer) => {
                    return Ok(accepted(&mut answer.headers).then(|| Answer::streamed(answer)));
                }
                Err(Failure::ClientGone) => return Err(Failure::ClientGone),
                Err(_) => {}
            }
        }
        let Some(pause) = pauses.next() else {
            return Ok(None);
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = source.client_gone() => return Err(Failure::ClientGone),
        }
    }
}

fn headers(request: &Request, worker: &Worker, invocation: Uuid) -> Headers {
    let sent = &request.headers;
    let is_web_socket = sent.lists("connection", "upgrade") && sent.lists("upgrade", "websocket");
    let mut headers = sent.clone();
    strip(&mut headers);
    headers.retain(|name| {
        !OVERWRITTEN
            .iter()
            .chain(&["content-length", "host"])
            .any(|own| own.eq_ignore_ascii_case(name))
    });
    headers.append("Host", worker.address.to_string());
    headers.append(HOST_VERSION, VERSION);
    headers.append(INVOCATION_ID, invocation.to_string());
    headers.append("x-ms-invocation-id", invocation.to_string());
    headers.append("X-Forwarded-For", request.peer.to_string());
    headers.append("X-Forwarded-Host", sent.text("host").unwrap_or_default());
    headers.append("X-Forwarded-Proto", "http");
    if is_web_socket {
        headers.append("Connection", "Upgrade");
        headers.append("Upgrade", "websocket");
    }
    match request.content_length() {
        _ if request.is_chunked() => headers.append("Transfer-Encoding", "chunked"),
        Some(length) => headers.append("Content-Length", length.to_string()),
        None if request.must_have_length() || headers.contains("content-type") => {
            headers.append("Content-Length", "0");
        }
        None => {}
    }
    headers.one_line_each()
}

fn strip(headers: &mut Headers) {
    let is_dropped = |name: &str| HOP_BY_HOP.contains(&name) || name.starts_with("proxy-");
    headers.retain(|name| !is_dropped(&name.to_ascii_lowercase()));
}

/// Leaves out what concerns one connection; false if the server refuses what is left.
fn accepted(headers: &mut Headers) -> bool {
    let is_chunked = headers.contains("transfer-encoding");
    strip(headers);
    if is_chunked {
        headers.remove("content-length");
    }
    let lengths: Vec<_> = headers
        .all("content-length")
        .map(|value| std::str::from_utf8(value).unwrap_or_default())
        .collect();
    let is_length_good = matches!(lengths.as_slice(), [] | [_])
        && lengths.iter().all(|length| length.parse::<u64>().is_ok());
    is_length_good && headers.is_ascii()
}
