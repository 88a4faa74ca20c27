//! The minting of Realtime client secrets, which `POST /api/token`, `POST /api/v1/token` and the
//! diagnostics share, and the count of every mint.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::guard::admission::CallerAdmission;
use super::record::{ABANDONED, Record};
use super::reply::{self, Reply};
use crate::app::App;
use crate::app::realtime::{ReservedMint, Upstream};
use crate::domain::audit::IssuedCredential;
use crate::domain::livekit::lifetime::{Rfc3339, instant, refresh_at};
use crate::domain::realtime::client_secret::{ClientSecret, SecretValue, SessionId};
use crate::domain::realtime::mint::{MintRequest, Minted};
use crate::domain::realtime::request::RealtimeRequest;
use crate::domain::realtime::session::ModelOrVoice;
use crate::domain::requests::provider::Provider;
use crate::traces::{self, Step};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RealtimeResponse<'a> {
    provider: Provider,
    token: &'a SecretValue,
    issued_at: Rfc3339,
    expires_at: Rfc3339,
    refresh_at: Rfc3339,
    session_id: Option<&'a SessionId>,
    model: &'a ModelOrVoice,
    voice: &'a ModelOrVoice,
    webrtc_url: String,
}

/// Issues a client secret as the response of `POST /api/token`.
pub async fn issue(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
    request: RealtimeRequest,
) -> Result<Reply, ApiError> {
    let (secret, webrtc_url) = mint(app, record, admission, &request).await?;
    let expires_at = instant(secret.expires_at);
    let response = RealtimeResponse {
        provider: request.provider,
        token: &secret.value,
        issued_at: Rfc3339::of(admission.now),
        expires_at: Rfc3339::of(expires_at),
        refresh_at: Rfc3339::of(refresh_at(admission.now, expires_at)),
        session_id: secret.session_id.as_ref(),
        model: &request.model,
        voice: &request.voice,
        webrtc_url,
    };
    reply::json(StatusCode::OK, &response)
}

/// Authorizes a request and mints its secret. Returns the secret and the URL for the browser.
///
/// # Errors
/// 403 by policy, 503 if the upstream cannot be called, 429 past the budget of mints, and the error
/// for the upstream's response.
pub(super) async fn mint(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
    request: &RealtimeRequest,
) -> Result<(ClientSecret, String), ApiError> {
    let provider = request.provider;
    let room_name = request.room_name.as_ref();
    record.set_target(provider, room_name);
    admission.authorize(request.participant_identity.clone(), room_name)?;
    let upstream = app
        .upstreams
        .of(provider)
        .ok_or(ApiError::Internal("a provider is on and has no upstream"))?;
    record.mints = true;
    // Before the budget, so that a mint that cannot start costs nothing. A refusal by the budget
    // releases it.
    let reserved = reserve_mint(app, upstream, &request.model, admission.now).await?;
    guard::charge_mint(app, record, admission).await?;
    let mint_request = MintRequest {
        model: request.model.clone(),
        voice: request.voice.clone(),
        caller: admission.caller_hash,
        now: admission.now,
    };
    let minted = count_mint(app, upstream.label(), reserved.mint(mint_request)).await;
    record.upstream_id = minted.upstream_id;
    let secret = minted.outcome.map_err(ApiError::Upstream)?;
    record.issued = Some(IssuedCredential::Secret(secret.session_id.clone()));
    Ok((secret, upstream.calls_url()))
}

/// Reserves one mint at an upstream, and counts it if that fails.
///
/// # Errors
/// The reason why the upstream cannot mint.
pub(super) async fn reserve_mint(
    app: &App,
    upstream: &Upstream,
    model: &ModelOrVoice,
    now: SystemTime,
) -> Result<ReservedMint, ApiError> {
    upstream.reserve_mint(model, now).await.map_err(|error| {
        let error = ApiError::Upstream(error);
        app.metrics.mint(upstream.label(), error.kind().code, None);
        error
    })
}

/// Waits for a mint and counts it with its outcome.
pub(super) async fn count_mint<T>(
    app: &App,
    label: &'static str,
    mint: impl Future<Output = Minted<T>>,
) -> Minted<T> {
    let mut count = MintCount {
        app,
        label,
        outcome: ABANDONED,
        duration: None,
    };
    let mut span = traces::start(Step::Mint);
    if let Some(span) = &mut span {
        span.label("roomkey.provider", label);
    }
    let minted = mint.await;
    count.outcome = match &minted.outcome {
        Ok(_) => "minted",
        Err(error) => {
            let code = ApiError::Upstream(*error).kind().code;
            if let Some(span) = &mut span {
                span.fail(code);
            }
            code
        }
    };
    count.duration = Some(minted.duration);
    minted
}

/// Counts a mint when it is dropped, so that one whose caller hung up is counted too.
struct MintCount<'a> {
    app: &'a App,
    label: &'static str,
    outcome: &'static str,
    duration: Option<Duration>,
}

impl Drop for MintCount<'_> {
    fn drop(&mut self) {
        self.app
            .metrics
            .mint(self.label, self.outcome, self.duration);
    }
}
