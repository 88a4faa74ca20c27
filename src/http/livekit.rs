//! The signing of LiveKit tokens, which `POST /api/token` and `POST /api/connection-details` share.

use super::error::ApiError;
use super::guard::admission::CallerAdmission;
use super::record::Record;
use crate::app::App;
use crate::domain::audit::IssuedCredential;
use crate::domain::livekit::access_token::{AccessToken, Attachments, JoinGrant};
use crate::domain::livekit::lifetime::Validity;
use crate::domain::livekit::names::ParticipantIdentity;
use crate::domain::livekit::participant_name::ParticipantName;
use crate::domain::livekit::token_request::LiveKitRequest;
use crate::domain::requests::provider::Provider;
use crate::traces::{self, Step};

/// A signed token with what it grants.
pub struct SignedToken<'a> {
    pub token: AccessToken,
    pub grant: JoinGrant,
    pub validity: Validity,
    /// The address of the server where the token is valid.
    pub server_url: &'a str,
}

/// Authorizes a request and signs its token. An anonymous caller who requests no identity gets a
/// random one.
///
/// # Errors
/// 403 by policy, 503 while the signing key is missing.
pub async fn sign<'a>(
    app: &'a App,
    record: &mut Record,
    admission: &CallerAdmission,
    request: LiveKitRequest,
    attachments: Attachments,
) -> Result<SignedToken<'a>, ApiError> {
    record.set_target(Provider::LiveKit, Some(&request.room_name));
    let server_url = app
        .server_url
        .as_deref()
        .ok_or(ApiError::Internal("a provider is on and has no address"))?;
    let identity = admission
        .authorize(request.participant_identity, Some(&request.room_name))?
        .unwrap_or_else(|| ParticipantIdentity::guest(app.entropy.bytes()));
    let grant = JoinGrant {
        participant_name: request
            .participant_name
            .unwrap_or_else(|| ParticipantName::from(&identity)),
        participant_identity: identity,
        room_name: request.room_name,
        role: request.role,
        attachments,
    };
    let validity = Validity::starting_at(admission.now, request.lifetime);
    let _span = traces::start(Step::Sign);
    let signer = app
        .secrets
        .livekit
        .fetched_value()
        .await
        .ok_or(ApiError::SecretUnavailable)?;
    let jti = app.entropy.uuid();
    let token = signer.sign(&grant, validity, jti)?;
    record.issued = Some(IssuedCredential::Token(jti));
    Ok(SignedToken {
        token,
        grant,
        validity,
        server_url,
    })
}
