//! URLs of STUN and TURN servers in the form that browsers accept.
//!
//! # Source
//! RFC 7064 (`stun:`) and RFC 7065 (`turn:`, `turns:`): no slashes, no path, and for TURN an
//! optional `?transport=udp` or `?transport=tcp`.

use std::fmt;

use serde::{Serialize, Serializer};
use url::Host;

use crate::domain::requests::fields::Requirement;

/// Most URLs that an operator may list. Browsers take longer to connect with each of them, and warn
/// from five on.
const MAX_URLS: usize = 8;
/// The port of DNS, which browsers block.
///
/// # Source
/// <https://fetch.spec.whatwg.org/#port-blocking>
const DNS_PORT: u16 = 53;

const EXAMPLE: &str =
    "write one like turn:turn.example.com:3478?transport=udp or turns:turn.example.com:443";

/// The kind of an ICE server, and whether the connection to it is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Stun,
    Turn,
    Turns,
}

impl Scheme {
    const ALL: [Self; 3] = [Self::Stun, Self::Turn, Self::Turns];

    fn as_str(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Turn => "turn",
            Self::Turns => "turns",
        }
    }
}

/// The transport between a browser and a TURN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// The URL of one STUN or TURN server.
///
/// ```
/// use roomkey::domain::turn::ice_url::IceUrl;
///
/// let url = IceUrl::parse("turn:turn.example.com:3478?transport=udp")?;
/// assert!(url.is_turn());
/// assert_eq!(url.to_string(), "turn:turn.example.com:3478?transport=udp");
///
/// assert!(IceUrl::parse("turn://turn.example.com").is_err());
/// assert!(IceUrl::parse("https://turn.example.com").is_err());
/// # Ok::<(), roomkey::domain::requests::fields::Requirement>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceUrl {
    scheme: Scheme,
    host: Host,
    port: Option<u16>,
    transport: Option<Transport>,
}

impl IceUrl {
    /// Reads a URL and brings its scheme and host into their normal form.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let wrong = |what: &str| Requirement::from(format!("{what}; {EXAMPLE}"));
        let (scheme, rest) = text
            .split_once(':')
            .and_then(|(scheme, rest)| {
                let known = Scheme::ALL
                    .into_iter()
                    .find(|known| known.as_str().eq_ignore_ascii_case(scheme))?;
                Some((known, rest))
            })
            .ok_or_else(|| wrong("must begin with turn:, turns: or stun:"))?;
        if rest.starts_with('/') {
            return Err(wrong("must not have slashes after its scheme"));
        }
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let transport = match (scheme, query) {
            (_, None) => None,
            (Scheme::Turn | Scheme::Turns, Some("transport=udp")) => Some(Transport::Udp),
            (Scheme::Turn | Scheme::Turns, Some("transport=tcp")) => Some(Transport::Tcp),
            (Scheme::Turn | Scheme::Turns, Some(_)) => {
                return Err(wrong(
                    "must have only transport=udp or transport=tcp after its ?",
                ));
            }
            (Scheme::Stun, Some(_)) => return Err(wrong("must not have a ? after stun:")),
        };
        let (host, port) = split_port(authority);
        let port = port
            .map(|digits| {
                port_number(digits).ok_or_else(|| wrong("must have a port from 1 to 65535"))
            })
            .transpose()?;
        let host = Host::parse(host).map_err(|_| wrong("must name a host"))?;
        let is_unspecified = match &host {
            Host::Domain(_) => false,
            Host::Ipv4(ip) => ip.is_unspecified(),
            Host::Ipv6(ip) => ip.is_unspecified(),
        };
        if is_unspecified {
            return Err(wrong("must name a host that browsers can reach"));
        }
        Ok(Self {
            scheme,
            host,
            port,
            transport,
        })
    }

    /// Returns whether the server relays media and therefore requires credentials.
    #[must_use]
    pub fn is_turn(&self) -> bool {
        match self.scheme {
            Scheme::Stun => false,
            Scheme::Turn | Scheme::Turns => true,
        }
    }

    /// Returns whether a browser can use the URL. Browsers block the port of DNS.
    #[must_use]
    pub fn is_usable_in_browsers(&self) -> bool {
        self.port != Some(DNS_PORT)
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.scheme.as_str(), self.host)?;
        if let Some(port) = self.port {
            write!(formatter, ":{port}")?;
        }
        if let Some(transport) = self.transport {
            write!(formatter, "?transport={}", transport.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for IceUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The URLs of the operator's own servers. At least one is a TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceUrls(Vec<IceUrl>);

impl IceUrls {
    /// Parses a comma-separated list, and leaves out URLs that browsers cannot use.
    ///
    /// # Errors
    /// The rule that the list or one of its URLs breaks.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let mut urls: Vec<IceUrl> = Vec::new();
        for part in text.split(',') {
            let url = IceUrl::parse(part.trim())?;
            if url.is_usable_in_browsers() && !urls.contains(&url) {
                urls.push(url);
            }
        }
        if !urls.iter().any(IceUrl::is_turn) {
            return Err(format!(
                "must have a turn: or turns: URL whose port is not {DNS_PORT}, which browsers \
                 block; {EXAMPLE}"
            )
            .into());
        }
        if urls.len() > MAX_URLS {
            return Err(format!(
                "must have at most {MAX_URLS} URLs; browsers are slow from five on"
            )
            .into());
        }
        Ok(Self(urls))
    }

    /// Returns all URLs, in the operator's order.
    #[must_use]
    pub fn as_slice(&self) -> &[IceUrl] {
        &self.0
    }
}

impl fmt::Display for IceUrls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&urls.join(", "))
    }
}

/// Splits at the colon before a port. Colons inside the brackets of an IPv6 address do not count.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn port_number(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|port| is_number && *port > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_url_of_an_ice_server_is_rejected_with_a_hint() {
        for (text, hint) in [
            ("", "must begin with"),
            ("canary.example.com", "must begin with"),
            ("canary.example.com:3478", "must begin with"),
            ("https://canary.example.com", "must begin with"),
            ("stuns:canary.example.com", "must begin with"),
            ("turn", "must begin with"),
            ("turn://canary.example.com", "must not have slashes"),
            ("turn:/canary", "must not have slashes"),
            ("turn:", "must name a host"),
            ("turn::3478", "must name a host"),
            ("turn:user@canary.example.com", "must name a host"),
            ("turn:canary canary", "must name a host"),
            ("turn:<canary>", "must name a host"),
            ("turn:canary/path", "must name a host"),
            ("turn:canary#x", "must name a host"),
            ("turn:[::1", "must name a host"),
            ("turn:fd00::1", "must name a host"),
            ("turn:0.0.0.0", "that browsers can reach"),
            ("turn:[::]:3478", "that browsers can reach"),
            ("turn:canary:", "a port from 1 to 65535"),
            ("turn:canary:0", "a port from 1 to 65535"),
            ("turn:canary:65536", "a port from 1 to 65535"),
            ("turn:canary:+1", "a port from 1 to 65535"),
            ("turn:canary:port", "a port from 1 to 65535"),
            ("turn:canary?", "after its ?"),
            ("turn:canary?transport=tls", "after its ?"),
            ("turn:canary?transport=UDP", "after its ?"),
            ("turn:canary?transport=udp&x=1", "after its ?"),
            ("stun:canary?transport=udp", "must not have a ? after stun:"),
        ] {
            let rule = IceUrl::parse(text).unwrap_err();
            assert!(
                rule.contains(hint)
                    && rule.contains("turn:turn.example.com")
                    && !rule.contains("canary"),
                "{text:?}: {rule}"
            );
        }
    }

    #[test]
    fn a_url_is_brought_into_its_normal_form() {
        for (text, normal) in [
            ("turn:turn.example.com", "turn:turn.example.com"),
            ("TURN:Turn.Example.COM:3478", "turn:turn.example.com:3478"),
            (
                "turns:t.example:443?transport=tcp",
                "turns:t.example:443?transport=tcp",
            ),
            (
                "turn:127.0.0.1:13478?transport=udp",
                "turn:127.0.0.1:13478?transport=udp",
            ),
            ("turn:[2001:DB8::1]:3478", "turn:[2001:db8::1]:3478"),
            ("turn:[2001:db8::1]", "turn:[2001:db8::1]"),
            (
                "stun:münchen.example:3478",
                "stun:xn--mnchen-3ya.example:3478",
            ),
            ("stun:s:03478", "stun:s:3478"),
        ] {
            assert_eq!(IceUrl::parse(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn urls_that_browsers_cannot_use_are_left_out_of_a_list() {
        let urls = IceUrls::parse(
            "stun:s.example:53, turn:t.example:53?transport=udp,turn:t.example:3478, \
             turn:t.example:3478 ,stun:s.example",
        )
        .unwrap();
        assert_eq!(urls.to_string(), "turn:t.example:3478, stun:s.example");
        assert_eq!(urls.as_slice().len(), 2);
    }

    #[test]
    fn a_list_without_a_relay_or_with_too_many_urls_is_rejected() {
        let many = |count: u16| {
            let urls: Vec<_> = (1..=count).map(|port| format!("turn:t:{port}")).collect();
            urls.join(",")
        };
        for text in [
            "",
            ",",
            "turn:t,",
            "turn:t;turn:u",
            "stun:s.example:3478",
            "turn:t:53",
            "turn:t:53,stun:s",
            &many(9),
        ] {
            assert!(IceUrls::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(IceUrls::parse(&many(8)).unwrap().as_slice().len(), 8);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_read_again_as_the_same(
            scheme in "stun|turns?|TURN|turn ", host in "[a-z0-9.:\\[\\]-]{0,12}", port in ":[0-9]{0,6}|", query in "(\\?transport=(udp|tcp|tls))?"
        ) {
            let text = format!("{scheme}:{host}{port}{query}");
            if let Ok(url) = IceUrl::parse(&text) {
                prop_assert_eq!(IceUrl::parse(&url.to_string()), Ok(url.clone()), "{}", text);
                prop_assert!(url.to_string().bytes().all(|b| b.is_ascii_graphic() && !b"\"\\,@#/".contains(&b)));
            }
        }

        #[test]
        fn any_text_is_survived_and_never_repeated(text in "canary\\PC{0,40}") {
            prop_assert!(!IceUrl::parse(&text).unwrap_err().contains("canary"));
        }

        #[test]
        fn a_good_url_with_any_host_name_and_port_is_accepted(name in "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,5}){0,3}", port in 1..=u16::MAX) {
            let text = format!("turn:{name}:{port}?transport=tcp");
            prop_assert_eq!(IceUrl::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn a_list_holds_a_relay_and_no_port_of_dns(ports in prop::collection::vec((any::<bool>(), prop::sample::select(vec![53_u16, 443, 3_478])), 0..6)) {
            let text: Vec<_> = ports.iter().map(|(turn, port)| format!("{}:h:{port}", if *turn { "turn" } else { "stun" })).collect();
            if let Ok(urls) = IceUrls::parse(&text.join(",")) {
                prop_assert!(urls.as_slice().iter().any(IceUrl::is_turn));
                prop_assert!(urls.as_slice().iter().all(IceUrl::is_usable_in_browsers));
            } else {
                prop_assert!(!ports.iter().any(|(turn, port)| *turn && *port != 53));
            }
        }
    }
}
