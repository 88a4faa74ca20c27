//! The values of all metrics at one moment, for exporters that push them.

use prometheus::proto::{Bucket, Metric as PrometheusMetric, MetricFamily};

use super::catalogue::METRICS;
use super::metric::{Metric, MetricKind};

/// A metric with its current values.
#[derive(Debug)]
pub struct MetricSnapshot {
    /// The description.
    pub metric: &'static Metric,
    /// One value for each combination of labels.
    pub series: Vec<Series>,
}

/// The value of a metric for one combination of labels.
#[derive(Debug)]
pub struct Series {
    /// Names and values of the labels, in no particular order.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: SeriesValue,
}

/// The value of a series, by the type of its metric.
#[derive(Debug, PartialEq)]
pub enum SeriesValue {
    /// The total of a counter since the start, or the value of a gauge.
    Number(f64),
    /// The distribution of the values since the start.
    Histogram {
        /// The upper bounds of all buckets but the last, which has none.
        upper_bounds: Vec<f64>,
        /// The number of values in each bucket, one more than the bounds.
        bucket_counts: Vec<u64>,
        /// The sum of all values.
        sum: f64,
    },
}

impl MetricSnapshot {
    /// Reads what the registry gathered. Every metric is in the table, so none is left out.
    pub(super) fn read(family: &MetricFamily) -> Option<Self> {
        let metric = METRICS.iter().find(|metric| metric.name == family.name())?;
        let series = family.get_metric().iter();
        Some(Self {
            metric,
            series: series
                .map(|series| Series::read(series, metric.kind))
                .collect(),
        })
    }
}

impl Series {
    fn read(series: &PrometheusMetric, kind: MetricKind) -> Self {
        let labels = series.get_label().iter();
        Self {
            labels: labels
                .map(|label| (label.name().to_owned(), label.value().to_owned()))
                .collect(),
            value: match kind {
                MetricKind::Counter => SeriesValue::Number(series.get_counter().get_value()),
                MetricKind::Gauge => SeriesValue::Number(series.get_gauge().get_value()),
                MetricKind::Histogram => histogram(series.get_histogram()),
            },
        }
    }
}

/// Turns Prometheus' cumulative buckets into those of one range each.
fn histogram(histogram: &prometheus::proto::Histogram) -> SeriesValue {
    let buckets = histogram.get_bucket();
    let mut lower = 0;
    let totals = buckets.iter().map(Bucket::cumulative_count);
    let bucket_counts = totals
        .chain([histogram.get_sample_count()])
        .map(|total| total.saturating_sub(std::mem::replace(&mut lower, total)))
        .collect();
    SeriesValue::Histogram {
        upper_bounds: buckets.iter().map(Bucket::upper_bound).collect(),
        bucket_counts,
        sum: histogram.get_sample_sum(),
    }
}
