//! The address of Redis, which comes late or cannot be used, and a Redis that does not take the password in it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn the_address_of_redis_is_needed_by_nobody_and_one_that_cannot_be_used_is_none() {
    let redis = Arc::new(Redis::awaiting_address());
    let (livekit, azure_openai_key, openai_key, hash_key) = Default::default();
    let sources = Sources {
        livekit,
        azure_openai_key,
        openai_key,
        admin_keys: AdminKeySource::Given(AdminKeys::default()),
        hash_key,
        redis: Some((name("redis"), Arc::clone(&redis))),
    };
    let secrets = Secrets::new(sources);
    let mut reader = Reader::new(&secrets.watched, Arc::clone(&secrets.reads), Arc::new(Clock0));
    assert!(redis.is_degraded(), "nothing is shared without an address");
    let refusing = format!("redis://:canary-password-3@{}", refusing_server().await);
    let vault = Fake::default();
    for (value, state) in [
        ("http://canary", "missing"),
        ("redis://:changeme@127.0.0.1:1", "missing"),
        ("redis://:canary-password-1@127.0.0.1:1", "fresh"),
        ("redis://127.0.0.1:1?protocol=canary", "stale"),
        ("", "stale"),
        (&refusing, "fresh"),
        ("changeme", "stale"),
        ("redis://:canary-password-2@127.0.0.1:1", "fresh"),
    ] {
        vault.put("redis", value);
        round(&mut reader, &vault);
        let seen = secrets.seen().map(|seen| (seen.name, seen.state.as_str(), seen.needed)).collect::<Vec<_>>();
        assert_eq!(seen, [(REDIS_URL, state, false)], "{value}");
        if value == refusing {
            let rung = tokio::time::timeout(Duration::from_mins(1), secrets.wake.notified()).await;
            assert!(rung.is_ok(), "nobody asks the vault for another password");
        }
    }
}

/// A server that takes no password, in Redis' words.
async fn refusing_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut some = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut some).await {
                    // Each command begins with an asterisk.
                    for _ in some.iter().take(read).filter(|byte| **byte == b'*') {
                        stream.write_all(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n").await.unwrap();
                    }
                }
            });
        }
    });
    address
}
