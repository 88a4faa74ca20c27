//! Realtime client secrets: the part of `POST /api/token` for the providers that mint, and what its
//! plain sibling shares with it.

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
use crate::domain::livekit::lifetime::{Rfc3339, Validity, instant};
use crate::domain::realtime::client_secret::{ClientSecret, SecretValue, SessionId};
use crate::domain::realtime::mint::{MintRequest, Minted};
use crate::domain::realtime::request::RealtimeRequest;
use crate::domain::realtime::session::ModelOrVoice;
use crate::domain::requests::provider::Provider;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
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

/// Mints a Realtime client secret.
pub async fn issue(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
    wanted: RealtimeRequest,
) -> Result<Reply, ApiError> {
    let (secret, webrtc_url) = mint(app, record, admission, &wanted).await?;
    let validity = Validity::until(secret.expires_at, admission.now);
    let answer = Answer {
        provider: wanted.provider,
        token: &secret.value,
        issued_at: Rfc3339::of(admission.now),
        expires_at: Rfc3339::of(instant(validity.expires_at)),
        refresh_at: Rfc3339::of(validity.refresh_at()),
        session_id: secret.session_id.as_ref(),
        model: &wanted.model,
        voice: &wanted.voice,
        webrtc_url,
    };
    reply::json(StatusCode::OK, &answer)
}

/// Policy, permit, budget, mint, record: what every route that mints does. Returns the address for
/// the browser too.
///
/// # Errors
/// 403 by policy, 503 where the upstream is not asked at present, 429 past the budget of mints, and
/// what the upstream's answer means.
pub(super) async fn mint(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
    wanted: &RealtimeRequest,
) -> Result<(ClientSecret, String), ApiError> {
    record.asked_for(wanted.provider, wanted.room_name.as_ref());
    admission.authorize(
        wanted.participant_identity.clone(),
        wanted.room_name.as_ref(),
    )?;
    let upstream = app
        .upstreams
        .of(wanted.provider)
        .ok_or(ApiError::Internal("a provider is on and has no upstream"))?;
    record.mints = true;
    // Before the budget, so that a mint that cannot even begin costs nothing; a permit that the
    // budget refuses is given back.
    let reserved = reserve_mint(app, upstream, &wanted.model, admission.now).await?;
    guard::charge_mint(app, record, admission).await?;
    let (model, voice) = (wanted.model.clone(), wanted.voice.clone());
    let ask = MintRequest {
        model,
        voice,
        caller: admission.caller_hash,
        now: admission.now,
    };
    let minted = ask_upstream(app, wanted.provider, reserved, ask).await;
    record.upstream_id = minted.upstream_id;
    let secret = minted.outcome.map_err(ApiError::Upstream)?;
    record.issued = Some(IssuedCredential::Secret(secret.session_id.clone()));
    Ok((secret, upstream.calls_url()))
}

/// Reserves a mint at an upstream, and counts a failure to do so.
///
/// # Errors
/// What is missing for a mint, as an error of its own.
pub(super) async fn reserve_mint(
    app: &App,
    upstream: &Upstream,
    model: &ModelOrVoice,
    now: SystemTime,
) -> Result<ReservedMint, ApiError> {
    upstream.reserve_mint(model, now).await.map_err(|error| {
        let error = ApiError::Upstream(error);
        let provider = upstream.provider().as_str();
        app.metrics.mint(provider, error.kind().code, None);
        error
    })
}

/// Asks an upstream for a secret, and counts what came of it.
pub(super) async fn ask_upstream(
    app: &App,
    provider: Provider,
    reserved: ReservedMint,
    ask: MintRequest,
) -> Minted {
    let mut count = Count {
        app,
        provider,
        outcome: ABANDONED,
        duration: None,
    };
    let minted = reserved.mint(ask).await;
    let outcome = minted.outcome.as_ref();
    count.outcome =
        outcome.map_or_else(|error| ApiError::Upstream(*error).kind().code, |_| "minted");
    count.duration = Some(minted.duration);
    minted
}

/// Counts a mint when it goes, so that one whose caller hung up is counted too.
struct Count<'a> {
    app: &'a App,
    provider: Provider,
    outcome: &'static str,
    duration: Option<Duration>,
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.app
            .metrics
            .mint(self.provider.as_str(), self.outcome, self.duration);
    }
}
