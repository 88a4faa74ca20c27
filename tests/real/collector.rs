//! A started OpenTelemetry collector, and requests whose callers must not show in it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fake::Fake;
use crate::fake_realtime::{API_KEY, CANARY, FakeRealtime};
use crate::leaks::assert_absent;
use crate::process::{Ended, Roomkey};
use crate::realtime::{Vendor, roomkey};
use crate::signed_in::{ADMIN_KEY, Answer, client};

pub const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
pub const ROOM: &str = "canary-room";
const IDENTITY: &str = "canary-identity";
const ADDRESS: &str = "192.0.2.77";
/// The value of the header that the collector requires.
pub const HEADER: &str = "canary-of-the-collector";

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A collector for this test only.
pub struct Collector {
    fake: Fake,
    pub url: String,
}

/// A span, found by its name.
pub type Spans = BTreeMap<String, Value>;

impl Collector {
    pub fn start() -> Self {
        let (fake, [url]) = Fake::start_python("otlp_sink.py");
        Self { fake, url }
    }

    /// The settings that switch the exports on.
    pub fn settings(&self) -> [(&str, &str); 3] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "api-key=canary-of-the-collector",
            ),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test",
            ),
        ]
    }

    pub async fn behave(&self, order: Value) {
        self.fake.control("behave", &order).await;
    }

    /// Returns the exports of spans.
    pub async fn exports(&self) -> Vec<Value> {
        self.received("traces").await
    }

    /// Returns the exports of metrics.
    pub async fn metric_exports(&self) -> Vec<Value> {
        self.received("metrics").await
    }

    async fn received(&self, signal: &str) -> Vec<Value> {
        let received = self.fake.control("received", &json!({})).await;
        received[signal].as_array().unwrap().clone()
    }

    /// Returns the spans of all exports by their names, each of which may occur once only.
    pub async fn spans(&self) -> Spans {
        let mut spans = Spans::new();
        for span in self.all_spans().await {
            let name = span["name"].as_str().unwrap().to_owned();
            assert!(spans.insert(name, span.clone()).is_none(), "twice: {span}");
        }
        spans
    }

    /// Waits until so many spans have arrived. The last export of a stop has a second only, and a
    /// busy machine may need more.
    pub async fn until_received(&self, count: usize) {
        self.until(|spans| spans.len() >= count).await;
    }

    /// Waits until the spans that have arrived satisfy a condition.
    pub async fn until(&self, holds: impl Fn(&[Value]) -> bool) {
        let received = async { while !holds(&self.all_spans().await) {} };
        let in_time = timeout(PATIENCE, received).await;
        assert!(in_time.is_ok(), "{:?}", self.exports().await);
    }

    pub async fn all_spans(&self) -> Vec<Value> {
        let exports = self.exports().await;
        let parts = exports
            .iter()
            .flat_map(|export| export["parts"].as_array().unwrap());
        parts
            .flat_map(|part| part["spans"].as_array().unwrap().clone())
            .collect()
    }
}

/// Starts a roomkey that exports to the collector. A caller gets a client secret of the fake.
pub async fn mint_for_a_caller(collector: &Collector, fake: &FakeRealtime) -> (Roomkey, Answer) {
    let proxies = [("ROOMKEY_TRUSTED_PROXIES", "127.0.0.0/8")];
    let settings = [&collector.settings()[..], &proxies].concat();
    let roomkey = roomkey(fake, Vendor::OpenAi, &settings);
    let body = json!({ "roomName": ROOM, "participantIdentity": IDENTITY });
    let answer = Answer::to(request(&roomkey, "/api/token", &body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (roomkey, answer)
}

/// A request with the address and the trace of a caller.
pub fn request(roomkey: &Roomkey, path: &str, body: &Value) -> reqwest::RequestBuilder {
    client()
        .post(format!("{}{path}", roomkey.url))
        .header("traceparent", TRACEPARENT)
        .header("x-forwarded-for", ADDRESS)
        .json(body)
}

/// Fails if an export holds anything of a caller, a key, or an upstream.
pub fn assert_nothing_personal(exports: &[Value], ended: &Ended, others: &[&str]) {
    let secrets = [ROOM, IDENTITY, ADDRESS, HEADER, API_KEY, ADMIN_KEY, CANARY];
    let log = format!("{}{}", ended.stdout, ended.stderr);
    let caller = log.split(r#""caller":""#).nth(1);
    let caller = caller.and_then(|rest| rest.split('"').next()).unwrap();
    assert!(
        caller.len() > 8,
        "the hashed caller is in the log: {caller}"
    );
    let absent = [&secrets[..], others, &[caller]].concat();
    for export in exports {
        let (text, parts) = (
            export["text"].as_str().unwrap(),
            export["parts"].to_string(),
        );
        assert_absent(&absent, &[text, &parts]);
    }
}
