//! Sends traces and metrics to an OpenTelemetry collector: OTLP over HTTP, in protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! Each request is sent once and lost if that fails: traces are not worth a second attempt that
//! holds up a stop, and the next export of metrics has the totals. The library's own exporter is
//! not used, because it reads the environment by itself, repeats requests, and needs a client of its
//! own.

mod collector;
mod metrics;
mod spans;

pub use self::collector::Collector;
pub use self::metrics::MetricExporter;
pub use self::spans::CollectorSpanExporter;
