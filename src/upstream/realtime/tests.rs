//! Tests the permits for mints in flight, the breakers, the replacement of credentials and tokens
//! that expire, against an upstream on a loopback address.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::clock::FixedClock;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::limits::breaker::CallOutcome;
use crate::domain::realtime::session::ModelOrVoice;
use crate::entropy::FixedEntropy;
use crate::upstream::entra::BearerToken;
use crate::upstream::minting::deadlines::MintDeadlines;
use crate::upstream::refresher::{RefreshSource, Refresher};
use crate::upstream::slot::Slot;

const NOW_SECONDS: u64 = 1_700_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_SECONDS)
}
/// An upstream that sends the same response to each request, or none if the response is empty.
struct Peer {
    address: std::net::SocketAddr,
    requests: Arc<AtomicUsize>,
    /// Each response takes one permit.
    responses: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

impl Peer {
    async fn start(answer: &str) -> Self {
        let peer = Self::start_paused(answer).await;
        peer.release();
        peer
    }

    /// Starts an upstream that responds only after [`Peer::release`].
    async fn start_paused(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<AtomicUsize> = Arc::default();
        let responses = Arc::new(Semaphore::new(0));
        let (counting, answering, answer) = (
            Arc::clone(&requests),
            Arc::clone(&responses),
            answer.to_owned(),
        );
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (counting, answer) = (Arc::clone(&counting), answer.clone());
                let answering = Arc::clone(&answering);
                tokio::spawn(async move {
                    let mut bytes = [0; 8_192];
                    // Head and body arrive in one piece, or in two of which the first counts.
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                        counting.fetch_add(1, Ordering::SeqCst);
                        if !answer.is_empty() {
                            answering.acquire().await.unwrap().forget();
                            stream.write_all(answer.as_bytes()).await.unwrap();
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address,
            requests,
            responses,
            serving,
        }
    }

    fn release(&self) {
        self.responses.add_permits(1_000);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn shared(permits: usize, entropy: u8, total: Duration) -> SharedResources {
    SharedResources {
        client: Arc::default(),
        permits: Arc::new(Semaphore::new(permits)),
        clock: Arc::new(FixedClock(now())),
        entropy: Arc::new(FixedEntropy(entropy)),
        deadlines: MintDeadlines {
            total,
            ..MintDeadlines::default()
        },
    }
}

fn upstream(
    peer: &Peer,
    credential: Credential,
    shared: &SharedResources,
) -> Arc<RealtimeUpstream> {
    let endpoint = RealtimeEndpoint::azure(&format!("http://{}", peer.address)).unwrap();
    Arc::new(RealtimeUpstream::new(
        Provider::AzureOpenAi,
        endpoint,
        credential,
        SessionPlan::default(),
        shared.clone(),
    ))
}

fn key() -> Credential {
    Credential::ApiKey(Arc::new(Slot::holding("canary-key".into())))
}

async fn mint(upstream: &Arc<RealtimeUpstream>) -> Result<ClientSecret, MintError> {
    mint_with(upstream, "m").await
}

async fn mint_with(
    upstream: &Arc<RealtimeUpstream>,
    model: &str,
) -> Result<ClientSecret, MintError> {
    let (model, voice) = (
        ModelOrVoice::parse(model).unwrap(),
        ModelOrVoice::parse("v").unwrap(),
    );
    let caller = HashKey::new(&[7; 32]).hash("caller", b"c");
    let permit = upstream.acquire_permit(&model, now()).await?;
    permit
        .mint(MintRequest {
            model,
            voice,
            caller,
            now: now(),
        })
        .await
        .outcome
}

/// Opens the breaker of model `m` a minute ago, so that it is half open now.
fn open_breaker_a_minute_ago(upstream: &RealtimeUpstream) {
    let past = now() - Duration::from_mins(1);
    let mut breakers = upstream.minting.breakers.lock();
    let breaker = breakers
        .entry(Some(ModelOrVoice::parse("m").unwrap()))
        .or_default();
    for _ in 0..5 {
        let permit = breaker.admit(past).unwrap();
        breaker.report(permit, CallOutcome::Failed, past);
    }
}

async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        timeout(Duration::from_mins(1), reached).await.is_ok(),
        "it never happened"
    );
}

/// A source that publishes the next key with each fetch.
struct RotatingKeys {
    keys: Vec<&'static str>,
    fetches: usize,
    slot: Arc<Slot<SecretString>>,
}

impl RefreshSource for RotatingKeys {
    type Error = ();

    async fn fetch(&mut self) -> Result<Duration, ()> {
        let key = self.keys.get(self.fetches).copied();
        self.fetches += 1;
        self.slot.put(key.ok_or(())?.into());
        Ok(Duration::from_mins(10))
    }

    fn log_failure(&self, (): ()) {}

    fn log_recovery(&self) {}
}

/// Returns a credential whose key changes with each fetch, and its refresher.
fn rotating(keys: &[&'static str]) -> (Credential, Arc<Refresher>) {
    let refresher = Arc::new(Refresher::new(Duration::from_secs(30)));
    let slot = Arc::new(Slot::fetched_by(Arc::clone(&refresher)));
    let source = RotatingKeys {
        keys: keys.to_vec(),
        fetches: 0,
        slot: Arc::clone(&slot),
    };
    let running = Arc::clone(&refresher);
    tokio::spawn(async move {
        running
            .run(source, &FixedClock(now()), &FixedEntropy(0))
            .await;
    });
    (Credential::ApiKey(slot), refresher)
}

/// Longer than any mint takes here.
const LONG: Duration = Duration::from_mins(1);
const GOOD: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 38\r\n\r\n{\"value\":\"ek\",\"expires_at\":1700000060}";

#[tokio::test]
async fn only_a_refused_key_is_replaced_by_another_one_and_only_once() {
    for (status, keys, requests, fetches) in [
        ("401 Unauthorized", &["a", "b", "c"][..], 2, 2),
        ("401 Unauthorized", &["a", "a"], 1, 2),
        ("401 Unauthorized", &["a"], 1, 2),
        ("403 Forbidden", &["a", "b"], 1, 1),
        ("404 Not Found", &["a", "b"], 1, 1),
        ("429 Too Many", &["a", "b"], 1, 1),
        ("400 Bad Request", &["a", "b"], 1, 1),
    ] {
        let peer = Peer::start(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
        let (credential, refresher) = rotating(keys);
        assert!(
            mint(&upstream(&peer, credential, &shared(1, 0, LONG)))
                .await
                .is_err()
        );
        assert_eq!(
            peer.requests.load(Ordering::SeqCst),
            requests,
            "{status}, {keys:?}"
        );
        let status_after = refresher.status();
        assert_eq!(
            status_after.succeeded + status_after.failed,
            fetches,
            "{status}, {keys:?}"
        );
    }
}

#[tokio::test]
async fn a_key_from_the_settings_is_not_replaced() {
    let peer = Peer::start("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    let refused = mint(&upstream(&peer, key(), &shared(1, 0, LONG))).await;
    assert_eq!(refused.unwrap_err(), MintError::CredentialsRejected);
    assert_eq!(peer.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn past_the_maximum_of_mints_in_flight_nothing_is_sent() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let upstream = upstream(&peer, key(), &shared);
    let permit = shared.permits.try_acquire().unwrap();
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::Full);
    assert_eq!(peer.requests.load(Ordering::SeqCst), 0);
    drop(permit);
    assert!(mint(&upstream).await.is_ok());
    assert_eq!(
        shared.permits.available_permits(),
        1,
        "the permit is returned"
    );
}

#[tokio::test]
async fn an_entra_token_is_used_until_it_expires_and_then_the_next_one() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let slot = Arc::new(Slot::empty());
    let upstream = upstream(&peer, Credential::Entra(Arc::clone(&slot)), &shared);
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::NoCredential);
    let until = |seconds| BearerToken {
        token: "t".into(),
        expires_on: UNIX_EPOCH + Duration::from_secs(seconds),
    };
    slot.put(until(NOW_SECONDS + 1));
    assert!(mint(&upstream).await.is_ok());
    slot.put(until(NOW_SECONDS));
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::NoCredential);
    assert_eq!(upstream.breaker_state(now()), BreakerState::Closed);
}

#[tokio::test]
async fn a_second_attempt_that_the_deadline_would_cut_off_is_not_made() {
    let failing = "HTTP/1.1 500 Error\r\ncontent-length: 0\r\n\r\n";
    for (min_attempt, requests) in [(Duration::ZERO, 2), (LONG, 1)] {
        let peer = Peer::start(failing).await;
        // The longest pause, a quarter of a second.
        let mut shared = shared(1, 255, LONG);
        shared.deadlines.min_attempt = min_attempt;
        assert_eq!(
            mint(&upstream(&peer, key(), &shared)).await.unwrap_err(),
            MintError::Failed("the upstream returned 5xx")
        );
        assert_eq!(
            peer.requests.load(Ordering::SeqCst),
            requests,
            "{min_attempt:?}"
        );
    }
}

#[tokio::test]
async fn after_two_failed_connections_the_mint_fails() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let upstream = upstream(&peer, key(), &shared);
    peer.serving.abort();
    // Aborting is done once the port refuses.
    while tokio::net::TcpStream::connect(peer.address).await.is_ok() {}
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::Network);
}

#[tokio::test]
async fn an_unused_permit_is_returned_and_admits_the_next_probe() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let (upstream, model) = (
        upstream(&peer, key(), &shared),
        ModelOrVoice::parse("m").unwrap(),
    );
    open_breaker_a_minute_ago(&upstream);
    assert_eq!(upstream.breaker_state(now()), BreakerState::HalfOpen);
    for _ in 0..3 {
        let permit = upstream.acquire_permit(&model, now()).await.unwrap();
        assert!(upstream.acquire_permit(&model, now()).await.is_err());
        drop(permit);
    }
    assert_eq!(upstream.breaker_state(now()), BreakerState::HalfOpen);
    assert!(mint(&upstream).await.is_ok());
    assert_eq!(upstream.breaker_state(now()), BreakerState::Closed);
}

#[tokio::test]
async fn a_mint_whose_caller_hangs_up_counts_by_the_response() {
    for (answer, state) in [
        (
            "HTTP/1.1 500 Error\r\ncontent-length: 0\r\n\r\n",
            BreakerState::Open,
        ),
        (GOOD, BreakerState::Closed),
    ] {
        let peer = Peer::start_paused(answer).await;
        let shared = shared(9, 0, LONG);
        let upstream = upstream(&peer, key(), &shared);
        for requests in 1..=5 {
            tokio::select! {
                outcome = mint(&upstream) => panic!("{outcome:?}"),
                () = until(|| peer.requests.load(Ordering::SeqCst) >= requests) => {}
            }
        }
        assert_eq!(
            shared.permits.available_permits(),
            4,
            "they are still in flight"
        );
        assert_eq!(upstream.breaker_state(now()), BreakerState::Closed);
        peer.release();
        until(|| shared.permits.available_permits() == 9).await;
        assert_eq!(upstream.breaker_state(now()), state, "{answer}");
    }
}

#[tokio::test]
async fn a_model_that_fails_does_not_block_another() {
    let peer = Peer::start("HTTP/1.1 500 Error\r\ncontent-length: 0\r\n\r\n").await;
    let upstream = upstream(&peer, key(), &shared(9, 0, LONG));
    for _ in 0..5 {
        assert!(matches!(
            mint_with(&upstream, "broken").await,
            Err(MintError::Failed(_))
        ));
    }
    assert!(matches!(
        mint_with(&upstream, "broken").await,
        Err(MintError::Paused(_))
    ));
    assert!(
        matches!(mint_with(&upstream, "m").await, Err(MintError::Failed(_))),
        "it is called"
    );
    assert_eq!(
        upstream.breaker_state(now()),
        BreakerState::Open,
        "operators see the worst"
    );
}
