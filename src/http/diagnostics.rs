//! `GET /api/diagnostics/realtime`: can each Realtime provider be asked, and what to do if not. It
//! spends nothing; `POST` also mints one secret at each, which nobody gets to see.

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

#[derive(Serialize)]
struct Answer<'a> {
    providers: Vec<Line<'a>>,
}

/// One provider.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    provider: Provider,
    endpoint: &'a str,
    credential: &'static str,
    breaker: &'static str,
    probe: Check,
    #[serde(skip_serializing_if = "Option::is_none")]
    mint: Option<Check>,
}

/// What came of asking.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    /// `ok` or an error's code.
    result: &'static str,
    latency_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remediation: Option<&'static str>,
}

/// Asks each provider for its models.
pub async fn probe(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let now = guard::admit_operator(app, &mut request).await?.now;
    let lines = app.upstreams.all().map(|upstream| line(upstream, now));
    reply::json(
        StatusCode::OK,
        &Answer {
            providers: join_all(lines).await,
        },
    )
}

/// The same, and mints once. All providers at once: one after the other could take longer than a
/// request may.
pub async fn probe_and_mint(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let now = guard::admit_operator(app, &mut request).await?.now;
    request.record.action = Some((Action::DiagnoseRealtime, now));
    request.record.mints = true;
    let lines = app.upstreams.all().map(async |upstream| {
        let (mint, trial) = mint(app, upstream, now).await.unzip();
        (
            Line {
                mint,
                ..line(upstream, now).await
            },
            trial,
        )
    });
    let (providers, trials): (_, Vec<_>) = join_all(lines).await.into_iter().unzip();
    request.record.trials = Some(trials.into_iter().flatten().collect());
    reply::json(StatusCode::OK, &Answer { providers })
}

async fn line(upstream: &Upstream, now: SystemTime) -> Line<'_> {
    let stopwatch = Stopwatch::start();
    let probed = upstream.probe(now).await;
    Line {
        provider: upstream.provider(),
        endpoint: upstream.host(),
        credential: upstream.credential_kind(),
        breaker: upstream.breaker_state(now).as_str(),
        probe: check(&probed.map_err(ApiError::Upstream), stopwatch.elapsed()),
        mint: None,
    }
}

/// `None` only for a provider without a model, which no configured one is, and without a hash key,
/// without which no operator is let in.
async fn mint(app: &App, upstream: &Upstream, now: SystemTime) -> Option<(Check, ProbeResult)> {
    let choices = &app.limits.choices;
    let model = choices.default_model(upstream.provider())?;
    let caller = app
        .secrets
        .hash_key
        .value()?
        .hash("diagnostics", b"operator");
    let stopwatch = Stopwatch::start();
    let ask = MintRequest {
        model: model.clone(),
        voice: choices.voice.clone(),
        caller,
        now,
    };
    let outcome = match realtime::reserve_mint(app, upstream, model, now).await {
        Ok(reserved) => realtime::ask_upstream(app, upstream.provider(), reserved, ask)
            .await
            .outcome
            .map_err(ApiError::Upstream),
        Err(error) => Err(error),
    };
    let check = check(&outcome, stopwatch.elapsed());
    Some((
        check,
        (
            upstream.provider(),
            outcome
                .map(|secret| IssuedCredential::Secret(secret.session_id))
                .map_err(|error| error.kind().code),
        ),
    ))
}

fn check<T>(outcome: &Result<T, ApiError>, latency: Duration) -> Check {
    let error = outcome.as_ref().err();
    Check {
        result: error.map_or("ok", |error| error.kind().code),
        latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        detail: error.map(ToString::to_string),
        remediation: error.and_then(ApiError::remediation),
    }
}
