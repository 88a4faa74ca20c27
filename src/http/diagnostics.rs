//! `GET /api/diagnostics/realtime`: whether each Realtime provider can be called, and what to do if
//! not. It costs nothing; `POST` also mints one secret at each, which is never shown.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::realtime;
use super::record::ProbeResult;
use super::reply::{self, Reply};
use super::request::Request;
use crate::app::App;
use crate::app::realtime::Upstream;
use crate::clock::Stopwatch;
use crate::domain::audit::{Action, IssuedCredential};
use crate::domain::realtime::mint::MintRequest;
use crate::domain::requests::provider::Provider;
use crate::domain::requests::{fields, query};
use crate::traces;

#[derive(Serialize)]
struct DiagnosticsResponse<'a> {
    providers: Vec<ProviderReport<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProviderReport<'a> {
    provider: Provider,
    endpoint: &'a str,
    credential: &'static str,
    breaker: &'static str,
    probe: CallReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    mint: Option<CallReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallReport {
    /// `ok` or an error's code.
    result: &'static str,
    latency_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remediation: Option<&'static str>,
}

/// Lists the models of each provider, as a probe.
pub async fn probe(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let now = guard::admit_operator(app, &mut request).await?.now;
    query::refuse_all(request.query)?;
    let reports = app
        .upstreams
        .all()
        .map(|upstream| probe_upstream(upstream, now));
    let providers = join_all(reports).await;
    reply::json(StatusCode::OK, &DiagnosticsResponse { providers })
}

/// Probes each provider and mints one secret there. All providers at once: one after the other
/// could take longer than a request may.
pub async fn probe_and_mint(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let admission = guard::admit_operator(app, &mut request).await?;
    let now = admission.now;
    request.record.action = Some((Action::DiagnoseRealtime, now));
    query::refuse_all(request.query)?;
    // Whoever names one provider expects that no other one is asked for a secret.
    fields::refuse_all(&request.json(&admission).await?)?;
    request.record.mints = true;
    let reports = app.upstreams.all().map(async |upstream| {
        let (mint, result) = traces::in_branch(mint_at(app, upstream, now)).await.unzip();
        let report = probe_upstream(upstream, now).await;
        (ProviderReport { mint, ..report }, result)
    });
    let (providers, results): (_, Vec<_>) = join_all(reports).await.into_iter().unzip();
    request.record.probe_results = Some(results.into_iter().flatten().collect());
    reply::json(StatusCode::OK, &DiagnosticsResponse { providers })
}

async fn probe_upstream(upstream: &Upstream, now: SystemTime) -> ProviderReport<'_> {
    let stopwatch = Stopwatch::start();
    let probed = upstream.probe(now).await.map_err(ApiError::Upstream);
    ProviderReport {
        provider: upstream.provider(),
        endpoint: upstream.host(),
        credential: upstream.credential_kind(),
        breaker: upstream.breaker_state(now).as_str(),
        probe: report(probed.as_ref().err(), stopwatch.elapsed()),
        mint: None,
    }
}

/// Mints a secret and drops it. `None` only for a provider without a model, which no configured one
/// is, and without a hash key, without which no operator is admitted.
async fn mint_at(
    app: &App,
    upstream: &Upstream,
    now: SystemTime,
) -> Option<(CallReport, ProbeResult)> {
    let (provider, choices) = (upstream.provider(), &app.request_policy.choices);
    let model = choices.default_model(provider)?;
    let hash_key = app.secrets.hash_key.value()?;
    let stopwatch = Stopwatch::start();
    let mint_request = MintRequest {
        model: model.clone(),
        voice: choices.voice.clone(),
        caller: hash_key.hash("diagnostics", b"operator"),
        now,
    };
    let minted = match realtime::reserve_mint(app, upstream, model, now).await {
        Ok(reserved) => realtime::count_mint(app, upstream.label(), reserved.mint(mint_request))
            .await
            .outcome
            .map_err(ApiError::Upstream),
        Err(error) => Err(error),
    };
    let report = report(minted.as_ref().err(), stopwatch.elapsed());
    let issued = minted
        .map(|secret| IssuedCredential::Secret(secret.session_id))
        .map_err(|error| error.kind().code);
    Some((report, (provider, issued)))
}

fn report(error: Option<&ApiError>, latency: Duration) -> CallReport {
    CallReport {
        result: error.map_or("ok", |error| error.kind().code),
        latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        detail: error.map(ToString::to_string),
        remediation: error.and_then(ApiError::remediation),
    }
}
