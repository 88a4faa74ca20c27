//! Builds the HTTP clients for upstreams, with the options that all of them share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use crate::entropy;

/// The time limit for opening a connection.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// Returns the options of every client: no proxy from the environment, no redirect, no retry. Each
/// upstream adds a time limit.
///
/// `ClientBuilder::build` reads the system's certificates, which takes 30 ms. Use [`build`] on a
/// thread that serves requests.
pub fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("roomkey/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .retry(reqwest::retry::never())
        .http1_only()
        .connect_timeout(CONNECT_DEADLINE)
        .dns_resolver(LocalhostResolver)
}

/// Builds a client on a thread for blocking work. Returns `None` if the system has no trusted
/// certificates.
pub async fn build(builder: ClientBuilder) -> Option<Client> {
    let build = move || {
        entropy::prepare_for_tls();
        builder.build()
    };
    tokio::task::spawn_blocking(build).await.ok()?.ok()
}

/// Resolves `localhost` and every name below it to this machine (RFC 6761 §6.3), which not every
/// system's resolver does. The system resolves all other names.
#[derive(Debug, Clone, Copy)]
struct LocalhostResolver;

impl Resolve for LocalhostResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            if is_localhost(name.as_str()) {
                let loopback = [
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(Ipv6Addr::LOCALHOST),
                ];
                return Ok(
                    Box::new(loopback.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs,
                );
            }
            let addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.')
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn only_localhost_and_names_below_it_are_this_machine() {
        for name in [
            "localhost",
            "localhost.",
            "kv.vault.localhost",
            "a.LOCALHOST.",
        ] {
            assert!(is_localhost(name), "{name}");
        }
        for name in [
            "",
            ".",
            "localhost.example.com",
            "notlocalhost",
            "127.0.0.1",
            "localhost..",
        ] {
            assert!(!is_localhost(name), "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_below_localhost_resolves_to_loopback_addresses() {
        let addresses = LocalhostResolver
            .resolve(Name::from_str("kv.vault.localhost").unwrap())
            .await
            .unwrap();
        assert!(
            addresses
                .into_iter()
                .all(|address| address.ip().is_loopback())
        );
    }
}
