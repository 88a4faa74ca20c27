//! The exports of traces and metrics to an OpenTelemetry collector.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::secrets::Secrets;
use crate::config::open_telemetry::OpenTelemetrySettings;
use crate::entropy::Entropy;
use crate::metrics::snapshot::MetricSnapshot;
use crate::traces::{self, Traces, resource};
use crate::upstream::otlp::{Collector, CollectorSpanExporter, MetricExporter};

/// The values of all metrics, and their time.
pub type Snapshot = (Vec<MetricSnapshot>, SystemTime);

/// Exports traces and metrics, if there is a collector.
#[derive(Default)]
pub struct TelemetryExports {
    /// Traces requests and exports their spans.
    pub traces: Option<Traces>,
    metrics: Option<MetricExports>,
}

struct MetricExports {
    exporter: MetricExporter,
    interval: Duration,
}

impl TelemetryExports {
    /// Creates the exports. Spans are exported from now on, and metrics by
    /// [`Self::export_metrics`]. It must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(
        settings: Option<OpenTelemetrySettings>,
        secrets: &Secrets,
        started_at: SystemTime,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        let Some(settings) = settings else {
            return Self::default();
        };
        let collector = Collector::new(settings.collector, secrets.otlp_headers.clone());
        let resource = resource::describe(settings.attributes, &**entropy);
        let metrics = settings.metric_interval.map(|interval| MetricExports {
            exporter: MetricExporter::new(Arc::clone(&collector), &resource, started_at),
            interval,
        });
        let traces = settings.sampler.map(|sampler| {
            let counts = Arc::default();
            let exporter = CollectorSpanExporter::new(collector, Arc::clone(&counts));
            Traces::new(exporter, counts, resource, sampler, Arc::clone(entropy))
        });
        Self { traces, metrics }
    }

    /// Exports the metrics at each interval, if there is a collector for them. `snapshot` returns
    /// their values and the time.
    pub async fn export_metrics(&self, snapshot: impl Fn() -> Snapshot) -> Infallible {
        let Some(metrics) = &self.metrics else {
            return std::future::pending().await;
        };
        let mut ticks = interval(metrics.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The first one is due at once, so that the first increments show as a rise.
            ticks.tick().await;
            metrics.export(snapshot()).await;
        }
    }

    /// Exports what is left within a second, or nothing more if the stop is hurried. A collector
    /// that does not answer must not hold up a stop.
    pub async fn finish(&self, snapshot: impl Fn() -> Snapshot, is_hurried: bool) {
        let limit = if is_hurried {
            Duration::ZERO
        } else {
            traces::MAX_SHUTDOWN
        };
        let traces = async {
            if let Some(traces) = &self.traces {
                traces.stop(limit).await;
            }
        };
        let metrics = async {
            if let Some(metrics) = &self.metrics
                && timeout(limit, metrics.export(snapshot())).await.is_err()
            {
                tracing::warn!("the last metrics were not exported");
            }
        };
        tokio::join!(traces, metrics);
    }
}

impl MetricExports {
    async fn export(&self, (values, now): Snapshot) {
        self.exporter.export(values, now).await;
    }
}
