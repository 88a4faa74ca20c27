//! The settings of OpenTelemetry.
//!
//! Platforms set variables of these names for every process, so they are read only if there is a
//! collector, and each way to turn an export off wins.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::number::milliseconds;
use super::reader::SettingsReader;
use super::secret;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::otlp::{self, CollectorUrl, KeyValues, Signal};
use crate::domain::settings::secrets::SecretSource;
use crate::domain::settings::trace_sampler::{SampleRatio, TraceSampler};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const TRACES_EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const METRICS_EXPORTER: &str = "OTEL_METRICS_EXPORTER";
const METRIC_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// The attribute that names a service.
const NAME_ATTRIBUTE: &str = "service.name";

/// The time between two exports of metrics in milliseconds: a second to an hour.
const METRIC_INTERVALS: RangeInclusive<u64> = 1_000..=3_600_000;
/// The default of OpenTelemetry's specification.
const DEFAULT_METRIC_INTERVAL: Duration = Duration::from_mins(1);

/// The export of traces and metrics.
#[derive(Debug)]
pub struct OpenTelemetrySettings {
    /// The address of the collector.
    pub collector: CollectorUrl,
    /// The headers for it.
    pub headers: Option<SecretSource>,
    /// The attributes of this service, with its name.
    pub attributes: KeyValues,
    /// The requests that are traced. `None` means that traces are off.
    pub sampler: Option<TraceSampler>,
    /// The time between two exports of metrics. `None` means that metrics are not exported.
    pub metric_interval: Option<Duration>,
}

/// Reads the settings. `None` means that nothing is exported, or that a fault was recorded.
pub fn read(reader: &mut SettingsReader<'_>) -> Option<OpenTelemetrySettings> {
    if !reader.is_set(ENDPOINT) {
        return None;
    }
    let is_disabled = reader.parsed_or(DISABLED, false, boolean);
    let has_traces = reader.parsed_or(TRACES_EXPORTER, true, exporter);
    let has_metrics = reader.parsed_or(METRICS_EXPORTER, true, exporter);
    let (has_traces, has_metrics) = (has_traces?, has_metrics?);
    if is_disabled? || !(has_traces || has_metrics) {
        return None;
    }
    let collector = reader.parsed(ENDPOINT, CollectorUrl::parse);
    let headers = secret::read_checked(reader, HEADERS, otlp::headers);
    let protocol = reader.parsed_or(PROTOCOL, (), otlp::protocol);
    let attributes = reader.parsed_or(RESOURCE_ATTRIBUTES, KeyValues::new(), otlp::key_values);
    let name = reader
        .is_set(SERVICE_NAME)
        .then(|| reader.text(SERVICE_NAME));
    let sampler = has_traces.then(|| sampler(reader));
    let metric_interval = has_metrics.then(|| {
        reader.parsed_or(METRIC_INTERVAL, DEFAULT_METRIC_INTERVAL, |text| {
            milliseconds(text, METRIC_INTERVALS)
        })
    });
    let collector = collector?;
    if reader.is_secret_set(HEADERS) && !collector.may_get_secrets() {
        reader.fault(
            ENDPOINT,
            format!("must begin with https:// where {HEADERS} is set: anyone could read them"),
        );
    }
    let (mut attributes, name) = (attributes?, name.map_or(Some(None), |name| name.map(Some))?);
    name_service(&mut attributes, name);
    protocol?;
    Some(OpenTelemetrySettings {
        collector,
        headers,
        attributes,
        // What is off stays `None`; what is on and has a fault ends the reading.
        sampler: sampler.map_or(Some(None), |sampler| sampler.map(Some))?,
        metric_interval: metric_interval.map_or(Some(None), |interval| interval.map(Some))?,
    })
}

fn sampler(reader: &mut SettingsReader<'_>) -> Option<TraceSampler> {
    let ratio = reader.parsed_or(SAMPLER_ARG, SampleRatio::ALL, SampleRatio::parse);
    let sampler = reader.parsed_or(SAMPLER, TraceSampler::ALWAYS, |name| {
        TraceSampler::new(name, ratio.unwrap_or(SampleRatio::ALL))
    });
    ratio.and(sampler)
}

/// Puts the name of the service first: its own setting, else the attribute, else the program's.
fn name_service(attributes: &mut KeyValues, name: Option<&str>) {
    let position = attributes.iter().position(|(key, _)| key == NAME_ATTRIBUTE);
    let given = position.map(|position| attributes.remove(position).1);
    let name = name.map(str::to_owned).or(given);
    let name = name.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
    attributes.insert(0, (NAME_ATTRIBUTE.to_owned(), name));
}

fn boolean(text: &str) -> Result<bool, Requirement> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err("must be true or false".into())
    }
}

fn exporter(text: &str) -> Result<bool, Requirement> {
    match text {
        "otlp" => Ok(true),
        "none" => Ok(false),
        _ => Err("must be otlp or none".into()),
    }
}

impl OpenTelemetrySettings {
    /// Returns the lines for `--check`.
    pub fn summary(&self) -> impl Iterator<Item = String> {
        let traces = self.sampler.map(|sampler| {
            let endpoint = self.collector.endpoint(Signal::Traces);
            format!("traces    {sampler} to {endpoint}")
        });
        let metrics = self.metric_interval.map(|interval| {
            let endpoint = self.collector.endpoint(Signal::Metrics);
            let interval = humantime::format_duration(interval);
            format!("metrics   every {interval} to {endpoint}")
        });
        traces.into_iter().chain(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;

    const COLLECTOR: (&str, &str) = (ENDPOINT, "http://localhost:4318");

    /// Returns the settings that were read, and the names of those with faults.
    fn settings(settings: &[(&str, &str)]) -> (Option<OpenTelemetrySettings>, Vec<String>) {
        let environment: Environment = settings.iter().copied().collect();
        let mut reader = SettingsReader::new(&environment);
        let read = read(&mut reader);
        let faults = reader.into_faults().into_iter();
        (read, faults.map(|fault| fault.setting).collect())
    }

    #[test]
    fn each_wrong_value_is_refused_by_name() {
        for (name, values) in [
            (HEADERS, &["", "canary", "a=ä", "a=1,a=2", "<headers>"][..]),
            (PROTOCOL, &["", "grpc", "http/json"]),
            (SERVICE_NAME, &["", " roomkey", "\"roomkey\""]),
            (RESOURCE_ATTRIBUTES, &["", "a", "a=1,,b=2"]),
            (SAMPLER, &["", "always", "jaeger_remote"]),
            (SAMPLER_ARG, &["", "2", "1%"]),
            (TRACES_EXPORTER, &["", "console", "otlp,console"]),
            (METRICS_EXPORTER, &["", "prometheus", "otlp,console"]),
            (METRIC_INTERVAL, &["", "60s", "1.5", "999", "3600001"]),
            (DISABLED, &["", "1", "yes"]),
        ] {
            for value in values {
                let (read, faults) = settings(&[COLLECTOR, (name, value)]);
                assert_eq!(faults, [name], "{name}={value:?}");
                let is_refused = read.is_none_or(|read| name == HEADERS && read.headers.is_none());
                assert!(is_refused, "{name}={value:?}");
            }
        }
        for value in ["", "localhost:4318", "https://u:p@collector.example.com"] {
            assert_eq!(settings(&[(ENDPOINT, value)]).1, [ENDPOINT], "{value}");
        }
        let public = (ENDPOINT, "http://otlp.example.com");
        assert_eq!(settings(&[public]).1, [""; 0]);
        assert_eq!(settings(&[public, (HEADERS, "a=1")]).1, [ENDPOINT]);
    }

    #[test]
    fn nothing_is_read_where_all_exports_are_off() {
        let wrong = [(PROTOCOL, "grpc"), (SAMPLER, "x"), (HEADERS, "x")];
        let (no_traces, no_metrics) = ((TRACES_EXPORTER, "none"), (METRICS_EXPORTER, "none"));
        for off in [
            vec![],
            vec![COLLECTOR, no_traces, no_metrics],
            vec![COLLECTOR, (DISABLED, "true")],
            vec![COLLECTOR, (DISABLED, "TRUE"), (TRACES_EXPORTER, "otlp")],
        ] {
            let (read, faults) = settings(&[&off[..], &wrong].concat());
            assert!(read.is_none() && faults.is_empty(), "{off:?}: {faults:?}");
        }
    }

    #[test]
    fn traces_and_metrics_are_exported_each_by_its_own_settings() {
        let (no_traces, no_metrics) = ((TRACES_EXPORTER, "none"), (METRICS_EXPORTER, "none"));
        let every_second = (METRIC_INTERVAL, "1000");
        let (traces, metrics) = (
            "traces    every request to http://localhost:4318/v1/traces",
            "metrics   every 1m to http://localhost:4318/v1/metrics",
        );
        for (given, expected) in [
            (vec![], vec![traces, metrics]),
            (vec![no_traces, (SAMPLER, "x")], vec![metrics]),
            (vec![no_metrics, (METRIC_INTERVAL, "x")], vec![traces]),
            (
                vec![no_traces, every_second],
                vec!["metrics   every 1s to http://localhost:4318/v1/metrics"],
            ),
        ] {
            let (read, faults) = settings(&[&[COLLECTOR][..], &given].concat());
            assert_eq!(faults, [""; 0], "{given:?}");
            let summary: Vec<_> = read.unwrap().summary().collect();
            assert_eq!(summary, expected, "{given:?}");
        }
    }

    #[test]
    fn the_service_is_named_by_its_setting_its_attribute_or_the_program() {
        let attributes = (RESOURCE_ATTRIBUTES, "region=eu,service.name=attribute");
        for (given, name) in [
            (vec![], "roomkey"),
            (vec![attributes], "attribute"),
            (vec![attributes, (SERVICE_NAME, "own")], "own"),
        ] {
            let (read, faults) = settings(&[&[COLLECTOR][..], &given].concat());
            assert_eq!(faults, [""; 0]);
            let attributes = read.unwrap().attributes;
            assert_eq!(
                attributes.first(),
                Some(&(NAME_ATTRIBUTE.to_owned(), name.to_owned()))
            );
            let named = attributes.iter().filter(|(key, _)| key == NAME_ATTRIBUTE);
            assert_eq!(named.count(), 1);
        }
    }
}
