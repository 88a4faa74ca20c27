//! Log lines: one access line a request, and few others.
//!
//! The Functions host takes stdout as information and stderr as an error, or as a warning where the line holds "warn"; so WARN
//! and ERROR go to stderr and the level stands in each line. Fields hold our own words, numbers and checked ids only.

mod json;
mod lines;

use std::fmt;
use std::io::IsTerminal;
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::config::LogFormat;
use crate::domain::lifetime::rfc3339;
pub use crate::telemetry::lines::Lines;

/// The target of the lines that a start writes.
pub const START: &str = "roomkey::start";

/// The target of the lines about one request each, which [`Lines`] writes in batches.
const REQUEST: &str = "roomkey::request";

/// What is known of a request when its answer is ready.
pub struct Access {
    /// The id that the answer carries too.
    pub request_id: Uuid,
    /// A common method, or `other`.
    pub method: &'static str,
    /// The path as the route table has it, or `none`.
    pub route: &'static str,
    /// The answer's HTTP status.
    pub status: u16,
    /// The error's code.
    pub code: Option<&'static str>,
    /// What only the log may say of an error.
    pub cause: Option<&'static str>,
    /// From the request's head to the answer.
    pub duration: Duration,
}

/// Writes the access line: a fault of ours as ERROR, another 5xx as WARN, all else as INFO.
pub fn access(access: &Access) {
    let Access { request_id, method, route, status, code, cause, duration } = access;
    let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(target: REQUEST, $level, %request_id, method, route, status, code, cause, duration_us, "request")
        };
    }
    match status {
        500 => line!(Level::ERROR),
        501.. => line!(Level::WARN),
        _ => line!(Level::INFO),
    }
}

/// The format in force: on a terminal a person reads along.
#[must_use]
pub fn format(wanted: Option<LogFormat>) -> LogFormat {
    wanted.unwrap_or_else(|| if std::io::stdout().is_terminal() { LogFormat::Text } else { LogFormat::Json })
}

/// Starts writing lines of roomkey's own; those of libraries may quote clients and are never written. Whoever has a moment to
/// spare must flush what waits.
#[must_use]
pub fn start(level: Level, format: LogFormat) -> Lines {
    let lines = Lines::default();
    // Fails only if it was started before, and then lines are written already.
    let _ = tracing::subscriber::set_global_default(subscriber(level, format, lines.clone()));
    lines
}

/// Writes where a panic happened, and not what it said: its message may hold a client's text.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let (file, line) = panic.location().map_or(("", 0), |place| (place.file(), place.line()));
        tracing::error!(file, line, "a panic");
    }));
}

/// What [`start`] starts, for any writer.
pub fn subscriber<W>(level: Level, format: LogFormat, writer: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => lines.event_format(json::Json).boxed(),
        LogFormat::Text => lines.with_timer(Time).with_target(false).with_ansi(false).boxed(),
    };
    // What a start says, its warnings above all, is written whatever the level.
    Registry::default().with(lines.with_filter(Targets::new().with_target("roomkey", level).with_target(START, Level::INFO)))
}

struct Time;

impl FormatTime for Time {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&rfc3339(SystemClock.now()))
    }
}
