//! `POST /api/connection-details`: LiveKit's standard token endpoint, for its clients'
//! `TokenSource.endpoint(url)`.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::reply::{self, Reply};
use super::request::Request;
use crate::app::App;
use crate::domain::audit::{Action, IssuedCredential};
use crate::domain::livekit::access_token::{AccessToken, JoinGrant, Role};
use crate::domain::livekit::connection_request::{ConnectionRequest, random_room};
use crate::domain::livekit::lifetime::{Lifetime, Validity};
use crate::domain::livekit::names::{ParticipantIdentity, RoomName};
use crate::domain::livekit::participant_name::ParticipantName;
use crate::domain::requests::provider::Provider;

#[derive(Serialize)]
struct Answer<'a> {
    server_url: &'a str,
    participant_token: AccessToken,
    room_name: &'a RoomName,
    participant_name: &'a ParticipantName,
}

/// Signs a LiveKit token for a speaker. Without LiveKit there is no such route.
pub async fn issue(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let server_url = app.server_url.as_deref().ok_or(ApiError::NotFound)?;
    let admission = guard::admit_caller(app, &mut request, Action::IssueToken).await?;
    let body = request.json(&admission).await?;
    let wanted = ConnectionRequest::parse(&body, &app.limits)?;
    let room_name = match wanted.room_name {
        Some(room_name) => room_name,
        None => random_room(app.entropy.bytes(), &app.limits)?,
    };
    let record = request
        .record
        .asked_for(Provider::LiveKit, Some(&room_name));
    let identity = admission.authorize(wanted.participant_identity, Some(&room_name))?;
    let identity = identity.unwrap_or_else(|| ParticipantIdentity::guest(app.entropy.bytes()));
    let grant = JoinGrant {
        participant_name: wanted
            .participant_name
            .unwrap_or_else(|| ParticipantName::from(&identity)),
        participant_identity: identity,
        room_name,
        role: Role::Speaker,
        attachments: wanted.attachments,
    };
    let validity = Validity::starting_at(
        admission.now,
        Lifetime::standard_endpoint(app.limits.ceiling),
    );
    let signer = app
        .secrets
        .livekit
        .fetched_value()
        .await
        .ok_or(ApiError::SecretUnavailable)?;
    let jti = app.entropy.uuid();
    let participant_token = signer.sign(&grant, validity, jti)?;
    record.issued = Some(IssuedCredential::Token(jti));
    let answer = Answer {
        server_url,
        participant_token,
        room_name: &grant.room_name,
        participant_name: &grant.participant_name,
    };
    reply::json(StatusCode::CREATED, &answer)
}
