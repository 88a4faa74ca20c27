//! The way of every request: id, route, answer, the headers that every answer carries, one access
//! line.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::{
    CACHE_CONTROL, CONNECTION, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, StatusCode};
use tokio::time::timeout;
use uuid::Uuid;
use warp::path::FullPath;
use warp::{Filter, Rejection};

use super::connection::Connection;
use super::cors;
use super::edge::Edge;
use super::error::ApiError;
use super::head::HeadRefusal;
use super::problem;
use super::rate_limit_headers;
use super::record::{ABANDONED, Record};
use super::reply::Reply;
use super::request::{self, BodyStream, Request};
use super::routes::{self, Route, Target};
use crate::app::{App, NO_PROVIDER};
use crate::clock::Stopwatch;
use crate::domain::audit::Action;
use crate::domain::requests::provider::Provider;
use crate::domain::trace_context::TraceId;
use crate::telemetry::{self, AccessRecord, CorrelationIds};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const A_PANIC: &str = "a panic; the line before has its place";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Everything that roomkey answers on one connection, as one warp filter.
pub(super) fn filter(
    connection: Arc<Connection>,
) -> impl Filter<Extract = (impl warp::Reply,), Error = Infallible> + Clone {
    let rejected = Arc::clone(&connection);
    warp::any()
        .map(move || Arc::clone(&connection))
        .and(warp::method())
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional())
        .and(warp::body::stream())
        .then(
            |connection: Arc<Connection>,
             method: Method,
             path: FullPath,
             headers: HeaderMap,
             refusal,
             body| async move {
                let answer = answer(&connection, &method, path.as_str(), &headers, refusal, body);
                match AssertUnwindSafe(answer).catch_unwind().await {
                    Ok(reply) => reply,
                    // Outside of what `bounded` catches. Without an answer the Functions host would
                    // send the request again and again.
                    Err(_panic) => panicked(&connection, &headers),
                }
            },
        )
        .recover(move |_: Rejection| {
            let request_id = rejected.app.entropy.uuid();
            tracing::error!(%request_id, "warp rejected a request");
            async move {
                Ok::<_, Infallible>(complete(
                    problem::reply(&ApiError::Internal("warp rejected a request"), request_id),
                    request_id,
                ))
            }
        })
}

fn panicked(connection: &Connection, headers: &HeaderMap) -> Reply {
    let app = &connection.app;
    app.metrics.panicked();
    let request_id = request::request_id(headers, &*app.entropy);
    let mut reply = complete(
        problem::reply(&ApiError::Internal(A_PANIC), request_id),
        request_id,
    );
    cors::add_headers(&app.cors, headers, reply.headers_mut());
    connection.end_request();
    reply
}

async fn answer(
    connection: &Connection,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    refusal: Option<HeadRefusal>,
    mut body: impl BodyStream,
) -> Reply {
    let app = &*connection.app;
    connection.writable().await;
    let request_id = request::request_id(headers, &*app.entropy);
    let target = routes::find(method, path);
    let mut account = Account {
        app,
        edge: &connection.edge,
        request_id,
        method,
        headers,
        route: target.path(),
        stopwatch: Stopwatch::start(),
        record: Record::default(),
        is_given: false,
    };
    let outcome = match (refusal, target) {
        (Some(refusal), _) => Err(refusal.into()),
        (None, Target::Route(route)) => {
            let request = Request {
                headers,
                body: &mut body,
                peer: connection.peer,
                record: &mut account.record,
            };
            bounded(connection, route, request).await
        }
        (None, Target::Options(path)) => Ok(cors::options(&app.cors, path, headers)),
        (None, Target::WrongMethod(path)) => Err(ApiError::MethodNotAllowed(routes::allow(path))),
        (None, Target::Nothing) => Err(ApiError::NotFound),
    };
    let (code, cause) = outcome.as_ref().err().map_or((None, None), |error| {
        (Some(error.kind().code), error.cause())
    });
    let mut reply = complete(
        outcome.unwrap_or_else(|error| problem::reply(&error, request_id)),
        request_id,
    );
    if let Some((budget, decision, now)) = &account.record.limit {
        rate_limit_headers::add(reply.headers_mut(), decision, budget, *now);
    }
    cors::add_headers(&app.cors, headers, reply.headers_mut());
    // Whoever waits for "go on" is sent none after an answer, and need not send what would have to
    // be thrown away.
    let sends_nothing = request::waits_to_continue(headers) && !account.record.has_read_body;
    if connection.is_refused || sends_nothing || !request::is_over(&mut body) {
        reply
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // Also after that: a client that has waited for "go on" for a while sends its body without it.
    if reply.headers().contains_key(CONNECTION) {
        connection.linger();
    }
    connection.end_request();
    account.give(reply.status(), code, cause);
    reply
}

/// What a request leaves behind in metrics and log: once, with its answer, or, while a secret is
/// minted for it, when the caller hangs up and this is dropped.
struct Account<'a> {
    app: &'a App,
    edge: &'a Edge,
    request_id: Uuid,
    method: &'a Method,
    headers: &'a HeaderMap,
    route: &'static str,
    stopwatch: Stopwatch,
    record: Record,
    is_given: bool,
}

impl Account<'_> {
    fn give(
        &mut self,
        status: StatusCode,
        code: Option<&'static str>,
        cause: Option<&'static str>,
    ) {
        self.is_given = true;
        let upstream_id = self.record.upstream_id.take();
        let Self {
            app,
            edge,
            request_id,
            method,
            headers,
            route,
            ref record,
            ..
        } = *self;
        // The probe itself is neither counted nor logged: it comes many times a second.
        if route == routes::PROBE && code.is_none() {
            return;
        }
        let duration = self.stopwatch.elapsed();
        app.metrics.request(route, status.as_str(), code, duration);
        let provider = record.provider.map(Provider::as_str);
        let trace_id = TraceId::from_headers(
            headers
                .get_all(TRACEPARENT)
                .iter()
                .map(HeaderValue::as_bytes),
        );
        let ids = CorrelationIds {
            request_id,
            trace_id,
        };
        for event in record.audit(code) {
            if event.action == Action::IssueToken {
                app.metrics
                    .token(provider.unwrap_or(NO_PROVIDER), event.outcome.as_str());
            }
            if record.unlogged_budget.is_none() {
                telemetry::audit(ids, &event);
            }
        }
        if let Some(budget) = record.unlogged_budget {
            edge.unlogged.count(budget);
            return;
        }
        telemetry::access(&AccessRecord {
            ids,
            method: method_label(method),
            route,
            status: status.as_u16(),
            code,
            cause,
            caller: record.actor,
            provider,
            upstream_id,
            duration,
        });
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        if self.record.mints && !self.is_given {
            // No status of HTTP's own, for there is no answer: the one that proxies write down in
            // such a case.
            self.give(
                StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
                Some(ABANDONED),
                None,
            );
        }
    }
}

/// Calls a route within the bounds of the edge. The probe and `GET /api/health` are answered also
/// when all places are taken: who asks them would take a refusal for death.
async fn bounded(
    connection: &Connection,
    route: &Route,
    request: Request<'_, impl BodyStream>,
) -> Result<Reply, ApiError> {
    let Connection { app, edge, .. } = connection;
    let time_left = connection.begin_request();
    let seat = edge.requests.take();
    let is_probe = route.path == routes::PROBE;
    if (connection.is_refused && !is_probe)
        || (seat.is_none() && !is_probe && route.path != routes::HEALTH)
    {
        return Err(ApiError::Overloaded);
    }
    // A panic must end neither the process nor the connections that share it. Caught here and not
    // by a spawned task, so that a client that goes away still cancels its request.
    let called = AssertUnwindSafe(routes::call(route, app, edge, request)).catch_unwind();
    match timeout(time_left, called).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => {
            app.metrics.panicked();
            Err(ApiError::Internal(A_PANIC))
        }
        Err(_elapsed) => Err(ApiError::RequestTimeout),
    }
}

/// Adds what every answer carries.
fn complete(mut reply: Reply, request_id: Uuid) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let mut text = Uuid::encode_buffer();
    let text: &str = request_id.hyphenated().encode_lower(&mut text);
    headers.extend(HeaderValue::from_str(text).ok().map(|id| (REQUEST_ID, id)));
    reply
}

/// A method may be any token that the client likes, so only the common ones are named in the log.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
