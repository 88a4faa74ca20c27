//! The values of all metrics at one moment, for exporters that push them.

use prometheus::proto::{Bucket, Histogram, Metric as PrometheusMetric, MetricFamily};

use super::catalogue::METRICS;
use super::metric::{Metric, MetricKind};

/// A metric with its current values.
#[derive(Debug)]
pub struct MetricSnapshot {
    /// The description.
    pub metric: &'static Metric,
    /// The values, by the type of the metric.
    pub values: MetricValues,
}

/// The values of a metric, one for each combination of labels.
#[derive(Debug)]
pub enum MetricValues {
    /// The totals of a counter since the start.
    Counter(Vec<Series<f64>>),
    /// The current values of a gauge.
    Gauge(Vec<Series<f64>>),
    /// The distributions of a histogram since the start.
    Histogram(Vec<Series<Distribution>>),
}

/// The value of a metric for one combination of labels.
#[derive(Debug)]
pub struct Series<T> {
    /// Names and values of the labels, in no particular order.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: T,
}

/// Values counted by their size.
#[derive(Debug)]
pub struct Distribution {
    /// The upper bounds of all buckets but the last, which has none.
    pub upper_bounds: Vec<f64>,
    /// The number of values in each bucket, one more than the bounds.
    pub bucket_counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl MetricSnapshot {
    /// Reads a metric from the registry. Returns `None` for one that the table does not have, which
    /// no metric is.
    pub(super) fn read(family: &MetricFamily) -> Option<Self> {
        let metric = METRICS.iter().find(|metric| metric.name == family.name())?;
        let all = family.get_metric();
        let values = match metric.kind {
            MetricKind::Counter => {
                MetricValues::Counter(series(all, |one| one.get_counter().get_value()))
            }
            MetricKind::Gauge => {
                MetricValues::Gauge(series(all, |one| one.get_gauge().get_value()))
            }
            MetricKind::Histogram => {
                MetricValues::Histogram(series(all, |one| Distribution::read(one.get_histogram())))
            }
        };
        Some(Self { metric, values })
    }
}

fn series<T>(all: &[PrometheusMetric], value: impl Fn(&PrometheusMetric) -> T) -> Vec<Series<T>> {
    let read = |one: &PrometheusMetric| Series {
        labels: one
            .get_label()
            .iter()
            .map(|label| (label.name().to_owned(), label.value().to_owned()))
            .collect(),
        value: value(one),
    };
    all.iter().map(read).collect()
}

impl Distribution {
    /// Reads a histogram, each of whose buckets includes all lower ones.
    fn read(histogram: &Histogram) -> Self {
        let buckets = histogram.get_bucket();
        let mut previous = 0;
        let totals = buckets.iter().map(Bucket::cumulative_count);
        Self {
            upper_bounds: buckets.iter().map(Bucket::upper_bound).collect(),
            bucket_counts: totals
                .chain([histogram.get_sample_count()])
                .map(|total| total.saturating_sub(std::mem::replace(&mut previous, total)))
                .collect(),
            sum: histogram.get_sample_sum(),
        }
    }
}
