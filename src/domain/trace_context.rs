//! The trace context that the sender of a request names: W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>, §3.2).
//!
//! Attacker-controlled: anyone can send any trace id, parent and flag. They serve to find log lines
//! and to join traces, and are never trusted.

use std::fmt;

use data_encoding::HEXLOWER;

/// The bytes of `version "-" trace-id "-" parent-id "-" trace-flags`: 2 + 1 + 32 + 1 + 16 + 1 + 2.
const LENGTH: usize = 55;

/// The flag of a sender that records the trace (§3.2.2.5.1).
const SAMPLED: u8 = 0x01;

/// A trace id: 16 bytes that are not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// The content of a `traceparent` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The id of the sender's trace.
    pub trace_id: TraceId,
    /// The id of the sender's span: 8 bytes that are not all zero.
    pub span_id: [u8; 8],
    /// The sender says that it records the trace.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads the value of a `traceparent` header. Returns `None` for anything that the
    /// specification forbids: another length, capital letters, ids of zeros, version `ff`. A
    /// version after `00` may continue after a `-` (§3.2.4).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let [version, trace_id, span_id, flags] = fields(known)?;
        let [version] = hex::<1>(version)?;
        let is_complete = match version {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let (trace_id, span_id) = (TraceId::new(hex(trace_id)?)?, hex(span_id)?);
        let [flags] = hex::<1>(flags)?;
        (is_complete && span_id != [0; 8]).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// Reads the `traceparent` headers of a request. Returns `None` for two or more, since they
    /// contradict each other.
    #[must_use]
    pub fn from_headers<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let only = values.next()?;
        if values.next().is_some() {
            None
        } else {
            Self::parse(only)
        }
    }
}

impl TraceId {
    /// Creates an id. Returns `None` for zeros, which are no id.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for TraceId {
    /// Writes 32 lower-case hex digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        HEXLOWER.encode_mut(&self.0, &mut text);
        formatter.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Returns the four fields between the three `-`. Their checked lengths add up to the whole text,
/// so that no field can follow.
fn fields(known: &[u8]) -> Option<[&[u8]; 4]> {
    let mut fields = known.split(|b| *b == b'-');
    Some([
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    ])
}

/// Decodes exactly `N` bytes of lower-case hex.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let fits = text.len() == 2 * N && HEXLOWER.decode_mut(text, &mut bytes) == Ok(N);
    fits.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The specification's own example.
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(value: &str) -> Option<String> {
        TraceParent::parse(value.as_bytes()).map(|parent| parent.trace_id.to_string())
    }

    #[test]
    fn values_that_the_specification_forbids_are_rejected() {
        for value in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-001",
            "00-4bf92f3577b34da6-a3ce929d0e0e473-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
            concat!(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, ",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            ),
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-0f067aa0ba902b7-01",
        ] {
            assert_eq!(read(value), None, "{value:?}");
        }
    }

    #[test]
    fn the_trace_id_of_this_and_of_later_versions_is_read() {
        for value in [
            GOOD,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings",
        ] {
            assert_eq!(
                read(value).as_deref(),
                Some("4bf92f3577b34da6a3ce929d0e0e4736"),
                "{value:?}"
            );
        }
    }

    #[test]
    fn the_parent_and_its_flag_are_read_and_other_flags_ignored() {
        for (flags, is_sampled) in [
            ("00", false),
            ("01", true),
            ("02", false),
            ("03", true),
            ("ff", true),
        ] {
            let value = format!("{}{flags}", &GOOD[..53]);
            let parent = TraceParent::parse(value.as_bytes()).unwrap();
            assert_eq!(
                (HEXLOWER.encode(&parent.span_id).as_str(), parent.is_sampled),
                ("00f067aa0ba902b7", is_sampled),
                "{value}"
            );
        }
    }

    #[test]
    fn two_headers_are_ignored() {
        let read = |values: &[&str]| {
            TraceParent::from_headers(values.iter().map(|value| value.as_bytes()))
        };
        assert_eq!(read(&[]), None);
        assert!(read(&[GOOD]).is_some());
        assert_eq!(read(&[GOOD, GOOD]), None);
    }

    proptest! {
        #[test]
        fn every_trace_id_is_written_as_it_was_read(
            trace_id in any::<[u8; 16]>(),
            parent_id in any::<[u8; 8]>(),
            flags in any::<u8>(),
        ) {
            let sent = HEXLOWER.encode(&trace_id);
            let value = format!("00-{sent}-{}-{flags:02x}", HEXLOWER.encode(&parent_id));
            let expected = (trace_id != [0; 16] && parent_id != [0; 8]).then_some(sent);
            prop_assert_eq!(read(&value), expected);
        }

        #[test]
        fn a_value_with_one_wrong_byte_is_rejected(place in 0..GOOD.len(), byte in any::<u8>()) {
            let mut value = GOOD.as_bytes().to_vec();
            value[place] = byte;
            let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            let is_separator = GOOD.as_bytes()[place] == b'-';
            let is_wrong = if is_separator { byte != b'-' } else { !is_hex(byte) };
            let is_rejected = TraceParent::parse(&value).is_none();
            prop_assert_eq!(is_rejected, is_wrong || value.starts_with(b"ff"));
        }

        #[test]
        fn every_accepted_id_has_32_hex_digits(
            value in prop_oneof![
                "[0-9a-fA-F-]{50,60}",
                "\\PC{0,80}",
                "[0-9a-e]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,5}",
            ],
        ) {
            if let Some(id) = read(&value) {
                let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                prop_assert!(id.len() == 32 && id.bytes().all(is_hex));
                prop_assert!(value.contains(&id));
            }
        }
    }
}
