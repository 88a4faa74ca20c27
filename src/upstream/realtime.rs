//! Mints Realtime client secrets: one way for Azure OpenAI and OpenAI, which differ in the header that carries the key and in the
//! address for the browser.
//!
//! A request waits for one answer and no longer than [`Bounds::whole`], whatever happens. It is tried once more only where
//! nothing was sent or the upstream itself said 5xx: any other silence may have made a secret that nobody sees. Nothing that an
//! upstream says leaves this file but the secret, its expiry and checked ids.

pub mod client;
pub mod credential;
mod reading;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::{Client, RequestBuilder, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

use self::client::SharedClient;
use self::credential::Credential;
use crate::clock::{Clock, Stopwatch};
use crate::domain::breaker::{Breaker, Finding, Pass, State};
use crate::domain::client_secret::ClientSecret;
use crate::domain::mint::{Ask, MintError};
use crate::domain::provider::Provider;
use crate::domain::realtime_endpoint::Endpoint;
use crate::domain::realtime_session::SessionPlan;
use crate::domain::upstream_id::UpstreamId;
use crate::entropy::Entropy;

/// At OpenAI an end user by whom abuse can be told apart. Azure does not document the header, so it is not sent there.
const SAFETY_IDENTIFIER: &str = "OpenAI-Safety-Identifier";
/// How long one mint may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the begin to the secret, a second try included.
    pub whole: Duration,
    /// A second try comes after a random part of this ("full jitter"), so that callers who failed together do not return
    /// together.
    pub pause: Duration,
    /// With less than this left a second try would only be cut off.
    pub least: Duration,
    /// A caller who hangs up after this without an answer was kept waiting by the upstream, which counts as its failure.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            whole: Duration::from_secs(3),
            pause: Duration::from_millis(250),
            least: Duration::from_millis(500),
            patience: Duration::from_secs(1),
        }
    }
}

/// Mints in flight at all upstreams together. Fewer than the edge serves requests, so that an upstream that hangs leaves seats
/// for LiveKit's tokens.
pub const MINTS_IN_FLIGHT: usize = 2_000;

/// What all upstreams share.
#[derive(Clone)]
pub struct Shared {
    /// Connections.
    pub client: Arc<SharedClient>,
    /// One permit for each mint in flight.
    pub seats: Arc<Semaphore>,
    /// For the breaker and for tokens that expire.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub entropy: Arc<dyn Entropy>,
    /// How long one mint may take.
    pub bounds: Bounds,
}

/// One upstream.
pub struct Realtime {
    provider: Provider,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What opens it.
    pub credential: Credential,
    plan: SessionPlan,
    breaker: Mutex<Breaker>,
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

/// Leave to mint once. It holds a seat and the breaker's pass, and gives both back where it is dropped unused.
pub struct Turn<'a> {
    watch: Watch<'a>,
    _seat: SemaphorePermit<'a>,
}

/// One try that brought no secret.
struct Failure {
    error: MintError,
    /// Nothing was sent, or the upstream itself gave up on it.
    may_repeat: bool,
}

impl From<MintError> for Failure {
    fn from(error: MintError) -> Self {
        Self { error, may_repeat: false }
    }
}

impl Realtime {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(provider: Provider, endpoint: Endpoint, credential: Credential, plan: SessionPlan, shared: Shared) -> Self {
        Self { provider, endpoint, credential, plan, breaker: Mutex::default(), shared }
    }

    /// Takes all that a mint needs beside the upstream's answer, and asks nothing yet.
    ///
    /// # Errors
    /// [`MintError::NoCredential`], [`MintError::Full`] or [`MintError::Paused`].
    pub fn turn(&self, now: SystemTime) -> Result<Turn<'_>, MintError> {
        self.credential.header(self.provider, now).ok_or(MintError::NoCredential)?;
        let seat = self.shared.seats.try_acquire().map_err(|_| MintError::Full)?;
        let pass = self.breaker().admit(self.shared.clock.now()).map_err(|paused| MintError::Paused(paused.retry_after))?;
        Ok(Turn { watch: Watch { upstream: self, pass, asked: None, finding: None }, _seat: seat })
    }

    /// How the breaker stands.
    #[must_use]
    pub fn breaker_state(&self, now: SystemTime) -> State {
        self.breaker().state(now)
    }

    /// Asks for the list of models, which costs nothing, and says what a mint would meet.
    ///
    /// # Errors
    /// As a mint has them.
    pub async fn probe(&self, now: SystemTime) -> Result<(), MintError> {
        let answered = timeout(self.shared.bounds.whole, async {
            let request = self.authorized(self.client().await?.get(self.endpoint.models_url()), now)?;
            let response = request.send().await.map_err(|error| reading::not_answered(&error).error)?;
            if response.status().is_success() { Ok(()) } else { Err(reading::refusal(&response).error) }
        });
        answered.await.unwrap_or(Err(MintError::Timeout))
    }

    async fn tries(&self, ask: &Ask<'_>, stopwatch: &Stopwatch, id: &mut Option<UpstreamId>) -> Result<ClientSecret, MintError> {
        let body = self.plan.mint_body(ask.model, ask.voice);
        let client = self.client().await?;
        match self.attempt(&client, ask, body.clone(), id).await {
            Err(Failure { error, may_repeat: true }) => {
                let Bounds { whole, pause, least, .. } = self.shared.bounds;
                let pause = pause.mul_f64(f64::from(u16::from_be_bytes(self.shared.entropy.bytes())) / f64::from(u16::MAX));
                if stopwatch.elapsed() + pause + least > whole {
                    return Err(error);
                }
                sleep(pause).await;
                self.attempt(&client, ask, body, id).await.map_err(|failure| failure.error)
            }
            tried => tried.map_err(|failure| failure.error),
        }
    }

    async fn attempt(&self, client: &Client, ask: &Ask<'_>, body: Vec<u8>, id: &mut Option<UpstreamId>) -> Result<ClientSecret, Failure> {
        let mut request = self.authorized(client.post(self.endpoint.mint_url()), ask.now)?;
        if self.provider == Provider::OpenAi {
            request = request.header(SAFETY_IDENTIFIER, ask.caller.to_string());
        }
        let request = request.header("Content-Type", "application/json").body(body);
        let response = request.send().await.map_err(|error| reading::not_answered(&error))?;
        *id = reading::upstream_id(&response);
        // Not for 403: there the key is known, and a new one would not help.
        if response.status() == StatusCode::UNAUTHORIZED {
            self.credential.refused();
        }
        if !response.status().is_success() {
            return Err(reading::refusal(&response));
        }
        let body = reading::body(response).await?;
        ClientSecret::parse(&body, ask.now).map_err(|unusable| MintError::Failed(unusable.as_str()).into())
    }

    fn authorized(&self, request: RequestBuilder, now: SystemTime) -> Result<RequestBuilder, MintError> {
        let (name, value) = self.credential.header(self.provider, now).ok_or(MintError::NoCredential)?;
        Ok(request.header(name, value).header("Accept", "application/json"))
    }

    async fn client(&self) -> Result<Client, MintError> {
        self.shared.client.client().await.ok_or(MintError::Failed("the HTTP client could not be set up"))
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Mints one secret. A caller who goes away cancels it by dropping the future.
    pub async fn mint(mut self, ask: &Ask<'_>) -> Minted {
        let upstream = self.watch.upstream;
        let stopwatch = Stopwatch::start();
        self.watch.asked = Some(stopwatch);
        let mut upstream_id = None;
        let tries = timeout(upstream.shared.bounds.whole, upstream.tries(ask, &stopwatch, &mut upstream_id)).await;
        let outcome = tries.unwrap_or(Err(MintError::Timeout));
        self.watch.finding = Some(outcome.as_ref().map_or_else(|error| error.finding(), |_| Finding::Answered));
        Minted { outcome, upstream_id, duration: stopwatch.elapsed() }
    }
}

/// Reports to the breaker when it goes, so that a mint that is dropped half-way does not keep the probe's place for ever.
struct Watch<'a> {
    upstream: &'a Realtime,
    pass: Pass,
    /// Since when the upstream is being asked.
    asked: Option<Stopwatch>,
    /// `None` until the mint is over.
    finding: Option<Finding>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let Shared { clock, bounds, .. } = &self.upstream.shared;
        // Otherwise callers who hang up early would keep an upstream that hangs from ever being left alone.
        let kept_waiting = self.asked.is_some_and(|asked| asked.elapsed() > bounds.patience);
        let finding = self.finding.unwrap_or(if kept_waiting { Finding::Failed } else { Finding::Nothing });
        self.upstream.breaker().report(self.pass, finding, clock.now());
    }
}

#[cfg(test)]
mod tests;
