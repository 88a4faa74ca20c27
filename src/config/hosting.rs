//! Detects where the process runs from the variables that platforms set.

use std::net::SocketAddr;

use super::reader::SettingsReader;

/// Set for a custom handler by the Functions host, also under Core Tools.
const WORKER_ID: &str = "FUNCTIONS_CUSTOMHANDLER_WORKER_ID";
/// `Development` under Core Tools.
const HOST_ENVIRONMENT: &str = "AZURE_FUNCTIONS_ENVIRONMENT";
const TRUSTED_PROXIES: &str = "ROOMKEY_TRUSTED_PROXIES";

/// Describes what surrounds the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostingEnvironment {
    /// The process runs in Azure behind its front end, which reports the client's address.
    pub in_azure: bool,
    /// The Functions host started this process, which then ends with that host.
    pub started_by_host: bool,
    /// Only this machine can connect, and no proxy forwards requests. A request for a public host
    /// name then comes from a web page that uses DNS rebinding, and is refused.
    pub loopback_hosts_only: bool,
}

/// Detects the surroundings of a process that will listen on `address`.
#[must_use]
pub fn read(reader: &mut SettingsReader<'_>, address: Option<SocketAddr>) -> HostingEnvironment {
    let in_azure = azure_marker(reader).is_some();
    let has_proxies = reader.is_set(TRUSTED_PROXIES);
    if in_azure && has_proxies {
        reader.fault(
            TRUSTED_PROXIES,
            "has no effect in Azure, whose front end reports the client's address; remove it",
        );
    }
    let started_by_host = reader.is_set(WORKER_ID);
    // A self-hosted Functions host forwards the public host name. Core Tools serves this machine
    // only.
    let is_self_hosted =
        started_by_host && reader.unchecked(HOST_ENVIRONMENT) != Some("Development");
    let is_loopback = address.is_none_or(|address| address.ip().to_canonical().is_loopback());
    HostingEnvironment {
        in_azure,
        started_by_host,
        loopback_hosts_only: is_loopback && !has_proxies && !in_azure && !is_self_hosted,
    }
}

/// Returns the variable that shows that this process runs in Azure behind its front end.
///
/// `CONTAINER_NAME` alone shows nothing: dev containers set it too. Neither does
/// `WEBSITE_HOSTNAME`, which Core Tools sets to `localhost:7071`.
///
/// # Source
/// `EnvironmentExtensions.cs` of the Functions host.
#[must_use]
pub fn azure_marker(reader: &SettingsReader<'_>) -> Option<&'static str> {
    let is_set = |name: &str| reader.is_set(name);
    [
        ("WEBSITE_INSTANCE_ID", true),
        ("LEGION_SERVICE_HOST", true),
        (
            "CONTAINER_NAME",
            is_set("WEBSITE_SITE_NAME") || is_set("FUNCTIONS_EXTENSION_VERSION"),
        ),
        ("CONTAINER_APP_NAME", is_set("FUNCTIONS_EXTENSION_VERSION")),
    ]
    .into_iter()
    .find_map(|(name, counts)| (counts && is_set(name)).then_some(name))
}

/// Returns the variable that shows that an orchestrator started this process: Kubernetes sets the
/// first in every container, Azure Container Apps the second.
#[must_use]
pub fn orchestrator_marker(reader: &SettingsReader<'_>) -> Option<&'static str> {
    ["KUBERNETES_SERVICE_HOST", "CONTAINER_APP_NAME"]
        .into_iter()
        .find(|name| reader.is_set(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;

    fn loopback_hosts_only(address: &str, settings: &[(&str, &str)]) -> bool {
        let environment: Environment = settings.iter().copied().collect();
        let mut reader = SettingsReader::new(&environment);
        read(&mut reader, Some(address.parse().unwrap())).loopback_hosts_only
    }

    #[test]
    fn only_loopback_host_names_are_served_where_only_this_machine_can_connect() {
        let core_tools = [(WORKER_ID, "w"), (HOST_ENVIRONMENT, "Development")];
        for settings in [&[][..], &core_tools, &core_tools[1..]] {
            for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
                assert!(loopback_hosts_only(address, settings), "{settings:?}");
                let in_azure = [settings, &[("WEBSITE_INSTANCE_ID", "i")]].concat();
                assert!(!loopback_hosts_only(address, &in_azure), "{settings:?}");
            }
            assert!(!loopback_hosts_only("0.0.0.0:1", settings), "{settings:?}");
        }
        for settings in [
            &[(TRUSTED_PROXIES, "127.0.0.1/32")][..],
            &[(WORKER_ID, "w")],
            &[(WORKER_ID, "w"), (HOST_ENVIRONMENT, "Production")],
        ] {
            assert!(
                !loopback_hosts_only("127.0.0.1:1", settings),
                "{settings:?}"
            );
        }
    }
}
