//! `GET /api/turn-credentials`: credentials of the caller's own for TURN servers.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::guard::admission::CallerAdmission;
use super::realtime;
use super::record::Record;
use super::reply::{self, Reply};
use super::request::Request;
use crate::app::App;
use crate::app::turn::{Cloudflare, Turn, TurnSource};
use crate::domain::audit::{Action, IssuedCredential};
use crate::domain::livekit::lifetime::{Rfc3339, instant};
use crate::domain::requests::query;
use crate::domain::turn::ice_server::IceServers;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TurnResponse {
    ice_servers: IceServers,
    expires_at: Rfc3339,
    ttl_seconds: u32,
}

/// Issues TURN credentials. Without TURN servers there is no such route.
pub async fn issue(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let turn = app.turn.as_ref().ok_or(ApiError::NotFound)?;
    let admission = guard::admit_caller(app, &mut request, Action::IssueTurnCredentials).await?;
    let record = request.record;
    record.provider = Some(turn.provider);
    query::refuse_all(request.query)?;
    admission.authorize(None, None)?;
    let expires_at = turn.lifetime.expiry(admission.now);
    let ice_servers = issue_to(app, record, &admission, turn).await?;
    record.issued = Some(IssuedCredential::TurnCredentials);
    let response = TurnResponse {
        ice_servers,
        expires_at: Rfc3339::of(instant(expires_at)),
        ttl_seconds: turn.lifetime.seconds(),
    };
    reply::json(StatusCode::OK, &response)
}

/// Issues credentials to an admitted caller.
///
/// # Errors
/// 503 while the secret is missing, and what Cloudflare's response means.
pub(super) async fn issue_to(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
    turn: &Turn,
) -> Result<IceServers, ApiError> {
    match &turn.source {
        TurnSource::SharedSecret(servers) => {
            let expires_at = turn.lifetime.expiry(admission.now);
            let servers = servers.ice_servers(expires_at, admission.caller_hash);
            servers.await.ok_or(ApiError::SecretUnavailable)
        }
        TurnSource::Cloudflare(cloudflare) => mint(app, record, admission, turn, cloudflare).await,
    }
}

/// Mints credentials at Cloudflare.
async fn mint(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
    turn: &Turn,
    cloudflare: &Cloudflare,
) -> Result<IceServers, ApiError> {
    record.mints = true;
    let reserved = cloudflare
        .reserve_mint(admission.now)
        .await
        .map_err(|error| {
            let error = ApiError::Turn(error);
            app.metrics.mint(turn.provider, error.kind().code, None);
            error
        })?;
    let mint = reserved.mint(admission.caller_hash, turn.lifetime, admission.now);
    let minted = realtime::count_mint(app, turn.provider, mint).await;
    record.upstream_id = minted.upstream_id;
    minted.outcome.map_err(ApiError::Turn)
}
