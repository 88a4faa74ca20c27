//! Sends one mint request to an upstream.

use reqwest::Client;

use super::credential::CredentialHeader;
use super::response::{AttemptError, require_success, upstream_id};
use crate::domain::realtime::client_secret::{ClientSecret, MAX_ANSWER_BYTES};
use crate::domain::realtime::endpoint::RealtimeEndpoint;
use crate::domain::realtime::mint::{MintError, MintRequest};
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::domain::requests::provider::Provider;
use crate::upstream::response_body::read_body;

/// Identifies an end user to OpenAI, so that abuse by one can be told apart from the others. Azure
/// does not document the header, so it is not sent there.
const SAFETY_IDENTIFIER: &str = "OpenAI-Safety-Identifier";

/// A mint request that can be sent more than once.
pub(super) struct MintAttempt<'a> {
    pub(super) client: &'a Client,
    pub(super) provider: Provider,
    pub(super) endpoint: &'a RealtimeEndpoint,
    pub(super) request: &'a MintRequest,
    pub(super) body: Vec<u8>,
}

impl MintAttempt<'_> {
    /// Sends the request and reads the secret. Stores the upstream's id of the request as soon as
    /// it is known.
    ///
    /// # Errors
    /// [`AttemptError`] says whether the attempt may be repeated.
    pub(super) async fn send(
        &self,
        credential: &CredentialHeader,
        id: &mut Option<UpstreamId>,
    ) -> Result<ClientSecret, AttemptError> {
        let mut request = credential.add_to(self.client.post(self.endpoint.mint_url()));
        if self.provider == Provider::OpenAi {
            request = request.header(SAFETY_IDENTIFIER, self.request.caller.to_string());
        }
        let request = request
            .header("Content-Type", "application/json")
            .body(self.body.clone());
        let response = request.send().await?;
        *id = upstream_id(&response);
        require_success(&response)?;
        let body = read_body(response, MAX_ANSWER_BYTES).await?;
        let secret = ClientSecret::parse(&body, self.request.now);
        secret.map_err(|error| MintError::Failed(error.as_str()).into())
    }
}
