//! Exports spans.

use std::fmt;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;

use super::collector::{Collector, ExportError, SignalEndpoint};
use crate::domain::settings::otlp::Signal;
use crate::traces::SpanCounts;

/// Exports batches of spans. The library calls it on a thread of its own, and the requests run in
/// the Tokio runtime.
pub struct CollectorSpanExporter {
    endpoint: Arc<SignalEndpoint>,
    runtime: Handle,
    resource: ResourceAttributesWithSchema,
    counts: Arc<SpanCounts>,
}

impl CollectorSpanExporter {
    /// Creates an exporter that has not sent anything yet. It must be called inside a Tokio
    /// runtime.
    #[must_use]
    pub fn new(collector: Arc<Collector>, counts: Arc<SpanCounts>) -> Self {
        Self {
            endpoint: Arc::new(SignalEndpoint::new(collector, Signal::Traces)),
            runtime: Handle::current(),
            resource: ResourceAttributesWithSchema::default(),
            counts,
        }
    }
}

impl SpanExporter for CollectorSpanExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let endpoint = Arc::clone(&self.endpoint);
        let sending = self
            .runtime
            .spawn(async move { endpoint.send(&request).await });
        let sent: Result<ExportTraceServiceResponse, ExportError> =
            sending.await.unwrap_or_else(|stopped| Err(stopped.into()));
        let failed = sent.as_ref().map_or(spans, rejected_spans);
        self.counts.count_batch(spans, failed);
        sent.map(drop)
            .map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

/// Returns how many spans of an accepted batch were refused.
fn rejected_spans(answer: &ExportTraceServiceResponse) -> usize {
    let partial = answer.partial_success.as_ref();
    partial.map_or(0, |partial| {
        usize::try_from(partial.rejected_spans).unwrap_or(0)
    })
}

impl fmt::Debug for CollectorSpanExporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CollectorSpanExporter")
    }
}
