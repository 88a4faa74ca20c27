//! `GET /api/health/vault`: seals, stores, opens and deletes a probe.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::reply::{self, Reply};
use super::request::Request;
use super::vault_access;
use crate::app::App;
use crate::app::projects::epoch_ms;
use crate::domain::requests::query;

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    vault: Steps,
    kek_version: String,
    timestamp: u64,
}

#[derive(Serialize)]
struct Steps {
    encryption: &'static str,
    decryption: &'static str,
    deletion: &'static str,
    round_trip_ms: u64,
}

/// Checks the vault with a round trip that touches no project.
pub async fn check(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    let operator = guard::admit_operator(app, &mut request).await?;
    query::refuse_all(request.query)?;
    let health = projects.check_health().await;
    let word = |is_ok| if is_ok { "ok" } else { "failed" };
    let answer = Answer {
        status: if health.is_healthy() {
            "healthy"
        } else {
            "degraded"
        },
        vault: Steps {
            encryption: word(health.encryption),
            decryption: word(health.decryption),
            deletion: word(health.deletion),
            round_trip_ms: u64::try_from(health.round_trip.as_millis()).unwrap_or(u64::MAX),
        },
        kek_version: projects.sealing_version().to_string(),
        timestamp: epoch_ms(operator.now),
    };
    reply::json(StatusCode::OK, &answer)
}
