//! Tries a project's key at its provider before it is saved.

use std::time::{Duration, SystemTime};

use super::error::ApiError;
use super::realtime;
use crate::app::App;
use crate::domain::realtime::mint::{MintError, MintRequest};
use crate::domain::realtime::session::SessionPlan;
use crate::domain::requests::fields::BodyError;
use crate::domain::requests::provider::Provider;
use crate::domain::vault::project_key::ProjectKey;

/// The shortest lifetime that a provider gives a client secret.
const SECRET_LIFETIME: Duration = Duration::from_secs(10);

/// Mints a client secret with the key, which is what the key is for, and drops it.
///
/// # Errors
/// 400 for a key that the provider refuses; otherwise what the provider's response means.
pub async fn try_key(app: &App, key: &ProjectKey, now: SystemTime) -> Result<(), ApiError> {
    let upstream = app
        .upstreams
        .for_projects()
        .ok_or(ApiError::Internal("projects have no upstream"))?;
    let choices = &app.request_policy.choices;
    let model = choices
        .default_model(Provider::OpenAi)
        .ok_or(ApiError::Internal("projects have no model"))?;
    let hash_key = app.secrets.hash_key.fetched_value().await;
    let hash_key = hash_key.ok_or(ApiError::SecretUnavailable)?;
    let plan = SessionPlan {
        secret_lifetime: SECRET_LIFETIME,
        ..upstream.plan().clone()
    };
    let upstream = upstream.with_key(key, plan);
    let request = MintRequest {
        model: model.clone(),
        voice: choices.voice.clone(),
        caller: hash_key.hash("diagnostics", b"operator"),
        now,
    };
    let reserved = realtime::reserve_mint(app, &upstream, model, now).await?;
    let minted = realtime::count_mint(app, upstream.label(), reserved.mint(request)).await;
    match minted.outcome {
        Ok(_) => Ok(()),
        Err(MintError::CredentialsRejected) => {
            Err(BodyError::field("openai_key", "was refused by the provider").into())
        }
        Err(MintError::SERVER_ERROR) => Err(ApiError::ProviderFailing),
        Err(error) => Err(ApiError::Upstream(error)),
    }
}
