//! The `Host` of a request (RFC 9112 §3.2): whether there is one, and whether it names this machine
//! where only this machine may ask.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{Request, Version};

use super::error::ApiError;
use crate::domain::requests::fields::FieldError;

/// What is wrong with a request's `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostFault {
    /// It is missing, or there are several.
    NotOne,
    /// It names another machine, where only this machine may ask.
    Elsewhere,
}

/// Checks a request's `Host`. Attacker-controlled.
pub fn check<B>(request: &Request<B>, loopback_only: bool) -> Option<HostFault> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && request.version() >= Version::HTTP_11) {
        return Some(HostFault::NotOne);
    }
    if !loopback_only {
        return None;
    }
    // A target in absolute form takes the place of `Host` (RFC 9112 §3.2.2). Without either no
    // browser has sent the request.
    let is_here = match (request.uri().authority(), host) {
        (Some(authority), _) => is_loopback(authority),
        (None, Some(host)) => names_loopback(host.as_bytes()),
        (None, None) => true,
    };
    (!is_here).then_some(HostFault::Elsewhere)
}

/// Returns whether a host with its port, as `Host` and `Origin` have it, is of the loopback
/// interface.
pub fn names_loopback(text: &[u8]) -> bool {
    Authority::try_from(text).is_ok_and(|authority| is_loopback(&authority))
}

/// Whether a name is of the loopback interface: `localhost` and what is below it (RFC 6761 §6.3),
/// or an address.
fn is_loopback(authority: &Authority) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .or(Some(host))
        .and_then(|host| host.parse().ok())
    {
        let address: IpAddr = address;
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

impl From<HostFault> for ApiError {
    fn from(fault: HostFault) -> Self {
        match fault {
            HostFault::NotOne => Self::InvalidRequest(vec![FieldError {
                field: "Host".into(),
                message: "must be there exactly once".into(),
            }]),
            HostFault::Elsewhere => Self::Misdirected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, uri: &str, hosts: &[&str]) -> Option<HostFault> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).unwrap(), true)
    }

    #[test]
    fn a_request_has_one_host_and_an_old_one_may_have_none() {
        for (version, hosts, expected) in [
            (Version::HTTP_11, &[][..], Some(HostFault::NotOne)),
            (
                Version::HTTP_11,
                &["localhost", "localhost"],
                Some(HostFault::NotOne),
            ),
            (Version::HTTP_11, &["localhost"], None),
            (Version::HTTP_10, &[], None),
            (
                Version::HTTP_10,
                &["localhost", "localhost"],
                Some(HostFault::NotOne),
            ),
        ] {
            assert_eq!(
                checked(version, "/", hosts),
                expected,
                "{version:?} {hosts:?}"
            );
        }
    }

    #[test]
    fn only_names_and_addresses_of_the_loopback_interface_are_here() {
        for here in [
            "localhost",
            "localhost:7071",
            "LocalHost.",
            "app.localhost:1",
            "127.0.0.1",
            "127.9.8.7:80",
            "[::1]",
            "[::1]:7071",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(checked(Version::HTTP_11, "/", &[here]), None, "{here}");
        }
        for elsewhere in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "128.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::2]",
            "10.0.0.1",
            "a@localhost",
            "localhost/",
            "localhost,evil.example",
            "::1",
            "2130706433",
        ] {
            assert_eq!(
                checked(Version::HTTP_11, "/", &[elsewhere]),
                Some(HostFault::Elsewhere),
                "{elsewhere}"
            );
        }
    }

    #[test]
    fn a_target_in_absolute_form_takes_the_place_of_the_header() {
        assert_eq!(
            checked(Version::HTTP_11, "http://evil.example/", &["localhost"]),
            Some(HostFault::Elsewhere)
        );
        assert_eq!(
            checked(Version::HTTP_11, "http://localhost/", &["evil.example"]),
            None
        );
    }
}
