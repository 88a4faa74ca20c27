//! Traces: the spans of a request, for an OpenTelemetry collector.
//!
//! A request that is not sampled has no trace and creates no span. Attributes hold constant words,
//! numbers, the request id and addresses from the settings: nothing of a client, a caller, a room
//! or a project. Names follow OpenTelemetry's semantic conventions where they have one.

mod ids;
mod queue;
pub mod resource;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter};
use tokio::task::JoinHandle;
use uuid::Uuid;

use self::ids::RandomIds;
use self::queue::BoundedQueue;
pub use self::queue::{MAX_SHUTDOWN, SpanCounts};
use crate::domain::settings::trace_sampler::TraceSampler;
use crate::domain::trace_context::{TraceId, TraceParent};
use crate::entropy::Entropy;

tokio::task_local! {
    /// The trace of the request that the current task serves.
    static CURRENT: RequestTrace;
}

/// Traces requests and exports their spans in the background.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    sampler: TraceSampler,
    entropy: Arc<dyn Entropy>,
    counts: Arc<SpanCounts>,
}

/// The trace of one sampled request.
#[derive(Clone)]
pub struct RequestTrace(Arc<OpenTrace>);

struct OpenTrace {
    tracer: SdkTracer,
    /// The span that was opened last and is open still, the parent of the next one. Steps that run
    /// at the same time are in branches of their own.
    innermost: Mutex<SpanContext>,
}

/// A span that ends when it is dropped, also where its request is cancelled. It is boxed, so that a
/// request without spans needs no memory for them.
pub struct Span(Box<OpenSpan>);

struct OpenSpan {
    recorded: opentelemetry_sdk::trace::Span,
    trace: RequestTrace,
    outer: SpanContext,
}

/// A part of the work on a request that has a span of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The authentication of the caller and the charge to its budget.
    Guard,
    /// The decision whether the caller may have what it requests.
    Decide,
    /// The signing of a token.
    Sign,
    /// The minting of a credential at a provider, with the waiting time before a second attempt.
    Mint,
    /// One request to a provider.
    Post,
    /// An operation on encrypted project keys.
    Vault(&'static str),
    /// A call to the store of project keys.
    Store(&'static str),
}

impl Traces {
    /// Starts to export the spans of sampled requests.
    #[must_use]
    pub fn new(
        exporter: impl SpanExporter + 'static,
        counts: Arc<SpanCounts>,
        resource: Resource,
        sampler: TraceSampler,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BoundedQueue::new(exporter, Arc::clone(&counts)))
            // A request is sampled or not before its first span.
            .with_sampler(Sampler::AlwaysOn)
            .with_id_generator(RandomIds(Arc::clone(&entropy)))
            .with_resource(resource)
            .build();
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Self {
            tracer: provider.tracer_with_scope(scope),
            provider,
            sampler,
            entropy,
            counts,
        }
    }

    /// Opens the span of a request, if the request is sampled. `method` and `route` are `None` where
    /// the client's are none of ours, `parent` is what its sender says.
    #[must_use]
    pub fn begin_request(
        &self,
        method: Option<&'static str>,
        route: Option<&'static str>,
        request_id: Uuid,
        parent: Option<TraceParent>,
    ) -> Option<Span> {
        let random = u64::from_ne_bytes(self.entropy.bytes());
        if !self.sampler.samples(parent.as_ref(), random) {
            return None;
        }
        let parent = parent.map_or(SpanContext::NONE, |parent| {
            SpanContext::new(
                opentelemetry::TraceId::from_bytes(parent.trace_id.bytes()),
                SpanId::from_bytes(parent.span_id),
                TraceFlags::SAMPLED,
                true,
                TraceState::NONE,
            )
        });
        let trace = RequestTrace(Arc::new(OpenTrace {
            tracer: self.tracer.clone(),
            innermost: Mutex::new(parent),
        }));
        // Both are the conventions' words for a method that is not listed.
        let mut name = method.unwrap_or("HTTP").to_owned();
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.unwrap_or("_OTHER")),
            KeyValue::new("roomkey.request_id", request_id.to_string()),
        ];
        if let Some(route) = route {
            attributes.push(KeyValue::new("http.route", route));
            name = format!("{name} {route}");
        }
        let span = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        Some(trace.open(span))
    }

    /// Returns how many spans were exported, failed or dropped.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        self.counts.outcomes()
    }

    /// Exports what is left within the limit, and ends.
    pub async fn stop(&self, limit: Duration) {
        let provider = self.provider.clone();
        let stop = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit));
        if !matches!(stop.await, Ok(Ok(()))) {
            tracing::warn!("the last traces were not exported");
        }
    }
}

impl RequestTrace {
    /// Runs a future in which [`start`] opens spans of this trace.
    pub async fn scope<T>(self, future: impl Future<Output = T>) -> T {
        CURRENT.scope(self, future).await
    }

    /// Returns the same trace for steps that run beside others.
    fn branch(&self) -> Self {
        let innermost = self.innermost().clone();
        Self(Arc::new(OpenTrace {
            tracer: self.0.tracer.clone(),
            innermost: Mutex::new(innermost),
        }))
    }

    fn innermost(&self) -> MutexGuard<'_, SpanContext> {
        let innermost = &self.0.innermost;
        innermost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, span: SpanBuilder) -> Span {
        let mut innermost = self.innermost();
        let parent = Context::new().with_remote_span_context(innermost.clone());
        let recorded = self.0.tracer.build_with_context(span, &parent);
        let outer = std::mem::replace(&mut *innermost, recorded.span_context().clone());
        drop(innermost);
        Span(Box::new(OpenSpan {
            recorded,
            trace: self.clone(),
            outer,
        }))
    }
}

impl Span {
    /// Returns the trace of the span.
    #[must_use]
    pub fn trace(&self) -> RequestTrace {
        self.0.trace.clone()
    }

    /// Returns the id of the trace.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        TraceId::new(self.0.recorded.span_context().trace_id().to_bytes())
    }

    /// Adds an attribute whose values are constant words.
    pub fn label(&mut self, key: &'static str, value: &'static str) {
        self.0.recorded.set_attribute(KeyValue::new(key, value));
    }

    /// Adds the status of an HTTP response.
    pub fn http_status(&mut self, status: u16) {
        let status = KeyValue::new("http.response.status_code", i64::from(status));
        self.0.recorded.set_attribute(status);
    }

    /// Adds the address of a server, which must come from the settings.
    pub fn server(&mut self, host: &str, port: Option<u16>) {
        let address = KeyValue::new("server.address", host.to_owned());
        self.0.recorded.set_attribute(address);
        if let Some(port) = port {
            let port = KeyValue::new("server.port", i64::from(port));
            self.0.recorded.set_attribute(port);
        }
    }

    /// Marks the span as failed, with the word for the error.
    pub fn fail(&mut self, error: &'static str) {
        self.label("error.type", error);
        self.0.recorded.set_status(Status::error(""));
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let outer = std::mem::replace(&mut self.outer, SpanContext::NONE);
        *self.trace.innermost() = outer;
    }
}

impl Step {
    fn builder(self) -> SpanBuilder {
        let (name, kind) = match self {
            Self::Guard => ("guard", SpanKind::Internal),
            Self::Decide => ("decide", SpanKind::Internal),
            Self::Sign => ("sign", SpanKind::Internal),
            Self::Mint => ("mint", SpanKind::Internal),
            Self::Post => ("POST", SpanKind::Client),
            Self::Vault(_) => ("vault", SpanKind::Internal),
            Self::Store(_) => ("store", SpanKind::Client),
        };
        let span = SpanBuilder::from_name(name).with_kind(kind);
        match self {
            Self::Vault(operation) => {
                span.with_attributes([KeyValue::new("roomkey.vault.operation", operation)])
            }
            Self::Store(operation) => {
                span.with_attributes([KeyValue::new("db.operation.name", operation)])
            }
            Self::Post => span.with_attributes([KeyValue::new("http.request.method", "POST")]),
            Self::Guard | Self::Decide | Self::Sign | Self::Mint => span,
        }
    }
}

/// Opens the span of a step if the current request is traced. Otherwise nothing is created.
#[must_use]
pub fn start(step: Step) -> Option<Span> {
    CURRENT.try_with(|trace| trace.open(step.builder())).ok()
}

/// Runs a future whose steps run at the same time as others of the current request.
pub async fn in_branch<T>(future: impl Future<Output = T>) -> T {
    match CURRENT.try_with(RequestTrace::branch) {
        Ok(trace) => trace.scope(future).await,
        Err(_untraced) => future.await,
    }
}

/// Spawns a task that belongs to the trace of the current request, if there is one.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match CURRENT.try_with(RequestTrace::branch) {
        Ok(trace) => tokio::spawn(trace.scope(future)),
        Err(_untraced) => tokio::spawn(future),
    }
}

#[cfg(test)]
mod tests;
