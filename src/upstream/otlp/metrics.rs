//! Exports metrics.

use std::sync::Arc;
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
use crate::metrics::catalogue::MetricKind;
use crate::metrics::snapshot::{MetricSnapshot, Series, SeriesValue};

/// Exports snapshots of the metrics, as totals since the start.
pub struct MetricExporter {
    endpoint: SignalEndpoint,
    resource: Resource,
    started_at: u64,
}

/// The period of all values of one export, in nanoseconds since 1970.
#[derive(Clone, Copy)]
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
            started_at: nanoseconds(started_at),
        }
    }

    /// Sends one export. A failure is logged.
    pub async fn export(&self, snapshot: Vec<MetricSnapshot>, now: SystemTime) {
        let period = Period {
            start: self.started_at,
            end: nanoseconds(now),
        };
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
                    metrics: metrics.map(|metric| message(metric, period)).collect(),
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        let sent: Result<ExportMetricsServiceResponse, _> = self.endpoint.send(&request).await;
        let partial = sent.ok().and_then(|answer| answer.partial_success);
        if let Some(rejected) = partial.map(|partial| partial.rejected_data_points)
            && rejected > 0
        {
            tracing::warn!(rejected, "the collector rejected values of metrics");
        }
    }
}

fn message(MetricSnapshot { metric, series }: MetricSnapshot, period: Period) -> Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match metric.kind {
        MetricKind::Counter => Data::Sum(Sum {
            data_points: numbers(series, period),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        MetricKind::Gauge => Data::Gauge(Gauge {
            data_points: numbers(series, period),
        }),
        MetricKind::Histogram => Data::Histogram(Histogram {
            data_points: histograms(series, period),
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

fn numbers(series: Vec<Series>, period: Period) -> Vec<NumberDataPoint> {
    let numbers = series.into_iter().filter_map(|series| match series.value {
        SeriesValue::Number(value) => Some(NumberDataPoint {
            attributes: attributes(series.labels),
            start_time_unix_nano: period.start,
            time_unix_nano: period.end,
            value: Some(Number::AsDouble(value)),
            ..NumberDataPoint::default()
        }),
        SeriesValue::Histogram { .. } => None,
    });
    numbers.collect()
}

fn histograms(series: Vec<Series>, period: Period) -> Vec<HistogramDataPoint> {
    let histograms = series.into_iter().filter_map(|series| match series.value {
        SeriesValue::Histogram {
            upper_bounds,
            bucket_counts,
            sum,
        } => Some(HistogramDataPoint {
            attributes: attributes(series.labels),
            start_time_unix_nano: period.start,
            time_unix_nano: period.end,
            count: bucket_counts.iter().sum(),
            sum: Some(sum),
            bucket_counts,
            explicit_bounds: upper_bounds,
            ..HistogramDataPoint::default()
        }),
        SeriesValue::Number(_) => None,
    });
    histograms.collect()
}

fn attributes(labels: Vec<(String, String)>) -> Vec<KeyValue> {
    let attribute = |(key, value)| KeyValue {
        key,
        value: Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }),
        ..KeyValue::default()
    };
    labels.into_iter().map(attribute).collect()
}

/// Returns the unit by UCUM's code (<https://ucum.org>), or nothing for a count: a collector that
/// translates to Prometheus' names would append any other unit to them.
fn ucum_unit(unit: &str) -> &'static str {
    match unit {
        "seconds" | "seconds since 1970" => "s",
        "bytes" => "By",
        _ => "",
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
