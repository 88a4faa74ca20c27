//! Writes each event as one line with one JSON object: time, level, then the event's fields in
//! their order.
//!
//! tracing-subscriber's own JSON format costs more than signing a token, so this one writes the few
//! kinds of values that roomkey logs directly.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::{Clock, SystemClock};
use crate::domain::livekit::lifetime::Rfc3339;

/// The initial capacity of a line. A line about a request fits.
const LINE_CAPACITY: usize = 512;

/// Formats an event as JSON.
pub struct JsonFormat;

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(LINE_CAPACITY);
        write!(
            line,
            "{{\"timestamp\":\"{}\",\"level\":\"{}\"",
            Rfc3339::of(SystemClock.now()),
            event.metadata().level().as_str()
        )?;
        event.record(&mut Members(&mut line));
        line.push_str("}\n");
        writer.write_str(&line)
    }
}

/// Appends each field as a member. The names are constants and need no escapes.
struct Members<'a>(&'a mut String);

impl Members<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }

    fn text(&mut self, field: &Field, write: impl FnOnce(&mut Escaped<'_>) -> fmt::Result) {
        self.name(field);
        self.0.push('"');
        // Writing to a `String` cannot fail.
        let _ = write(&mut Escaped(self.0));
        self.0.push('"');
    }

    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let _ = write!(self.0, "{value}");
    }
}

impl Visit for Members<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, |text| text.write_str(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, |text| write!(text, "{value:?}"));
    }
}

/// Escapes text inside a JSON string.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        #[expect(
            clippy::needless_bitwise_bool,
            reason = "without an early end the compiler checks many bytes at once"
        )]
        let needs_escape = text.bytes().fold(false, |found, b| {
            found | (b < b' ') | (b == b'"') | (b == b'\\')
        });
        if needs_escape {
            let quoted = serde_json::Value::from(text).to_string();
            self.0.push_str(
                quoted
                    .strip_prefix('"')
                    .and_then(|text| text.strip_suffix('"'))
                    .ok_or(fmt::Error)?,
            );
        } else {
            self.0.push_str(text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tracing::Level;

    use crate::domain::settings::log_format::LogFormat;
    use crate::log_capture::LogCapture;
    use crate::telemetry::subscriber;

    /// Returns the only line that `log` writes, without its time.
    fn line(log: impl FnOnce()) -> Value {
        let written = LogCapture::default();
        tracing::subscriber::with_default(
            subscriber(Level::INFO, LogFormat::Json, written.writer()),
            log,
        );
        let text = written.text();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(humantime::parse_rfc3339(time.as_str().unwrap()).is_ok());
        line
    }

    #[test]
    fn every_kind_of_value_is_written_as_json() {
        let line = line(|| {
            tracing::warn!(
                target: "roomkey::request", text = "a\"b\\c\nd\u{1b}é", absent = None::<&str>,
                some = Some("x"), whole = 7_u64, below = -7_i64, yes = true, shown = %"say \"x\"",
                debugged = ?Some(1), "done"
            );
        });
        let expected = json!({
            "level": "WARN", "text": "a\"b\\c\nd\u{1b}é", "some": "x", "whole": 7, "below": -7,
            "yes": true, "shown": "say \"x\"", "debugged": "Some(1)", "message": "done",
        });
        assert_eq!(line, expected);
    }

    proptest! {
        #[test]
        fn any_text_is_written_unchanged_on_one_line(text in any::<String>()) {
            let line = line(|| tracing::info!(target: "roomkey", text, "done"));
            prop_assert_eq!(line, json!({ "level": "INFO", "text": text, "message": "done" }));
        }
    }
}
