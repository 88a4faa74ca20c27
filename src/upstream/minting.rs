//! Mints secrets at upstreams, with the deadlines, retry, breakers and response checks that all of
//! them share. The request and the parser of one upstream are its [`Mint`].
//!
//! A mint takes at most [`MintDeadlines::total`]. It is repeated once, and only if nothing was
//! sent, if the upstream returned 5xx, or if the upstream refused a credential of which a newer one
//! exists. After any other failure the first attempt may have created a secret that no one
//! receives.
//!
//! A mint runs in a task, so that it continues when its caller hangs up and the breaker counts its
//! outcome.

mod breakers;
pub mod client;
pub mod credential;
pub mod deadlines;
mod response;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::{Client, RequestBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use self::breakers::{ModelBreakers, OutcomeReport};
use self::client::SharedClient;
use self::credential::{Credential, CredentialHeader};
use self::deadlines::{MAX_MINTS_IN_FLIGHT, MintDeadlines};
use self::response::{AttemptError, Retry, is_unknown_call, require_success, upstream_id};
use super::response_body::read_body;
use crate::clock::{Clock, Stopwatch};
use crate::domain::limits::breaker::{BreakerState, CallOutcome};
use crate::domain::realtime::client_secret::MAX_ANSWER_BYTES;
use crate::domain::realtime::mint::{MintError, Minted};
use crate::domain::realtime::session::ModelOrVoice;
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::entropy::Entropy;
use crate::traces::{self, Span, Step};

/// The resources that all upstreams that mint share.
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

impl SharedResources {
    /// Creates the resources. Nothing is connected yet.
    #[must_use]
    pub fn new(clock: &Arc<dyn Clock>, entropy: &Arc<dyn Entropy>) -> Self {
        Self {
            client: Arc::default(),
            permits: Arc::new(Semaphore::new(MAX_MINTS_IN_FLIGHT)),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            deadlines: MintDeadlines::default(),
        }
    }

    /// Starts to set up the HTTP client, in a task of the current Tokio runtime.
    pub fn warm_up(&self) {
        let client = Arc::clone(&self.client);
        tokio::spawn(async move { client.client().await });
    }
}

/// One mint at an upstream: the request, and the secret in the response.
pub(super) trait Mint: Send + Sync + 'static {
    /// The secret.
    type Secret: Send + 'static;

    /// Returns the request without its credential. It may be sent twice.
    fn request(&self, client: &Client) -> RequestBuilder;

    /// Reads the body of a successful response.
    ///
    /// # Errors
    /// [`MintError::Failed`] if it is not a usable secret.
    fn parse(&self, body: &[u8]) -> Result<Self::Secret, MintError>;
}

/// A connection to a provider that mints.
pub(super) struct MintingUpstream {
    /// The credential that authenticates roomkey to the upstream.
    pub(super) credential: Credential,
    pub(super) breakers: Arc<ModelBreakers>,
    shared: SharedResources,
}

/// Permission for one mint. It holds one of the permits for mints in flight and the permit of the
/// model's breaker, and returns both if it is dropped unused.
pub(super) struct UpstreamPermit {
    upstream: Arc<MintingUpstream>,
    report: OutcomeReport,
    in_flight: OwnedSemaphorePermit,
}

impl MintingUpstream {
    /// Creates an upstream to which nothing has been sent yet. `provider` is its name in log lines.
    pub(super) fn new(
        provider: &'static str,
        credential: Credential,
        shared: SharedResources,
    ) -> Self {
        let breakers = Arc::new(ModelBreakers::new(provider, Arc::clone(&shared.clock)));
        Self {
            credential,
            breakers,
            shared,
        }
    }

    /// Returns the same upstream for another credential. Both share breakers, connections and
    /// limits.
    pub(super) fn with_credential(&self, credential: Credential) -> Self {
        Self {
            credential,
            breakers: Arc::clone(&self.breakers),
            shared: self.shared.clone(),
        }
    }

    /// Acquires permission for one mint and sends nothing yet. Waits for the first fetch of the
    /// credential.
    ///
    /// # Errors
    /// [`MintError::NoCredential`], [`MintError::Full`] or [`MintError::Paused`].
    pub(super) async fn permit(
        self: &Arc<Self>,
        model: Option<&ModelOrVoice>,
        now: SystemTime,
    ) -> Result<UpstreamPermit, MintError> {
        self.credential_header(now).await?;
        // The breaker comes last: it must not count what is no fault of the upstream.
        self.shared.client.client().await?;
        let permits = Arc::clone(&self.shared.permits);
        let in_flight = permits.try_acquire_owned().map_err(|_| MintError::Full)?;
        let report = self
            .breakers
            .admit(model)
            .map_err(|open| MintError::Paused(open.retry_after))?;
        Ok(UpstreamPermit {
            upstream: Arc::clone(self),
            report,
            in_flight,
        })
    }

    /// Returns the worst state of the breakers of all models.
    pub(super) fn breaker_state(&self, now: SystemTime) -> BreakerState {
        self.breakers.worst_state(now)
    }

    /// Requests what costs nothing, to find out whether a mint could succeed.
    ///
    /// # Errors
    /// The error that a mint would have.
    pub(super) async fn probe(&self, url: String, now: SystemTime) -> Result<(), MintError> {
        let probe = async {
            let credential = self.credential_header(now).await?;
            let client = self.shared.client.client().await?;
            let request = credential.add_to(client.get(url));
            require_success(&request.send().await?)
        };
        match timeout(self.shared.deadlines.total, probe).await {
            Ok(outcome) => outcome.map_err(|AttemptError { error, .. }| error),
            Err(_elapsed) => Err(MintError::Timeout),
        }
    }

    /// Hangs up the call of a URL, once. One that the provider does not know (any more) counts as
    /// hung up.
    ///
    /// # Errors
    /// The error that a mint would have.
    pub(super) async fn hang_up(&self, url: String, now: SystemTime) -> Result<(), MintError> {
        let hang_up = async {
            let credential = self.credential_header(now).await?;
            let client = self.shared.client.client().await?;
            let response = credential.add_to(client.post(url)).send().await?;
            let outcome = require_success(&response);
            if is_unknown_call(response).await {
                return Ok(());
            }
            outcome
        };
        match timeout(self.shared.deadlines.total, hang_up).await {
            Ok(outcome) => outcome.map_err(|AttemptError { error, .. }| error),
            Err(_elapsed) => Err(MintError::Timeout),
        }
    }

    /// Mints with at most two attempts.
    async fn mint<M: Mint>(
        &self,
        mint: &M,
        now: SystemTime,
        stopwatch: &Stopwatch,
        id: &mut Option<UpstreamId>,
    ) -> Result<M::Secret, MintError> {
        let client = self.shared.client.client().await?;
        let credential = self.credential_header(now).await?;
        let failed = match send(&client, mint, &credential, id).await {
            Ok(secret) => return Ok(secret),
            Err(failed) => failed,
        };
        let credential = match failed.retry {
            Retry::Never => None,
            Retry::AfterPause => self
                .pause_before_retry(stopwatch)
                .await
                .then_some(credential),
            Retry::WithNewCredential => self.newer_credential(&credential, now, stopwatch).await,
        };
        let credential = credential.ok_or(failed.error)?;
        send(&client, mint, &credential, id)
            .await
            .map_err(|failed| {
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
        let newer = self.credential.newer_header(refused, now);
        timeout(time_left, newer).await.ok()?
    }

    async fn credential_header(&self, now: SystemTime) -> Result<CredentialHeader, MintError> {
        let header = self.credential.header(now).await;
        header.ok_or(MintError::NoCredential)
    }
}

/// Sends one request and reads the secret. Stores the upstream's id of the request as soon as it is
/// known.
async fn send<M: Mint>(
    client: &Client,
    mint: &M,
    credential: &CredentialHeader,
    id: &mut Option<UpstreamId>,
) -> Result<M::Secret, AttemptError> {
    let request = credential
        .add_to(mint.request(client))
        .header("Content-Type", "application/json");
    let mut span = traces::start(Step::Post);
    let received = receive(client, request, id, span.as_mut()).await;
    if let (Some(span), Err(failed)) = (&mut span, &received) {
        span.fail(failed.error.error_type());
    }
    Ok(mint.parse(&received?)?)
}

/// Sends a request and reads the body of a success. The span gets what is known of them.
async fn receive(
    client: &Client,
    request: RequestBuilder,
    id: &mut Option<UpstreamId>,
    mut span: Option<&mut Span>,
) -> Result<Zeroizing<Vec<u8>>, AttemptError> {
    let request = request.build()?;
    if let (Some(span), Some(host)) = (&mut span, request.url().host_str()) {
        span.server(host, request.url().port_or_known_default());
    }
    let response = client.execute(request).await?;
    if let Some(span) = span {
        span.http_status(response.status().as_u16());
    }
    *id = upstream_id(&response);
    require_success(&response)?;
    Ok(read_body(response, MAX_ANSWER_BYTES).await?)
}

impl UpstreamPermit {
    /// Mints one secret. The mint goes on when the returned future is dropped, and its outcome
    /// counts for the breaker; only the secret is lost.
    pub(super) async fn mint<M: Mint>(self, mint: M, now: SystemTime) -> Minted<M::Secret> {
        let minting = traces::spawn(async move {
            let Self {
                upstream,
                report,
                in_flight: _in_flight,
            } = self;
            let stopwatch = Stopwatch::start();
            let mut upstream_id = None;
            let attempts = upstream.mint(&mint, now, &stopwatch, &mut upstream_id);
            let outcome = timeout(upstream.shared.deadlines.total, attempts)
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
        minting.await.unwrap_or(Minted {
            outcome: Err(MintError::Failed("the mint ended in a panic")),
            upstream_id: None,
            duration: Duration::ZERO,
        })
    }
}
