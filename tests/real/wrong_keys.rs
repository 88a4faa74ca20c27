//! Many concurrent wrong admin keys with a slow Redis: at most ten per hour are checked, and right
//! keys do not block each other.

use std::time::Duration;

use futures_util::future::join_all;
use roomkey::clock::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

use crate::peers;
use crate::process::Roomkey;
use crate::redis_server::RedisServer;
use crate::signed_in::{ADMIN_KEY, Answer, any_room, asking, client, metric};

/// The delay of each response of Redis: less than the 50 ms that roomkey waits, and enough that all
/// requests are in flight at once.
const LATENCY: Duration = Duration::from_millis(20);
/// The number of concurrent requests.
const AT_ONCE: usize = 30;

/// The longest time until Redis is used: on a busy machine few delayed answers come within 50 ms.
const PATIENCE: Duration = Duration::from_mins(5);

/// Starts a proxy to Redis that delays its responses. Returns its address, and the counter of
/// decisions.
async fn slow(redis: &RedisServer) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, decisions) = watch::channel(0);
    let behind = redis
        .url()
        .trim_start_matches("redis://")
        .trim_end_matches('/')
        .to_owned();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let redis = TcpStream::connect(&behind).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_redis, mut to_redis) = redis.into_split();
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut words = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from_client.read(&mut words).await {
                    asked.send_modify(|asked| {
                        *asked += words[..read]
                            .windows(7)
                            .filter(|word| word == b"EVALSHA")
                            .count();
                    });
                    if to_redis.write_all(&words[..read]).await.is_err() {
                        return;
                    }
                }
            });
            let (late, mut due) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
            tokio::spawn(async move {
                let mut words = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from_redis.read(&mut words).await {
                    let _ = late.send((
                        tokio::time::Instant::now() + LATENCY,
                        words[..read].to_vec(),
                    ));
                }
            });
            tokio::spawn(async move {
                while let Some((due_at, words)) = due.recv().await {
                    tokio::time::sleep_until(due_at).await;
                    if to_client.write_all(&words).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (format!("redis://{address}/"), decisions)
}

async fn roomkey(redis: &RedisServer) -> (Roomkey, watch::Receiver<usize>) {
    let (url, decisions) = slow(redis).await;
    let settings = [
        ("ROOMKEY_REDIS_URL", url.as_str()),
        ("ROOMKEY_HASH_KEY", "a-hash-key-for-tests-only-0123456789"),
        ("ROOMKEY_TRUSTED_PROXIES", "127.0.0.1/32"),
        ("ROOMKEY_ADMIN_KEYS", ADMIN_KEY),
    ];
    let roomkey = peers::roomkey(&settings);
    // Roomkey connects in the background. The first exchanges are many and delayed, so the first
    // attempt may be given up.
    let began = Stopwatch::start();
    for caller in 0.. {
        Answer::to(asking(&roomkey, &any_room()).header(
            "x-forwarded-for",
            format!("198.18.{}.{}", caller / 250, caller % 250),
        ))
        .await;
        if redis.ask::<usize>(&["DBSIZE"]) > 0
            && metric(&roomkey, "roomkey_rate_limit_degraded").await < 0.5
        {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "Redis is not asked");
    }
    (roomkey, decisions)
}

async fn ask(roomkey: &Roomkey, key: &str, address: &str) -> u16 {
    let request = client()
        .get(format!("{}/api/metrics", roomkey.url))
        .header("x-admin-api-key", key);
    Answer::to(request.header("x-forwarded-for", address))
        .await
        .status
}

fn times(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|seen| **seen == status).count()
}

#[tokio::test]
async fn only_ten_of_many_concurrent_wrong_keys_are_checked() {
    let redis = RedisServer::start();
    let (roomkey, mut decisions) = roomkey(&redis).await;
    let before = *decisions.borrow_and_update();
    let keys: Vec<_> = (0..AT_ONCE)
        .map(|number| format!("a-wrong-key-of-the-right-length-{number:04}"))
        .collect();
    let all_answered = Notify::new();
    let guesses = async {
        let statuses = join_all(keys.iter().map(|key| ask(&roomkey, key, "192.0.2.1"))).await;
        all_answered.notify_one();
        statuses
    };
    // The right key, while ten guesses wait for their responses.
    let right = async {
        tokio::select! {
            counted = decisions.wait_for(|asked| *asked >= before + 10) => drop(counted.unwrap()),
            () = all_answered.notified() => {}
        }
        ask(&roomkey, ADMIN_KEY, "192.0.2.1").await
    };
    let (statuses, right) = tokio::join!(guesses, right);
    let looked_at = times(&statuses, 401);
    assert!(
        (1..=10).contains(&looked_at) && looked_at + times(&statuses, 429) == AT_ONCE,
        "{statuses:?}"
    );
    assert_eq!(
        right, 429,
        "a guess that is right opens nothing once ten were made"
    );
    assert_eq!(
        ask(&roomkey, ADMIN_KEY, "192.0.2.1").await,
        429,
        "guessing must not go on"
    );
    assert_eq!(
        ask(&roomkey, ADMIN_KEY, "192.0.2.2").await,
        200,
        "an operator elsewhere"
    );
}

#[tokio::test]
async fn concurrent_right_keys_are_all_admitted() {
    let redis = RedisServer::start();
    let (roomkey, _) = roomkey(&redis).await;
    for round in 0..3 {
        let statuses = join_all((0..AT_ONCE).map(|_| ask(&roomkey, ADMIN_KEY, "192.0.2.1"))).await;
        assert_eq!(
            times(&statuses, 200),
            AT_ONCE,
            "round {round}: {statuses:?}"
        );
        assert_eq!(
            ask(
                &roomkey,
                "a-wrong-key-of-the-right-length-0000",
                "192.0.2.1"
            )
            .await,
            401
        );
    }
}
