//! The package under the Functions host with exactly the app settings of each case. What only Azure
//! knows is replaced by the addresses of fakes.

use std::collections::{BTreeMap, BTreeSet};

use roomkey::clock::Stopwatch;
use serde_json::{Value, json};

use super::fakes::{Fake, IDENTITY_HEADER, OPENAI_KEY, container, redis};
use super::queries;
use super::snapshots::Snapshot;
use crate::attack::report;
use crate::host::journal::{DEADLINE, Level};
use crate::host::{Host, Mode};
use crate::package::unpacked;
use crate::process::client;

/// The client id of the app's identity, which Azure would put in place of an expression.
const CLIENT_ID: &str = "44444444-4444-4444-8444-444444444444";
const OTLP_HEADERS: &str = "api-key=a-key-of-the-collector";
const ADMIN_KEY: &str = "an-admin-key-for-tests-only-0123456789";

/// Fields of the line that stands for refused requests, which is written once a minute and at the
/// stop.
const SUMMARY_FIELDS: [&str; 2] = ["budget", "requests"];

/// A fake Azure with everything in the vault that `infra/set-secrets` would put there.
struct Azure {
    fake: Fake,
    vault: String,
    identity: String,
    authority: String,
    folder: tempfile::TempDir,
}

impl Azure {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (fake, [vault, identity, authority]) =
            Fake::start("fake_azure.mjs", &[folder.path().to_str().unwrap()]);
        fake.set("roomkey-admin-keys", ADMIN_KEY).await;
        fake.set("roomkey-hash-key", "a-hash-key-for-tests-only-0123456789")
            .await;
        Self {
            fake,
            vault,
            identity,
            authority,
            folder,
        }
    }

    /// Returns the settings of a case, with `addresses` in place of those that lead to other
    /// services, and with what the platform itself sets.
    fn settings(
        &self,
        case: &'static str,
        addresses: &[(&'static str, &str)],
    ) -> BTreeMap<String, String> {
        let mut settings = Snapshot::read(case).app_settings();
        let addresses = [addresses, &[("KEY_VAULT_URL", self.vault.as_str())]].concat();
        for (name, address) in addresses {
            let replaced = settings.insert(name.to_owned(), address.to_owned());
            assert!(replaced.is_some(), "{case}: {name} is not set");
        }
        for (name, value) in &mut settings {
            if value.starts_with('[') {
                let is_known =
                    name.starts_with("APPLICATIONINSIGHTS_") || value.ends_with(".clientId]");
                assert!(is_known, "{case}: {name} is {value}");
                CLIENT_ID.clone_into(value);
            }
        }
        let platform = [
            ("WEBSITE_INSTANCE_ID", "0f3c"),
            ("WEBSITE_SITE_NAME", "roomkey"),
            ("FUNCTIONS_EXTENSION_VERSION", "~4"),
            ("FUNCTIONS_WORKER_RUNTIME", "custom"),
            ("IDENTITY_ENDPOINT", &self.identity),
            ("IDENTITY_HEADER", IDENTITY_HEADER),
            // The authority that signed the fake vault's certificate; in Azure the system's own are
            // right.
            ("SSL_CERT_FILE", &self.authority),
        ];
        settings.extend(platform.map(|(name, value)| (name.to_owned(), value.to_owned())));
        settings
    }
}

async fn host(mode: Mode, settings: &BTreeMap<String, String>) -> Host {
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Host::start(unpacked(), mode, &settings).await
}

/// Asks for a token and returns status and body.
async fn token(host: &Host, bearer: Option<&str>, body: Value) -> (u16, Value) {
    let mut request = client()
        .post(format!("{}/api/token", host.url))
        .header("client-ip", "203.0.113.7:4711")
        .json(&body);
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn operator(host: &Host, path: &str) -> (u16, String) {
    let answer = client()
        .get(format!("{}{path}", host.url))
        .header("x-admin-api-key", ADMIN_KEY)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A key is stored, and a session opened with it that has TURN credentials.
async fn has_a_session(host: &Host, bearer: &str) {
    let saved = client()
        .post(format!("{}/api/projects/key", host.url))
        .header("x-admin-api-key", ADMIN_KEY)
        .json(&json!({ "project_id": "customer-42", "openai_key": OPENAI_KEY }))
        .send()
        .await
        .unwrap();
    // The host before this one has stored it already.
    assert!(matches!(saved.status().as_u16(), 201 | 409), "{saved:?}");
    let opened = client()
        .post(format!("{}/api/session", host.url))
        .bearer_auth(bearer)
        .json(&json!({ "project_id": "customer-42" }))
        .send()
        .await
        .unwrap();
    let (status, body) = (opened.status(), opened.json::<Value>().await.unwrap());
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body["turn_credentials"]["iceServers"][0]["urls"][0], "turn:turn.example.com:3478",
        "{body}"
    );
}

/// Waits for a batch of spans with a mint in it, after metrics have arrived. Returns the headers that
/// it came with.
async fn exported_mint(collector: &Fake, after: usize) -> (Value, usize) {
    let began = Stopwatch::start();
    loop {
        let received = collector.control("received", json!({})).await;
        let exports = received["traces"].as_array().unwrap();
        let has_mint = |export: &&Value| {
            let parts = export["parts"].as_array().unwrap().iter();
            parts
                .flat_map(|part| part["spans"].as_array().unwrap())
                .any(|span| span["name"] == "mint" && span["status"] != "error")
        };
        let has_metrics = received["metrics"] != json!([]);
        let with_mint = exports.iter().skip(after).find(has_mint);
        if let Some(export) = with_mint.filter(|_| has_metrics) {
            assert_eq!(export["path"], "/v1/traces", "{export}");
            return (export["headers"].clone(), exports.len());
        }
        assert!(began.elapsed() < DEADLINE, "no mint was exported");
    }
}

/// Waits until Redis is used, some time after its address has been read from the vault.
async fn shares_limits(host: &Host) {
    let began = Stopwatch::start();
    loop {
        let (status, metrics) = operator(host, "/api/metrics").await;
        assert_eq!(status, 200, "{metrics}");
        if metrics.contains("roomkey_rate_limit_degraded 0") {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{metrics}");
    }
}

/// Nothing is missing, and the log has no error.
async fn is_well(host: &Host, served: &str) {
    let ready = client()
        .get(format!("{}/api/health/ready", host.url))
        .send()
        .await
        .unwrap();
    let (status, body) = (ready.status(), ready.json::<Value>().await.unwrap());
    assert_eq!(status, 200, "{body}");
    assert!(
        body["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .all(|dependency| dependency["state"] == "fresh"),
        "{body}"
    );
    host.journal.read(|entries| {
        let grave: Vec<_> = entries
            .lines
            .iter()
            .filter(|(level, _)| *level != Level::Information)
            // A busy machine may take longer than the 50 ms for Redis.
            .filter(|(_, line)| !line.contains("Redis does not answer"))
            .collect();
        assert!(
            grave.is_empty() && entries.exits.is_empty(),
            "{grave:?} {:?}",
            entries.exits
        );
    });
    report(&format!(
        "deployed settings: {served}; every dependency fresh, no warning"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployed_for_livekit_the_package_signs_with_the_pair_from_the_vault() {
    let azure = Azure::start().await;
    azure.fake.set("livekit-api-key", "APIdeployed").await;
    azure
        .fake
        .set(
            "livekit-api-secret",
            "a-throw-away-secret-of-32-bytes-or-more",
        )
        .await;
    let settings = azure.settings("livekit", &[]);
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let host = host(mode, &settings).await;
        let (status, body) = token(&host, None, json!({ "roomName": "standup-42" })).await;
        assert_eq!(
            (status, &body["provider"], &body["serverUrl"]),
            (200, &json!("livekit"), &json!("wss://livekit.example.com")),
            "{body}"
        );
        let (status, metrics) = operator(&host, "/api/metrics").await;
        assert!(
            status == 200
                && metrics
                    .contains(r#"roomkey_tokens_total{outcome="issued",provider="livekit"} 1"#),
            "{metrics}"
        );
        let (status, body) = token(&host, None, json!({ "provider": "azure-openai" })).await;
        assert_eq!(
            (status, &body["errors"][0]["field"]),
            (400, &json!("provider")),
            "{body}"
        );
        is_well(
            &host,
            &format!("livekit, {mode:?}: a token, signed with the pair from the vault"),
        )
        .await;
    }
    // The identity of the template is asked for by name, and nothing but it.
    let asked = azure.fake.control("last", json!({})).await;
    assert!(
        asked["identity"]["url"]
            .as_str()
            .unwrap()
            .contains(&format!("client_id={CLIENT_ID}")),
        "{asked}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployed_for_azure_openai_the_package_mints_with_its_identity() {
    let azure = Azure::start().await;
    let (realtime, [realtime_url]) = Fake::start("fake_realtime.mjs", &[]);
    realtime
        .control("accept", json!({ "keys": [], "models": ["realtime"] }))
        .await;
    let (provider, [issuer]) = Fake::start("oidc_provider.mjs", &[]);
    let (collector, collector_url) = Fake::collector();
    let mut exports = 0;
    let settings = azure.settings(
        "azure-openai",
        &[
            ("AZURE_OPENAI_ENDPOINT", &realtime_url),
            ("ROOMKEY_OIDC_ISSUER", &issuer),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector_url),
        ],
    );
    let bearer = provider.control("mint", json!({ "sub": "alice" })).await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let host = host(mode, &settings).await;
        let (status, body) = token(&host, Some(&bearer), json!({})).await;
        assert_eq!(
            (status, &body["provider"], &body["model"]),
            (200, &json!("azure-openai"), &json!("realtime")),
            "{body}"
        );
        let (status, body) = token(&host, None, json!({})).await;
        assert_eq!(
            (status, &body["code"]),
            (401, &json!("unauthenticated")),
            "{body}"
        );
        (_, exports) = exported_mint(&collector, exports).await;
        is_well(
            &host,
            &format!("azure-openai, {mode:?}: a client secret, minted with the identity, traced"),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn deployed_with_everything_the_package_serves_all_providers_and_logs_what_the_queries_read()
{
    let azure = Azure::start().await;
    let (realtime, [realtime_url]) = Fake::start("fake_realtime.mjs", &[]);
    realtime
        .control(
            "accept",
            json!({ "models": ["realtime", "gpt-realtime-2.1"] }),
        )
        .await;
    let (provider, [issuer]) = Fake::start("oidc_provider.mjs", &[]);
    let (_redis, redis_url) = redis();
    let (collector, collector_url) = Fake::collector();
    let mut exports = 0;
    let (_azurite, store) = container(azure.folder.path(), &azure.identity).await;
    for (name, value) in [
        ("livekit-api-key", "APIdeployed"),
        (
            "livekit-api-secret",
            "a-throw-away-secret-of-32-bytes-or-more",
        ),
        ("openai-api-key", OPENAI_KEY),
        ("roomkey-redis-url", &redis_url),
        (
            "roomkey-kek-v1",
            "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg",
        ),
        ("roomkey-turn-secret", "a-turn-secret-of-32-bytes-for-tests"),
        ("otel-exporter-otlp-headers", OTLP_HEADERS),
    ] {
        azure.fake.set(name, value).await;
    }
    let addresses = [
        ("AZURE_OPENAI_ENDPOINT", realtime_url.as_str()),
        ("ROOMKEY_OIDC_ISSUER", &issuer),
        ("ROOMKEY_STORE", &store),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector_url),
    ];
    let mut settings = azure.settings("everything", &addresses);
    // OpenAI's own address is the default.
    assert_eq!(
        settings.insert("OPENAI_BASE_URL".to_owned(), format!("{realtime_url}/v1")),
        None
    );
    let bearer = provider.control("mint", json!({ "sub": "alice" })).await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let forged = provider.control("sign", json!({ "foreign": true })).await["token"]
        .as_str()
        .unwrap()
        .to_owned();

    for mode in [Mode::Forwarding, Mode::Proxying] {
        let host = host(mode, &settings).await;
        let (status, body) = token(&host, Some(&bearer), json!({ "roomName": "standup-42" })).await;
        assert_eq!(
            (status, &body["provider"]),
            (200, &json!("livekit")),
            "{body}"
        );
        for name in ["azure-openai", "openai"] {
            let (status, body) = token(&host, Some(&bearer), json!({ "provider": name })).await;
            assert_eq!((status, &body["provider"]), (200, &json!(name)), "{body}");
        }
        // ROOMKEY_ROOM_PATTERN of the case.
        let (status, body) = token(&host, Some(&bearer), json!({ "roomName": "lobby" })).await;
        assert_eq!(
            (status, &body["errors"][0]["field"]),
            (400, &json!("roomName")),
            "{body}"
        );
        let (status, body) = token(&host, Some(&forged), json!({ "roomName": "standup-42" })).await;
        assert_eq!(status, 401, "{body}");
        has_a_session(&host, &bearer).await;
        shares_limits(&host).await;
        let headers;
        (headers, exports) = exported_mint(&collector, exports).await;
        assert_eq!(headers["api-key"], "a-key-of-the-collector", "{headers}");
        is_well(
            &host,
            &format!(
                "everything, {mode:?}: livekit, azure-openai and openai, a session with the key \
                 of a project in the container, TURN, limits in Redis, traces with the headers \
                 from the vault"
            ),
        )
        .await;

        let lines = |entries: &crate::host::journal::Entries| -> Vec<Value> {
            entries
                .lines
                .iter()
                .filter_map(|(_, line)| serde_json::from_str(line).ok())
                .collect()
        };
        host.journal
            .until(|entries| {
                lines(entries)
                    .iter()
                    .any(|line| line["route"] == "/api/metrics")
            })
            .await;
        host.journal
            .until(|entries| {
                lines(entries)
                    .iter()
                    .filter(|line| line["message"] == "audit")
                    .count()
                    >= 5
            })
            .await;
        let written: BTreeSet<_> = host.journal.read(|entries| {
            lines(entries)
                .iter()
                .flat_map(|line| {
                    line.as_object()
                        .unwrap()
                        .keys()
                        .cloned()
                        .collect::<Vec<_>>()
                })
                .collect()
        });
        let mut read = queries::fields();
        read.retain(|field| !SUMMARY_FIELDS.contains(&field.as_str()));
        assert!(
            read.is_subset(&written),
            "{mode:?}: no line has {:?}",
            read.difference(&written)
        );
    }
}

#[tokio::test]
async fn the_line_for_refused_requests_has_the_fields_that_the_queries_read() {
    let app = unpacked();
    let roomkey = app.start_as_host(&[("ROOMKEY_RATE_LIMIT", "1/15m")]);
    for status in [200, 429, 429] {
        let answer = client()
            .post(format!("{}/api/token", roomkey.url))
            .json(&json!({ "roomName": "r" }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
    }
    let ended = roomkey.stop("TERM");
    let mut lines = ended
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["message"] == "requests refused without lines of their own");
    let line = line.unwrap_or_else(|| panic!("{}", ended.stdout));
    assert_eq!(
        (&line["budget"], &line["requests"]),
        (&json!("token"), &json!(2))
    );
    assert!(
        SUMMARY_FIELDS
            .iter()
            .all(|field| queries::fields().contains(*field))
    );
}
