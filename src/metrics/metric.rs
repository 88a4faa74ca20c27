//! One metric and what an operator reads about it.

/// Describes one metric to an operator.
#[derive(Debug)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// The type of the metric.
    pub kind: MetricKind,
    /// The labels, in the order of their values.
    pub labels: &'static [&'static str],
    /// The unit of a value.
    pub unit: &'static str,
    /// The meaning, also for the `HELP` line.
    pub help: &'static str,
    /// The advice for a value that changes.
    pub what_to_do: &'static str,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only increases, from zero at each start.
    Counter,
    /// It increases and decreases.
    Gauge,
    /// It counts values by upper bound, and adds them up.
    Histogram,
}

impl MetricKind {
    /// Returns the name for the `TYPE` line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}
