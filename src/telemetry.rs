//! Log lines: one access line a request, and few others.
//!
//! The Functions host takes stdout as information and stderr as an error, or as a warning where the
//! line holds "warn"; so WARN and ERROR go to stderr and the level stands in each line. Fields hold
//! our own words, numbers and checked ids only.

mod json;
mod lines;
mod queue;

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

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
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::livekit::lifetime::Rfc3339;
use crate::domain::livekit::names::RoomName;
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::domain::requests::provider::Provider;
use crate::domain::settings::log_format::LogFormat;
use crate::domain::trace_context::TraceId;
pub use crate::telemetry::lines::LogLines;

/// The target of the lines that a start writes.
pub const START: &str = "roomkey::start";

/// The target of the lines about one request each.
const REQUEST: &str = "roomkey::request";

/// The target of the audit log.
const AUDIT: &str = "roomkey::audit";

/// By what the lines of one request are found.
#[derive(Debug, Clone, Copy)]
pub struct CorrelationIds {
    /// The id that the answer carries too.
    pub request_id: Uuid,
    /// The trace that its sender says it belongs to.
    pub trace_id: Option<TraceId>,
}

/// What is known of a request when its answer is ready.
pub struct AccessRecord {
    /// By which it is found.
    pub ids: CorrelationIds,
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
    /// Who asked, as far as that is known.
    pub caller: Option<Actor<CallerHash>>,
    /// Who was to give the key.
    pub provider: Option<&'static str>,
    /// By what the provider's people find its answer.
    pub upstream_id: Option<UpstreamId>,
    /// From the request's head to the answer.
    pub duration: Duration,
}

/// Writes the access line: a fault of ours as ERROR, another 5xx as WARN, all else as INFO.
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
            tracing::event!(target: REQUEST, $level, %request_id, trace_id, method, route, status, code, cause, caller, provider, upstream_id, duration_us, "request")
        };
    }
    match status {
        500 => line!(Level::ERROR),
        501.. => line!(Level::WARN),
        _ => line!(Level::INFO),
    }
}

/// Writes the audit line of a key that was issued or refused, whatever the level: who wants fewer
/// lines still wants these.
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
        target: AUDIT, %request_id, trace_id = trace_id.map(display), %actor, action = action.as_str(),
        provider = provider.map(Provider::as_str), "target" = room_name,
        outcome = outcome.as_str(), code = outcome.code(), jti, session_id, occurred_at = %Rfc3339::of(*occurred_at), "audit"
    );
}

/// The format in force: on a terminal a person reads along.
#[must_use]
pub fn format(wanted: Option<LogFormat>) -> LogFormat {
    wanted.unwrap_or_else(|| {
        if std::io::stdout().is_terminal() {
            LogFormat::Text
        } else {
            LogFormat::Json
        }
    })
}

/// Writes one line for the requests that a used-up budget refused since the last such line, in
/// place of two lines for each of them. It stands for their audit lines too, so it is written
/// whatever the level.
pub fn unlogged_refusals(budget: &'static str, requests: u64) {
    tracing::info!(target: AUDIT, budget, requests, "requests refused without lines of their own");
}

/// The streams of this process, once lines are written to them.
static LINES: OnceLock<LogLines> = OnceLock::new();

/// Starts writing lines of roomkey's own; those of libraries may quote clients and are never
/// written. Whoever ends the process must call [`LogLines::finish`].
pub fn start(level: Level, format: LogFormat) -> &'static LogLines {
    let lines = LINES.get_or_init(LogLines::start);
    // Fails only if it was started before, and then lines are written already.
    let _ = tracing::subscriber::set_global_default(subscriber(level, format, lines.clone()));
    lines
}

/// Returns the number of lines that were dropped since the start because nobody read them, by
/// stream.
#[must_use]
pub fn lines_dropped() -> [(&'static str, u64); 2] {
    LINES
        .get()
        .map_or([("stdout", 0), ("stderr", 0)], LogLines::dropped)
}

/// Writes where a panic happened, and not what it said: its message may hold a client's text.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let (file, line) = panic
            .location()
            .map_or(("", 0), |place| (place.file(), place.line()));
        tracing::error!(file, line, "a panic");
    }));
}

/// What [`start`] starts, for any writer.
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
    // What a start says, its warnings above all, and the audit log are written whatever the level.
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
