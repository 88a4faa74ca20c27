//! `POST /api/session`: opens a Realtime session with the key of a project.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::error::ApiError;
use super::guard;
use super::guard::admission::CallerAdmission;
use super::project_limits;
use super::realtime;
use super::record::Record;
use super::reply::{self, Reply};
use super::request::Request;
use super::{turn, vault_access};
use crate::app::App;
use crate::app::projects::{AuditContext, OpenVault, Projects, epoch_ms};
use crate::app::realtime::{ReservedMint, Upstream};
use crate::domain::audit::{Action, IssuedCredential};
use crate::domain::audit_log::entry::EventType;
use crate::domain::livekit::lifetime::Rfc3339;
use crate::domain::realtime::client_secret::{ClientSecret, SecretValue, SessionId};
use crate::domain::realtime::mint::MintRequest;
use crate::domain::realtime::session::{ModelOrVoice, SessionPlan};
use crate::domain::realtime::session_request::OpenSessionRequest;
use crate::domain::requests::provider::Provider;
use crate::domain::turn::ice_server::IceServers;
use crate::domain::turn::ice_url::IceUrl;
use crate::domain::vault::project_key::ProjectKey;
use crate::telemetry;
use crate::traces::{self, Step};

/// The longest time from the start of a request to its secret: the 10 s of a request, and the 3 s
/// for which a mint goes on without its caller.
const LONGEST_MINT: Duration = Duration::from_secs(13);

#[derive(Serialize)]
struct Answer<'a> {
    id: Option<&'a SessionId>,
    model: &'a ModelOrVoice,
    voice: &'a ModelOrVoice,
    client_secret: Secret<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_credentials: Option<TurnCredentials<'a>>,
    session_id: Uuid,
    webrtc_url: String,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TurnCredentials<'a> {
    ice_servers: &'a IceServers,
}

#[derive(Serialize)]
struct Secret<'a> {
    value: &'a SecretValue,
    expires_at: u64,
}

#[derive(Serialize)]
struct Metadata<'a> {
    model: &'a ModelOrVoice,
    voice: &'a ModelOrVoice,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_server: Option<&'a IceUrl>,
    created_at: Rfc3339,
}

/// A session whose secret was minted.
struct Opened {
    session_id: Uuid,
    secret: ClientSecret,
    ice_servers: Option<IceServers>,
    webrtc_url: String,
}

/// Opens a session.
pub async fn open(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let projects = vault_access::projects(app)?;
    let admission = guard::admit_caller(app, &mut request, Action::OpenSession).await?;
    let body = request.json(&admission).await?;
    let wanted = OpenSessionRequest::parse(
        &body,
        &app.request_policy.choices,
        projects.session_settings.allows_client_instructions,
    )?;
    request.record.provider = Some(Provider::OpenAi.as_str());
    let anonymous = &projects.session_settings.anonymous;
    let may_use = {
        let _span = traces::start(Step::Decide);
        admission.require_scope()?;
        admission.may_use(&wanted.project_id, anonymous)
    };
    let context = vault_access::caller_context(&request, &admission);
    let vault = projects.open_vault().await?;
    let outcome = match vault.open_key(&wanted.project_id, may_use).await {
        Ok(key) => {
            let parts = (projects, &vault, &admission);
            open_with_key(app, request.record, parts, &context, &wanted, &key).await
        }
        Err(error) => Err(error.into()),
    };
    let code = outcome
        .as_ref()
        .map_or_else(|error| error.kind().code, |_| "created");
    app.metrics.projects.session(code);
    let opened = match outcome {
        Ok(opened) => opened,
        Err(error) => return Err(recorded(&vault, &context, &wanted, error).await),
    };
    answer(&opened, &wanted, &context)
}

/// Opens a session with the project's key: the limits, the mint, the audit record.
async fn open_with_key(
    app: &App,
    record: &mut Record,
    (projects, vault, admission): (&Projects, &OpenVault<'_>, &CallerAdmission),
    context: &AuditContext,
    wanted: &OpenSessionRequest,
    key: &ProjectKey,
) -> Result<Opened, ApiError> {
    let upstream = upstream(app, wanted, key)?;
    record.mints = true;
    // In the order of refusal: what costs nobody anything, the caller's own budget, the project's.
    let reserved = realtime::reserve_mint(app, &upstream, &wanted.model, context.now).await?;
    guard::charge_mint(app, record, admission).await?;
    project_limits::charge(app, record, &wanted.project_id, context.now).await?;
    let session_id = app.entropy.uuid();
    let lifetime = projects.session_settings.lifetime;
    let unless_kept = lifetime.min(upstream.plan().secret_lifetime + LONGEST_MINT);
    let slot = projects
        .take_slot(
            session_id,
            &wanted.project_id,
            admission.caller_hash,
            context.now,
            context.now + unless_kept,
        )
        .await;
    let mut lease =
        slot.map_err(|error| project_limits::no_slot(app, record, error, context.now))?;
    lease.secret_may_exist();
    let secret = match mint(app, record, &upstream, reserved, (wanted, admission)).await {
        Ok(secret) => secret,
        Err(error) => {
            lease.cancel().await;
            return Err(error);
        }
    };
    let entry = context
        .entry(EventType::SessionCreated)
        .of_project(&wanted.project_id)
        .of_session(session_id);
    // A slow TURN service must not leave the secret unrecorded, nor the record without its line.
    let record_it = async {
        let recorded = vault.record(entry).await?;
        telemetry::audit_record(&recorded);
        Ok::<_, ApiError>(())
    };
    let turn = traces::in_branch(ice_servers(app, wanted, admission));
    let (recorded, ice_servers) = tokio::join!(record_it, turn);
    recorded?;
    lease.keep(epoch_ms(context.now + lifetime)).await?;
    record.issued = Some(IssuedCredential::Secret(secret.session_id.clone()));
    Ok(Opened {
        session_id,
        webrtc_url: upstream.calls_url(),
        ice_servers,
        secret,
    })
}

/// Returns OpenAI for the project's key and the caller's instructions.
fn upstream(
    app: &App,
    wanted: &OpenSessionRequest,
    key: &ProjectKey,
) -> Result<Upstream, ApiError> {
    let upstream = app
        .upstreams
        .for_projects()
        .ok_or(ApiError::Internal("projects have no upstream"))?;
    let mut plan: SessionPlan = upstream.plan().clone();
    if let Some(instructions) = &wanted.instructions {
        plan.instructions = Some(instructions.clone());
    }
    Ok(upstream.with_key(key, plan))
}

async fn mint(
    app: &App,
    record: &mut Record,
    upstream: &Upstream,
    reserved: ReservedMint,
    (wanted, admission): (&OpenSessionRequest, &CallerAdmission),
) -> Result<ClientSecret, ApiError> {
    let request = MintRequest {
        model: wanted.model.clone(),
        voice: wanted.voice.clone(),
        caller: admission.caller_hash,
        now: admission.now,
    };
    let minted = realtime::count_mint(app, upstream.label(), reserved.mint(request)).await;
    record.upstream_id = minted.upstream_id;
    minted.outcome.map_err(ApiError::Upstream)
}

/// Issues TURN credentials, where the operator offers them and the caller wants them. A provider
/// that fails is counted and does not fail the session.
async fn ice_servers(
    app: &App,
    wanted: &OpenSessionRequest,
    admission: &CallerAdmission,
) -> Option<IceServers> {
    let offered = app.turn.as_ref().filter(|_| wanted.wants_turn)?;
    // The session's own record keeps what it says of the mint.
    let issued = turn::issue_to(app, &mut Record::default(), admission, offered).await;
    let outcome = if issued.is_ok() { "issued" } else { "refused" };
    app.metrics.turn_credentials(offered.provider, outcome);
    issued.ok()
}

/// Records a session that could not be opened. A project that is not the caller's leaves no record,
/// and neither does a limit: whoever runs into it could fill the audit log.
async fn recorded(
    vault: &OpenVault<'_>,
    context: &AuditContext,
    wanted: &OpenSessionRequest,
    error: ApiError,
) -> ApiError {
    match error.kind().status {
        StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS => error,
        _ => {
            let entry = context
                .entry(EventType::SessionError)
                .of_project(&wanted.project_id);
            vault_access::record_refusal(vault, entry, error).await
        }
    }
}

fn answer(
    opened: &Opened,
    wanted: &OpenSessionRequest,
    context: &AuditContext,
) -> Result<Reply, ApiError> {
    let (model, voice) = (&wanted.model, &wanted.voice);
    let answer = Answer {
        id: opened.secret.session_id.as_ref(),
        model,
        voice,
        client_secret: Secret {
            value: &opened.secret.value,
            expires_at: opened.secret.expires_at,
        },
        turn_credentials: opened
            .ice_servers
            .as_ref()
            .map(|ice_servers| TurnCredentials { ice_servers }),
        session_id: opened.session_id,
        webrtc_url: opened.webrtc_url.clone(),
        metadata: Metadata {
            model,
            voice,
            turn_server: opened
                .ice_servers
                .as_ref()
                .and_then(IceServers::turn_server),
            created_at: Rfc3339::of(context.now),
        },
    };
    reply::json(StatusCode::OK, &answer)
}
