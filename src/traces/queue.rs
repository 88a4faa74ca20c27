//! The bounded queue of spans in front of a collector. A full queue drops new spans and counts
//! them; it never makes a request wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

/// Most spans that wait for the collector, those of the batch on its way included. A span takes
/// about 1 KiB.
const MAX_QUEUED: usize = 2_048;
/// Most spans of one request to the collector.
const MAX_BATCH: usize = 512;
/// The longest time that a span waits for others.
const DELAY: Duration = Duration::from_secs(5);

/// The longest time that a stop waits for the last export. With the drain of 8 s it stays below the
/// 10 s after which orchestrators kill.
pub const MAX_SHUTDOWN: Duration = Duration::from_secs(1);

/// Counts spans by what became of them.
#[derive(Debug, Default)]
pub struct SpanCounts {
    queued: AtomicUsize,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    /// Counts a batch that left the queue. `failed` of its spans were lost.
    pub fn count_batch(&self, spans: usize, failed: usize) {
        let failed = failed.min(spans);
        self.queued.fetch_sub(spans, Ordering::Relaxed);
        self.exported
            .fetch_add((spans - failed) as u64, Ordering::Relaxed);
        self.failed.fetch_add(failed as u64, Ordering::Relaxed);
    }

    /// Returns the counts by outcome.
    pub(super) fn outcomes(&self) -> [(&'static str, u64); 3] {
        [
            ("exported", &self.exported),
            ("failed", &self.failed),
            ("dropped", &self.dropped),
        ]
        .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }

    /// Takes a place in the queue. Returns false if it is full, which is counted.
    fn enqueue(&self) -> bool {
        let free = |queued| (queued < MAX_QUEUED).then_some(queued + 1);
        let is_queued = self
            .queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, free)
            .is_ok();
        if !is_queued {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_queued
    }
}

/// Hands ended spans to the thread that exports them in batches.
#[derive(Debug)]
pub(super) struct BoundedQueue {
    batches: BatchSpanProcessor,
    counts: Arc<SpanCounts>,
}

impl BoundedQueue {
    /// Starts the thread.
    pub(super) fn new(exporter: impl SpanExporter + 'static, counts: Arc<SpanCounts>) -> Self {
        // Each value is given, because the library reads the environment for its defaults.
        let config = BatchConfigBuilder::default()
            // Never full: the count above refuses before.
            .with_max_queue_size(MAX_QUEUED)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        Self {
            batches: BatchSpanProcessor::new(exporter, config),
            counts,
        }
    }
}

impl SpanProcessor for BoundedQueue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.counts.enqueue() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        // The library asks for 5 s where it is dropped without a stop, as after a failed start.
        self.batches
            .shutdown_with_timeout(timeout.min(MAX_SHUTDOWN))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_and_takes_again_what_left_it_made_room_for() {
        let counts = SpanCounts::default();
        assert!((0..MAX_QUEUED).all(|_| counts.enqueue()));
        assert!(!counts.enqueue() && !counts.enqueue());
        counts.count_batch(3, 1);
        assert!((0..3).all(|_| counts.enqueue()));
        assert!(!counts.enqueue());
        assert_eq!(
            counts.outcomes(),
            [("exported", 2), ("failed", 1), ("dropped", 3)]
        );
    }
}
