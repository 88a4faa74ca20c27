//! The check of a request's `Host` (RFC 9112 §3.2): that there is exactly one, and that it names
//! this machine if only this machine may call.

use std::net::IpAddr;

use http::Version;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use thiserror::Error;

use super::error::ApiError;
use crate::domain::requests::fields::FieldError;

/// An error in the `Host` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HostError {
    /// The header is missing, or there are several.
    #[error("the request does not have exactly one Host")]
    NotOne,
    /// It names another machine, and only this machine may call.
    #[error("the Host is not a name of this machine")]
    NotLoopback,
}

/// Checks the `Host` of a request. Attacker-controlled.
///
/// # Errors
/// [`HostError`].
pub fn check(head: &Parts, loopback_only: bool) -> Result<(), HostError> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && head.version >= Version::HTTP_11) {
        return Err(HostError::NotOne);
    }
    if !loopback_only {
        return Ok(());
    }
    // A target in absolute form replaces `Host` (RFC 9112 §3.2.2). A request without either is not
    // from a browser.
    let is_loopback = match (head.uri.authority(), host) {
        (Some(authority), _) => is_loopback_name(authority),
        (None, Some(host)) => is_loopback_authority(host.as_bytes()),
        (None, None) => true,
    };
    if is_loopback {
        Ok(())
    } else {
        Err(HostError::NotLoopback)
    }
}

/// Returns whether a host with an optional port, as in `Host` and `Origin`, is of the loopback
/// interface.
pub fn is_loopback_authority(text: &[u8]) -> bool {
    Authority::try_from(text).is_ok_and(|authority| is_loopback_name(&authority))
}

/// Returns whether a host is of the loopback interface: `localhost`, a name below it (RFC 6761
/// §6.3), or an address.
fn is_loopback_name(authority: &Authority) -> bool {
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

impl From<HostError> for ApiError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::NotOne => Self::InvalidRequest(vec![FieldError {
                field: "Host".into(),
                message: "must be there exactly once".into(),
            }]),
            HostError::NotLoopback => Self::Misdirected,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(version: Version, uri: &str, hosts: &[&str]) -> Result<(), HostError> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).unwrap().into_parts().0, true)
    }

    #[test]
    fn a_request_has_one_host_and_an_old_one_may_have_none() {
        for (version, hosts, expected) in [
            (Version::HTTP_11, &[][..], Err(HostError::NotOne)),
            (
                Version::HTTP_11,
                &["localhost", "localhost"],
                Err(HostError::NotOne),
            ),
            (Version::HTTP_11, &["localhost"], Ok(())),
            (Version::HTTP_10, &[], Ok(())),
            (
                Version::HTTP_10,
                &["localhost", "localhost"],
                Err(HostError::NotOne),
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
    fn only_names_and_addresses_of_the_loopback_interface_are_accepted() {
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
            assert_eq!(checked(Version::HTTP_11, "/", &[here]), Ok(()), "{here}");
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
                Err(HostError::NotLoopback),
                "{elsewhere}"
            );
        }
    }

    #[test]
    fn a_target_in_absolute_form_replaces_the_header() {
        assert_eq!(
            checked(Version::HTTP_11, "http://evil.example/", &["localhost"]),
            Err(HostError::NotLoopback)
        );
        assert_eq!(
            checked(Version::HTTP_11, "http://localhost/", &["evil.example"]),
            Ok(())
        );
    }
}
