//! Tests the key cache against a small real server: what it requests, how often, and how it handles
//! bad responses.

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

/// A provider on a loopback address, with responses that a test may change.
struct Provider {
    address: SocketAddr,
    responses: Arc<Mutex<HashMap<&'static str, Vec<u8>>>>,
    /// The requested paths in order.
    requested: watch::Sender<Vec<String>>,
    /// Each response takes one permit; without one the provider hangs.
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
        let responses: Arc<Mutex<HashMap<&str, Vec<u8>>>> = Arc::default();
        let requested = watch::Sender::default();
        let permits = Arc::new(Semaphore::new(1_000));
        let shared = (
            Arc::clone(&responses),
            watch::Sender::clone(&requested),
            Arc::clone(&permits),
        );
        let serving = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let (responses, requested, permits) = shared.clone();
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
                    requested
                        .send_modify(|requested: &mut Vec<String>| requested.push(path.clone()));
                    permits.acquire().await.unwrap().forget();
                    let missing = || response("404 Not Found", "");
                    let response = responses
                        .lock()
                        .unwrap()
                        .get(path.as_str())
                        .cloned()
                        .unwrap_or_else(missing);
                    let _ = connection.write_all(&response).await;
                });
            }
        });
        let provider = Self {
            address,
            responses,
            requested,
            permits,
            serving,
        };
        provider.response(DISCOVERY, "200 OK", &provider.discovery().to_string());
        provider
    }

    fn issuer(&self) -> Issuer {
        Issuer::parse(&format!("http://{}", self.address)).unwrap()
    }

    fn discovery(&self) -> Value {
        json!({ "issuer": format!("http://{}", self.address), "jwks_uri": format!("http://{}/keys", self.address) })
    }

    fn response(&self, path: &'static str, status: &str, body: &str) {
        self.responses
            .lock()
            .unwrap()
            .insert(path, response(status, body));
    }

    fn publish(&self, key_ids: &[&str]) {
        self.response("/keys", "200 OK", &key_set(key_ids));
    }

    fn count_requests(&self, path: &str) -> usize {
        times(&self.requested.borrow(), path)
    }

    async fn wait_for_requests(&self, path: &str, often: usize) {
        let mut requested = self.requested.subscribe();
        soon(requested.wait_for(|requested| times(requested, path) >= often))
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

/// Fails the test after a minute, so that it does not hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future)
        .await
        .expect("it never happened")
}

fn times(requested: &[String], path: &str) -> usize {
    requested
        .iter()
        .filter(|requested| *requested == path)
        .count()
}

fn response(status: &str, body: &str) -> Vec<u8> {
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

    /// Looks up a key as the check of a token does: among the cached keys, then among newer ones.
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
async fn the_first_request_waits_for_the_first_fetch() {
    let provider = Provider::start().await;
    provider.publish(&["a"]);
    let running = provider.cache();
    assert_eq!(
        (running.cache.fetched_at(), running.cache.serving_since(NOW)),
        (None, None)
    );
    assert_eq!(running.key("a", NOW).await, Ok(()));
    assert_eq!(*provider.requested.borrow(), [DISCOVERY, "/keys"]);
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
            provider.count_requests("/keys"),
            2,
            "the next one follows after a minute"
        );
        assert_eq!(running.key("a", NOW).await, Ok(()), "others are served");
    }
}

#[tokio::test]
async fn a_provider_that_hangs_keeps_a_bounded_number_of_requests_waiting() {
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
async fn requests_with_a_new_key_share_the_fetch_that_finds_it() {
    let provider = Provider::start().await;
    provider.publish(&["old"]);
    let running = provider.cache();
    running.fetched(1).await;
    provider.publish(&["new", "old"]);
    let found = futures_util::future::join_all((0..50).map(|_| running.key("new", NOW))).await;
    assert!(found.iter().all(Result::is_ok), "{found:?}");
    assert_eq!(running.key("old", NOW).await, Ok(()));
    assert_eq!(provider.count_requests("/keys"), 2);
}

#[tokio::test]
async fn a_key_that_is_looked_up_during_the_first_fetch_causes_another_one() {
    let provider = Provider::start().await;
    provider.publish(&["old"]);
    provider.permits.forget_permits(1_000);
    let running = provider.cache();
    let (found, ()) = tokio::join!(running.key("new", NOW), async {
        provider.wait_for_requests(DISCOVERY, 1).await;
        // The running fetch ends with the old set; only the next one finds the new key.
        provider.permits.add_permits(2);
        provider.wait_for_requests(DISCOVERY, 2).await;
        provider.publish(&["new"]);
        provider.permits.add_permits(1_000);
    });
    assert_eq!(found, Ok(()));
    assert_eq!(provider.count_requests("/keys"), 2);
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
async fn while_the_provider_is_down_no_caller_is_accepted() {
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
async fn the_last_keys_are_used_for_a_day_and_no_longer() {
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
async fn a_bad_response_does_not_replace_good_keys() {
    let provider = Provider::start().await;
    provider.publish(&["a"]);
    let running = provider.cache();
    running.fetched(1).await;
    provider.response("/keys", "200 OK", r#"{"keys":[]}"#);
    assert_eq!(running.key("b", NOW).await, Err(KeyLookupError::UnknownKey));
    assert_eq!(
        (running.counts(), running.key("a", NOW).await),
        ((1, 1), Ok(()))
    );
}

fn discovery_of(issuer: &str, keys_url: &str) -> String {
    json!({ "issuer": issuer, "jwks_uri": keys_url }).to_string()
}

#[tokio::test]
async fn untrusted_discovery_documents_are_rejected() {
    use KeyFetchError::{Discovery, Status, TooLarge};
    let provider = Provider::start().await;
    provider.publish(&["a"]);
    let here = format!("http://{}", provider.address);
    let keys = format!("{here}/keys");
    let good = discovery_of(&here, &keys);
    let other_issuer = discovery_of("https://evil.example", &keys);
    let extra_slash = discovery_of(&format!("{here}/"), &keys);
    let no_keys = json!({ "issuer": here }).to_string();
    let keys_without_tls = discovery_of(&here, "http://192.0.2.1/keys");
    let keys_in_a_file = discovery_of(&here, "file:///etc/passwd");
    let two_issuers = good.replacen('{', r#"{"issuer":"x","#, 1);
    let too_large = format!("{good}{}", " ".repeat(MAX_BYTES));
    for (status, document, error) in [
        ("404 Not Found", good.as_str(), Status),
        ("500 Internal Server Error", &good, Status),
        ("302 Found\r\nLocation: /elsewhere", "", Status),
        ("206 Partial Content", &good, Status),
        ("200 OK", "<html>", Discovery),
        ("200 OK", &other_issuer, Discovery),
        ("200 OK", &extra_slash, Discovery),
        ("200 OK", &no_keys, Discovery),
        ("200 OK", &keys_without_tls, Discovery),
        ("200 OK", &keys_in_a_file, Discovery),
        ("200 OK", &two_issuers, Discovery),
        ("200 OK", &too_large, TooLarge),
    ] {
        provider.response(DISCOVERY, status, document);
        let fetched = KeySource::new(provider.issuer()).fetch().await;
        assert_eq!(fetched.err(), Some(error), "{status}: {document:.80}");
    }
    let followed = provider.count_requests("/elsewhere");
    assert_eq!(followed, 0, "no redirect is followed");
    provider.response(DISCOVERY, "200 OK", &good);
    assert!(KeySource::new(provider.issuer()).fetch().await.is_ok());
}

#[tokio::test]
async fn untrusted_key_sets_are_rejected() {
    use KeyFetchError::{Status, TooLarge};
    let provider = Provider::start().await;
    let good = key_set(&["a"]);
    let too_large = format!("{good}{}", " ".repeat(MAX_BYTES));
    let redirect = "307 Temporary Redirect\r\nLocation: /elsewhere";
    for (status, document, error) in [
        ("404 Not Found", good.as_str(), Status),
        (redirect, &good, Status),
        ("200 OK", &too_large, TooLarge),
        ("200 OK", r#"{"issuer":"x"}"#, KeyFetchError::KeySet),
    ] {
        provider.response("/keys", status, document);
        let fetched = KeySource::new(provider.issuer()).fetch().await;
        assert_eq!(fetched.err(), Some(error), "{status}: {document:.80}");
    }
    let followed = provider.count_requests("/elsewhere");
    assert_eq!(followed, 0, "no redirect is followed");
    provider.publish(&["a"]);
    assert!(KeySource::new(provider.issuer()).fetch().await.is_ok());
}

#[tokio::test]
async fn an_endless_key_set_is_cut_off() {
    let provider = Provider::start().await;
    let endless = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        format!("4000\r\n{}\r\n", " ".repeat(0x4000)).repeat(17)
    );
    provider
        .responses
        .lock()
        .unwrap()
        .insert("/keys", endless.into_bytes());
    assert_eq!(
        KeySource::new(provider.issuer()).fetch().await.err(),
        Some(KeyFetchError::TooLarge)
    );
}

#[tokio::test]
async fn a_provider_that_hangs_or_does_not_speak_tls_is_an_error() {
    let provider = Provider::start().await;
    provider.permits.forget_permits(1_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = Issuer::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let plain = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        connection
            .write_all(&response("400 Bad Request", ""))
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
