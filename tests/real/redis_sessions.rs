//! The slots of sessions in a real Redis: the suite of all stores, several instances, and servers
//! that are killed, stopped, filled or damaged.

use std::sync::Arc;
use std::time::Duration;

use roomkey::clock::Stopwatch;
use roomkey::domain::callers::caller_hash::{CallerHash, HashKey};
use roomkey::domain::vault::project_id::ProjectId;
use roomkey::store::projects::{
    EndedBy, EndedSession, SessionCounts, SessionDecision, SessionRequest, SessionStore,
};
use roomkey::store::redis::sessions::RedisSessions;
use roomkey::store::redis::{Redis, RedisDeadlines};
use roomkey::store::store_error::{StoreError, StoreOutage};
use uuid::Uuid;

use crate::blob_store::project_store;
use crate::blob_store::project_store::{NOON_MS, project};
use crate::redis::PATIENT;
use crate::redis_server::RedisServer;

/// The time limits where Redis hangs. While it is not known to be lost, a call waits so much longer
/// that the machine cannot make up for it.
const HASTY: RedisDeadlines = RedisDeadlines {
    call: Duration::from_millis(50),
    patient_call: Duration::from_secs(5),
    connect: Duration::from_secs(5),
};
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Runs each over an empty Redis.
macro_rules! each_in_turn {
    ($open:path; $($name:ident,)*) => {
        #[tokio::test]
        async fn sessions_in_redis_do_what_those_of_every_store_do() {
            let server = RedisServer::start();
            $( project_store::$name(&$open(&server)).await; )*
        }
    };
}
each_in_turn! { emptied;
    a_session_takes_a_place_until_it_is_ended_or_over,
    only_the_owner_or_an_operator_ends_a_session,
    a_cancelled_session_counts_for_nothing,
    an_extended_session_keeps_its_place_longer,
    an_ended_session_is_not_extended,
    the_sessions_of_a_day_are_limited_until_the_next,
    concurrent_sessions_never_exceed_the_limit,
}

fn emptied(server: &RedisServer) -> Arc<dyn SessionStore> {
    server.ask::<()>(&["FLUSHALL"]);
    Arc::new(instance(&server.url()))
}

/// Another instance: a connection and a state of its own.
fn instance(url: &str) -> RedisSessions {
    RedisSessions::new(redis(url))
}

fn redis(url: &str) -> Arc<Redis> {
    Arc::new(Redis::new(url.into(), PATIENT).unwrap())
}

/// An instance whose calls fail soon.
fn hasty_instance(url: &str) -> RedisSessions {
    RedisSessions::new(Arc::new(Redis::new(url.into(), HASTY).unwrap()))
}

fn alice() -> CallerHash {
    HashKey::new(b"a-throw-away-hash-key-of-32-bytes").hash("token", b"alice")
}

/// A session of an hour, of which a project has one at a time.
fn request(number: u128, now_ms: u64) -> SessionRequest {
    SessionRequest {
        session_id: Uuid::from_u128(number),
        project_id: project("a"),
        owner: alice(),
        now_ms,
        expires_at_ms: now_ms + HOUR_MS,
        concurrency: 1,
        daily_sessions: None,
    }
}

async fn counts(sessions: &dyn SessionStore, id: &ProjectId, now_ms: u64) -> (u64, u64) {
    let counts = sessions.count_sessions(std::slice::from_ref(id), now_ms);
    let SessionCounts { active, today } = counts.await.unwrap()[0];
    (active, today)
}

/// Returns how many of 60 requests over three instances at once were admitted.
async fn admitted_of_many(server: &RedisServer, limits: &SessionRequest) -> usize {
    let instances: [_; 3] = std::array::from_fn(|_| Arc::new(instance(&server.url())));
    let attempts: Vec<_> = (1..=60)
        .map(|number| {
            let sessions = Arc::clone(&instances[number % instances.len()]);
            let mut request = limits.clone();
            request.session_id = Uuid::from_u128(number as u128);
            tokio::spawn(async move { sessions.open_session(request).await.unwrap() })
        })
        .collect();
    let mut admitted = 0;
    for attempt in attempts {
        admitted += usize::from(attempt.await.unwrap() == SessionDecision::Admitted);
    }
    admitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn instances_that_race_admit_exactly_as_many_sessions_as_the_limits() {
    let server = RedisServer::start();
    let at_once = SessionRequest {
        concurrency: 7,
        ..request(0, NOON_MS)
    };
    assert_eq!(admitted_of_many(&server, &at_once).await, 7);
    server.ask::<()>(&["FLUSHALL"]);
    let of_a_day = SessionRequest {
        concurrency: 1_000,
        daily_sessions: Some(11),
        ..request(0, NOON_MS)
    };
    assert_eq!(admitted_of_many(&server, &of_a_day).await, 11);
}

#[tokio::test]
async fn an_instance_that_never_ends_its_session_frees_the_place_when_it_expires() {
    let server = RedisServer::start();
    let dead = instance(&server.url());
    let opened = dead.open_session(request(1, NOON_MS)).await;
    assert_eq!(opened, Ok(SessionDecision::Admitted));
    drop(dead);
    let other = instance(&server.url());
    let before = other.open_session(request(2, NOON_MS + HOUR_MS - 1)).await;
    assert_eq!(before, Ok(SessionDecision::Full { retry_after_ms: 1 }));
    let after = other.open_session(request(2, NOON_MS + HOUR_MS)).await;
    assert_eq!(after, Ok(SessionDecision::Admitted));
    // Whichever instance opened it, any other ends it.
    let ended = instance(&server.url())
        .end_session(
            Uuid::from_u128(2),
            EndedBy::Owner(alice()),
            NOON_MS + HOUR_MS,
        )
        .await;
    let was_active = EndedSession {
        project_id: project("a"),
        was_active: true,
    };
    assert_eq!(ended, Ok(Some(was_active)));
}

#[tokio::test]
async fn a_request_that_arrives_twice_takes_one_place() {
    let server = RedisServer::start();
    let sessions = instance(&server.url());
    for _ in 0..2 {
        let opened = sessions.open_session(request(1, NOON_MS)).await;
        assert_eq!(opened, Ok(SessionDecision::Admitted));
    }
    assert_eq!(counts(&sessions, &project("a"), NOON_MS).await, (1, 1));
}

#[tokio::test]
async fn every_key_of_sessions_expires_and_none_before_it_is_needed() {
    let server = RedisServer::start();
    let sessions = instance(&server.url());
    let (two_at_once, none_left) = (2, Vec::<String>::new());
    for number in 1..=2 {
        let request = SessionRequest {
            concurrency: two_at_once,
            // The second one expires first.
            expires_at_ms: NOON_MS + HOUR_MS * (3 - number),
            ..request(u128::from(number), NOON_MS)
        };
        sessions.open_session(request).await.unwrap();
    }
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let by = EndedBy::Operator;
    let ended = sessions.end_session(two, by, NOON_MS).await.unwrap();
    assert!(ended.is_some_and(|ended| ended.was_active));
    sessions
        .extend_session(one, NOON_MS + 5 * HOUR_MS)
        .await
        .unwrap();
    let mut kept: Vec<String> = server.ask(&["KEYS", "roomkey:{sessions}:*"]);
    kept.sort_unstable();
    let day = NOON_MS / DAY_MS;
    assert_eq!(
        kept,
        [
            format!("roomkey:{{sessions}}:day:{day}:a"),
            format!("roomkey:{{sessions}}:session:{one}"),
            format!("roomkey:{{sessions}}:session:{two}"),
            "roomkey:{sessions}:slots:a".to_owned(),
        ]
    );
    let most_ms = [
        2 * DAY_MS,
        DAY_MS + 5 * HOUR_MS,
        DAY_MS + HOUR_MS,
        DAY_MS + 5 * HOUR_MS,
    ];
    for (key, most_ms) in kept.iter().zip(most_ms) {
        let left_ms: u64 = server.ask(&["PTTL", key]);
        assert!(
            (most_ms - 60_000..=most_ms).contains(&left_ms),
            "{key}: {left_ms} of {most_ms}"
        );
    }
    for id in [one, two] {
        sessions.cancel_session(id).await.unwrap();
    }
    server.ask::<()>(&["DEL", &kept[0]]);
    let left: Vec<String> = server.ask(&["KEYS", "roomkey:{sessions}:*"]);
    assert_eq!(left, none_left);
    // A session whose day is gone is none that the day would have to give back.
    sessions.cancel_session(one).await.unwrap();
    let left: Vec<String> = server.ask(&["KEYS", "roomkey:{sessions}:*"]);
    assert_eq!(left, none_left);
}

/// Calls each operation and asserts that it fails for this reason. Returns how long the first took,
/// and all others together.
async fn all_fail(sessions: &RedisSessions, outage: StoreOutage) -> (Duration, Duration) {
    let unavailable = StoreError::Unavailable(outage);
    let (id, projects) = (Uuid::from_u128(1), [project("a")]);
    let began = Stopwatch::start();
    let opened = sessions.open_session(request(1, NOON_MS)).await;
    assert_eq!(opened, Err(unavailable));
    let first = began.elapsed();
    let cancelled = sessions.cancel_session(id).await;
    assert_eq!(cancelled, Err(unavailable));
    let extended = sessions.extend_session(id, NOON_MS).await;
    assert_eq!(extended, Err(unavailable));
    let ended = sessions.end_session(id, EndedBy::Operator, NOON_MS).await;
    assert_eq!(ended, Err(unavailable));
    let counted = sessions.count_sessions(&projects, NOON_MS).await;
    assert_eq!(counted, Err(unavailable));
    (first, began.elapsed().saturating_sub(first))
}

/// Waits until the slot can be taken.
async fn opens_again(sessions: &RedisSessions) {
    let began = Stopwatch::start();
    while sessions.open_session(request(1, NOON_MS)).await != Ok(SessionDecision::Admitted) {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "it does not come back by itself"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_redis_every_call_fails_soon_and_says_why() {
    let awaiting = RedisSessions::new(Arc::new(Redis::awaiting_address(PATIENT)));
    let (first, others) = all_fail(&awaiting, StoreOutage::Unreachable).await;
    assert!(first + others < PATIENT.call);

    let mut server = RedisServer::start();
    let sessions = instance(&server.url());
    opens_again(&sessions).await;
    server.kill();
    let never_there = instance(&server.url());
    for sessions in [&sessions, &never_there] {
        let (first, others) = all_fail(sessions, StoreOutage::Unreachable).await;
        assert!(first + others < PATIENT.call, "{first:?} and {others:?}");
    }
    server.restart();
    opens_again(&sessions).await;
    opens_again(&never_there).await;

    server.ask::<()>(&["FLUSHALL"]);
    let hasty = hasty_instance(&server.url());
    opens_again(&hasty).await;
    server.signal("STOP");
    let (first, others) = all_fail(&hasty, StoreOutage::Late).await;
    assert!(
        first >= HASTY.patient_call && first < PATIENT.call,
        "{first:?}"
    );
    // Redis is known to be lost now: none of the four waits as long as the first.
    assert!(others < HASTY.patient_call, "{others:?}");
    server.signal("CONT");
    opens_again(&hasty).await;
}

#[tokio::test]
async fn without_memory_redis_opens_no_session_and_ends_those_that_are_open() {
    let server = RedisServer::start();
    let sessions = instance(&server.url());
    opens_again(&sessions).await;
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let end = sessions.end_session(Uuid::from_u128(1), EndedBy::Operator, NOON_MS);
    assert!(end.await.unwrap().is_some_and(|ended| ended.was_active));
    let full = sessions.open_session(request(2, NOON_MS)).await;
    assert_eq!(full, Err(StoreError::Unavailable(StoreOutage::Full)));
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(counts(&sessions, &project("a"), NOON_MS).await, (0, 1));
}

#[tokio::test]
async fn a_session_that_was_too_late_and_is_cancelled_keeps_no_place() {
    let server = RedisServer::start();
    let sessions = hasty_instance(&server.url());
    assert_eq!(counts(&sessions, &project("a"), NOON_MS).await, (0, 0));
    server.signal("STOP");
    let late = Err(StoreError::Unavailable(StoreOutage::Late));
    let opened = sessions.open_session(request(1, NOON_MS)).await;
    assert_eq!(opened.map(drop), late);
    // The server is lost now, and the call is sent all the same.
    assert_eq!(sessions.cancel_session(Uuid::from_u128(1)).await, late);
    server.signal("CONT");
    let next = loop {
        if let Ok(admittance) = sessions.open_session(request(2, NOON_MS)).await {
            break admittance;
        }
    };
    assert_eq!(next, SessionDecision::Admitted);
    assert_eq!(counts(&sessions, &project("a"), NOON_MS).await, (1, 1));
}

#[tokio::test]
async fn a_damaged_key_fails_its_project_only() {
    let server = RedisServer::start();
    let redis = redis(&server.url());
    let sessions = RedisSessions::new(Arc::clone(&redis));
    server.ask::<()>(&["SET", "roomkey:{sessions}:slots:a", "canary"]);
    let opened = sessions.open_session(request(1, NOON_MS)).await;
    assert_eq!(opened, Err(StoreError::Unavailable(StoreOutage::Failed)));
    assert!(!redis.is_degraded(), "limits are still shared");
    let day = format!("roomkey:{{sessions}}:day:{}:a", NOON_MS / DAY_MS);
    server.ask::<()>(&["DEL", "roomkey:{sessions}:slots:a"]);
    server.ask::<()>(&["SET", &day, "canary"]);
    let opened = sessions.open_session(request(1, NOON_MS)).await;
    assert_eq!(opened, Err(StoreError::Unavailable(StoreOutage::Failed)));
    let slots: u64 = server.ask(&["ZCARD", "roomkey:{sessions}:slots:a"]);
    assert_eq!(slots, 0, "nothing was done by halves");
    let other = SessionRequest {
        project_id: project("b"),
        ..request(1, NOON_MS)
    };
    let opened = sessions.open_session(other).await;
    assert_eq!(opened, Ok(SessionDecision::Admitted));
    let id = Uuid::from_u128(1).to_string();
    let key = format!("roomkey:{{sessions}}:session:{id}");
    server.ask::<()>(&["HSET", &key, "project", "not a project"]);
    let ended = sessions.end_session(Uuid::from_u128(1), EndedBy::Operator, NOON_MS);
    assert_eq!(ended.await, Err(StoreError::RecordCorrupt));
}
