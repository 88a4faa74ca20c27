//! The settings of OpenTelemetry, by the names of its specification.

use super::setting::{Setting, optional, secret, with_default};

pub(super) const OPEN_TELEMETRY: &[Setting] = &[
    optional(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "The address of an OpenTelemetry collector, to which traces and metrics are sent, at \
         `/v1/traces` and `/v1/metrics` below it. Without it nothing is sent, and the other \
         settings of OpenTelemetry are not read.",
    ),
    secret(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "Headers for the collector, as `name=value` pairs separated by commas, with \
         percent-encoded values. With them a collector outside of a private network needs `https`.",
    ),
    with_default(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "http/protobuf",
        "The protocol; no other one is spoken. The Functions host's own default is `grpc`, so set \
         it where the host exports too.",
    ),
    with_default(
        "OTEL_SERVICE_NAME",
        "`service.name` of OTEL_RESOURCE_ATTRIBUTES, else roomkey",
        "The name of this service in traces and metrics.",
    ),
    optional(
        "OTEL_RESOURCE_ATTRIBUTES",
        "Attributes of this service, such as `deployment.environment.name=production`, \
         separated by commas, with percent-encoded values.",
    ),
    with_default(
        "OTEL_TRACES_SAMPLER",
        "always_on",
        "Which requests are traced: `always_on`, `always_off` or `traceidratio`. With \
         `parentbased_` before it, the flag of a request's `traceparent` decides where there is \
         one; anyone who can call can then have every request of theirs traced.",
    ),
    with_default(
        "OTEL_TRACES_SAMPLER_ARG",
        "1",
        "The share of requests that `traceidratio` traces, from 0 to 1.",
    ),
    with_default(
        "OTEL_TRACES_EXPORTER",
        "otlp",
        "`none` turns traces off. Set both exporters to `none` where the other settings are for \
         the Functions host alone.",
    ),
    with_default(
        "OTEL_METRICS_EXPORTER",
        "otlp",
        "`none` turns the export of metrics off; `GET /api/metrics` works as before.",
    ),
    with_default(
        "OTEL_METRIC_EXPORT_INTERVAL",
        "60000",
        "The time between two exports of metrics in milliseconds, from 1000 to 3600000.",
    ),
    with_default(
        "OTEL_SDK_DISABLED",
        "false",
        "`true` turns traces and the export of metrics off.",
    ),
];
