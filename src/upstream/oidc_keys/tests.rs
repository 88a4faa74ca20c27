//! The key cache against a small real server: what it asks, how often, and what it makes of bad
//! answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::FixedClock;
use crate::entropy::FixedEntropy;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const MAX_BYTES: usize = crate::domain::callers::key_set::MAX_DOCUMENT_BYTES;
const NOW: SystemTime = UNIX_EPOCH;

/// A provider on a loopback address, with answers that a test may change.
struct Provider {
    address: SocketAddr,
    answers: Arc<Mutex<HashMap<&'static str, Vec<u8>>>>,
    /// Paths in the order in which they were asked for.
    asked: watch::Sender<Vec<String>>,
    /// An answer takes one permit; none left: the provider hangs.
    permits: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

impl Provider {
    async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Arc<Mutex<HashMap<&str, Vec<u8>>>> = Arc::default();
        let asked = watch::Sender::default();
        let permits = Arc::new(Semaphore::new(1_000));
        let shared = (
            Arc::clone(&answers),
            watch::Sender::clone(&asked),
            Arc::clone(&permits),
        );
        let serving = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let (answers, asked, permits) = shared.clone();
                tokio::spawn(async move {
                    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
                    while !head.ends_with(b"\r\n\r\n") {
                        let read = connection.read(&mut buffer).await.unwrap_or(0);
                        if read == 0 {
                            return;
                        }
                        head.extend_from_slice(&buffer[..read]);
                    }
                    let path = String::from_utf8(head)
                        .unwrap()
                        .split(' ')
                        .nth(1)
                        .unwrap()
                        .to_owned();
                    asked.send_modify(|asked: &mut Vec<String>| asked.push(path.clone()));
                    permits.acquire().await.unwrap().forget();
                    let missing = || answer("404 Not Found", "");
                    let answer = answers
                        .lock()
                        .unwrap()
                        .get(path.as_str())
                        .cloned()
                        .unwrap_or_else(missing);
                    let _ = connection.write_all(&answer).await;
                });
            }
        });
        let provider = Self {
            address,
            answers,
            asked,
            permits,
            serving,
        };
        provider.answer(DISCOVERY, "200 OK", &provider.discovery().to_string());
        provider
    }

    fn issuer(&self) -> Issuer {
        Issuer::parse(&format!("http://{}", self.address)).unwrap()
    }

    fn discovery(&self) -> Value {
        json!({ "issuer": format!("http://{}", self.address), "jwks_uri": format!("http://{}/keys", self.address) })
    }

    fn answer(&self, path: &'static str, status: &str, body: &str) {
        self.answers
            .lock()
            .unwrap()
            .insert(path, answer(status, body));
    }

    fn publish(&self, key_ids: &[&str]) {
        self.answer("/keys", "200 OK", &key_set(key_ids));
    }

    fn asked_for(&self, path: &str) -> usize {
        times(&self.asked.borrow(), path)
    }

    async fn is_asked_for(&self, path: &str, often: usize) {
        let mut asked = self.asked.subscribe();
        soon(asked.wait_for(|asked| times(asked, path) >= often))
            .await
            .unwrap();
    }

    fn cache(&self) -> Running {
        Running::start(self.issuer())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A test that waits for what never happens fails; it does not hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("it never happened")
}

fn times(asked: &[String], path: &str) -> usize {
    asked.iter().filter(|asked| *asked == path).count()
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn key_set(key_ids: &[&str]) -> String {
    let key = Ed25519KeyPair::generate().unwrap();
    let x = BASE64URL_NOPAD.encode(key.public_key().as_ref());
    let keys: Vec<_> = key_ids
        .iter()
        .map(|id| json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x }))
        .collect();
    json!({ "keys": keys }).to_string()
}

/// A cache and its task.
struct Running {
    cache: Arc<KeyCache>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(issuer: Issuer) -> Self {
        let cache = Arc::new(KeyCache::new(
            issuer,
            Arc::new(FixedClock(NOW)),
            Arc::new(FixedEntropy(0)),
        ));
        let running = Arc::clone(&cache);
        Self {
            cache,
            task: tokio::spawn(async move { running.run().await }),
        }
    }

    async fn fetched(&self, times: u64) {
        let fetched = async {
            while self.cache.status().succeeded + self.cache.status().failed < times {
                tokio::task::yield_now().await;
            }
        };
        soon(fetched).await;
    }

    /// As a token is checked: with the keys at hand, and if need be with newer ones.
    async fn key(&self, key_id: &str, now: SystemTime) -> Result<(), KeyLookupError> {
        let find = || self.cache.find(Some(key_id), Algorithm::EdDsa, now);
        let mut found = find().await;
        if found
            .as_ref()
            .is_err_and(|none| *none == KeyLookupError::UnknownKey)
        {
            self.cache.wait_for_refresh().await?;
            found = find().await;
        }
        found.map(drop)
    }

    fn counts(&self) -> (u64, u64) {
        (self.cache.status().succeeded, self.cache.status().failed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn the_first_caller_waits_for_the_first_fetch() {
    let provider = Provider::start().await;
    provider.publish(&["a"]);
    let running = provider.cache();
    assert_eq!(
        (running.cache.fetched_at(), running.cache.serving_since(NOW)),
        (None, None)
    );
    assert_eq!(running.key("a", NOW).await, Ok(()));
    assert_eq!(*provider.asked.borrow(), [DISCOVERY, "/keys"]);
    assert_eq!(
        (running.cache.fetched_at(), running.cache.serving_since(NOW)),
        (Some(NOW), Some(NOW))
    );
    assert_eq!(running.counts(), (1, 0));
}

#[tokio::test]
async fn a_thousand_unknown_keys_cause_one_fetch() {
    let provider = Provider::start().await;
    provider.publish(&["a"]);
    let running = provider.cache();
    running.fetched(1).await;
    let unknown: Vec<_> = (0..1_000).map(|n| format!("unknown-{n}")).collect();
    for _ in 0..3 {
        let refused =
            futures_util::future::join_all(unknown.iter().map(|id| running.key(id, NOW))).await;
        assert!(
            refused
                .iter()
                .all(|refused| *refused == Err(KeyLookupError::UnknownKey))
        );
        assert_eq!(
            provider.asked_for("/keys"),
            2,
            "the next one follows after a minute"
        );
        assert_eq!(running.key("a", NOW).await, Ok(()), "others are served");
    }
}

#[tokio::test]
async fn a_provider_that_hangs_keeps_no_more_requests_waiting_than_may_wait() {
    let provider = Provider::start().await;
    provider.publish(&["a"]);
    let running = provider.cache();
    running.fetched(1).await;
    provider.permits.forget_permits(1_000);
    let unknown: Vec<_> = (0..2_100).map(|n| format!("unknown-{n}")).collect();
    let mut refused: FuturesUnordered<_> = unknown.iter().map(|id| running.key(id, NOW)).collect();
    for _ in 0..1_000 {
        assert_eq!(
            soon(refused.next()).await,
            Some(Err(KeyLookupError::KeysUnavailable))
        );
    }
    assert_eq!(
        running.key("a", NOW).await,
        Ok(()),
        "known keys are found meanwhile"
    );
}

#[tokio::test]
async fn all_who_bring_a_new_key_share_the_fetch_that_finds_it() {
    let provider = Provider::start().await;
    provider.publish(&["old"]);
    let running = provider.cache();
    running.fetched(1).await;
    provider.publish(&["new", "old"]);
    let found = futures_util::future::join_all((0..50).map(|_| running.key("new", NOW))).await;
    assert!(found.iter().all(Result::is_ok), "{found:?}");
    assert_eq!(running.key("old", NOW).await, Ok(()));
    assert_eq!(provider.asked_for("/keys"), 2);
}

#[tokio::test]
async fn a_key_that_is_asked_for_during_the_first_fetch_is_fetched_once_more() {
    let provider = Provider::start().await;
    provider.publish(&["old"]);
    provider.permits.forget_permits(1_000);
    let running = provider.cache();
    let (found, ()) = tokio::join!(running.key("new", NOW), async {
        provider.is_asked_for(DISCOVERY, 1).await;
        // The fetch that is under way ends with the old set; only the next one finds the new key.
        provider.permits.add_permits(2);
        provider.is_asked_for(DISCOVERY, 2).await;
        provider.publish(&["new"]);
        provider.permits.add_permits(1_000);
    });
    assert_eq!(found, Ok(()));
    assert_eq!(provider.asked_for("/keys"), 2);
}

#[tokio::test]
async fn a_key_for_another_algorithm_causes_no_fetch() {
    let provider = Provider::start().await;
    provider.publish(&["a", "b"]);
    let running = provider.cache();
    running.fetched(1).await;
    assert_eq!(
        running
            .cache
            .find(Some("a"), Algorithm::Rs256, NOW)
            .await
            .err(),
        Some(KeyLookupError::Rejected)
    );
    assert!(
        running
            .cache
            .find(None, Algorithm::EdDsa, NOW)
            .await
            .is_ok()
    );
    assert_eq!(running.counts(), (1, 0));
}

#[tokio::test]
async fn without_a_provider_nobody_gets_in_until_it_comes_back() {
    let provider = Provider::start().await;
    let address = provider.address;
    drop(provider);
    let running = Running::start(Issuer::parse(&format!("http://{address}")).unwrap());
    assert_eq!(
        running.key("a", NOW).await,
        Err(KeyLookupError::KeysUnavailable)
    );
    assert_eq!(running.counts(), (0, 1));
    let provider = Provider::start_at(address).await;
    provider.publish(&["a"]);
    running.fetched(2).await;
    assert_eq!(running.key("a", NOW).await, Ok(()));
}

#[tokio::test]
async fn the_last_good_keys_serve_for_a_day_and_no_longer() {
    let provider = Provider::start().await;
    provider.publish(&["a"]);
    let running = provider.cache();
    running.fetched(1).await;
    drop(provider);
    assert_eq!(
        running.key("unknown", NOW).await,
        Err(KeyLookupError::UnknownKey)
    );
    assert_eq!(running.counts(), (1, 1));
    let day = NOW + Duration::from_hours(24);
    assert_eq!(running.key("a", day).await, Ok(()));
    assert_eq!(
        running.key("a", day + Duration::from_millis(1)).await,
        Err(KeyLookupError::KeysUnavailable)
    );
    assert_eq!(
        running.cache.serving_since(day + Duration::from_millis(1)),
        None
    );
}

#[tokio::test]
async fn a_bad_answer_does_not_take_good_keys_away() {
    let provider = Provider::start().await;
    provider.publish(&["a"]);
    let running = provider.cache();
    running.fetched(1).await;
    provider.answer("/keys", "200 OK", r#"{"keys":[]}"#);
    assert_eq!(running.key("b", NOW).await, Err(KeyLookupError::UnknownKey));
    assert_eq!(
        (running.counts(), running.key("a", NOW).await),
        ((1, 1), Ok(()))
    );
}

#[tokio::test]
async fn answers_that_cannot_be_trusted_bring_no_keys() {
    let provider = Provider::start().await;
    let here = format!("http://{}", provider.address);
    let good = key_set(&["a"]);
    let large = format!("{good}{}", " ".repeat(MAX_BYTES));
    let discovery =
        |issuer: &str, keys_at: &str| json!({ "issuer": issuer, "jwks_uri": keys_at }).to_string();
    let keys = format!("{here}/keys");
    let right = discovery(&here, &keys);
    for (name, status, discovery, keys_status, keys, error) in [
        (
            "no discovery",
            "404 Not Found",
            right.clone(),
            "200 OK",
            &good,
            KeyFetchError::Status,
        ),
        (
            "a broken provider",
            "500 Internal Server Error",
            right.clone(),
            "200 OK",
            &good,
            KeyFetchError::Status,
        ),
        (
            "a redirect",
            "302 Found\r\nLocation: /elsewhere",
            String::new(),
            "200 OK",
            &good,
            KeyFetchError::Status,
        ),
        (
            "another status of success",
            "206 Partial Content",
            right.clone(),
            "200 OK",
            &good,
            KeyFetchError::Status,
        ),
        (
            "a web page",
            "200 OK",
            "<html>".into(),
            "200 OK",
            &good,
            KeyFetchError::Discovery,
        ),
        (
            "another issuer",
            "200 OK",
            discovery("https://evil.example", &keys),
            "200 OK",
            &good,
            KeyFetchError::Discovery,
        ),
        (
            "an issuer with a slash more",
            "200 OK",
            discovery(&format!("{here}/"), &keys),
            "200 OK",
            &good,
            KeyFetchError::Discovery,
        ),
        (
            "no keys named",
            "200 OK",
            json!({ "issuer": here }).to_string(),
            "200 OK",
            &good,
            KeyFetchError::Discovery,
        ),
        (
            "keys without TLS elsewhere",
            "200 OK",
            discovery(&here, "http://192.0.2.1/keys"),
            "200 OK",
            &good,
            KeyFetchError::Discovery,
        ),
        (
            "keys in a file",
            "200 OK",
            discovery(&here, "file:///etc/passwd"),
            "200 OK",
            &good,
            KeyFetchError::Discovery,
        ),
        (
            "an issuer named twice",
            "200 OK",
            right.replacen('{', r#"{"issuer":"x","#, 1),
            "200 OK",
            &good,
            KeyFetchError::Discovery,
        ),
        (
            "a large discovery",
            "200 OK",
            format!("{right}{}", " ".repeat(MAX_BYTES)),
            "200 OK",
            &good,
            KeyFetchError::TooLarge,
        ),
        (
            "a large key set",
            "200 OK",
            right.clone(),
            "200 OK",
            &large,
            KeyFetchError::TooLarge,
        ),
        (
            "no key set",
            "200 OK",
            right.clone(),
            "404 Not Found",
            &good,
            KeyFetchError::Status,
        ),
        (
            "a redirected key set",
            "200 OK",
            right.clone(),
            "307 Temporary Redirect\r\nLocation: /elsewhere",
            &good,
            KeyFetchError::Status,
        ),
        (
            "keys that are none",
            "200 OK",
            right.clone(),
            "200 OK",
            &right,
            KeyFetchError::KeySet,
        ),
    ] {
        provider.answer(DISCOVERY, status, &discovery);
        provider.answer("/keys", keys_status, keys);
        assert_eq!(
            KeySource::new(provider.issuer()).fetch().await.err(),
            Some(error),
            "{name}"
        );
    }
    assert_eq!(
        provider.asked_for("/elsewhere"),
        0,
        "no redirect is followed"
    );
    provider.answer(DISCOVERY, "200 OK", &right);
    provider.publish(&["a"]);
    assert!(KeySource::new(provider.issuer()).fetch().await.is_ok());
}

#[tokio::test]
async fn a_key_set_without_end_is_cut_off() {
    let provider = Provider::start().await;
    let endless = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        format!("4000\r\n{}\r\n", " ".repeat(0x4000)).repeat(17)
    );
    provider
        .answers
        .lock()
        .unwrap()
        .insert("/keys", endless.into_bytes());
    assert_eq!(
        KeySource::new(provider.issuer()).fetch().await.err(),
        Some(KeyFetchError::TooLarge)
    );
}

#[tokio::test]
async fn a_provider_that_hangs_or_does_not_speak_tls_brings_no_keys() {
    let provider = Provider::start().await;
    provider.permits.forget_permits(1_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = Issuer::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let plain = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        connection
            .write_all(&answer("400 Bad Request", ""))
            .await
            .unwrap();
    };
    let (mut hanging, mut secure) = (KeySource::new(provider.issuer()), KeySource::new(secure));
    let (hanging, secure, ()) = tokio::join!(hanging.fetch(), secure.fetch(), plain);
    assert_eq!(
        (hanging.err(), secure.err()),
        (Some(KeyFetchError::Timeout), Some(KeyFetchError::Network))
    );
}
