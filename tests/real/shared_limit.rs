//! Two roomkey processes with one Redis share one limit. Without Redis each enforces the limit by
//! itself, logs that, and recovers.

use std::ops::RangeBounds;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use roomkey::clock::{Clock, Stopwatch, SystemClock};
use roomkey::domain::livekit::lifetime::Rfc3339;
use serde_json::Value;

use crate::fake_azure::FakeAzure;
use crate::leaks::assert_absent;
use crate::peers;
use crate::process::{Ended, Roomkey};
use crate::redis_server::RedisServer;
use crate::signed_in::{ADMIN_KEY, Answer, any_room, asking, client, metric};
use crate::undisturbed::undisturbed;

/// The limit of these tests and the number of requests, twice as many.
const LIMIT: usize = 40;
const REQUESTS: usize = 2 * LIMIT;
/// The number of concurrent requests: enough to race, and few enough that Redis answers each within
/// its 50 ms on a busy machine.
const AT_ONCE: usize = 8;
/// The hash key, the same for all processes.
const HASH_KEY: &str = "a-hash-key-for-tests-only-0123456789";
/// The longest time until a change of state is visible.
const PATIENCE: Duration = Duration::from_mins(1);

/// Returns the number of callers that Redis counts.
fn counted(redis: &RedisServer) -> usize {
    redis.ask(&["DBSIZE"])
}

/// Starts a roomkey behind a proxy on this machine, so that a test can send as many callers.
fn roomkey(redis: &RedisServer) -> Roomkey {
    roomkey_with(&[
        ("ROOMKEY_REDIS_URL", &redis.url()),
        ("ROOMKEY_HASH_KEY", HASH_KEY),
    ])
}

fn roomkey_with(settings: &[(&str, &str)]) -> Roomkey {
    let limit = format!("{LIMIT}/1h");
    let always = [
        ("ROOMKEY_RATE_LIMIT", limit.as_str()),
        ("ROOMKEY_TRUSTED_PROXIES", "127.0.0.1/32"),
        ("ROOMKEY_ADMIN_KEYS", ADMIN_KEY),
    ];
    peers::roomkey(&[&always, settings].concat())
}

async fn ask(roomkey: &Roomkey, caller: &str) -> Answer {
    let answer = Answer::to(asking(roomkey, &any_room()).header("x-forwarded-for", caller)).await;
    assert!([200, 429].contains(&answer.status), "{answer:?}");
    answer
}

/// Sends concurrent requests of one caller to each process in turn, and returns how many each
/// admitted.
async fn admitted<const N: usize>(processes: [&Roomkey; N], caller: &str) -> [usize; N] {
    let mut sums = [0; N];
    for batch in 0..REQUESTS / AT_ONCE {
        let indices = batch * AT_ONCE..(batch + 1) * AT_ONCE;
        for (index, answer) in indices
            .clone()
            .zip(join_all(indices.map(|index| ask(processes[index % N], caller))).await)
        {
            sums[index % N] += usize::from(answer.status == 200);
        }
    }
    sums
}

/// Sends requests of new callers until Redis has counted one, since roomkey connects in the
/// background.
async fn counted_in(redis: &RedisServer, roomkey: &Roomkey, network: &str) {
    let (began, before) = (Stopwatch::start(), counted(redis));
    for index in 0.. {
        ask(
            roomkey,
            &format!("{network}.{}.{}", index / 250, index % 250),
        )
        .await;
        if counted(redis) > before {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "Redis is not asked");
    }
}

/// Waits until a secret has been read from the vault.
async fn until_fresh(roomkey: &Roomkey, name: &str) {
    let began = Stopwatch::start();
    loop {
        let ready = Answer::to(client().get(format!("{}/api/health/ready", roomkey.url))).await;
        let lines = ready.body["dependencies"].as_array().unwrap();
        if lines
            .iter()
            .any(|line| line["name"] == name && line["state"] == "fresh")
        {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{name} is not read: {ready:?}");
    }
}

/// Waits until the counters are shared.
async fn until_shared(roomkey: &Roomkey) {
    let began = Stopwatch::start();
    while metric(roomkey, "roomkey_rate_limit_degraded").await > 0.5 {
        assert!(began.elapsed() < PATIENCE, "Redis is not used");
    }
}

/// Stops processes. Returns how they ended, or nothing if one of them has lost Redis since a time:
/// an answer came later than within 50 ms, and limits were not shared. The time must be taken before
/// [`until_shared`].
fn stopped<const N: usize>(processes: [Roomkey; N], since: SystemTime) -> Option<[Ended; N]> {
    let ended = processes.map(|process| process.stop("TERM"));
    let has_lost = |ended: &Ended| logged(&ended.stderr, LOST, since..) > 0;
    (!ended.iter().any(has_lost)).then_some(ended)
}

/// The beginnings of the lines that a process writes when it loses Redis, and when it finds it.
const LOST: &str = "Redis does not answer";
const FOUND: &str = "Redis answers";

/// Returns the number of lines with a message that were written in a period, to the millisecond.
fn logged(log: &str, message: &str, period: impl RangeBounds<SystemTime>) -> usize {
    let text = |time: &SystemTime| Rfc3339::of(*time).to_string();
    let period = (period.start_bound().map(text), period.end_bound().map(text));
    let is_meant = |line: &&str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let written_at = line["timestamp"].as_str().unwrap().to_owned();
        line["message"].as_str().unwrap().contains(message) && period.contains(&written_at)
    };
    log.lines().filter(is_meant).count()
}

#[tokio::test]
async fn two_processes_and_one_redis_admit_one_limit_together() {
    let (admitted, resets) = undisturbed(async || {
        let redis = RedisServer::start();
        let (one, other) = (roomkey(&redis), roomkey(&redis));
        counted_in(&redis, &one, "198.18").await;
        counted_in(&redis, &other, "198.19").await;
        let since = SystemClock.now();
        until_shared(&one).await;
        until_shared(&other).await;
        let mut admitted_by = Vec::new();
        for caller in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            admitted_by.push(admitted([&one, &other], caller).await);
        }
        // Both processes count the caller, so both report the same.
        let refused = [ask(&one, "192.0.2.1").await, ask(&other, "192.0.2.1").await];
        stopped([one, other], since)?;
        let resets = refused.map(|answer| (answer.status, answer.number("x-ratelimit-reset")));
        Some((admitted_by, resets))
    })
    .await;
    for [by_one, by_other] in admitted {
        assert_eq!(by_one + by_other, LIMIT, "{by_one} and {by_other}");
        assert!(by_one > 0 && by_other > 0, "{by_one} and {by_other}");
    }
    let [(here, here_at), (there, there_at)] = resets;
    assert_eq!((here, there), (429, 429));
    assert!(here_at.abs_diff(there_at) <= 1, "{here_at} and {there_at}");
}

#[tokio::test]
async fn fault_53_without_redis_each_process_keeps_the_limit_and_recovers() {
    let (without, more, again, ended, times) = undisturbed(async || {
        let mut redis = RedisServer::start();
        let (one, other) = (roomkey(&redis), roomkey(&redis));
        for (process, network) in [(&one, "198.18"), (&other, "198.19")] {
            counted_in(&redis, process, network).await;
            until_shared(process).await;
        }

        redis.kill();
        let killed_at = SystemClock.now();
        let without = admitted([&one, &other], "192.0.2.1").await;
        let [more] = admitted([&one], "192.0.2.1").await;
        for process in [&one, &other] {
            assert!(metric(process, "roomkey_rate_limit_degraded").await > 0.5);
        }

        let restarted_at = SystemClock.now();
        redis.restart();
        for (process, network) in [(&one, "203.0"), (&other, "100.64")] {
            counted_in(&redis, process, network).await;
            until_shared(process).await;
        }
        let [by_one, by_other] = admitted([&one, &other], "192.0.2.3").await;
        let ended = stopped([one, other], restarted_at)?;
        // One that had lost Redis just before does not lose it again.
        let is_known = |ended: &Ended| logged(&ended.stderr, LOST, killed_at..restarted_at) > 0;
        let times = (killed_at, restarted_at);
        ended
            .iter()
            .all(is_known)
            .then_some((without, more, by_one + by_other, ended, times))
    })
    .await;
    assert_eq!(
        without,
        [LIMIT, LIMIT],
        "each has the whole limit, and no more"
    );
    assert_eq!((more, again), (0, LIMIT));
    for ended in ended {
        // It cannot be found while it is dead, nor was it lost again afterwards.
        let (killed_at, restarted_at) = times;
        let lost = logged(&ended.stderr, LOST, killed_at..restarted_at);
        let found = logged(&ended.stdout, FOUND, restarted_at..);
        assert_eq!((lost, found), (1, 1), "{}{}", ended.stderr, ended.stdout);
        assert!(!ended.stderr.contains("192.0.2"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_start_does_not_wait_for_redis_and_limits_the_first_request() {
    let mut redis = RedisServer::start();
    redis.kill();
    let roomkey = roomkey(&redis);
    let [admitted] = admitted([&roomkey], "192.0.2.1").await;
    assert_eq!(admitted, LIMIT);
}

#[tokio::test]
async fn with_redis_and_hash_key_in_the_vault_no_request_is_uncounted() {
    const PASSWORD: &str = "a-canary-of-a-password";
    let (admitted, answers, ended) = undisturbed(async || {
        let (azure, redis) = (FakeAzure::start(), RedisServer::start());
        let names = [
            ("ROOMKEY_REDIS_URL_SECRET_NAME", "redis-url"),
            ("ROOMKEY_HASH_KEY_SECRET_NAME", "hash-key"),
        ];
        let settings = [&azure.settings()[..], &names].concat();
        let processes = [roomkey_with(&settings), roomkey_with(&settings)];
        for process in &processes {
            let answer = Answer::to(asking(process, &any_room())).await;
            assert_eq!(answer.verdict(), (503, "secret_unavailable"), "{answer:?}");
        }
        azure.set("hash-key", HASH_KEY).await;
        for process in &processes {
            until_fresh(process, "roomkey-hash-key").await;
            assert_eq!(
                admitted([process], "192.0.2.1").await,
                [LIMIT],
                "without an address each limits on its own"
            );
            assert!(metric(process, "roomkey_rate_limit_degraded").await > 0.5);
        }
        let url = redis
            .url()
            .replace("://", &format!("://roomkey:{PASSWORD}@"));
        let password = format!(">{PASSWORD}");
        redis.ask::<()>(&["ACL", "SETUSER", "roomkey", "on", &password, "~*", "+@all"]);
        azure.set("redis-url", &url).await;
        let mut answers = Vec::new();
        for (process, network) in processes.iter().zip(["198.18", "198.19"]) {
            until_fresh(process, "roomkey-redis-url").await;
            until_shared(process).await;
            counted_in(&redis, process, network).await;
            answers.push(ask(process, "192.0.2.3").await);
        }
        let since = SystemClock.now();
        let [one, other] = &processes;
        until_shared(one).await;
        until_shared(other).await;
        let admitted_by = admitted([one, other], "192.0.2.2").await;
        for process in &processes {
            let ready = client().get(format!("{}/api/health/ready", process.url));
            answers.push(Answer::to(ready).await);
        }
        Some((admitted_by, answers, stopped(processes, since)?))
    })
    .await;
    let [by_one, by_other] = admitted;
    assert_eq!(by_one + by_other, LIMIT, "{by_one} and {by_other}");
    for ended in ended {
        assert_absent(
            &[HASH_KEY, PASSWORD],
            &[&ended.stdout, &ended.stderr, &format!("{answers:?}")],
        );
    }
}
