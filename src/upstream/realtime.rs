//! Mints Realtime client secrets: one way for Azure OpenAI and OpenAI, which differ in the header
//! that carries the key and in the address for the browser.
//!
//! A request waits for one answer and no longer than [`MintDeadlines::whole`], whatever happens. It is
//! tried once more only where nothing was sent, the upstream itself said 5xx, or it refused a key
//! of which there is a newer one: any other silence may have made a secret that nobody sees.
//! Nothing that an upstream says leaves this file but the secret, its expiry and checked ids.
//!
//! A mint runs in a task of its own, so that a caller who hangs up does not end it: only what the
//! upstream does counts for the breaker.

pub mod client;
pub mod credential;
mod reading;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::{Client, RequestBuilder, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use self::client::SharedClient;
use self::credential::{Credential, CredentialHeader};
use crate::clock::{Clock, Stopwatch};
use crate::domain::limits::breaker::{Breaker, BreakerPermit, BreakerState, CallOutcome};
use crate::domain::realtime::client_secret::ClientSecret;
use crate::domain::realtime::endpoint::Endpoint;
use crate::domain::realtime::mint::{MintError, MintRequest};
use crate::domain::realtime::session::{ModelOrVoice, SessionPlan};
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::domain::requests::provider::Provider;
use crate::entropy::Entropy;

/// At OpenAI an end user by whom abuse can be told apart. Azure does not document the header, so it
/// is not sent there.
const SAFETY_IDENTIFIER: &str = "OpenAI-Safety-Identifier";
/// How long one mint may take.
#[derive(Debug, Clone, Copy)]
pub struct MintDeadlines {
    /// From the begin to the secret, a second try included.
    pub whole: Duration,
    /// A second try comes after a random part of this ("full jitter"), so that callers who failed
    /// together do not return together.
    pub pause: Duration,
    /// With less than this left a second try would only be cut off.
    pub least: Duration,
}

impl Default for MintDeadlines {
    fn default() -> Self {
        Self {
            whole: Duration::from_secs(3),
            pause: Duration::from_millis(250),
            least: Duration::from_millis(500),
        }
    }
}

/// Mints in flight at all upstreams together. Fewer than the edge serves requests, so that an
/// upstream that hangs leaves seats for LiveKit's tokens.
pub const MINTS_IN_FLIGHT: usize = 2_000;

/// What all upstreams share.
#[derive(Clone)]
pub struct Shared {
    /// Connections.
    pub client: Arc<SharedClient>,
    /// One permit for each mint in flight.
    pub permits: Arc<Semaphore>,
    /// For the breaker and for tokens that expire.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub entropy: Arc<dyn Entropy>,
    /// How long one mint may take.
    pub bounds: MintDeadlines,
}

/// One upstream.
pub struct RealtimeUpstream {
    provider: Provider,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What opens it.
    pub credential: Credential,
    plan: SessionPlan,
    /// One for each model, so that a model that fails closes no other.
    breakers: Mutex<HashMap<ModelOrVoice, Breaker>>,
    shared: Shared,
}

/// What came of a mint.
#[derive(Debug)]
pub struct Minted {
    /// The secret.
    pub outcome: Result<ClientSecret, MintError>,
    /// By which the upstream's people find its last answer.
    pub upstream_id: Option<UpstreamId>,
    /// How long the upstream took, both tries and the pause between them.
    pub duration: Duration,
}

/// Permission for one mint. It holds a place among the mints in flight and the breaker's permit,
/// and gives both back where it is dropped unused.
pub struct MintPermit {
    breaker_permit: BreakerReport,
    place: OwnedSemaphorePermit,
}

/// One attempt that brought no secret.
struct Failure {
    error: MintError,
    repeat: Repeat,
}

/// Whether an attempt may be repeated.
enum Repeat {
    Never,
    /// Nothing was sent, or the upstream itself gave up on it.
    AfterPause,
    /// The upstream does not accept the credential; another one may be accepted.
    WithOtherCredential,
}

impl From<MintError> for Failure {
    fn from(error: MintError) -> Self {
        Self {
            error,
            repeat: Repeat::Never,
        }
    }
}

impl RealtimeUpstream {
    /// Creates an upstream that is asked nothing yet.
    #[must_use]
    pub fn new(
        provider: Provider,
        endpoint: Endpoint,
        credential: Credential,
        plan: SessionPlan,
        shared: Shared,
    ) -> Self {
        Self {
            provider,
            endpoint,
            credential,
            plan,
            breakers: Mutex::default(),
            shared,
        }
    }

    /// Takes all that a mint needs beside the upstream's answer, and asks nothing yet. Waits for
    /// the first fetch of the credential.
    ///
    /// # Errors
    /// [`MintError::NoCredential`], [`MintError::Full`] or [`MintError::Paused`].
    pub async fn mint_permit(
        self: &Arc<Self>,
        model: &ModelOrVoice,
        now: SystemTime,
    ) -> Result<MintPermit, MintError> {
        self.credential
            .header(self.provider, now)
            .await
            .ok_or(MintError::NoCredential)?;
        // Before the breaker, which must not count what is no fault of the upstream's.
        self.client().await?;
        let places = Arc::clone(&self.shared.permits);
        let place = places.try_acquire_owned().map_err(|_| MintError::Full)?;
        let admitted_at = self.shared.clock.now();
        let admitted = self
            .breakers()
            .entry(model.clone())
            .or_default()
            .admit(admitted_at);
        let permit = admitted.map_err(|paused| MintError::Paused(paused.retry_after))?;
        let (upstream, model) = (Arc::clone(self), model.clone());
        Ok(MintPermit {
            breaker_permit: BreakerReport {
                upstream,
                model,
                permit,
                outcome: CallOutcome::Nothing,
            },
            place,
        })
    }

    /// Returns the worst state of the breakers of all models.
    #[must_use]
    pub fn breaker_state(&self, now: SystemTime) -> BreakerState {
        let breakers = self.breakers();
        breakers
            .values()
            .map(|breaker| breaker.state(now))
            .max()
            .unwrap_or(BreakerState::Closed)
    }

    /// Asks for the list of models, which costs nothing, and says what a mint would meet.
    ///
    /// # Errors
    /// As a mint has them.
    pub async fn probe(&self, now: SystemTime) -> Result<(), MintError> {
        let answered = timeout(self.shared.bounds.whole, async {
            let credential = self.credential.header(self.provider, now).await;
            let credential = credential.ok_or(MintError::NoCredential)?;
            let request = self.client().await?.get(self.endpoint.models_url());
            let sent = authorized(request, &credential).send().await;
            let response = sent.map_err(|error| reading::not_answered(&error).error)?;
            if response.status().is_success() {
                Ok(())
            } else {
                Err(reading::refusal(&response).error)
            }
        });
        answered.await.unwrap_or(Err(MintError::Timeout))
    }

    /// Mints with at most two attempts.
    async fn mint(
        &self,
        ask: &MintRequest,
        stopwatch: &Stopwatch,
        id: &mut Option<UpstreamId>,
    ) -> Result<ClientSecret, MintError> {
        let body = self.plan.mint_body(&ask.model, &ask.voice);
        let client = self.client().await?;
        let credential = self.credential.header(self.provider, ask.now).await;
        let credential = credential.ok_or(MintError::NoCredential)?;
        let failure = match self
            .attempt(&client, ask, &credential, body.clone(), id)
            .await
        {
            Ok(secret) => return Ok(secret),
            Err(failure) => failure,
        };
        let credential = match failure.repeat {
            Repeat::Never => return Err(failure.error),
            Repeat::AfterPause => {
                let MintDeadlines {
                    whole,
                    pause,
                    least,
                } = self.shared.bounds;
                let random = f64::from(u16::from_be_bytes(self.shared.entropy.bytes()));
                let pause = pause.mul_f64(random / f64::from(u16::MAX));
                if stopwatch.elapsed() + pause + least > whole {
                    return Err(failure.error);
                }
                sleep(pause).await;
                credential
            }
            Repeat::WithOtherCredential => {
                let left = self.time_for_another_attempt(stopwatch);
                let replacement = self
                    .credential
                    .replacement(&credential, self.provider, ask.now);
                timeout(left, replacement)
                    .await
                    .ok()
                    .flatten()
                    .ok_or(failure.error)?
            }
        };
        let repeated = self.attempt(&client, ask, &credential, body, id).await;
        repeated.map_err(|failure| {
            if matches!(failure.repeat, Repeat::WithOtherCredential) {
                self.credential.request_another();
            }
            failure.error
        })
    }

    /// Returns how long the preparation of another attempt may take.
    fn time_for_another_attempt(&self, stopwatch: &Stopwatch) -> Duration {
        let MintDeadlines { whole, least, .. } = self.shared.bounds;
        whole.saturating_sub(stopwatch.elapsed() + least)
    }

    async fn attempt(
        &self,
        client: &Client,
        ask: &MintRequest,
        credential: &CredentialHeader,
        body: Vec<u8>,
        id: &mut Option<UpstreamId>,
    ) -> Result<ClientSecret, Failure> {
        let mut request = authorized(client.post(self.endpoint.mint_url()), credential);
        if self.provider == Provider::OpenAi {
            request = request.header(SAFETY_IDENTIFIER, ask.caller.to_string());
        }
        let request = request
            .header("Content-Type", "application/json")
            .body(body);
        let response = request
            .send()
            .await
            .map_err(|error| reading::not_answered(&error))?;
        *id = reading::upstream_id(&response);
        // Not for 403: there the key is known, and a new one would not help.
        if response.status() == StatusCode::UNAUTHORIZED {
            let error = MintError::CredentialsRejected;
            return Err(Failure {
                error,
                repeat: Repeat::WithOtherCredential,
            });
        }
        if !response.status().is_success() {
            return Err(reading::refusal(&response));
        }
        let body = reading::body(response).await?;
        let parsed = ClientSecret::parse(&body, ask.now);
        parsed.map_err(|unusable| MintError::Failed(unusable.as_str()).into())
    }

    async fn client(&self) -> Result<Client, MintError> {
        let client = self.shared.client.client().await;
        client.ok_or(MintError::Failed("the HTTP client could not be set up"))
    }

    fn breakers(&self) -> MutexGuard<'_, HashMap<ModelOrVoice, Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn authorized(request: RequestBuilder, (name, value): &CredentialHeader) -> RequestBuilder {
    request
        .header(name, value)
        .header("Accept", "application/json")
}

impl MintPermit {
    /// Mints one secret. It goes on to its end when this is dropped, since the upstream is asked
    /// and its answer counts for the breaker; only the secret is lost then.
    pub async fn mint(self, ask: MintRequest) -> Minted {
        let minting = tokio::spawn(async move {
            let Self {
                breaker_permit,
                place: _place,
            } = self;
            let upstream = Arc::clone(&breaker_permit.upstream);
            let stopwatch = Stopwatch::start();
            let mut upstream_id = None;
            let minting = upstream.mint(&ask, &stopwatch, &mut upstream_id);
            let minted = timeout(upstream.shared.bounds.whole, minting).await;
            let outcome = minted.unwrap_or(Err(MintError::Timeout));
            let finding = outcome
                .as_ref()
                .map_or_else(|error| error.finding(), |_| CallOutcome::Answered);
            breaker_permit.report(finding);
            Minted {
                outcome,
                upstream_id,
                duration: stopwatch.elapsed(),
            }
        });
        minting.await.unwrap_or(Minted {
            outcome: Err(MintError::Failed("the mint ended in a panic")),
            upstream_id: None,
            duration: Duration::ZERO,
        })
    }
}

/// Reports to the breaker when it is dropped, so that a permit that is not used does not keep the
/// place of the one request that is let through while the breaker is half open.
struct BreakerReport {
    upstream: Arc<RealtimeUpstream>,
    model: ModelOrVoice,
    permit: BreakerPermit,
    /// Nothing until the mint is over.
    outcome: CallOutcome,
}

impl BreakerReport {
    fn report(mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for BreakerReport {
    fn drop(&mut self) {
        let now = self.upstream.shared.clock.now();
        let mut breakers = self.upstream.breakers();
        let Some(breaker) = breakers.get_mut(&self.model) else {
            return;
        };
        let before = breaker.state(now);
        breaker.report(self.permit, self.outcome, now);
        let after = breaker.state(now);
        drop(breakers);
        let (provider, model) = (self.upstream.provider.as_str(), self.model.as_str());
        match (before, after) {
            (BreakerState::Closed | BreakerState::HalfOpen, BreakerState::Open) => {
                tracing::warn!(
                    provider,
                    model,
                    "the provider does not answer for this model; it is not asked for 30 s"
                );
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(provider, model, "the provider answers for this model again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
