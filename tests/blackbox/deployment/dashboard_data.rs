//! Every panel of the dashboard has data: a real Prometheus scrapes a packaged roomkey that is used
//! in every way, and answers each query.

use std::collections::BTreeSet;
use std::path::Path;

use roomkey::clock::Stopwatch;
use serde_json::{Value, json};
use url::Url;

use super::dashboard::{Target, targets};
use super::fakes::{Fake, IDENTITY_HEADER, OPENAI_KEY};
use super::prometheus::{ADMIN_KEY, prometheus};
use crate::host::journal::DEADLINE;
use crate::package::{App, unpacked};
use crate::process::{Roomkey, client};

/// The parts that a roomkey with every metric needs.
struct Parts {
    provider: Fake,
    issuer: String,
    realtime_url: String,
    vault: String,
    identity: String,
    authority: String,
    collector_url: String,
    folder: tempfile::TempDir,
    _fakes: [Fake; 3],
}

impl Parts {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (provider, [issuer]) = Fake::start("oidc_provider.mjs", &[]);
        let (realtime, [realtime_url]) = Fake::start("fake_realtime.mjs", &[]);
        let (azure, [vault, identity, authority]) =
            Fake::start("fake_azure.mjs", &[folder.path().to_str().unwrap()]);
        let (collector, collector_url) = Fake::collector();
        azure.set("livekit-api-key", "APIscraped").await;
        azure
            .set(
                "livekit-api-secret",
                "a-throw-away-secret-of-32-bytes-or-more",
            )
            .await;
        Self {
            provider,
            issuer,
            realtime_url,
            vault,
            identity,
            authority,
            collector_url,
            folder,
            _fakes: [realtime, azure, collector],
        }
    }

    fn roomkey(&self, app: &App) -> Roomkey {
        let openai = format!("{}/v1", self.realtime_url);
        let store = format!("sqlite:{}/store.db", self.folder.path().display());
        app.start_as_host(&[
            ("ROOMKEY_CALLER_AUTH", "oidc"),
            ("ROOMKEY_OIDC_ISSUER", &self.issuer),
            ("ROOMKEY_OIDC_AUDIENCE", "api://roomkey"),
            ("ROOMKEY_ADMIN_KEYS", ADMIN_KEY),
            ("ROOMKEY_HASH_KEY", "a-hash-key-for-tests-only-0123456789"),
            ("ROOMKEY_REALTIME_RATE_LIMIT", "off"),
            ("ROOMKEY_PROJECT_RATE_LIMIT", "off"),
            ("LIVEKIT_URL", "wss://livekit.example.com"),
            ("KEY_VAULT_URL", &self.vault),
            ("IDENTITY_ENDPOINT", &self.identity),
            ("IDENTITY_HEADER", IDENTITY_HEADER),
            ("SSL_CERT_FILE", &self.authority),
            ("OPENAI_API_KEY", OPENAI_KEY),
            ("OPENAI_BASE_URL", &openai),
            ("ROOMKEY_DEFAULT_PROVIDER", "livekit"),
            ("ROOMKEY_STORE", &store),
            (
                "ROOMKEY_KEK_V1",
                "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg",
            ),
            (
                "ROOMKEY_KEK_V2",
                "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzk",
            ),
            ("ROOMKEY_KEK_VERSION", "v1"),
            ("ROOMKEY_TURN_URLS", "turn:turn.example.com:3478"),
            ("ROOMKEY_TURN_SECRET", "a-turn-secret-of-32-bytes-for-tests"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.collector_url),
        ])
    }
}

/// Sends a request and returns status and body.
async fn ask(url: String, headers: &[(&str, &str)], body: Option<Value>) -> (u16, Value) {
    let mut request = match &body {
        Some(body) => client().post(url).json(body),
        None => client().get(url),
    };
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Tokens, a refusal of each kind, a session and what an operator does. `caller` and `forged` are
/// values of the header `Authorization`.
async fn traffic(roomkey: &Roomkey, caller: &str, forged: &str) {
    let url = |path: &str| format!("{}{path}", roomkey.url);
    let caller = [("authorization", caller)];
    for (headers, body, expected) in [
        (caller, json!({ "roomName": "r" }), 200),
        (caller, json!({ "provider": "openai" }), 200),
        (caller, json!({ "roomNam": "r" }), 400),
        ([("authorization", forged)], json!({ "roomName": "r" }), 401),
    ] {
        let (status, answer) = ask(url("/api/token"), &headers, Some(body)).await;
        assert_eq!(status, expected, "{answer}");
    }
    let (status, answer) = ask(url("/api/turn-credentials"), &caller, None).await;
    assert_eq!(status, 200, "{answer}");
    let project = json!({ "project_id": "customer-42" });
    let (status, session) = ask(url("/api/session"), &caller, Some(project)).await;
    assert_eq!(status, 200, "{session}");
    let session = json!({ "session_id": session["session_id"] });
    let (status, answer) = ask(url("/api/session/end"), &caller, Some(session)).await;
    assert_eq!(status, 200, "{answer}");
}

/// Saves a project's key and reseals it.
async fn operate(roomkey: &Roomkey) {
    let operator = [("x-admin-api-key", ADMIN_KEY)];
    let key = json!({ "project_id": "customer-42", "openai_key": OPENAI_KEY });
    let url = format!("{}/api/projects/key", roomkey.url);
    let (status, answer) = ask(url.clone(), &operator, Some(key)).await;
    assert_eq!(status, 201, "{answer}");
    let rotation = json!({ "all": true, "kek_version": "v2" });
    let (status, answer) = ask(format!("{url}/rotate"), &operator, Some(rotation)).await;
    assert_eq!((status, &answer["rotated"]), (200, &json!(1)), "{answer}");
}

/// Returns whether a query has a number for the panel to show. Fails if the legend of a result would
/// have a gap, or be that of another.
async fn has_data(api: &str, target: &Target) -> bool {
    let query = [("query", target.query())];
    let url = Url::parse_with_params(&format!("{api}/query"), query).unwrap();
    let answer: Value = client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let results = answer["data"]["result"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    let mut legends = BTreeSet::new();
    for result in results {
        let legend: Vec<_> = target
            .legend_labels()
            .into_iter()
            .map(|label| result["metric"][&label].as_str().map(str::to_owned))
            .collect();
        assert!(!legend.contains(&None), "{}: {result}", target.title);
        assert!(legends.insert(legend), "{}: {result}", target.title);
    }
    results.iter().any(|result| result["value"][1] != "NaN")
}

/// Writes a Prometheus configuration that scrapes one roomkey each second.
fn configure(folder: &Path, roomkey: &Roomkey) {
    std::fs::write(folder.join("admin-key"), ADMIN_KEY).unwrap();
    let config = json!({
        "global": { "scrape_interval": "1s" },
        "scrape_configs": [{
            "job_name": "roomkey",
            "metrics_path": "/api/metrics",
            "authorization": { "credentials_file": "admin-key" },
            "static_configs": [{ "targets": [roomkey.address()] }],
        }],
    });
    std::fs::write(folder.join("prometheus.yml"), config.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_has_data_in_every_panel_while_roomkey_is_used() {
    let parts = Parts::start().await;
    let mint = parts
        .provider
        .control("mint", json!({ "sub": "alice" }))
        .await;
    let sign = parts
        .provider
        .control("sign", json!({ "foreign": true }))
        .await;
    let [caller, forged] = [mint, sign].map(|answer| {
        let token = answer["token"].as_str().unwrap();
        format!("Bearer {token}")
    });
    let app = unpacked();
    let roomkey = parts.roomkey(&app);
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &roomkey);
    let (_prometheus, api) = prometheus(folder.path());

    operate(&roomkey).await;
    let began = Stopwatch::start();
    let mut empty = targets();
    assert!(empty.len() > 30, "the queries were not found");
    // A rate needs traffic between two scrapes.
    while !empty.is_empty() {
        traffic(&roomkey, &caller, &forged).await;
        let mut still_empty = Vec::new();
        for target in empty {
            if !has_data(&api, &target).await {
                still_empty.push(target);
            }
        }
        empty = still_empty;
        let titles: Vec<_> = empty.iter().map(|target| &target.title).collect();
        assert!(began.elapsed() < DEADLINE, "no data: {titles:?}");
    }
}
