//! Limits that instances share through a real Redis, which is killed, stopped, emptied and filled
//! with garbage during the tests.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use roomkey::clock::{Clock, Stopwatch, SystemClock};
use roomkey::domain::callers::caller_hash::{CallerHash, HashKey};
use roomkey::domain::limits::rate_limit::{Budget, Cost, Gcra, RateLimit};
use roomkey::domain::settings::log_format::LogFormat;
use roomkey::store::counters::Counters;
use roomkey::store::redis::{Redis, RedisDeadlines, SCRIPT};
use roomkey::telemetry;
use tokio::sync::Notify;
use tracing::subscriber::DefaultGuard;

use crate::log_capture::LogCapture;
use crate::redis_server::RedisServer;

/// A limit so slow that nothing is added to a budget while a test runs.
pub const TEN: &str = "10/24h";
/// Time limits that no answer of Redis exceeds, however busy the machine is.
pub const PATIENT: RedisDeadlines = RedisDeadlines {
    call: Duration::from_mins(1),
    patient_call: Duration::from_mins(1),
    connect: Duration::from_mins(1),
};

pub fn budget(limit: &str) -> Budget {
    Budget {
        name: "token",
        limit: RateLimit::parse(limit).unwrap(),
    }
}

pub fn caller(name: &str) -> CallerHash {
    HashKey::new(b"a-throw-away-hash-key-of-32-bytes").hash("token", name.as_bytes())
}

fn now() -> SystemTime {
    SystemClock.now()
}

pub fn counters(url: &str) -> Counters {
    counters_within(url, PATIENT)
}

fn counters_within(url: &str, deadlines: RedisDeadlines) -> Counters {
    Counters::Redis(Arc::new(Redis::new(url.into(), deadlines).unwrap()))
}

pub async fn admitted(counters: &Counters, budget: &Budget, name: &str, times: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..times {
        admitted += usize::from(counters.take(budget, caller(name), now()).await.allowed);
    }
    admitted
}

/// Waits for the task that reconnects to Redis.
pub async fn back(counters: &Counters) {
    let began = Stopwatch::start();
    while counters.is_degraded() {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "it does not come back by itself"
        );
        tokio::task::yield_now().await;
    }
}

/// Captures the log lines of this thread, on which a `tokio::test` runs everything.
pub fn capture_log() -> (LogCapture, DefaultGuard) {
    let log = LogCapture::default();
    let subscriber = telemetry::subscriber(tracing::Level::INFO, LogFormat::Json, log.writer());
    (log, tracing::subscriber::set_default(subscriber))
}

#[test]
fn real_redis_decides_like_the_rule() {
    let server = RedisServer::start();
    let (connection, script) = (
        RefCell::new(server.connection()),
        redis::Script::new(SCRIPT),
    );
    let offsets = prop_oneof![
        Just(None),
        (-5_000_000..5_000_000_000i64).prop_map(Some),
        Just(Some(i64::MAX / 4))
    ];
    let sequences = (
        1..=1_000u32,
        1..=3_600u32,
        offsets,
        prop::collection::vec(any::<bool>(), 1..20),
    );
    TestRunner::new(ProptestConfig::with_cases(300))
        .run(&sequences, |(count, seconds, offset, takes)| {
            let gcra = Gcra::from(RateLimit::parse(&format!("{count}/{seconds}s")).unwrap());
            let now_us = now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_micros();
            let mut stored =
                offset.map(|offset| u64::try_from(now_us).unwrap().saturating_add_signed(offset));
            let () = redis::cmd("DEL")
                .arg("key")
                .query(&mut *connection.borrow_mut())
                .unwrap();
            if let Some(stored) = stored {
                let () = redis::cmd("SET")
                    .arg("key")
                    .arg(stored)
                    .query(&mut *connection.borrow_mut())
                    .unwrap();
            }
            for take in takes {
                let (cost, number) = if take {
                    (Cost::One, 1)
                } else {
                    (Cost::Nothing, 0)
                };
                let mut call = script.key("key");
                let call = call
                    .arg(gcra.spacing_us())
                    .arg(gcra.capacity_us())
                    .arg(number);
                let (allowed, used_us, now_us): (bool, u64, u64) =
                    call.invoke(&mut *connection.borrow_mut()).unwrap();
                let (decision, new) = gcra.decide(stored, now_us, cost);
                prop_assert_eq!(gcra.decision(allowed, used_us), decision);
                if let Some(new) = new {
                    stored = Some(new);
                    let kept: u64 = redis::cmd("GET")
                        .arg("key")
                        .query(&mut *connection.borrow_mut())
                        .unwrap();
                    prop_assert_eq!(kept, new);
                    let left_ms: u64 = redis::cmd("PTTL")
                        .arg("key")
                        .query(&mut *connection.borrow_mut())
                        .unwrap();
                    let whole = used_us / 1_000 + 1;
                    prop_assert!(
                        left_ms <= whole && left_ms + 1_000 > whole,
                        "{} {}",
                        left_ms,
                        whole
                    );
                } else if stored.is_some_and(|stored| stored < now_us) {
                    // It may have stopped already.
                    stored = None;
                }
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn real_redis_makes_two_instances_share_one_limit_exactly() {
    let server = RedisServer::start();
    let (one, other, budget) = (
        counters(&server.url()),
        counters(&server.url()),
        budget("100/24h"),
    );
    let tasks = (0..8).map(|number| {
        admitted(
            if number % 2 == 0 { &one } else { &other },
            &budget,
            "alice",
            25,
        )
    });
    let sum: usize = futures_util::future::join_all(tasks)
        .await
        .into_iter()
        .sum();
    assert_eq!((one.local_decisions(), other.local_decisions()), (0, 0));
    assert_eq!(sum, 100);
    assert!(!one.peek(&budget, caller("alice"), now()).await.allowed);
    assert_eq!(
        other.peek(&budget, caller("bob"), now()).await.remaining,
        100
    );
    assert_eq!(
        other
            .peek(
                &Budget {
                    name: "mint",
                    ..budget
                },
                caller("alice"),
                now()
            )
            .await
            .remaining,
        100
    );
}

#[tokio::test]
async fn real_redis_killed_and_restarted_is_logged_once_each_and_never_unlimited() {
    let (log, _logging) = capture_log();
    let mut server = RedisServer::start();
    let (counters, budget) = (counters(&server.url()), budget(TEN));
    assert_eq!(admitted(&counters, &budget, "alice", 4).await, 4);
    assert_eq!(admitted(&counters, &budget, "carol", 11).await, 10);
    server.kill();
    let began = Stopwatch::start();
    assert_eq!(
        admitted(&counters, &budget, "alice", 20).await,
        6,
        "what Redis said before still counts"
    );
    assert_eq!(admitted(&counters, &budget, "bob", 20).await, 10);
    assert_eq!(admitted(&counters, &budget, "carol", 20).await, 0);
    assert!(began.elapsed() < PATIENT.call, "nobody waits for it");
    assert!(counters.is_degraded());
    assert_eq!(counters.local_decisions(), 60);
    assert_eq!(log.text().matches("Redis").count(), 1, "{}", log.text());
    server.restart();
    back(&counters).await;
    assert_eq!(admitted(&counters, &budget, "dave", 20).await, 10);
    assert_eq!(counters.local_decisions(), 60);
    assert_eq!(
        server
            .ask::<Vec<String>>(&["KEYS", "roomkey:token:*"])
            .len(),
        1
    );
    let text = log.text();
    assert_eq!(
        (
            text.matches("\"WARN\"").count(),
            text.matches("\"INFO\"").count(),
            text.lines().count()
        ),
        (1, 1, 2),
        "{text}"
    );
}

#[tokio::test]
async fn real_redis_that_hangs_delays_one_request_by_the_time_limit_and_no_other() {
    let server = RedisServer::start();
    let deadlines = RedisDeadlines {
        call: Duration::from_secs(2),
        ..PATIENT
    };
    let (counters, budget) = (counters_within(&server.url(), deadlines), budget(TEN));
    assert_eq!(admitted(&counters, &budget, "alice", 1).await, 1);
    assert_eq!(counters.local_decisions(), 0);
    server.signal("STOP");
    let began = Stopwatch::start();
    assert_eq!(admitted(&counters, &budget, "alice", 1).await, 1);
    let first = began.elapsed();
    assert!(
        first >= deadlines.call && first < deadlines.patient_call,
        "{first:?}"
    );
    assert_eq!(admitted(&counters, &budget, "alice", 1_000).await, 8);
    // Had each waited, it would be a thousand times that.
    assert!(
        began.elapsed() < first + 10 * deadlines.call,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(counters.local_decisions(), 1_001);
    server.signal("CONT");
    back(&counters).await;
    assert_eq!(admitted(&counters, &budget, "bob", 11).await, 10);
}

#[tokio::test]
async fn real_redis_that_is_down_at_start_is_found_later() {
    let mut server = RedisServer::start();
    server.kill();
    let (counters, budget) = (counters(&server.url()), budget(TEN));
    assert_eq!(admitted(&counters, &budget, "alice", 20).await, 10);
    assert!(counters.is_degraded());
    server.restart();
    back(&counters).await;
    assert_eq!(admitted(&counters, &budget, "bob", 20).await, 10);
}

#[tokio::test]
async fn real_redis_that_lost_the_script_gets_it_again() {
    let server = RedisServer::start();
    let (counters, budget) = (counters(&server.url()), budget(TEN));
    assert_eq!(admitted(&counters, &budget, "alice", 3).await, 3);
    server.ask::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(admitted(&counters, &budget, "alice", 20).await, 7);
    assert_eq!(counters.local_decisions(), 0);
}

#[tokio::test]
async fn real_redis_that_closed_an_idle_connection_is_retried_at_once() {
    let server = RedisServer::start();
    let (counters, budget) = (counters(&server.url()), budget(TEN));
    assert_eq!(admitted(&counters, &budget, "alice", 3).await, 3);
    server.ask::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert_eq!(admitted(&counters, &budget, "alice", 20).await, 7);
    assert_eq!(counters.local_decisions(), 0);
}

#[tokio::test]
async fn fault_53_real_redis_with_a_key_of_another_type_counts_from_a_full_budget() {
    let server = RedisServer::start();
    let (counters, budget) = (counters(&server.url()), budget(TEN));
    server.ask::<()>(&["RPUSH", &format!("roomkey:token:{}", caller("alice")), "x"]);
    assert_eq!(admitted(&counters, &budget, "alice", 20).await, 10);
    assert_eq!(admitted(&counters, &budget, "bob", 20).await, 10);
    assert_eq!(
        (counters.is_degraded(), counters.local_decisions()),
        (false, 0)
    );
}

#[tokio::test]
async fn real_redis_with_garbage_in_a_key_counts_from_a_full_budget() {
    let server = RedisServer::start();
    let (counters, budget) = (counters(&server.url()), budget(TEN));
    for nonsense in [
        "",
        "x",
        "nan",
        "-nan",
        "inf",
        "-1",
        "1e400",
        "0x7fffffffffffff",
        " 1",
        "1.5",
    ] {
        server.ask::<()>(&[
            "SET",
            &format!("roomkey:token:{}", caller("alice")),
            nonsense,
        ]);
        assert_eq!(
            admitted(&counters, &budget, "alice", 20).await,
            10,
            "{nonsense}"
        );
    }
    let far = "9".repeat(400);
    server.ask::<()>(&["SET", &format!("roomkey:token:{}", caller("alice")), &far]);
    let decision = counters.peek(&budget, caller("alice"), now()).await;
    assert_eq!(
        (decision.allowed, decision.retry_after),
        (false, Duration::from_mins(144))
    );
    assert!(
        server.ask::<i64>(&["TTL", &format!("roomkey:token:{}", caller("alice"))]) > 0,
        "it would never end"
    );
    assert_eq!(counters.local_decisions(), 0);
}

#[tokio::test]
async fn real_redis_with_another_password_uses_local_counters_and_the_password_is_not_logged() {
    let (log, _logging) = capture_log();
    let server = RedisServer::start();
    server.ask::<()>(&["CONFIG", "SET", "requirepass", "a-canary-of-a-password"]);
    let url = |password: &str| server.url().replace("://", &format!("://:{password}@"));
    let right = counters(&url("a-canary-of-a-password"));
    let wrong = counters(&url("a-canary-of-another-password"));
    let budget = budget(TEN);
    assert_eq!(admitted(&right, &budget, "alice", 20).await, 10);
    assert_eq!(admitted(&wrong, &budget, "alice", 20).await, 10);
    assert_eq!((right.is_degraded(), wrong.is_degraded()), (false, true));
    let text = log.text();
    assert!(
        text.contains("credentials") && !text.contains("canary"),
        "{text}"
    );
}

#[tokio::test]
async fn real_redis_is_replaced_without_new_budgets_and_with_one_log_line_each() {
    let (log, _logging) = capture_log();
    let said = |what: &str| log.text().matches(what).count();
    let server = RedisServer::start();
    server.ask::<()>(&["CONFIG", "SET", "requirepass", "a-canary-of-a-password"]);
    let url = |password: &str| server.url().replace("://", &format!("://:{password}@"));
    let (redis, wake, budget) = (
        Arc::new(Redis::awaiting_address(PATIENT)),
        Arc::new(Notify::new()),
        budget(TEN),
    );
    let counters = Counters::Redis(Arc::clone(&redis));
    let woken = Arc::clone(&wake);
    let refused: Arc<dyn Fn() + Send + Sync> = Arc::new(move || woken.notify_one());
    let connect = |url: String| {
        redis
            .connect(url.into(), Some(Arc::clone(&refused)))
            .unwrap();
    };
    assert!(counters.is_degraded());
    assert_eq!(admitted(&counters, &budget, "alice", 20).await, 10);

    connect(url("a-canary-of-another-password"));
    assert_eq!(
        admitted(&counters, &budget, "alice", 20).await,
        0,
        "a new address gives nobody a new budget"
    );
    tokio::time::timeout(Duration::from_mins(1), wake.notified())
        .await
        .unwrap();
    assert!(counters.is_degraded());
    assert_eq!((said("does not answer"), said("Redis answers")), (1, 0));

    connect(url("a-canary-of-a-password"));
    back(&counters).await;
    assert_eq!((said("does not answer"), said("Redis answers")), (1, 1));
    assert_eq!(admitted(&counters, &budget, "bob", 4).await, 4);
    let other = self::counters(&url("a-canary-of-a-password"));
    assert_eq!(admitted(&other, &budget, "bob", 20).await, 6);
    drop(other);

    connect("redis://127.0.0.1:1".to_owned());
    assert_eq!(
        admitted(&counters, &budget, "bob", 20).await,
        6,
        "what Redis said before still counts"
    );
    assert_eq!((said("does not answer"), said("Redis answers")), (2, 1));
    assert!(!log.text().contains("canary"));
}

#[tokio::test]
async fn real_redis_never_gets_a_callers_name() {
    let server = RedisServer::start();
    let mut monitor = TcpStream::connect(
        server
            .url()
            .trim_start_matches("redis://")
            .trim_end_matches('/'),
    )
    .unwrap();
    monitor.write_all(b"MONITOR\r\n").unwrap();
    let mut seen = BufReader::new(monitor).lines().map(Result::unwrap);
    assert_eq!(seen.next().unwrap(), "+OK");
    let (counters, budget) = (counters(&server.url()), budget(TEN));
    assert_eq!(
        admitted(&counters, &budget, "canary@example.com", 11).await,
        10
    );
    let key = format!("roomkey:token:{}", caller("canary@example.com"));
    let keys = server.ask::<Vec<String>>(&["KEYS", "roomkey:token:*"]);
    assert_eq!(keys, std::slice::from_ref(&key));
    let seen: Vec<_> = seen.take_while(|line| !line.contains("\"KEYS\"")).collect();
    assert!(seen.iter().any(|line| line.contains(&key)));
    assert!(!seen.iter().any(|line| line.contains("canary")), "{seen:?}");
    let left_ms = server.ask::<i64>(&["PTTL", &key]);
    assert!((1..=86_400_001).contains(&left_ms), "{left_ms}");
}

#[test]
fn real_redis_by_tls_needs_a_trusted_certificate() {
    let server = RedisServer::start_with_tls();
    let stranger = RedisServer::start_with_tls();
    for (authority, word) in [
        (server.authority(), "trusted"),
        (stranger.authority(), "foreign"),
    ] {
        // The trusted certificates are read from the environment of a process, so this test needs a
        // separate process.
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "redis::real_redis_by_tls_in_a_process_of_its_own",
                "--ignored",
                "--nocapture",
            ])
            .env("SSL_CERT_FILE", authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(format!("{word} {}", server.url()).as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{word}: {text}"
        );
    }
}

#[tokio::test]
#[ignore = "the test above runs it, once for each authority"]
async fn real_redis_by_tls_in_a_process_of_its_own() {
    let asked = std::io::read_to_string(std::io::stdin()).unwrap();
    let (word, url) = asked.split_once(' ').unwrap();
    let (counters, budget) = (counters(url), budget(TEN));
    if word == "trusted" {
        assert_eq!(admitted(&counters, &budget, "bob", 20).await, 10);
        assert_eq!(counters.local_decisions(), 0);
    } else {
        assert_eq!(admitted(&counters, &budget, "alice", 20).await, 10);
        let began = Stopwatch::start();
        while began.elapsed() < Duration::from_millis(2_500) {
            assert!(counters.is_degraded());
            tokio::task::yield_now().await;
        }
    }
}
