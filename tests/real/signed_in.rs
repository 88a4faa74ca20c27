//! A roomkey for callers with tokens of a real identity provider, and its responses.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::header::HeaderMap;
use roomkey::clock::Stopwatch;
use serde_json::{Value, json};

use crate::openid_provider::{AUDIENCE, OpenIdProvider, SCOPE};
use crate::peers;
use crate::process::Roomkey;

/// An admin key that only the tests use.
pub const ADMIN_KEY: &str = "an-admin-key-for-tests-only-0123456789";

/// The longest time until the keys are fetched.
const PATIENCE: Duration = Duration::from_mins(1);

/// A response, read completely.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

/// The client of all tests. Creating one reads the system's certificates, which is too slow for a
/// test of a thousand requests. It keeps no connections, since each belongs to the runtime of the
/// test that opened it.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap()
    });
    &CLIENT
}

/// Starts a roomkey that trusts a provider, and waits until it has the provider's keys.
pub async fn roomkey(provider: &OpenIdProvider, settings: &[(&str, &str)]) -> Roomkey {
    let (roomkey, bearer) = (
        cold_roomkey(provider, settings),
        provider.token("early-bird", json!({})).await,
    );
    // The keys are fetched in the background. Until then the response must be 503.
    let began = Stopwatch::start();
    while ask(&roomkey, &bearer, &any_room()).await.status == 503 {
        assert!(began.elapsed() < PATIENCE, "it does not fetch the keys");
    }
    roomkey
}

/// Starts a roomkey that trusts a provider, which may be out of service.
pub fn cold_roomkey(provider: &OpenIdProvider, settings: &[(&str, &str)]) -> Roomkey {
    let base = [
        ("ROOMKEY_CALLER_AUTH", "oidc"),
        ("ROOMKEY_OIDC_ISSUER", &provider.issuer),
        ("ROOMKEY_OIDC_AUDIENCE", AUDIENCE),
        ("ROOMKEY_OIDC_SCOPE", SCOPE),
        ("ROOMKEY_ADMIN_KEYS", ADMIN_KEY),
    ];
    peers::roomkey(&[&base, settings].concat())
}

/// Returns a request for a token for one room, to which a test may add.
pub fn asking(roomkey: &Roomkey, body: &Value) -> reqwest::RequestBuilder {
    client()
        .post(format!("{}/api/token", roomkey.url))
        .json(body)
}

/// The room of tests to which it does not matter.
pub fn any_room() -> Value {
    json!({ "roomName": "standup-42" })
}

/// Requests a token with a bearer token.
pub async fn ask(roomkey: &Roomkey, bearer: &str, body: &Value) -> Answer {
    Answer::to(asking(roomkey, body).bearer_auth(bearer)).await
}

/// Returns the value of a metric, or the sum over its labels.
pub async fn metric(roomkey: &Roomkey, name: &str) -> f64 {
    let request = client()
        .get(format!("{}/api/metrics", roomkey.url))
        .header("x-admin-api-key", ADMIN_KEY);
    let text = request.send().await.unwrap().text().await.unwrap();
    let samples = text.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    let values: Vec<f64> = samples
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!values.is_empty(), "no {name} in {text}");
    values.iter().sum()
}

impl Answer {
    /// Sends the request and returns the response.
    pub async fn to(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.unwrap();
        Self {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// Returns the status and the code of an error.
    pub fn verdict(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    /// Returns the only value of a header.
    pub fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name} in {:?}", self.headers);
        values[0].to_str().unwrap()
    }

    /// Returns the value of a header that is a whole number.
    pub fn number(&self, name: &str) -> u64 {
        self.header(name)
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Returns a parameter of a structured header, such as `r` of `"token";r=95;t=612`.
    pub fn parameter(&self, name: &str, key: &str) -> u64 {
        let parameters = self.header(name).split(';').skip(1).map(str::trim);
        let found = parameters
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(found, _)| *found == key);
        found
            .unwrap_or_else(|| panic!("no {key} in {name}"))
            .1
            .parse()
            .unwrap()
    }
}
