//! Where the process runs, told by what the platforms set, and whether anything says that it is a deployment.

use super::reader::Environment;

/// Returns the setting that says that this process runs in Azure behind its front end, whose headers then count.
///
/// `CONTAINER_NAME` alone says nothing: dev containers set it too. Neither does `WEBSITE_HOSTNAME`, which Core Tools sets to
/// `localhost:7071`.
///
/// # Source
/// `EnvironmentExtensions.cs` of the Functions host.
#[must_use]
pub fn azure_marker(environment: &Environment) -> Option<&'static str> {
    let holds = |name: &str| environment.holds(name);
    [
        ("WEBSITE_INSTANCE_ID", true),
        ("LEGION_SERVICE_HOST", true),
        ("CONTAINER_NAME", holds("WEBSITE_SITE_NAME") || holds("FUNCTIONS_EXTENSION_VERSION")),
        ("CONTAINER_APP_NAME", holds("FUNCTIONS_EXTENSION_VERSION")),
    ]
    .into_iter()
    .find_map(|(name, counts)| (counts && holds(name)).then_some(name))
}

/// Returns the setting that says that an orchestrator started this process, so that it is no developer's machine: Kubernetes sets
/// the first in every container, Azure Container Apps the second.
#[must_use]
pub fn orchestrator_marker(environment: &Environment) -> Option<&'static str> {
    ["KUBERNETES_SERVICE_HOST", "CONTAINER_APP_NAME"].into_iter().find(|name| environment.holds(name))
}
