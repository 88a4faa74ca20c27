//! The id by which an upstream's support finds one of its responses. It comes from outside, so it
//! is checked before it reaches a log.

use std::fmt;

/// The most bytes of an id.
const MAX_BYTES: usize = 64;

/// An upstream's id of one response: 1 to 64 bytes of `[A-Za-z0-9_-]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamId(String);

impl UpstreamId {
    /// Reads a header's value. Returns `None` for a value that is not safe to log.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let is_allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let fits = (1..=MAX_BYTES).contains(&value.len()) && value.iter().all(is_allowed);
        str::from_utf8(value)
            .ok()
            .filter(|_| fits)
            .map(|text| Self(text.to_owned()))
    }
}

impl fmt::Display for UpstreamId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_not_safe_to_log_is_rejected() {
        let long = [b'x'; 65];
        for value in [
            &b""[..],
            b"a b",
            b"a\nb",
            b"a\"b",
            b"\xff",
            "ä".as_bytes(),
            &long,
        ] {
            assert_eq!(UpstreamId::parse(value), None);
        }
        assert_eq!(
            UpstreamId::parse(b"req_011CZ-a1").unwrap().to_string(),
            "req_011CZ-a1"
        );
    }
}
