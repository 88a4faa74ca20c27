//! Mints Realtime client secrets at Azure OpenAI and OpenAI, which differ only in the header of the
//! credential and in the URL for the browser.
//!
//! A mint takes at most [`MintDeadlines::total`]. It is repeated once, and only if nothing was
//! sent, if the upstream returned 5xx, or if the upstream refused a credential of which a newer one
//! exists. After any other failure the first attempt may have made a secret that no one receives.
//! Nothing that an upstream sends leaves this module except the secret, its expiry and checked ids.
//!
//! A mint runs in a task, so that it goes on when its caller hangs up: the breaker counts what the
//! upstream does, and nothing else.

mod attempt;
mod breakers;
pub mod client;
pub mod credential;
pub mod deadlines;
mod response;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use self::attempt::MintAttempt;
use self::breakers::{ModelBreakers, OutcomeReport};
use self::client::SharedClient;
use self::credential::{Credential, CredentialHeader};
use self::deadlines::MintDeadlines;
use self::response::{AttemptError, Retry, require_success};
use crate::clock::{Clock, Stopwatch};
use crate::domain::limits::breaker::{BreakerState, CallOutcome};
use crate::domain::realtime::client_secret::ClientSecret;
use crate::domain::realtime::endpoint::RealtimeEndpoint;
use crate::domain::realtime::mint::{MintError, MintRequest, Minted};
use crate::domain::realtime::session::{ModelOrVoice, SessionPlan};
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::domain::requests::provider::Provider;
use crate::entropy::Entropy;

/// The resources that all Realtime upstreams share.
#[derive(Clone)]
pub struct SharedResources {
    /// The HTTP client and its connections.
    pub client: Arc<SharedClient>,
    /// One permit for each mint in flight.
    pub permits: Arc<Semaphore>,
    /// The clock of the breakers.
    pub clock: Arc<dyn Clock>,
    /// The randomness for jitter.
    pub entropy: Arc<dyn Entropy>,
    /// The time limits of a mint.
    pub deadlines: MintDeadlines,
}

/// A provider that mints Realtime client secrets.
pub struct RealtimeUpstream {
    provider: Provider,
    /// The URLs of the upstream.
    pub endpoint: RealtimeEndpoint,
    /// The credential that authenticates roomkey to the upstream.
    pub credential: Credential,
    plan: SessionPlan,
    breakers: Arc<ModelBreakers>,
    shared: SharedResources,
}

/// Permission for one mint. It holds one of the permits for mints in flight and the permit of the
/// model's breaker, and returns both if it is dropped unused.
pub struct MintPermit {
    upstream: Arc<RealtimeUpstream>,
    report: OutcomeReport,
    in_flight: OwnedSemaphorePermit,
}

impl RealtimeUpstream {
    /// Creates an upstream to which nothing has been sent yet.
    #[must_use]
    pub fn new(
        provider: Provider,
        endpoint: RealtimeEndpoint,
        credential: Credential,
        plan: SessionPlan,
        shared: SharedResources,
    ) -> Self {
        let breakers = Arc::new(ModelBreakers::new(provider, Arc::clone(&shared.clock)));
        Self {
            provider,
            endpoint,
            credential,
            plan,
            breakers,
            shared,
        }
    }

    /// Acquires permission for one mint and sends nothing yet. Waits for the first fetch of the
    /// credential.
    ///
    /// # Errors
    /// [`MintError::NoCredential`], [`MintError::Full`] or [`MintError::Paused`].
    pub async fn acquire_permit(
        self: &Arc<Self>,
        model: &ModelOrVoice,
        now: SystemTime,
    ) -> Result<MintPermit, MintError> {
        self.credential_header(now).await?;
        // The breaker comes last: it must not count what is no fault of the upstream.
        self.shared.client.client().await?;
        let permits = Arc::clone(&self.shared.permits);
        let in_flight = permits.try_acquire_owned().map_err(|_| MintError::Full)?;
        let report = self
            .breakers
            .admit(model)
            .map_err(|open| MintError::Paused(open.retry_after))?;
        Ok(MintPermit {
            upstream: Arc::clone(self),
            report,
            in_flight,
        })
    }

    /// Returns the worst state of the breakers of all models.
    #[must_use]
    pub fn breaker_state(&self, now: SystemTime) -> BreakerState {
        self.breakers.worst_state(now)
    }

    /// Requests the list of models, which costs nothing, to find out whether a mint could succeed.
    ///
    /// # Errors
    /// The error that a mint would have.
    pub async fn probe(&self, now: SystemTime) -> Result<(), MintError> {
        let probe = async {
            let credential = self.credential_header(now).await?;
            let client = self.shared.client.client().await?;
            let request = credential.add_to(client.get(self.endpoint.models_url()));
            require_success(&request.send().await?)
        };
        match timeout(self.shared.deadlines.total, probe).await {
            Ok(outcome) => outcome.map_err(|AttemptError { error, .. }| error),
            Err(_elapsed) => Err(MintError::Timeout),
        }
    }

    /// Mints with at most two attempts.
    async fn mint(
        &self,
        request: &MintRequest,
        stopwatch: &Stopwatch,
        id: &mut Option<UpstreamId>,
    ) -> Result<ClientSecret, MintError> {
        let client = self.shared.client.client().await?;
        let credential = self.credential_header(request.now).await?;
        let attempt = MintAttempt {
            client: &client,
            provider: self.provider,
            endpoint: &self.endpoint,
            request,
            body: self.plan.mint_body(&request.model, &request.voice),
        };
        let failed = match attempt.send(&credential, id).await {
            Ok(secret) => return Ok(secret),
            Err(failed) => failed,
        };
        let credential = match failed.retry {
            Retry::Never => None,
            Retry::AfterPause => self
                .pause_before_retry(stopwatch)
                .await
                .then_some(credential),
            Retry::WithNewCredential => {
                self.newer_credential(&credential, request.now, stopwatch)
                    .await
            }
        };
        let credential = credential.ok_or(failed.error)?;
        attempt.send(&credential, id).await.map_err(|failed| {
            if matches!(failed.retry, Retry::WithNewCredential) {
                self.credential.request_refresh();
            }
            failed.error
        })
    }

    /// Waits before the second attempt. Returns false at once if too little time is left for it.
    async fn pause_before_retry(&self, stopwatch: &Stopwatch) -> bool {
        let random = self.shared.entropy.bytes();
        let deadlines = self.shared.deadlines;
        let Some(pause) = deadlines.retry_pause(stopwatch.elapsed(), random) else {
            return false;
        };
        sleep(pause).await;
        true
    }

    /// Returns another credential than the refused one, if there is one and enough time is left.
    async fn newer_credential(
        &self,
        refused: &CredentialHeader,
        now: SystemTime,
        stopwatch: &Stopwatch,
    ) -> Option<CredentialHeader> {
        let deadlines = self.shared.deadlines;
        let time_left = deadlines.time_to_prepare_retry(stopwatch.elapsed());
        let newer = self.credential.newer_header(refused, self.provider, now);
        timeout(time_left, newer).await.ok()?
    }

    async fn credential_header(&self, now: SystemTime) -> Result<CredentialHeader, MintError> {
        let header = self.credential.header(self.provider, now).await;
        header.ok_or(MintError::NoCredential)
    }
}

impl MintPermit {
    /// Mints one secret. The mint goes on when the returned future is dropped, and its outcome
    /// counts for the breaker; only the secret is lost.
    pub async fn mint(self, request: MintRequest) -> Minted {
        let mint = tokio::spawn(async move {
            let Self {
                upstream,
                report,
                in_flight: _in_flight,
            } = self;
            let stopwatch = Stopwatch::start();
            let mut upstream_id = None;
            let mint = upstream.mint(&request, &stopwatch, &mut upstream_id);
            let outcome = timeout(upstream.shared.deadlines.total, mint)
                .await
                .unwrap_or(Err(MintError::Timeout));
            report.report(match &outcome {
                Ok(_) => CallOutcome::Answered,
                Err(error) => error.outcome(),
            });
            Minted {
                outcome,
                upstream_id,
                duration: stopwatch.elapsed(),
            }
        });
        mint.await.unwrap_or(Minted {
            outcome: Err(MintError::Failed("the mint ended in a panic")),
            upstream_id: None,
            duration: Duration::ZERO,
        })
    }
}

#[cfg(test)]
mod tests;
