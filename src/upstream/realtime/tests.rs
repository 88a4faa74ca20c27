//! What only a look from inside shows: seats, the breaker's place, who is woken, and tokens that expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::*;
use crate::domain::caller_hash::HashKey;
use crate::domain::realtime_session::Choice;
use crate::upstream::entra::Bearer;
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
    serving: JoinHandle<()>,
}

impl Peer {
    async fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<AtomicUsize> = Arc::default();
        let (counting, answer) = (Arc::clone(&asked), answer.to_owned());
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (counting, answer) = (Arc::clone(&counting), answer.clone());
                tokio::spawn(async move {
                    let mut bytes = [0; 8_192];
                    // Head and body leave in one piece, or in two of which the first counts.
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                        counting.fetch_add(1, Ordering::SeqCst);
                        if !answer.is_empty() {
                            stream.write_all(answer.as_bytes()).await.unwrap();
                            return;
                        }
                    }
                });
            }
        });
        Self { address, asked, serving }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn shared(seats: usize, entropy: u8, whole: Duration) -> Shared {
    Shared {
        client: Arc::default(),
        seats: Arc::new(Semaphore::new(seats)),
        clock: Arc::new(FixedClock),
        entropy: Arc::new(Same(entropy)),
        bounds: Bounds { whole, ..Bounds::default() },
    }
}

fn upstream(peer: &Peer, credential: Credential, shared: &Shared) -> Realtime {
    let endpoint = Endpoint::azure(&format!("http://{}", peer.address)).unwrap();
    Realtime::new(Provider::AzureOpenAi, endpoint, credential, SessionPlan::default(), shared.clone())
}

fn key() -> Credential {
    Credential::ApiKey(Arc::new(Slot::holding("canary-key".into())), None)
}

async fn mint(upstream: &Realtime) -> Result<ClientSecret, MintError> {
    let (model, voice) = (Choice::parse("m").unwrap(), Choice::parse("v").unwrap());
    let caller = HashKey::new(&[7; 32]).hash("caller", b"c");
    let ask = Ask { model: &model, voice: &voice, caller, now: FixedClock.now() };
    upstream.turn(ask.now)?.mint(&ask).await.outcome
}

/// Five failures a minute ago: the next one to ask is the probe.
fn open_in_the_past(upstream: &Realtime) {
    let past = FixedClock.now() - Duration::from_mins(1);
    for _ in 0..5 {
        let leave = upstream.breaker().admit(past).unwrap();
        upstream.breaker().report(leave, Finding::Failed, past);
    }
}

const LONG: Duration = Duration::from_secs(3);
const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 38\r\n\r\n{\"value\":\"ek\",\"expires_at\":1700000060}";

#[tokio::test]
async fn a_credential_that_is_not_accepted_wakes_who_can_bring_another_and_nobody_else() {
    for (status, wakes) in [
        ("401 Unauthorized", true),
        ("403 Forbidden", false),
        ("404 Not Found", false),
        ("429 Too Many", false),
        ("400 Bad Request", false),
    ] {
        let peer = Peer::start(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
        let (reader, keeper) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let from_vault = || Credential::ApiKey(Arc::new(Slot::holding("canary-key".into())), Some(Arc::clone(&reader)));
        let token = || Bearer { token: "t".into(), expires_on: UNIX_EPOCH + Duration::from_secs(NOW + 1) };
        let entra = || Credential::Entra(Arc::new(Slot::holding(token())), Arc::clone(&keeper));
        for (credential, rings) in [(key(), [false; 2]), (from_vault(), [wakes, false]), (entra(), [false, wakes])] {
            assert!(mint(&upstream(&peer, credential, &shared(1, 0, LONG))).await.is_err());
            let rung = [&reader, &keeper].map(|wake| wake.notified().now_or_never().is_some());
            assert_eq!(rung, rings, "{status}");
        }
    }
}

#[tokio::test]
async fn past_the_bound_on_mints_in_flight_nothing_is_asked() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let upstream = upstream(&peer, key(), &shared);
    let seat = shared.seats.try_acquire().unwrap();
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::Full);
    assert_eq!(peer.asked.load(Ordering::SeqCst), 0);
    drop(seat);
    assert!(mint(&upstream).await.is_ok());
    assert_eq!(shared.seats.available_permits(), 1, "it is given back");
}

#[tokio::test]
async fn a_token_of_entra_serves_until_it_expires_and_a_new_one_without_a_restart() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let slot = Arc::new(Slot::empty());
    let upstream = upstream(&peer, Credential::Entra(Arc::clone(&slot), Arc::default()), &shared);
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::NoCredential);
    let until = |seconds| Bearer { token: "t".into(), expires_on: UNIX_EPOCH + Duration::from_secs(seconds) };
    slot.put(until(NOW + 1));
    assert!(mint(&upstream).await.is_ok());
    slot.put(until(NOW));
    assert_eq!(mint(&upstream).await.unwrap_err(), MintError::NoCredential);
    assert_eq!(upstream.breaker_state(FixedClock.now()), State::Closed);
}

#[tokio::test]
async fn a_second_try_that_would_only_be_cut_off_is_not_begun() {
    let failing = "HTTP/1.1 500 Error\r\ncontent-length: 0\r\n\r\n";
    for (whole, asked) in [(LONG, 2), (Duration::from_millis(600), 1)] {
        let peer = Peer::start(failing).await;
        // The longest pause that there is: a quarter of a second.
        let shared = shared(1, 255, whole);
        assert_eq!(mint(&upstream(&peer, key(), &shared)).await.unwrap_err(), MintError::Failed("the upstream says 5xx"));
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
async fn a_probe_that_is_dropped_leaves_the_place_to_the_next() {
    let peer = Peer::start("").await;
    let upstream = upstream(&peer, key(), &shared(9, 0, LONG));
    open_in_the_past(&upstream);
    assert_eq!(upstream.breaker_state(FixedClock.now()), State::HalfOpen);
    for asked in 1..4 {
        tokio::select! {
            outcome = mint(&upstream) => panic!("{outcome:?}"),
            () = async { while peer.asked.load(Ordering::SeqCst) < asked { tokio::task::yield_now().await; } } => {}
        }
    }
}

#[tokio::test]
async fn a_turn_that_is_not_used_gives_back_the_seat_and_the_probes_place() {
    let peer = Peer::start(GOOD).await;
    let shared = shared(1, 0, LONG);
    let upstream = upstream(&peer, key(), &shared);
    open_in_the_past(&upstream);
    for _ in 0..3 {
        let turn = upstream.turn(FixedClock.now()).unwrap();
        assert!(upstream.turn(FixedClock.now()).is_err());
        drop(turn);
    }
    assert_eq!(upstream.breaker_state(FixedClock.now()), State::HalfOpen);
    assert!(mint(&upstream).await.is_ok());
}

#[tokio::test]
async fn callers_who_hang_up_on_an_upstream_that_keeps_them_waiting_open_the_breaker() {
    let hang_up = async |patience: Duration| {
        let peer = Peer::start("").await;
        let mut shared = shared(9, 0, LONG);
        shared.bounds.patience = patience;
        let upstream = upstream(&peer, key(), &shared);
        for asked in 1..=5 {
            tokio::select! {
                outcome = mint(&upstream) => panic!("{outcome:?}"),
                () = async { while peer.asked.load(Ordering::SeqCst) < asked { tokio::task::yield_now().await; } } => {}
            }
        }
        upstream.breaker_state(FixedClock.now())
    };
    assert_eq!(hang_up(Duration::ZERO).await, State::Open);
    assert_eq!(hang_up(LONG).await, State::Closed);
}
