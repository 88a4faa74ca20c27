//! `POST /api/token`: one key for one caller.

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
use crate::domain::audit::{Action, IssuedCredential};
use crate::domain::livekit::access_token::{AccessToken, Attachments, JoinGrant};
use crate::domain::livekit::lifetime::{Rfc3339, Validity, instant};
use crate::domain::livekit::names::{ParticipantIdentity, RoomName};
use crate::domain::livekit::participant_name::ParticipantName;
use crate::domain::livekit::token_request::{LiveKitRequest, TokenRequest};
use crate::domain::requests::provider::Provider;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    provider: Provider,
    token: AccessToken,
    expires_at: Rfc3339,
    refresh_at: Rfc3339,
    room_name: &'a RoomName,
    participant_identity: &'a ParticipantIdentity,
    server_url: &'a str,
}

/// Gives the key that the provider has: one signed here, or one minted at an upstream.
pub async fn issue(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let admission = guard::admit_caller(app, &mut request, Action::IssueToken).await?;
    let body = request.json(&admission).await?;
    match TokenRequest::parse(&body, &app.limits)? {
        TokenRequest::LiveKit(wanted) => sign(app, request.record, &admission, wanted).await,
        // Boxed, so that a request for a token that is signed here does not carry the space that an
        // HTTP client needs.
        TokenRequest::Realtime(wanted) => {
            Box::pin(realtime::issue(app, request.record, &admission, wanted)).await
        }
    }
}

/// Signs a LiveKit token.
async fn sign(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
    wanted: LiveKitRequest,
) -> Result<Reply, ApiError> {
    let server_url = app
        .server_url
        .as_deref()
        .ok_or(ApiError::Internal("a provider is on and has no address"))?;
    let record = record.asked_for(Provider::LiveKit, Some(&wanted.room_name));
    let identity = admission.authorize(wanted.participant_identity, Some(&wanted.room_name))?;
    let identity = identity.unwrap_or_else(|| ParticipantIdentity::guest(app.entropy.bytes()));
    let grant = JoinGrant {
        participant_name: wanted
            .participant_name
            .unwrap_or_else(|| ParticipantName::from(&identity)),
        participant_identity: identity,
        room_name: wanted.room_name,
        role: wanted.role,
        attachments: Attachments::default(),
    };
    let validity = Validity::starting_at(admission.now, wanted.lifetime);
    let signer = app
        .secrets
        .livekit
        .fetched_value()
        .await
        .ok_or(ApiError::SecretUnavailable)?;
    let jti = app.entropy.uuid();
    let token = signer.sign(&grant, validity, jti)?;
    record.issued = Some(IssuedCredential::Token(jti));
    let answer = Answer {
        provider: Provider::LiveKit,
        token,
        expires_at: Rfc3339::of(instant(validity.expires_at)),
        refresh_at: Rfc3339::of(validity.refresh_at()),
        room_name: &grant.room_name,
        participant_identity: &grant.participant_identity,
        server_url,
    };
    reply::json(StatusCode::OK, &answer)
}
