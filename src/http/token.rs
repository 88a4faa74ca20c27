//! `POST /api/token`: one credential of one provider for one caller.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard::admission::CallerAdmission;
use super::record::Record;
use super::reply::{self, Reply};
use super::request::Request;
use super::{guard, livekit, realtime};
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::livekit::access_token::{AccessToken, Attachments};
use crate::domain::livekit::lifetime::{Rfc3339, instant};
use crate::domain::livekit::names::{ParticipantIdentity, RoomName};
use crate::domain::livekit::token_request::{LiveKitRequest, TokenRequest};
use crate::domain::requests::provider::Provider;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LiveKitResponse<'a> {
    provider: Provider,
    token: AccessToken,
    expires_at: Rfc3339,
    refresh_at: Rfc3339,
    room_name: &'a RoomName,
    participant_identity: &'a ParticipantIdentity,
    server_url: &'a str,
}

/// Issues a credential of the requested provider: one signed here or one minted at an upstream.
pub async fn issue(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let admission = guard::admit_caller(app, &mut request, Action::IssueToken).await?;
    let body = request.json(&admission).await?;
    match TokenRequest::parse(&body, &app.request_policy)? {
        TokenRequest::LiveKit(wanted) => {
            issue_livekit(app, request.record, &admission, wanted).await
        }
        // Boxed, so that a LiveKit token does not need the memory of an HTTP client.
        TokenRequest::Realtime(wanted) => {
            Box::pin(realtime::issue(app, request.record, &admission, wanted)).await
        }
    }
}

async fn issue_livekit(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
    request: LiveKitRequest,
) -> Result<Reply, ApiError> {
    let signed = livekit::sign(app, record, admission, request, Attachments::default()).await?;
    let response = LiveKitResponse {
        provider: Provider::LiveKit,
        token: signed.token,
        expires_at: Rfc3339::of(instant(signed.validity.expires_at)),
        refresh_at: Rfc3339::of(signed.validity.refresh_at()),
        room_name: &signed.grant.room_name,
        participant_identity: &signed.grant.participant_identity,
        server_url: signed.server_url,
    };
    reply::json(StatusCode::OK, &response)
}
