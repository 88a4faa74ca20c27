//! Behaviour that only shows from inside: places among the mints in flight, the breakers, which
//! credential is replaced, and tokens that expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::domain::callers::caller_hash::HashKey;
use crate::domain::realtime::session::ModelOrVoice;
use crate::upstream::entra::BearerToken;
use crate::upstream::refresher::{RefreshSource, Refresher};
use crate::upstream::slot::Slot;

const NOW: u64 = 1_700_000_000;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }
}

/// The same byte for ever.
struct Same(u8);

impl Entropy for Same {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

/// An upstream that answers each request with the same bytes, or with silence where there are none.
struct Peer {
    address: std::net::SocketAddr,
    asked: Arc<AtomicUsize>,
    /// Each answer takes one.
    answers: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

impl Peer {
    async fn start(answer: &str) -> Self {
        let peer = Self::start_held(answer).await;
        peer.release();
        peer
    }

    /// Answers after [`Peer::release`].
    async fn start_held(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<AtomicUsize> = Arc::default();
        let answers = Arc::new(Semaphore::new(0));
        let (counting, answering, answer) =
            (Arc::clone(&asked), Arc::clone(&answers), answer.to_owned());
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (counting, answer) = (Arc::clone(&counting), answer.clone());
                let answering = Arc::clone(&answering);
                tokio::spawn(async move {
                    let mut bytes = [0; 8_192];
                    // Head and body leave in one piece, or in two of which the first counts.
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
            asked,
            answers,
            serving,
        }
    }

    fn release(&self) {
        self.answers.add_permits(1_000);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn shared(places: usize, entropy: u8, whole: Duration) -> Shared {
    Shared {
        client: Arc::default(),
        permits: Arc::new(Semaphore::new(places)),
        clock: Arc::new(FixedClock),
        entropy: Arc::new(Same(entropy)),
        bounds: MintDeadlines {
            whole,
            ..MintDeadlines::default()
        },
    }
}

fn upstream(peer: &Peer, credential: Credential, shared: &Shared) -> Arc<RealtimeUpstream> {
    let endpoint = Endpoint::azure(&format!("http://{}", peer.address)).unwrap();
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
    let permit = upstream.mint_permit(&model, FixedClock.now()).await?;
    permit
        .mint(MintRequest {
            model,
            voice,
            caller,
            now: FixedClock.now(),
        })
        .await
        .outcome
}

/// Five failures of model `m` a minute ago: the next request for it decides.
fn open_in_the_past(upstream: &RealtimeUpstream) {
    let past = FixedClock.now() - Duration::from_mins(1);
    let mut breakers = upstream.breakers();
    let breaker = breakers
        .entry(ModelOrVoice::parse("m").unwrap())
        .or_default();
    for _ in 0..5 {
        let admitted = breaker.admit(past).unwrap();
        breaker.report(admitted, CallOutcome::Failed, past);
    }
}

async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        timeout(Duration::from_secs(20), reached).await.is_ok(),
        "it never happened"
    );
}

/// A key that a test's source brings: the next one with each fetch.
struct Rotating {
    keys: Vec<&'static str>,
    fetches: usize,
    slot: Arc<Slot<SecretString>>,
}

impl RefreshSource for Rotating {
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

/// The credential, and a count of the fetches that were made for it.
fn rotating(keys: &[&'static str]) -> (Credential, Arc<Refresher>) {
    let refresher = Arc::new(Refresher::new(Duration::from_secs(30)));
    let slot = Arc::new(Slot::fetched_by(Arc::clone(&refresher)));
    let source = Rotating {
        keys: keys.to_vec(),
        fetches: 0,
        slot: Arc::clone(&slot),
    };
    let running = Arc::clone(&refresher);
    tokio::spawn(async move { running.run(source, &FixedClock, &Same(0)).await });
    (Credential::ApiKey(slot), refresher)
}

const LONG: Duration = Duration::from_secs(3);
const GOOD: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 38\r\n\r\n{\"value\":\"ek\",\"expires_at\":1700000060}";

#[tokio::test]
async fn only_a_key_that_is_not_accepted_is_replaced_by_another_and_only_once() {
    for (status, keys, asked, fetches) in [
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
            peer.asked.load(Ordering::SeqCst),
            asked,
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
async fn a_key_that_was_given_with_the_settings_is_not_replaced() {
    let peer = Peer::start("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    let refused = mint(&upstream(&peer, key(), &shared(1, 0, LONG))).await;
    assert_eq!(refused.unwrap_err(), MintError::CredentialsRejected);
    assert_eq!(peer.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn past_the_bound_on_mints_in_flight_nothing_is_asked() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let upstream = upstream(&peer, key(), &shared);
    let place = shared.permits.try_acquire().unwrap();
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::Full);
    assert_eq!(peer.asked.load(Ordering::SeqCst), 0);
    drop(place);
    assert!(mint(&upstream).await.is_ok());
    assert_eq!(shared.permits.available_permits(), 1, "it is given back");
}

#[tokio::test]
async fn a_token_of_entra_serves_until_it_expires_and_a_new_one_without_a_restart() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let slot = Arc::new(Slot::empty());
    let upstream = upstream(&peer, Credential::Entra(Arc::clone(&slot)), &shared);
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::NoCredential);
    let until = |seconds| BearerToken {
        token: "t".into(),
        expires_on: UNIX_EPOCH + Duration::from_secs(seconds),
    };
    slot.put(until(NOW + 1));
    assert!(mint(&upstream).await.is_ok());
    slot.put(until(NOW));
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::NoCredential);
    assert_eq!(
        upstream.breaker_state(FixedClock.now()),
        BreakerState::Closed
    );
}

#[tokio::test]
async fn a_second_try_that_would_only_be_cut_off_is_not_begun() {
    let failing = "HTTP/1.1 500 Error\r\ncontent-length: 0\r\n\r\n";
    for (whole, asked) in [(LONG, 2), (Duration::from_millis(600), 1)] {
        let peer = Peer::start(failing).await;
        // The longest pause that there is: a quarter of a second.
        let shared = shared(1, 255, whole);
        assert_eq!(
            mint(&upstream(&peer, key(), &shared)).await.unwrap_err(),
            MintError::Failed("the upstream says 5xx")
        );
        assert_eq!(peer.asked.load(Ordering::SeqCst), asked, "{whole:?}");
    }
}

#[tokio::test]
async fn where_nothing_could_be_sent_it_is_tried_again_and_then_given_up() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let upstream = upstream(&peer, key(), &shared);
    peer.serving.abort();
    // Aborting is done once the port refuses.
    while tokio::net::TcpStream::connect(peer.address).await.is_ok() {}
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::Network);
}

#[tokio::test]
async fn a_permit_that_is_not_used_gives_back_its_place_and_lets_the_next_one_through() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let (upstream, model) = (
        upstream(&peer, key(), &shared),
        ModelOrVoice::parse("m").unwrap(),
    );
    open_in_the_past(&upstream);
    assert_eq!(
        upstream.breaker_state(FixedClock.now()),
        BreakerState::HalfOpen
    );
    for _ in 0..3 {
        let permit = upstream
            .mint_permit(&model, FixedClock.now())
            .await
            .unwrap();
        assert!(
            upstream
                .mint_permit(&model, FixedClock.now())
                .await
                .is_err()
        );
        drop(permit);
    }
    assert_eq!(
        upstream.breaker_state(FixedClock.now()),
        BreakerState::HalfOpen
    );
    assert!(mint(&upstream).await.is_ok());
    assert_eq!(
        upstream.breaker_state(FixedClock.now()),
        BreakerState::Closed
    );
}

#[tokio::test]
async fn callers_who_hang_up_leave_the_breaker_to_what_the_upstream_answers_in_the_end() {
    for (answer, state) in [
        (
            "HTTP/1.1 500 Error\r\ncontent-length: 0\r\n\r\n",
            BreakerState::Open,
        ),
        (GOOD, BreakerState::Closed),
    ] {
        let peer = Peer::start_held(answer).await;
        let shared = shared(9, 0, LONG);
        let upstream = upstream(&peer, key(), &shared);
        for asked in 1..=5 {
            tokio::select! {
                outcome = mint(&upstream) => panic!("{outcome:?}"),
                () = until(|| peer.asked.load(Ordering::SeqCst) >= asked) => {}
            }
        }
        assert_eq!(
            shared.permits.available_permits(),
            4,
            "they are still in flight"
        );
        assert_eq!(
            upstream.breaker_state(FixedClock.now()),
            BreakerState::Closed
        );
        peer.release();
        until(|| shared.permits.available_permits() == 9).await;
        assert_eq!(upstream.breaker_state(FixedClock.now()), state, "{answer}");
    }
}

#[tokio::test]
async fn a_model_that_fails_closes_no_other() {
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
        "it is asked"
    );
    assert_eq!(
        upstream.breaker_state(FixedClock.now()),
        BreakerState::Open,
        "operators see the worst"
    );
}
