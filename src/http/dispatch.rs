//! The steps of every request: id, route, handler, the headers of every response, log lines.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::{FutureExt, Stream, TryStreamExt};
use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONNECTION, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;
use warp::{Buf, Filter, Rejection};

use super::connection::Connection;
use super::error::ApiError;
use super::reply::Reply;
use super::request::{self, BodyStream, Request};
use super::request_log::RequestLog;
use super::routes::{self, Feature, Route, Target};
use super::{cors, head, problem, rate_limit_headers};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const A_PANIC: &str = "a panic; the line before has its place";

/// Returns the warp filter that serves one request. Its head comes apart from warp's request, so
/// that handlers borrow the headers; a warp filter could only clone them.
pub(super) fn filter(
    connection: &Arc<Connection>,
    head: Parts,
) -> impl Filter<Extract = (Reply,), Error = Rejection> + Clone + use<> {
    let exchange = Arc::new((Arc::clone(connection), head));
    warp::body::stream().then(move |body| serve(Arc::clone(&exchange), body))
}

async fn serve(
    exchange: Arc<(Arc<Connection>, Parts)>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + Sync + Unpin + 'static,
) -> Reply {
    let (connection, head) = &*exchange;
    let mut body = body.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining()));
    match AssertUnwindSafe(respond(connection, head, &mut body))
        .catch_unwind()
        .await
    {
        Ok(reply) => reply,
        // Outside of what `call` catches. Without an answer the Functions host would send the
        // request again and again.
        Err(_panic) => panicked(connection, &head.headers),
    }
}

fn panicked(connection: &Connection, headers: &HeaderMap) -> Reply {
    let app = &connection.app;
    app.metrics.panicked();
    let request_id = request::request_id(headers, &*app.entropy);
    let mut reply = problem::reply(&ApiError::Internal(A_PANIC), request_id);
    add_common_headers(&mut reply, request_id);
    cors::add_headers(&app.cors, headers, reply.headers_mut());
    connection.end_request(connection.elapsed());
    reply
}

async fn respond(connection: &Connection, head: &Parts, body: &mut BodyStream) -> Reply {
    let Connection { app, edge, .. } = connection;
    connection.writable().await;
    let started = connection.elapsed();
    let deadline = connection.begin_request(started);
    let headers = &head.headers;
    let request_id = request::request_id(headers, &*app.entropy);
    let has = |feature| match feature {
        Feature::LiveKit => app.server_url.is_some(),
        Feature::Realtime => app.request_policy.providers.realtime().is_some(),
        Feature::Store => app.projects.is_some(),
        Feature::Turn => app.turn.is_some(),
    };
    let target = routes::find(&head.method, head.uri.path(), has);
    let mut log = RequestLog::new(connection, head, request_id, target.path(), started);
    let trace = log.trace();
    let outcome = match head::check(head, edge, app.loopback_hosts_only) {
        Err(error) => Err(error),
        // The permit is held until the request is answered.
        Ok(_permit) => match target {
            Target::Route(route) => {
                let request = Request {
                    id: request_id,
                    headers,
                    query: head.uri.query(),
                    peer: connection.peer,
                    is_stopping: edge.is_stopping(),
                    record: &mut log.record,
                    body,
                };
                match trace {
                    None => call(connection, route, request, deadline).await,
                    // Boxed, so that an untraced request does not need the memory.
                    Some(trace) => {
                        Box::pin(trace.scope(call(connection, route, request, deadline))).await
                    }
                }
            }
            Target::Options(path) => Ok(cors::options(&app.cors, &routes::allow(path), headers)),
            Target::WrongMethod(path) => Err(ApiError::MethodNotAllowed(routes::allow(path))),
            Target::Unknown => Err(ApiError::NotFound),
        },
    };
    let (code, cause) = match &outcome {
        Ok(_) => (None, None),
        Err(error) => (Some(error.kind().code), error.cause()),
    };
    let mut reply = outcome.unwrap_or_else(|error| problem::reply(&error, request_id));
    add_common_headers(&mut reply, request_id);
    if let Some((budget, decision, now)) = &log.record.limit {
        rate_limit_headers::add(reply.headers_mut(), decision, budget, *now);
    }
    cors::add_headers(&app.cors, headers, reply.headers_mut());
    // A client that waits for `100 Continue` is sent none after a response, and need not send a
    // body that would be discarded.
    let sends_no_body = request::expects_continue(headers) && !log.record.has_read_body;
    if connection.is_refused || sends_no_body || !request::is_complete(body) {
        reply
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // Also for a client that waits for `100 Continue`: after a while it sends its body without it.
    if reply.headers().contains_key(CONNECTION) {
        connection.linger();
    }
    let ended = connection.elapsed();
    connection.end_request(ended);
    log.finish(ended, reply.status(), code, cause);
    reply
}

/// Calls the handler of a route within the limits of the edge. The probe and `GET /api/health` are
/// answered also at capacity: their clients would take a refusal for a dead process.
async fn call(
    connection: &Connection,
    route: &Route,
    request: Request<'_>,
    deadline: Instant,
) -> Result<Reply, ApiError> {
    let Connection { app, edge, .. } = connection;
    let permit = edge.requests.try_acquire();
    let is_probe = route.path == routes::PROBE;
    if (connection.is_refused && !is_probe)
        || (permit.is_err() && !is_probe && route.path != routes::HEALTH)
    {
        return Err(ApiError::Overloaded);
    }
    // A panic must end neither the process nor the connections that share it. It is caught here and
    // not by a spawned task, so that a client that hangs up still cancels its request.
    let handled = AssertUnwindSafe((route.serve)(app, request)).catch_unwind();
    match timeout_at(deadline, handled).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => {
            app.metrics.panicked();
            Err(ApiError::Internal(A_PANIC))
        }
        Err(_elapsed) => Err(ApiError::RequestTimeout),
    }
}

fn add_common_headers(reply: &mut Reply, request_id: Uuid) {
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let mut text = Uuid::encode_buffer();
    let text: &str = request_id.hyphenated().encode_lower(&mut text);
    headers.extend(HeaderValue::from_str(text).ok().map(|id| (REQUEST_ID, id)));
}
