//! Creates and registers the collectors of metrics.

use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::metric::Metric;

/// Upper bounds in seconds: most answers take less than a tenth of a millisecond, and at 10 s the
/// edge gives up.
const DURATION_BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// The label values of a metric without labels.
pub(super) const NO_LABELS: &[&str] = &[];

/// Registers counters.
pub(super) fn counters(registry: &Registry, metric: &Metric) -> IntCounterVec {
    registered(registry, IntCounterVec::new(options(metric), metric.labels))
}

/// Registers gauges.
pub(super) fn gauges(registry: &Registry, metric: &Metric) -> GaugeVec {
    registered(registry, GaugeVec::new(options(metric), metric.labels))
}

/// Registers histograms of durations.
pub(super) fn histograms(registry: &Registry, metric: &Metric) -> HistogramVec {
    let options = HistogramOpts::from(options(metric)).buckets(DURATION_BUCKETS.to_vec());
    registered(registry, HistogramVec::new(options, metric.labels))
}

fn options(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

#[expect(
    clippy::expect_used,
    reason = "names and labels are constants; the tests register every one of them"
)]
fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("the metric's name and labels are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("the metric's name is its own");
    collector
}
