//! The collector of telemetry, as OpenTelemetry's settings describe it: its address, the headers
//! for it, and the attributes of this service.
//!
//! # Source
//! The OTLP exporter's settings (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>) and
//! W3C Baggage for lists (<https://www.w3.org/TR/baggage/>, §3.3).

use std::fmt;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::network_host;
use super::secrets;
use crate::domain::requests::fields::Requirement;

/// The only protocol that roomkey speaks.
const PROTOCOL: &str = "http/protobuf";

/// The address of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorUrl(Url);

/// A kind of telemetry that a collector takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans of requests.
    Traces,
    /// Counters, gauges and histograms.
    Metrics,
}

/// Names and their values, in the order of the setting.
pub type KeyValues = Vec<(String, String)>;

impl CollectorUrl {
    /// Reads the address of a collector.
    ///
    /// # Errors
    /// The requirement, if it is not an `http` or `https` address, or holds a user, a query or a
    /// fragment.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let url = Url::parse(text)
            .map_err(|_| "must be the address of a collector, such as http://localhost:4318")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must begin with http:// or https://".into());
        }
        if network_host::has_credentials(&url) {
            return Err("must not hold a user or password; put credentials into \
                        OTEL_EXPORTER_OTLP_HEADERS"
                .into());
        }
        if network_host::has_query_or_fragment(&url) {
            return Err("must not hold a query or fragment".into());
        }
        Ok(Self(url))
    }

    /// Returns the address to which a signal is sent.
    #[must_use]
    pub fn endpoint(&self, signal: Signal) -> Url {
        let mut url = self.0.clone();
        let path = format!("{}/v1/{signal}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// Returns whether secret headers may be sent there: by `https`, or without leaving a private
    /// network.
    #[must_use]
    pub fn may_get_secrets(&self) -> bool {
        self.0.scheme() == "https"
            || self
                .0
                .host()
                .is_some_and(|host| network_host::is_private(&host))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        })
    }
}

/// Checks the protocol.
///
/// # Errors
/// The requirement, for any protocol but `http/protobuf`.
pub fn protocol(text: &str) -> Result<(), Requirement> {
    match text {
        PROTOCOL => Ok(()),
        _ => Err(format!(
            "must be {PROTOCOL}, the only protocol that roomkey speaks; where the Functions host \
             or another part needs another one, set OTEL_TRACES_EXPORTER and \
             OTEL_METRICS_EXPORTER to none"
        )
        .into()),
    }
}

/// Reads a list such as `name=value,name=value`, whose values may be percent-encoded.
///
/// # Errors
/// The requirement, if an entry has no `=` or no name, a name that is no token, a value that is not
/// UTF-8, or if a name occurs twice.
pub fn key_values(text: &str) -> Result<KeyValues, Requirement> {
    const FORM: &str = "must be name=value pairs separated by commas, with percent-encoded values";
    let mut pairs = KeyValues::new();
    for entry in text.split(',') {
        let (name, value) = entry.split_once('=').ok_or(FORM)?;
        let (name, value) = (name.trim(), value.trim());
        let value = percent_decode_str(value).decode_utf8().map_err(|_| FORM)?;
        if name.is_empty() || !name.bytes().all(is_token) || value.contains(char::is_control) {
            return Err(FORM.into());
        }
        if pairs.iter().any(|(known, _)| known == name) {
            return Err("holds the same name twice".into());
        }
        pairs.push((name.to_owned(), value.into_owned()));
    }
    Ok(pairs)
}

/// Checks the headers for the collector, which may hold its key.
///
/// # Errors
/// The requirement that they do not meet.
pub fn headers(value: &SecretString) -> Result<(), Requirement> {
    secrets::check(value, 1)?;
    let pairs = key_values(value.expose_secret())?;
    let is_header = |value: &String| value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if pairs.iter().all(|(_, value)| is_header(value)) {
        Ok(())
    } else {
        Err("must have values of visible ASCII characters".into())
    }
}

/// Returns whether a byte may be in a token (RFC 9110 §5.6.2), as names of headers and of baggage
/// are.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_collector_has_are_rejected() {
        for text in [
            "",
            "collector",
            "collector:4318",
            "localhost:4318",
            "grpc://collector:4317",
            "http://",
            "https://user:password@collector.example.com",
            "https://user@collector.example.com",
            "https://collector.example.com?key=canary",
            "https://collector.example.com#x",
            "http://<host>:4318",
        ] {
            let requirement = CollectorUrl::parse(text).map(drop).unwrap_err();
            assert!(!requirement.contains("canary"), "{text}: {requirement}");
        }
    }

    #[test]
    fn the_path_of_each_signal_is_appended() {
        for (text, expected) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            (
                "https://otlp.example.com/otlp/",
                "https://otlp.example.com/otlp/v1/traces",
            ),
        ] {
            let url = CollectorUrl::parse(text).unwrap();
            assert_eq!(url.endpoint(Signal::Traces).as_str(), expected);
            let metrics = expected.replace("/v1/traces", "/v1/metrics");
            assert_eq!(url.endpoint(Signal::Metrics).as_str(), metrics);
        }
    }

    #[test]
    fn secrets_go_over_tls_or_a_private_network_only() {
        for (text, expected) in [
            ("https://otlp.example.com", true),
            ("http://localhost:4318", true),
            ("http://collector:4318", true),
            ("http://10.0.0.7:4318", true),
            ("http://otlp.example.com", false),
            ("http://192.0.2.1:4318", false),
        ] {
            let url = CollectorUrl::parse(text).unwrap();
            assert_eq!(url.may_get_secrets(), expected, "{text}");
        }
    }

    #[test]
    fn malformed_lists_are_rejected() {
        for text in [
            "", ",", "canary", "=canary", "a=1,", "a=1,,b=2", "a=1,a=2", "a b=1", "ä=1", "a=%ff",
            "a=%0a", "a: 1",
        ] {
            let requirement = key_values(text).unwrap_err();
            assert!(!requirement.contains("canary"), "{text}: {requirement}");
        }
    }

    #[test]
    fn pairs_are_trimmed_and_decoded() {
        let pairs = key_values("api-key=a%20b%2Cc, service.version = 1.2 ,empty=,base64=YQ==");
        let expected = [
            ("api-key", "a b,c"),
            ("service.version", "1.2"),
            ("empty", ""),
            ("base64", "YQ=="),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs, Ok(expected.to_vec()));
    }

    #[test]
    fn headers_that_cannot_be_sent_are_rejected() {
        for text in [
            "api-key",
            "api-key=ä",
            "api-key=%C3%A4",
            "api-key=%0d%0ax",
            "@Microsoft.KeyVault(SecretUri=https://v.example/s)",
            "\"api-key=canary\"",
        ] {
            assert!(headers(&text.into()).is_err(), "{text}");
        }
        assert_eq!(headers(&"authorization=Basic%20Y2FuYXJ5".into()), Ok(()));
    }

    #[test]
    fn only_one_protocol_is_spoken() {
        assert_eq!(protocol("http/protobuf"), Ok(()));
        for text in ["", "grpc", "http/json", "HTTP/protobuf"] {
            assert!(protocol(text).is_err(), "{text}");
        }
    }
}
