//! The trace that a request belongs to, as its sender says: W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>, §3.2).
//!
//! Attacker-controlled: anyone can send any trace id, so it serves to find lines and is never
//! trusted. Only the id is kept; the parent's span and the flags concern tracing systems, and this
//! is none.

use std::fmt;

use data_encoding::HEXLOWER;

/// `version "-" trace-id "-" parent-id "-" trace-flags` has 2 + 1 + 32 + 1 + 16 + 1 + 2 bytes.
const LENGTH: usize = 55;

/// A trace id: 16 bytes, not all of them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// Reads the value of a `traceparent` header. `None` for anything that the specification does
    /// not let through: another length, capital letters, ids of zeros, version `ff`. A version
    /// after `00` may go on behind a `-` (§3.2.4).
    #[must_use]
    pub fn from_traceparent(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let [version, trace_id, parent_id, flags] = fields(known)?;
        let [version] = hex::<1>(version)?;
        let is_whole = match version {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let (trace_id, parent_id) = (hex::<16>(trace_id)?, hex::<8>(parent_id)?);
        hex::<1>(flags)?;
        (is_whole && trace_id != [0; 16] && parent_id != [0; 8]).then_some(Self(trace_id))
    }

    /// Reads the `traceparent` headers of a request. Two of them contradict each other, so then
    /// there is none.
    #[must_use]
    pub fn from_headers<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let only = values.next()?;
        if values.next().is_some() {
            None
        } else {
            Self::from_traceparent(only)
        }
    }
}

impl fmt::Display for TraceId {
    /// 32 lower-case hex digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        HEXLOWER.encode_mut(&self.0, &mut text);
        formatter.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// The four fields between the three `-`. Their lengths fill all bytes, so that none can follow.
fn fields(known: &[u8]) -> Option<[&[u8]; 4]> {
    let mut fields = known.split(|b| *b == b'-');
    Some([
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    ])
}

/// Exactly `N` bytes in lower-case hex.
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
        TraceId::from_traceparent(value.as_bytes()).map(|id| id.to_string())
    }

    #[test]
    fn what_the_specification_refuses_is_no_trace() {
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
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
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
    fn two_headers_are_none() {
        let read =
            |values: &[&str]| TraceId::from_headers(values.iter().map(|value| value.as_bytes()));
        assert_eq!(read(&[]), None);
        assert!(read(&[GOOD]).is_some());
        assert_eq!(read(&[GOOD, GOOD]), None);
    }

    proptest! {
        #[test]
        fn every_trace_id_comes_back_as_it_was_sent(trace_id in any::<[u8; 16]>(), parent_id in any::<[u8; 8]>(), flags in any::<u8>()) {
            let sent = HEXLOWER.encode(&trace_id);
            let value = format!("00-{sent}-{}-{flags:02x}", HEXLOWER.encode(&parent_id));
            let expected = (trace_id != [0; 16] && parent_id != [0; 8]).then_some(sent);
            prop_assert_eq!(read(&value), expected);
        }

        #[test]
        fn one_wrong_byte_is_no_trace(place in 0..GOOD.len(), byte in any::<u8>()) {
            let mut value = GOOD.as_bytes().to_vec();
            value[place] = byte;
            let wrong = if GOOD.as_bytes()[place] == b'-' { byte != b'-' } else { !byte.is_ascii_digit() && !(b'a'..=b'f').contains(&byte) };
            prop_assert_eq!(TraceId::from_traceparent(&value).is_none(), wrong || value.starts_with(b"ff"));
        }

        #[test]
        fn whatever_is_sent_the_id_is_32_hex_digits(value in prop_oneof!["[0-9a-fA-F-]{50,60}", "\\PC{0,80}", "[0-9a-e]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,5}"]) {
            if let Some(id) = read(&value) {
                prop_assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
                prop_assert!(value.contains(&id));
            }
        }
    }
}
