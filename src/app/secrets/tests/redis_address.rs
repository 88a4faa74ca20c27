//! Tests of a Redis address that arrives late or is unusable, and of a Redis that refuses its
//! password.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::store::redis::{Redis, RedisDeadlines};

/// Creates secrets of which only the address of Redis is in the vault.
fn only_the_address(redis: &Arc<Redis>) -> Secrets {
    let (livekit, azure_openai_key, openai_key, hash_key) = Default::default();
    let (cloudflare_turn_token, turn_secret) = Default::default();
    let admin_keys = AdminKeySource::Given(AdminKeys::default());
    let redis = Some((name("redis"), Arc::clone(redis)));
    Secrets::new(
        SecretSources {
            livekit,
            azure_openai_key,
            openai_key,
            cloudflare_turn_token,
            turn_secret,
            admin_keys,
            hash_key,
            keks: Vec::new(),
            redis,
            otlp_headers: None,
        },
        &FixedEntropy(0),
    )
}

#[tokio::test]
async fn the_redis_address_is_not_needed_and_an_unusable_one_is_refused() {
    let redis = Arc::new(Redis::awaiting_address(RedisDeadlines::default()));
    let secrets = only_the_address(&redis);
    assert!(redis.is_degraded(), "nothing is shared without an address");
    assert!(
        secrets
            .statuses()
            .all(|status| (status.name, status.is_needed) == (REDIS_URL, false))
    );
    let vault = Arc::new(Fake::default());
    let secret = Arc::clone(&secrets.in_vault[0]);
    let mut source = VaultSource::new(
        secret,
        Arc::clone(&vault),
        REFRESH,
        Arc::new(FixedClock(NOW)),
    );
    for (value, is_usable) in [
        ("http://canary", false),
        ("redis://:changeme@127.0.0.1:1", false),
        ("redis://:canary-password-1@127.0.0.1:1", true),
        ("redis://127.0.0.1:1?protocol=canary", false),
        ("", false),
        ("redis://:canary-password-2@127.0.0.1:1", true),
    ] {
        vault.put("redis", value);
        let fetched = source.fetch().await.map_err(|failure| failure.error);
        assert_eq!(
            fetched,
            if is_usable {
                Ok(REFRESH)
            } else {
                Err(ReadError::Unusable)
            },
            "{value}"
        );
    }
}

#[tokio::test]
async fn a_redis_that_refuses_its_password_causes_another_read_of_the_vault() {
    let redis = Arc::new(Redis::awaiting_address(RedisDeadlines::default()));
    let secrets = only_the_address(&redis);
    let vault = Arc::new(Fake::default());
    vault.put(
        "redis",
        &format!("redis://:canary-password-3@{}", refusing_server().await),
    );
    read_from(&vault, &secrets);
    let read_again = async {
        while vault.reads_of("redis") < 2 {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), read_again)
            .await
            .is_ok()
    );
}

/// Starts a server that refuses every password, as Redis does.
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
