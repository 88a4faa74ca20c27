//! Addresses in settings: which hosts are this machine or on a private network, and which URLs are
//! acceptable.

use std::net::Ipv4Addr;

use url::{Host, ParseError, Url};

/// The last labels of names that no public resolver answers: RFC 6761, RFC 6762, RFC 8375, ICANN's
/// `internal`, and those that home routers and Kubernetes use.
const PRIVATE_ENDINGS: [&str; 10] = [
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "lan",
    "local",
    "localdomain",
    "private",
    "svc",
];

/// Reports whether a host is this machine. Names at or below `localhost` are loopback names by RFC
/// 6761 §6.3.
#[must_use]
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => is_at_or_below(name, "localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
    }
}

/// Reports whether a host is this machine or on a network that the public Internet does not route:
/// private and link-local addresses, and names without a dot (a container's) or with an ending for
/// private use.
#[must_use]
pub fn is_private(host: &Host<&str>) -> bool {
    if is_loopback(host) {
        return true;
    }
    match host {
        Host::Domain(name) => {
            !name.trim_end_matches('.').contains('.')
                || PRIVATE_ENDINGS
                    .iter()
                    .any(|ending| is_at_or_below(name, ending))
        }
        Host::Ipv4(ip) => is_private_v4(*ip),
        Host::Ipv6(ip) => {
            ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.to_ipv4_mapped().is_some_and(is_private_v4)
        }
    }
}

/// Reports whether a secret may be sent to a URL: its scheme is `https`, or `http` to this machine.
#[must_use]
pub fn is_https_or_loopback(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => url.host().is_some_and(|host| is_loopback(&host)),
        _ => false,
    }
}

/// Reports whether a URL contains a user or a password.
#[must_use]
pub fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Reports whether a URL contains a query or a fragment.
#[must_use]
pub fn has_query_or_fragment(url: &Url) -> bool {
    url.query().is_some() || url.fragment().is_some()
}

/// Describes why a text that must be an `https://` address cannot be parsed.
#[must_use]
pub fn describe_parse_error(text: &str, error: ParseError) -> &'static str {
    match error {
        _ if !text
            .get(..8)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) =>
        {
            "must begin with https://"
        }
        ParseError::EmptyHost => "must name a host",
        ParseError::InvalidPort => "is not an address: its port is not a number from 0 to 65535",
        _ => "is not an address: it holds a character that no host name has, such as < or a space",
    }
}

/// Reports whether an address is in a range of RFC 1918 or RFC 3927, or in the shared space of RFC
/// 6598, which private overlay networks use.
fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    ip.is_private() || ip.is_link_local() || (first == 100 && (64..128).contains(&second))
}

fn is_at_or_below(name: &str, parent: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.strip_suffix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(host: &str) -> (bool, bool) {
        let host = Host::parse(host).unwrap();
        let host = match &host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(ip) => Host::Ipv4(*ip),
            Host::Ipv6(ip) => Host::Ipv6(*ip),
        };
        (is_loopback(&host), is_private(&host))
    }

    #[test]
    fn plain_http_is_only_accepted_to_this_machine() {
        for (text, accepted) in [
            ("https://id.example.com", true),
            ("http://localhost:8080", true),
            ("http://id.localhost", true),
            ("http://127.0.0.1", true),
            ("http://[::1]:1", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://id.example.com", false),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
            ("ws://localhost", false),
            ("redis://localhost", false),
            ("file:///etc/passwd", false),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(is_https_or_loopback(&url), accepted, "{text}");
        }
    }

    #[test]
    fn loopback_private_and_public_hosts_are_told_apart() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(kind(host), (true, true), "{host}");
        }
        for host in [
            "livekit",
            "livekit.",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.9",
            "169.254.1.1",
            "100.64.0.1",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
            "nas.local",
            "livekit.default.svc",
            "livekit.default.svc.cluster.local",
            "host.docker.internal",
            "x.home.arpa",
        ] {
            assert_eq!(kind(host), (false, true), "{host}");
        }
        for host in [
            "livekit.example.com",
            "localhost.example.com",
            "notlocalhost.com",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "0.0.0.0",
            "[2001:db8::1]",
            "[::]",
            "mylocal.com",
            "a.xlocal",
            "127.0.0.1.nip.io",
        ] {
            assert_eq!(kind(host), (false, false), "{host}");
        }
    }
}
