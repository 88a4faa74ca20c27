//! Where the process runs, told by what the platforms set, and whether anything says that it is a
//! deployment.

use std::net::SocketAddr;

use super::reader::{Environment, SettingsReader};

/// Set for a custom handler by the Functions host, also where Core Tools runs it.
const WORKER_ID: &str = "FUNCTIONS_CUSTOMHANDLER_WORKER_ID";

/// `Development` where Core Tools runs the host.
const HOST_ENVIRONMENT: &str = "AZURE_FUNCTIONS_ENVIRONMENT";

/// What follows from the surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostingEnvironment {
    /// The Functions host started this process, which is of no use without it.
    pub started_by_host: bool,
    /// Only this machine can connect, and nothing here calls on behalf of others. A request for any
    /// other name then comes from a web page whose name was made to lead here (DNS rebinding).
    pub loopback_hosts_only: bool,
}

/// Reads the surroundings of a process that will listen on `address`.
#[must_use]
pub fn read(
    reader: &SettingsReader<'_>,
    address: Option<SocketAddr>,
    in_azure: bool,
) -> HostingEnvironment {
    let started_by_host = reader.holds(WORKER_ID);
    // A host of the operator's own hands on the public name; Core Tools is called by this machine
    // only.
    let behind_own_host = started_by_host && reader.raw(HOST_ENVIRONMENT) != Some("Development");
    let is_loopback = address.is_none_or(|address| address.ip().to_canonical().is_loopback());
    let has_proxies = reader.holds("ROOMKEY_TRUSTED_PROXIES");
    HostingEnvironment {
        started_by_host,
        loopback_hosts_only: is_loopback && !has_proxies && !in_azure && !behind_own_host,
    }
}

/// Returns the setting that says that this process runs in Azure behind its front end, whose
/// headers then count.
///
/// `CONTAINER_NAME` alone says nothing: dev containers set it too. Neither does `WEBSITE_HOSTNAME`,
/// which Core Tools sets to `localhost:7071`.
///
/// # Source
/// `EnvironmentExtensions.cs` of the Functions host.
#[must_use]
pub fn azure_marker(environment: &Environment) -> Option<&'static str> {
    let holds = |name: &str| environment.holds(name);
    [
        ("WEBSITE_INSTANCE_ID", true),
        ("LEGION_SERVICE_HOST", true),
        (
            "CONTAINER_NAME",
            holds("WEBSITE_SITE_NAME") || holds("FUNCTIONS_EXTENSION_VERSION"),
        ),
        ("CONTAINER_APP_NAME", holds("FUNCTIONS_EXTENSION_VERSION")),
    ]
    .into_iter()
    .find_map(|(name, counts)| (counts && holds(name)).then_some(name))
}

/// Returns the setting that says that an orchestrator started this process, so that it is no
/// developer's machine: Kubernetes sets the first in every container, Azure Container Apps the
/// second.
#[must_use]
pub fn orchestrator_marker(environment: &Environment) -> Option<&'static str> {
    ["KUBERNETES_SERVICE_HOST", "CONTAINER_APP_NAME"]
        .into_iter()
        .find(|name| environment.holds(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts_only(address: &str, in_azure: bool, settings: &[(&str, &str)]) -> bool {
        let environment: Environment = settings.iter().copied().collect();
        read(
            &SettingsReader::new(&environment),
            Some(address.parse().unwrap()),
            in_azure,
        )
        .loopback_hosts_only
    }

    #[test]
    fn only_names_of_this_machine_are_served_where_only_this_machine_can_ask() {
        let core_tools = [(WORKER_ID, "w"), (HOST_ENVIRONMENT, "Development")];
        for settings in [&[][..], &core_tools, &core_tools[1..]] {
            assert!(hosts_only("127.0.0.1:1", false, settings), "{settings:?}");
            assert!(hosts_only("[::1]:1", false, settings), "{settings:?}");
            assert!(
                hosts_only("[::ffff:127.0.0.1]:1", false, settings),
                "{settings:?}"
            );
            assert!(!hosts_only("0.0.0.0:1", false, settings), "{settings:?}");
            assert!(!hosts_only("127.0.0.1:1", true, settings), "{settings:?}");
        }
        for settings in [
            &[("ROOMKEY_TRUSTED_PROXIES", "127.0.0.1/32")][..],
            &[(WORKER_ID, "w")],
            &[(WORKER_ID, "w"), (HOST_ENVIRONMENT, "Production")],
        ] {
            assert!(!hosts_only("127.0.0.1:1", false, settings), "{settings:?}");
        }
    }
}
