//! Log lines: one access line per request, and few others.
//!
//! The Functions host logs stdout as information and stderr as errors, or as warnings where a line
//! contains "warn". So WARN and ERROR go to stderr, and each line contains its level. Fields
//! contain constant words, numbers and checked ids only.

mod json;
mod lines;
mod queue;

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use tracing::Level;
use tracing::field::display;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::audit_log::chain::AuditRecord;
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::livekit::lifetime::Rfc3339;
use crate::domain::livekit::names::RoomName;
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::domain::settings::log_format::LogFormat;
use crate::domain::trace_context::TraceId;
pub use crate::telemetry::lines::LogLines;

/// The target of the lines of a start.
pub const START: &str = "roomkey::start";

/// The target of access lines.
const REQUEST: &str = "roomkey::request";

/// The target of audit lines.
const AUDIT: &str = "roomkey::audit";

/// The ids by which the lines of one request are found.
#[derive(Debug, Clone, Copy)]
pub struct CorrelationIds {
    /// The id in the response.
    pub request_id: Uuid,
    /// The id of the sender's trace, or of roomkey's own.
    pub trace_id: Option<TraceId>,
}

/// The data of an access line.
pub struct AccessRecord {
    /// The ids of the request.
    pub ids: CorrelationIds,
    /// The method if it is a common one, otherwise `other`.
    pub method: &'static str,
    /// The path in the route table, or `none`.
    pub route: &'static str,
    /// The HTTP status of the response.
    pub status: u16,
    /// The code of the error.
    pub code: Option<&'static str>,
    /// The cause of the error, which only the log contains.
    pub cause: Option<&'static str>,
    /// The caller, if it was identified.
    pub caller: Option<Actor<CallerHash>>,
    /// The provider that was requested.
    pub provider: Option<&'static str>,
    /// The id of the upstream's response, for the provider's support.
    pub upstream_id: Option<UpstreamId>,
    /// The time from the request's head to the response.
    pub duration: Duration,
}

/// Writes the access line: 500 as ERROR, other 5xx as WARN, everything else as INFO.
pub fn access(access: &AccessRecord) {
    let AccessRecord {
        ids: CorrelationIds {
            request_id,
            trace_id,
        },
        method,
        route,
        status,
        code,
        cause,
        caller,
        provider,
        upstream_id,
        duration,
    } = access;
    let (trace_id, caller, upstream_id) = (
        trace_id.map(display),
        caller.map(display),
        upstream_id.as_ref().map(display),
    );
    let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: REQUEST, $level, %request_id, trace_id, method, route, status, code, cause,
                caller, provider, upstream_id, duration_us, "request"
            )
        };
    }
    match status {
        500 => line!(Level::ERROR),
        501.. => line!(Level::WARN),
        _ => line!(Level::INFO),
    }
}

/// Writes the audit line of a record in the durable audit log. Its hash shows later whether the
/// newest records are missing there.
pub fn audit_record(record: &AuditRecord) {
    let AuditRecord {
        id, entry, hash, ..
    } = record;
    let occurred_at = UNIX_EPOCH + Duration::from_millis(entry.timestamp_ms);
    tracing::info!(
        target: AUDIT, request_id = entry.request_id, actor = entry.actor,
        action = &*entry.event_type, project_id = entry.project_id.as_deref(),
        session_id = entry.session_id.as_deref(), outcome = entry.status(),
        code = entry.code.as_deref(), record = id, %hash,
        occurred_at = %Rfc3339::of(occurred_at), "audit"
    );
}

/// Writes the audit line of a key that was issued or refused. It ignores the configured level:
/// an operator who wants fewer lines still needs these.
pub fn audit(ids: CorrelationIds, event: &AuditEvent<'_, CallerHash>) {
    let AuditEvent {
        actor,
        action,
        provider,
        target,
        outcome,
        occurred_at,
    } = event;
    let CorrelationIds {
        request_id,
        trace_id,
    } = ids;
    let (room_name, jti, session_id) = (
        target.map(RoomName::as_str),
        outcome.jti().map(display),
        outcome.session_id().map(display),
    );
    tracing::info!(
        target: AUDIT, %request_id, trace_id = trace_id.map(display), %actor,
        action = action.as_str(), provider,
        "target" = room_name, outcome = outcome.as_str(), code = outcome.code(), jti, session_id,
        occurred_at = %Rfc3339::of(*occurred_at), "audit"
    );
}

/// Returns the configured format, or the default: text on a terminal, otherwise JSON.
#[must_use]
pub fn format(configured: Option<LogFormat>) -> LogFormat {
    configured.unwrap_or_else(|| {
        if std::io::stdout().is_terminal() {
            LogFormat::Text
        } else {
            LogFormat::Json
        }
    })
}

/// Writes one line for all requests that an exhausted budget has refused since the last such line,
/// instead of two lines for each. It replaces audit lines too, so it ignores the configured level.
pub fn unlogged_refusals(budget: &'static str, requests: u64) {
    tracing::info!(target: AUDIT, budget, requests, "requests refused without lines of their own");
}

/// The streams of this process, once logging has started.
static LINES: OnceLock<LogLines> = OnceLock::new();

/// Starts to write log lines of roomkey. Lines of libraries may quote clients and are never
/// written. [`LogLines::finish`] must be called before the process ends.
pub fn start(level: Level, format: LogFormat) -> &'static LogLines {
    let lines = LINES.get_or_init(LogLines::start);
    // It fails only if logging has started before.
    let _ = tracing::subscriber::set_global_default(subscriber(level, format, lines.clone()));
    lines
}

/// Returns the number of lines dropped since the start because nobody read them, by stream.
#[must_use]
pub fn lines_dropped() -> [(&'static str, u64); 2] {
    LINES
        .get()
        .map_or([("stdout", 0), ("stderr", 0)], LogLines::dropped)
}

/// Logs the place of a panic, but not its message, which may contain text of a client.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let (file, line) = panic
            .location()
            .map_or(("", 0), |location| (location.file(), location.line()));
        tracing::error!(file, line, "a panic");
    }));
}

/// Creates the subscriber that [`start`] installs, for any writer.
pub fn subscriber<W>(
    level: Level,
    format: LogFormat,
    writer: W,
) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => lines.event_format(json::JsonFormat).boxed(),
        LogFormat::Text => lines
            .with_timer(Time)
            .with_target(false)
            .with_ansi(false)
            .boxed(),
    };
    // Lines of a start, with their warnings, and audit lines ignore the configured level.
    Registry::default().with(
        lines.with_filter(
            Targets::new()
                .with_target("roomkey", level)
                .with_target(START, Level::INFO)
                .with_target(AUDIT, Level::INFO),
        ),
    )
}

struct Time;

impl FormatTime for Time {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Rfc3339::of(SystemClock.now()))
    }
}
