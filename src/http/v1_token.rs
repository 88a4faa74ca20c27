//! `POST /api/v1/token`: for clients of a plain Realtime token service, which send no provider,
//! room or name.

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::guard;
use super::realtime;
use super::reply::{self, Reply};
use super::request::Request;
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::livekit::lifetime::{Rfc3339, instant};
use crate::domain::realtime::client_secret::SecretValue;
use crate::domain::realtime::request::RealtimeRequest;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlainTokenResponse<'a> {
    token: &'a SecretValue,
    endpoint: String,
    expires_at: Rfc3339,
}

/// Issues a Realtime client secret. Without a Realtime provider this route does not exist.
pub async fn issue(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let provider = app
        .request_policy
        .providers
        .realtime()
        .ok_or(ApiError::NotFound)?;
    let admission = guard::admit_caller(app, &mut request, Action::IssueToken).await?;
    let body = request.json(&admission).await?;
    let wanted = RealtimeRequest::parse_plain(&body, provider, &app.request_policy.choices)?;
    let (secret, endpoint) = realtime::mint(app, request.record, &admission, &wanted).await?;
    let response = PlainTokenResponse {
        token: &secret.value,
        endpoint,
        expires_at: Rfc3339::of(instant(secret.expires_at)),
    };
    reply::json(StatusCode::OK, &response)
}
