//! The liveness and readiness of the service.

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::error::ApiError;
use super::reply::{self, Reply};
use super::request::Request;
use crate::app::App;
use crate::app::dependency::DependencyStatus;
use crate::domain::livekit::lifetime::Rfc3339;
use crate::domain::settings::secrets::DependencyState;

#[derive(Serialize)]
struct HealthResponse {
    status: &'static str,
    message: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct ReadyResponse {
    status: &'static str,
    dependencies: Vec<Dependency>,
}

/// One dependency outside of the process.
#[derive(Serialize)]
struct Dependency {
    name: &'static str,
    state: DependencyState,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Rfc3339>,
    #[serde(skip)]
    is_needed: bool,
}

/// Answers the Functions host, which probes every 25 ms until it gets any response.
pub async fn probe(_: &App, _: Request<'_>) -> Result<Reply, ApiError> {
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// Reports that the process is alive.
pub async fn alive(_: &App, _: Request<'_>) -> Result<Reply, ApiError> {
    reply::json(
        StatusCode::OK,
        &HealthResponse {
            status: "healthy",
            message: "roomkey is alive.",
            version: env!("CARGO_PKG_VERSION"),
        },
    )
}

/// Reports whether every dependency that a token needs is available, until a stop is requested: the
/// identity provider's keys, the secrets in Key Vault, and an Entra token for Azure `OpenAI`. A
/// dependency that only operators need, the address of Redis, which local limits can replace, the
/// collector's headers, and a key-encryption key without which other keys still open are listed but
/// not required.
pub async fn ready(app: &App, request: Request<'_>) -> Result<Reply, ApiError> {
    let now = app.clock.now();
    let dependencies: Vec<_> = app.dependencies(now).map(Dependency::from).collect();
    let is_waiting = dependencies
        .iter()
        .any(|dependency| dependency.is_needed && dependency.state == DependencyState::Missing);
    let (code, status) = match (request.is_stopping, is_waiting) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "waiting"),
        (false, false) => (StatusCode::OK, "ready"),
    };
    let mut reply = reply::json(
        code,
        &ReadyResponse {
            status,
            dependencies,
        },
    )?;
    if code == StatusCode::SERVICE_UNAVAILABLE {
        reply
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(reply)
}

impl From<DependencyStatus> for Dependency {
    fn from(status: DependencyStatus) -> Self {
        Self {
            name: status.name,
            state: status.state,
            since: status.fetched_at.map(Rfc3339::of),
            is_needed: status.is_needed,
        }
    }
}
