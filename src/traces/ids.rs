//! The ids of traces and spans, from the one source of randomness.

use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::IdGenerator;

use crate::entropy::Entropy;

/// Creates random ids.
pub(super) struct RandomIds(pub(super) Arc<dyn Entropy>);

impl IdGenerator for RandomIds {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_bytes(self.0.bytes())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(self.0.bytes())
    }
}

impl fmt::Debug for RandomIds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RandomIds")
    }
}
