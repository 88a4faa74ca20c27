//! `POST /api/token`: one key for one caller.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::reply::{self, Reply};
use super::request::{BodyStream, Request};
use crate::app::App;
use crate::domain::access_token::{AccessToken, Attachments, JoinGrant};
use crate::domain::audit::Action;
use crate::domain::fields::FieldError;
use crate::domain::lifetime::{Validity, instant, rfc3339};
use crate::domain::names::{ParticipantIdentity, ParticipantName, RoomName};
use crate::domain::provider::Provider;
use crate::domain::token_request::TokenRequest;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    provider: Provider,
    token: AccessToken,
    expires_at: String,
    refresh_at: String,
    room_name: &'a RoomName,
    participant_identity: &'a ParticipantIdentity,
    server_url: &'a str,
}

/// Signs a LiveKit token.
pub async fn issue(app: &App, mut request: Request<'_, impl BodyStream>) -> Result<Reply, ApiError> {
    let admission = guard::caller(app, &mut request, Action::IssueToken).await?;
    let body = request.json(&admission).await?;
    let wanted = TokenRequest::parse(&body, &app.limits)?;
    let server_url = app.server_url.as_deref().ok_or_else(not_configured)?;
    let record = request.record.asked_for(wanted.provider, &wanted.room_name);
    let identity = admission.authorize(wanted.participant_identity, &wanted.room_name)?;
    let identity = identity.unwrap_or_else(|| ParticipantIdentity::guest(app.entropy.bytes()));
    let grant = JoinGrant {
        participant_name: wanted.participant_name.unwrap_or_else(|| ParticipantName::from(&identity)),
        participant_identity: identity,
        room_name: wanted.room_name,
        role: wanted.role,
        attachments: Attachments::default(),
    };
    let validity = Validity::starting_at(admission.now, wanted.lifetime);
    let signer = app.secrets.livekit.value().ok_or(ApiError::SecretUnavailable)?;
    let jti = app.entropy.uuid();
    let token = signer.sign(&grant, validity, jti)?;
    record.jti = Some(jti);
    let answer = Answer {
        provider: wanted.provider,
        token,
        expires_at: rfc3339(instant(validity.expires_at)),
        refresh_at: rfc3339(validity.refresh_at()),
        room_name: &grant.room_name,
        participant_identity: &grant.participant_identity,
        server_url,
    };
    reply::json(StatusCode::OK, &answer)
}

fn not_configured() -> ApiError {
    ApiError::InvalidRequest(vec![FieldError { field: "provider".into(), message: "must be a provider that this service has".into() }])
}
