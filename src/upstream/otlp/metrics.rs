//! Exports metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;

use super::collector::{Collector, SignalEndpoint};
use crate::domain::settings::otlp::Signal;
use crate::metrics::snapshot::{Distribution, MetricSnapshot, MetricValues, Series};

/// Exports snapshots of the metrics, as totals since the start.
pub struct MetricExporter {
    endpoint: SignalEndpoint,
    resource: Resource,
    started_at: SystemTime,
    was_rejected: AtomicBool,
}

/// The period of all values of one export, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Period {
    start: u64,
    end: u64,
}

impl MetricExporter {
    /// Creates an exporter that has not sent anything yet.
    #[must_use]
    pub fn new(
        collector: Arc<Collector>,
        resource: &opentelemetry_sdk::Resource,
        started_at: SystemTime,
    ) -> Self {
        Self {
            endpoint: SignalEndpoint::new(collector, Signal::Metrics),
            resource: Resource {
                attributes: ResourceAttributesWithSchema::from(resource).attributes.0,
                ..Resource::default()
            },
            started_at,
            was_rejected: AtomicBool::new(false),
        }
    }

    /// Sends one export. The first failure in a row is logged, and the first rejection.
    pub async fn export(&self, snapshot: Vec<MetricSnapshot>, now: SystemTime) {
        let period = Period::new(self.started_at, now);
        let metrics = snapshot.into_iter();
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(InstrumentationScope {
                        name: env!("CARGO_PKG_NAME").to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    metrics: metrics.map(|metric| to_message(metric, period)).collect(),
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        let sent: Result<ExportMetricsServiceResponse, _> = self.endpoint.send(&request).await;
        if let Ok(answer) = sent {
            let partial = answer.partial_success;
            self.note_rejected(partial.map_or(0, |partial| partial.rejected_data_points));
        }
    }

    fn note_rejected(&self, rejected: i64) {
        let is_rejected = rejected > 0;
        let was_rejected = self.was_rejected.swap(is_rejected, Ordering::Relaxed);
        if is_rejected && !was_rejected {
            tracing::warn!(rejected, "the collector rejected values of metrics");
        }
    }
}

impl Period {
    /// Returns the period from the start until now. It never ends before it begins, also if the
    /// clock was set back.
    fn new(started_at: SystemTime, now: SystemTime) -> Self {
        let end = to_nanoseconds(now);
        Self {
            start: to_nanoseconds(started_at).min(end),
            end,
        }
    }
}

fn to_message(MetricSnapshot { metric, values }: MetricSnapshot, period: Period) -> Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match values {
        MetricValues::Counter(series) => Data::Sum(Sum {
            data_points: to_points(series, |one| number_point(one, period)),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        MetricValues::Gauge(series) => Data::Gauge(Gauge {
            data_points: to_points(series, |one| number_point(one, period)),
        }),
        MetricValues::Histogram(series) => Data::Histogram(Histogram {
            data_points: to_points(series, |one| histogram_point(one, period)),
            aggregation_temporality: temporality,
        }),
    };
    Metric {
        name: metric.name.to_owned(),
        description: metric.help.to_owned(),
        unit: ucum_unit(metric.unit).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn to_points<T, P>(series: Vec<Series<T>>, to_point: impl Fn(Series<T>) -> P) -> Vec<P> {
    series.into_iter().map(to_point).collect()
}

fn number_point(series: Series<f64>, period: Period) -> NumberDataPoint {
    NumberDataPoint {
        attributes: to_attributes(series.labels),
        start_time_unix_nano: period.start,
        time_unix_nano: period.end,
        value: Some(Number::AsDouble(series.value)),
        ..NumberDataPoint::default()
    }
}

fn histogram_point(series: Series<Distribution>, period: Period) -> HistogramDataPoint {
    let Distribution {
        upper_bounds,
        bucket_counts,
        sum,
    } = series.value;
    HistogramDataPoint {
        attributes: to_attributes(series.labels),
        start_time_unix_nano: period.start,
        time_unix_nano: period.end,
        count: bucket_counts.iter().sum(),
        sum: Some(sum),
        bucket_counts,
        explicit_bounds: upper_bounds,
        ..HistogramDataPoint::default()
    }
}

fn to_attributes(labels: Vec<(String, String)>) -> Vec<KeyValue> {
    let attribute = |(key, value)| KeyValue {
        key,
        value: Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }),
        ..KeyValue::default()
    };
    labels.into_iter().map(attribute).collect()
}

/// Returns the unit by UCUM's code (<https://ucum.org>), or nothing for a count. A collector that
/// translates to Prometheus' names appends a unit that the name does not have yet.
fn ucum_unit(unit: &str) -> &'static str {
    match unit {
        "seconds" | "seconds since 1970" => "s",
        "bytes" => "By",
        _ => "",
    }
}

fn to_nanoseconds(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::catalogue::METRICS;

    #[test]
    fn the_unit_is_the_one_that_the_name_has() {
        for metric in METRICS {
            let expected = match metric.name {
                name if name.contains("_seconds") => "s",
                name if name.contains("_bytes") => "By",
                _ => "",
            };
            assert_eq!(ucum_unit(metric.unit), expected, "{}", metric.name);
        }
    }

    #[test]
    fn no_period_ends_before_it_begins() {
        let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let period = Period::new(start, start + Duration::from_millis(1));
        assert_eq!(period.end - period.start, 1_000_000);
        let set_back = Period::new(start, start - Duration::from_hours(1));
        assert_eq!(set_back.start, set_back.end);
    }
}
