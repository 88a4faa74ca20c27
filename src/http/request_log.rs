//! The metrics and log lines of one request.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use uuid::Uuid;

use super::connection::Connection;
use super::record::{ABANDONED, Record};
use super::routes;
use crate::app::NO_PROVIDER;
use crate::domain::audit::Action;
use crate::domain::trace_context::{TraceId, TraceParent};
use crate::telemetry::{self, AccessRecord, CorrelationIds};
use crate::traces::{RequestTrace, Span};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Counts and logs a request once: with its response, or when it is dropped because the caller hung
/// up while a secret was minted.
pub struct RequestLog<'a> {
    /// The facts about the request, collected while it is served.
    pub record: Record,
    connection: &'a Connection,
    head: &'a Parts,
    request_id: Uuid,
    /// The path as it is in the route table.
    route: Option<&'static str>,
    /// The start of the request, in the life of the connection.
    started: Duration,
    is_finished: bool,
    trace_id: Option<TraceId>,
    span: Option<Span>,
}

impl<'a> RequestLog<'a> {
    /// Creates the log of a request that started at a time of the connection's life.
    pub fn new(
        connection: &'a Connection,
        head: &'a Parts,
        request_id: Uuid,
        route: Option<&'static str>,
        started: Duration,
    ) -> Self {
        let traceparents = head.headers.get_all(TRACEPARENT).iter();
        let parent = TraceParent::from_headers(traceparents.map(HeaderValue::as_bytes));
        let traces = connection.app.exports.traces.as_ref();
        // The probe comes many times a second.
        let span = traces
            .filter(|_| route != Some(routes::PROBE))
            .and_then(|traces| {
                traces.begin_request(known_method(&head.method), route, request_id, parent)
            });
        Self {
            connection,
            head,
            request_id,
            route,
            record: Record::default(),
            started,
            is_finished: false,
            trace_id: span
                .as_ref()
                .and_then(Span::trace_id)
                .or(parent.map(|parent| parent.trace_id)),
            span,
        }
    }

    /// Returns the trace of the request, if it is sampled.
    pub fn trace(&self) -> Option<RequestTrace> {
        self.span.as_ref().map(Span::trace)
    }

    /// Counts and logs the request with its outcome.
    pub fn finish(
        &mut self,
        ended: Duration,
        status: StatusCode,
        code: Option<&'static str>,
        cause: Option<&'static str>,
    ) {
        self.is_finished = true;
        if let Some(span) = self.span.take() {
            self.end_span(span, status, code);
        }
        // The probe itself is neither counted nor logged: it comes many times a second.
        if self.route == Some(routes::PROBE) && code.is_none() {
            return;
        }
        let route = self.route.unwrap_or("none");
        let upstream_id = self.record.upstream_id.take();
        let duration = ended.saturating_sub(self.started);
        self.connection
            .app
            .metrics
            .request(route, status.as_str(), code, duration);
        let ids = CorrelationIds {
            request_id: self.request_id,
            trace_id: self.trace_id,
        };
        self.audit(ids, code);
        if let Some(budget) = self.record.unlogged_budget {
            self.connection.edge.unlogged.count(budget);
            return;
        }
        telemetry::access(&AccessRecord {
            ids,
            method: known_method(&self.head.method).unwrap_or("other"),
            route,
            status: status.as_u16(),
            code,
            cause,
            caller: self.record.actor,
            provider: self.record.provider,
            upstream_id,
            duration,
        });
    }

    fn audit(&self, ids: CorrelationIds, code: Option<&'static str>) {
        let provider = self.record.provider.unwrap_or(NO_PROVIDER);
        for event in self.record.audit(code) {
            let metrics = &self.connection.app.metrics;
            let outcome = event.outcome.as_str();
            match event.action {
                Action::IssueToken => metrics.token(provider, outcome),
                Action::IssueTurnCredentials => metrics.turn_credentials(provider, outcome),
                // Sessions have a metric of their own.
                Action::OpenSession | Action::DiagnoseRealtime => {}
            }
            if self.record.unlogged_budget.is_none() {
                telemetry::audit(ids, &event);
            }
        }
    }

    fn end_span(&self, mut span: Span, status: StatusCode, code: Option<&'static str>) {
        span.http_status(status.as_u16());
        if let Some(provider) = self.record.provider {
            span.label("roomkey.provider", provider);
        }
        match code {
            Some(code) if status.is_server_error() => span.fail(code),
            Some(code) => span.label("roomkey.error_code", code),
            None => {}
        }
    }
}

impl Drop for RequestLog<'_> {
    fn drop(&mut self) {
        if self.record.mints && !self.is_finished {
            // There is no response and no status of HTTP's own; 499 is what proxies log here.
            self.finish(
                self.connection.elapsed(),
                StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
                Some(ABANDONED),
                None,
            );
        }
    }
}

/// Returns the name of a method, if it is a common one. A method may be any token that the client
/// likes.
fn known_method(method: &Method) -> Option<&'static str> {
    match *method {
        Method::GET => Some("GET"),
        Method::HEAD => Some("HEAD"),
        Method::POST => Some("POST"),
        Method::DELETE => Some("DELETE"),
        Method::OPTIONS => Some("OPTIONS"),
        _ => None,
    }
}
