//! Decides whether a start is in dev mode: nothing that only a deployment has is configured, and
//! only this machine can connect.

use std::net::SocketAddr;

use super::livekit::{self, KeyPair};
use super::reader::SettingsReader;
use super::{admin, callers, hosting, key_vault, projects, rate_limits, realtime, turn};

/// The result of the decision.
#[derive(Debug)]
pub struct DevMode {
    /// The start is in dev mode.
    pub is_on: bool,
    /// The setting that ended dev mode, if no other provider is configured: then LiveKit must be.
    pub livekit_required: Option<String>,
}

/// Decides by what is configured, right or wrong.
#[must_use]
pub fn decide(
    reader: &SettingsReader<'_>,
    address: Option<SocketAddr>,
    livekit: &KeyPair,
) -> DevMode {
    let deployment = deployment_marker(reader, address);
    // Client secrets and TURN credentials cost the operator money.
    let has_paid_provider = realtime::is_on(reader) || turn::is_on(reader);
    DevMode {
        is_on: deployment.is_none()
            && !has_paid_provider
            && livekit::is_dev_server(reader, livekit),
        livekit_required: deployment.filter(|_| !has_paid_provider && !projects::is_on(reader)),
    }
}

/// Returns what shows that this is a deployment, or reachable from other machines. The settings of
/// providers are not considered.
fn deployment_marker(reader: &SettingsReader<'_>, address: Option<SocketAddr>) -> Option<String> {
    if let Some(marker) = hosting::azure_marker(reader) {
        return Some(format!("{marker} is set: this is Azure"));
    }
    if let Some(marker) = hosting::orchestrator_marker(reader) {
        return Some(format!("{marker} is set: this is a cluster"));
    }
    if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
        return Some("ROOMKEY_BIND is not a loopback address".to_owned());
    }
    let secrets = [rate_limits::REDIS_URL, rate_limits::HASH_KEY, admin::KEYS];
    let setting = (reader.is_set(key_vault::URL).then_some(key_vault::URL))
        .or_else(|| callers::authenticated_by(reader))
        .or_else(|| projects::first_set(reader))
        .or_else(|| secrets.into_iter().find(|name| reader.is_secret_set(name)));
    setting.map(|name| format!("{name} is set"))
}
