//! `POST /api/connection-details`: LiveKit's standard token endpoint, for its clients'
//! `TokenSource.endpoint(url)`.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::reply::{self, Reply};
use super::request::Request;
use super::{guard, livekit};
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::livekit::access_token::{AccessToken, Role};
use crate::domain::livekit::connection_request::{ConnectionRequest, random_room};
use crate::domain::livekit::lifetime::Lifetime;
use crate::domain::livekit::names::RoomName;
use crate::domain::livekit::participant_name::ParticipantName;
use crate::domain::livekit::token_request::LiveKitRequest;

#[derive(Serialize)]
struct ConnectionResponse<'a> {
    server_url: &'a str,
    participant_token: AccessToken,
    room_name: &'a RoomName,
    participant_name: &'a ParticipantName,
}

/// Issues a LiveKit token for a speaker.
pub async fn issue(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let admission = guard::admit_caller(app, &mut request, Action::IssueToken).await?;
    let body = request.json(&admission).await?;
    let wanted = ConnectionRequest::parse(&body, &app.request_policy)?;
    let room_name = match wanted.room_name {
        Some(room_name) => room_name,
        None => random_room(app.entropy.bytes(), &app.request_policy)?,
    };
    let speaker = LiveKitRequest {
        room_name,
        participant_identity: wanted.participant_identity,
        participant_name: wanted.participant_name,
        role: Role::Speaker,
        lifetime: Lifetime::standard_endpoint(app.request_policy.ceiling),
    };
    let record = request.record;
    let signed = livekit::sign(app, record, &admission, speaker, wanted.attachments).await?;
    let response = ConnectionResponse {
        server_url: signed.server_url,
        participant_token: signed.token,
        room_name: &signed.grant.room_name,
        participant_name: &signed.grant.participant_name,
    };
    reply::json(StatusCode::CREATED, &response)
}
