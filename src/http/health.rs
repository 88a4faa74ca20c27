//! Is it alive, and can it serve?

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
struct Alive {
    status: &'static str,
    message: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    dependencies: Vec<Dependency>,
}

/// Something outside.
#[derive(Serialize)]
struct Dependency {
    name: &'static str,
    state: DependencyState,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Rfc3339>,
    #[serde(skip)]
    needed: bool,
}

/// The Functions host asks this every 25 ms until it gets any answer.
pub async fn probe(_: &App, _: Request<'_>) -> Result<Reply, ApiError> {
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// The process serves.
pub async fn alive(_: &App, _: Request<'_>) -> Result<Reply, ApiError> {
    reply::json(
        StatusCode::OK,
        &Alive {
            status: "healthy",
            message: "roomkey is alive.",
            version: env!("CARGO_PKG_VERSION"),
        },
    )
}

/// Everything that a token needs is there, until a stop is asked for: the identity provider's keys
/// where callers are told apart by them, the secrets that stand in Key Vault, and a token of Entra
/// ID where that opens Azure `OpenAI`. What only operators need, and the address of Redis, for
/// which a local limit stands in, is listed and not waited for.
pub async fn ready(app: &App, request: Request<'_>) -> Result<Reply, ApiError> {
    let now = app.clock.now();
    let dependencies: Vec<_> = app.dependencies(now).map(Dependency::from).collect();
    let misses = dependencies
        .iter()
        .any(|dependency| dependency.needed && dependency.state == DependencyState::Missing);
    let (code, status) = match (request.is_stopping, misses) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "waiting"),
        (false, false) => (StatusCode::OK, "ready"),
    };
    let mut reply = reply::json(
        code,
        &Ready {
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
            needed: status.is_needed,
        }
    }
}
