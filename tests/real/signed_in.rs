//! roomkey for callers whom a real identity provider vouches for, and what it answers them.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::header::HeaderMap;
use roomkey::clock::Stopwatch;
use serde_json::{Value, json};

use crate::openid_provider::{AUDIENCE, OpenIdProvider, SCOPE};
use crate::peers;
use crate::process::Roomkey;

/// An operator's key, in no configuration but the tests'.
pub const ADMIN_KEY: &str = "an-admin-key-for-tests-only-0123456789";

/// What fetching the keys may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

/// One client for all: making one reads the system's certificates, too slow for a test of a
/// thousand requests. It keeps no connection, since one belongs to the runtime of the test that
/// opened it.
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

/// roomkey, trusting a provider whose keys it has.
pub async fn roomkey(provider: &OpenIdProvider, settings: &[(&str, &str)]) -> Roomkey {
    let (roomkey, bearer) = (
        cold_roomkey(provider, settings),
        provider.token("early-bird", json!({})).await,
    );
    // The keys come in the background. Until they are there, 503 is the only honest answer.
    let began = Stopwatch::start();
    while ask(&roomkey, &bearer, &any_room()).await.status == 503 {
        assert!(began.elapsed() < PATIENCE, "it does not fetch the keys");
    }
    roomkey
}

/// roomkey, trusting a provider that may be out of service.
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

/// A request for a token for one room, which a test may add to.
pub fn asking(roomkey: &Roomkey, body: &Value) -> reqwest::RequestBuilder {
    client()
        .post(format!("{}/api/token", roomkey.url))
        .json(body)
}

/// The room that tests ask for when it does not matter.
pub fn any_room() -> Value {
    json!({ "roomName": "standup-42" })
}

/// Asks for a token with a bearer.
pub async fn ask(roomkey: &Roomkey, bearer: &str, body: &Value) -> Answer {
    Answer::to(asking(roomkey, body).bearer_auth(bearer)).await
}

/// The value of a metric, as an operator with the key reads it; of one that has labels, the sum.
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
    /// What comes back.
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

    /// The status, and the code of an error.
    pub fn verdict(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    /// A header's one value.
    pub fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name} in {:?}", self.headers);
        values[0].to_str().unwrap()
    }

    /// A header that is a whole number.
    pub fn number(&self, name: &str) -> u64 {
        self.header(name)
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A parameter of a structured header, such as `r` of `"token";r=95;t=612`.
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
