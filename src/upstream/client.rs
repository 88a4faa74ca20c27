//! The one way to an HTTP client for upstreams: what holds for each of them is set here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use crate::entropy;

/// A connection stands within this time.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// No proxy from the environment, no redirect, no second try. Each upstream adds its own time
/// limit.
///
/// `build` reads the system's certificates, which takes 30 ms: use [`build`] where others share the
/// thread.
pub fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("roomkey/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .retry(reqwest::retry::never())
        .http1_only()
        .connect_timeout(CONNECT_DEADLINE)
        .dns_resolver(Names)
}

/// Builds a client beside the threads that serve. `None`: the system has no certificates that it
/// could trust.
pub async fn build(builder: ClientBuilder) -> Option<Client> {
    let build = move || {
        entropy::prepare_for_tls();
        builder.build()
    };
    tokio::task::spawn_blocking(build).await.ok()?.ok()
}

/// `localhost` and every name below it are this machine (RFC 6761 §6.3); not every system's
/// resolver knows that. All others are the system's to resolve.
#[derive(Debug, Clone, Copy)]
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            if is_local(name.as_str()) {
                let here = [
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(Ipv6Addr::LOCALHOST),
                ];
                return Ok(Box::new(here.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs);
            }
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn is_local(name: &str) -> bool {
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
    fn only_names_at_and_below_localhost_are_this_machine() {
        for name in [
            "localhost",
            "localhost.",
            "kv.vault.localhost",
            "a.LOCALHOST.",
        ] {
            assert!(is_local(name), "{name}");
        }
        for name in [
            "",
            ".",
            "localhost.example.com",
            "notlocalhost",
            "127.0.0.1",
            "localhost..",
        ] {
            assert!(!is_local(name), "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_below_localhost_is_resolved_without_the_system() {
        let found = Names
            .resolve(Name::from_str("kv.vault.localhost").unwrap())
            .await
            .unwrap();
        assert!(found.into_iter().all(|address| address.ip().is_loopback()));
    }
}
