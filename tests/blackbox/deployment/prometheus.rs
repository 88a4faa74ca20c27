//! The rules and the example in `ops/prometheus/`, held to the metrics of the program, and a real
//! Prometheus that scrapes it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use regex::Regex;
use roomkey::clock::Stopwatch;
use roomkey::http::error::ERROR_KINDS;
use roomkey::metrics::catalogue::{METRICS, Metric, MetricKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::fakes::{Fake, Program, on_a_reserved_port};
use super::{path, succeeds, text, tool};
use crate::package::unpacked;
use crate::process::client;

/// How long a scrape may take to show, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

pub const ADMIN_KEY: &str = "a-throw-away-admin-key-of-43-characters-____";

/// Labels that Prometheus itself adds.
const ITS_LABELS: [&str; 2] = ["instance", "job"];

pub fn promtool(arguments: &[&str]) -> String {
    succeeds(
        Command::new(tool("promtool"))
            .args(arguments)
            .current_dir(path("ops/prometheus")),
    )
}

fn metric(name: &str) -> Option<&'static Metric> {
    METRICS
        .iter()
        .copied()
        .find(|metric| match name.strip_prefix(metric.name) {
            Some("") => metric.kind != MetricKind::Histogram,
            Some(part) => {
                metric.kind == MetricKind::Histogram
                    && ["_bucket", "_sum", "_count"].contains(&part)
            }
            None => false,
        })
}

/// Fails if an expression names a metric, a label or an error code that does not exist. Returns the
/// metrics.
pub fn checked(place: &str, expression: &str) -> BTreeSet<&'static str> {
    let used = Regex::new(r"\b((?:roomkey|process)_\w+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"(\w+) ?(?:=~|!~|!=|=) ?"([^"]*)""#).unwrap();
    let mut names = BTreeSet::new();
    for found in used.captures_iter(expression) {
        let metric = metric(&found[1])
            .unwrap_or_else(|| panic!("{place}: there is no metric {}", &found[1]));
        names.insert(metric.name);
        for found in matcher.captures_iter(found.get(2).map_or("", |labels| labels.as_str())) {
            let (label, value) = (&found[1], &found[2]);
            let exists = metric.labels.contains(&label)
                || ITS_LABELS.contains(&label)
                || (label == "le" && metric.kind == MetricKind::Histogram);
            assert!(exists, "{place}: {} has no label {label}", metric.name);
            // A response without an error has a code too.
            let is_code = value == "none" || ERROR_KINDS.iter().any(|kind| kind.code == value);
            assert!(
                label != "code" || is_code,
                "{place}: there is no code {value}"
            );
        }
    }
    names
}

#[test]
fn prometheus_every_alert_fires_on_its_story_and_stays_silent_on_its_neighbour() {
    promtool(&["check", "rules", "roomkey.rules.yml"]);
    let said = promtool(&["test", "rules", "roomkey.test.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
    let (rules, stories) = (
        text("ops/prometheus/roomkey.rules.yml"),
        text("ops/prometheus/roomkey.test.yml"),
    );
    let alert = Regex::new(r"(?m)^ +- alert: (\w+)$").unwrap();
    let alerts: Vec<_> = alert
        .captures_iter(&rules)
        .map(|found| found[1].to_owned())
        .collect();
    assert!(alerts.len() >= 13, "{alerts:?}");
    for alert in alerts {
        assert!(
            stories.contains(&format!("alertname=\"{alert}\"")),
            "{alert} has no story"
        );
    }
}

#[test]
fn prometheus_rules_and_stories_name_only_what_the_program_counts() {
    let named = Regex::new(r"\b(?:roomkey|process)_\w+").unwrap();
    for file in [
        "ops/prometheus/roomkey.rules.yml",
        "ops/prometheus/roomkey.test.yml",
    ] {
        let text = text(file);
        // A description may name a histogram as a whole, an expression may not.
        let (prose, expressions): (Vec<_>, Vec<_>) = text
            .lines()
            .partition(|line| line.trim_start().starts_with("description: "));
        assert!(
            checked(file, &expressions.join("\n")).len() > 8,
            "{file}: the metrics were not found"
        );
        for name in named.find_iter(&prose.join("\n")) {
            assert!(
                METRICS.iter().any(|metric| metric.name == name.as_str()),
                "{file}: there is no metric {}",
                name.as_str()
            );
        }
    }
}

/// Serves one token to whoever asks, as a token endpoint does. The provider of the tests gives no
/// roles to a program's own tokens.
async fn token_endpoint(token: String) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let body =
        json!({ "access_token": token, "token_type": "Bearer", "expires_in": 600 }).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
            while !request
                .windows(29)
                .any(|part| part == b"grant_type=client_credentials")
            {
                let read = stream.read(&mut chunk).await.unwrap();
                assert_ne!(read, 0, "the request broke off");
                request.extend_from_slice(&chunk[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, serving)
}

/// Starts a Prometheus with the `prometheus.yml` of a folder. Returns the address of its API.
pub fn prometheus(folder: &Path) -> (Program, String) {
    let (program, port) = on_a_reserved_port(|port| {
        let mut command = Command::new(tool("prometheus"));
        command
            .arg(format!("--config.file={}/prometheus.yml", folder.display()))
            .arg(format!("--storage.tsdb.path={}/data", folder.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    });
    (program, format!("http://127.0.0.1:{port}/api/v1"))
}

/// Asks Prometheus until the answer holds.
async fn until(url: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let began = Stopwatch::start();
    loop {
        let answer: Value = match client().get(url).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        };
        if holds(&answer) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {answer}");
    }
}

/// Metrics without labels that appear with the first fetch of keys, or only with a store.
const NOT_FROM_THE_START: [&str; 4] = [
    "roomkey_oidc_keys_age_seconds",
    "roomkey_store_available",
    "roomkey_keys_rotated_total",
    "roomkey_rotation_remaining",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn prometheus_scrapes_the_package_with_a_key_and_with_the_admin_role_and_sees_it_go() {
    let (provider, [issuer]) = Fake::start("oidc_provider.mjs", &[]);
    let token = async |claims: Value| {
        provider.control("mint", claims).await["token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (operator, caller) = (
        token(json!({ "sub": "prometheus", "roles": ["Roomkey.Admin"] })).await,
        token(json!({ "sub": "alice" })).await,
    );
    let (token_url, serving) = token_endpoint(operator).await;
    let app = unpacked();
    let roomkey = app.start_as_host(&[
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", "APIscraped"),
        (
            "LIVEKIT_API_SECRET",
            "a-throw-away-secret-of-32-bytes-or-more",
        ),
        ("ROOMKEY_ADMIN_KEYS", ADMIN_KEY),
        ("ROOMKEY_CALLER_AUTH", "oidc"),
        ("ROOMKEY_OIDC_ISSUER", &issuer),
        ("ROOMKEY_OIDC_AUDIENCE", "api://roomkey"),
    ]);
    let ask = client()
        .post(format!("{}/api/token", roomkey.url))
        .bearer_auth(&caller)
        .json(&json!({ "roomName": "r" }));
    assert_eq!(ask.send().await.unwrap().status(), 200);

    // The configuration of ops/ with both of its jobs and the addresses of this test.
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        path("ops/prometheus/roomkey.rules.yml"),
        folder.path().join("roomkey.rules.yml"),
    )
    .unwrap();
    std::fs::write(folder.path().join("admin-key"), ADMIN_KEY).unwrap();
    std::fs::write(folder.path().join("client-secret"), "a-client-secret").unwrap();
    let target = roomkey.address().to_string();
    let example = text("ops/prometheus/prometheus.yml");
    let (key_job, signed_in_job) = example
        .split_once("  # - job_name: roomkey\n")
        .expect("the second job is commented out");
    let signed_in_job = signed_in_job
        .replace("\n  # ", "\n  ")
        .replacen("  # ", "  ", 1);
    let config = format!("{key_job}  - job_name: signed-in\n{signed_in_job}")
        .replace("30s", "1s")
        .replace("https://login.example.com/oauth2/token", &token_url)
        .replace(
            "['roomkey-1.internal:7071', 'roomkey-2.internal:7071']",
            &format!("['{target}']"),
        );
    assert_eq!(
        config.matches(&target).count(),
        2,
        "the example has changed"
    );
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    succeeds(
        Command::new(tool("promtool"))
            .args(["check", "config"])
            .arg(&file),
    );

    let (_prometheus, url) = prometheus(folder.path());
    let query = |expression: &str| format!("{url}/query?query={expression}");
    let is = |value: &'static str| {
        move |answer: &Value| answer["data"]["result"][0]["value"][1] == value
    };
    for job in ["roomkey", "signed-in"] {
        let up = format!("up{{job=\"{job}\"}}");
        until(&query(&up), job, is("1")).await;
    }
    until(
        &query("roomkey_tokens_total{outcome=\"issued\"}"),
        "the token is not counted",
        is("1"),
    )
    .await;

    // Every metric of the catalogue that a process has from its start, by the names that the rules
    // use.
    for metric in METRICS
        .iter()
        .filter(|metric| metric.labels.is_empty() && !NOT_FROM_THE_START.contains(&metric.name))
    {
        until(&query(metric.name), metric.name, |answer| {
            answer["data"]["result"]
                .as_array()
                .is_some_and(|found| !found.is_empty())
        })
        .await;
    }
    let evaluated = |answer: &Value| {
        let rules = answer["data"]["groups"][0]["rules"].as_array();
        // After a scrape that took too long, one is pending for a while.
        rules.is_some_and(|rules| {
            rules
                .iter()
                .all(|rule| rule["health"] == "ok" && rule["state"] == "inactive")
        })
    };
    until(
        &format!("{url}/rules"),
        "the rules are not evaluated, or one is not inactive",
        evaluated,
    )
    .await;

    // What it exposes is also what Prometheus' own linter accepts.
    let exposed = client()
        .get(format!("{}/api/metrics", roomkey.url))
        .bearer_auth(token(json!({ "sub": "x", "roles": ["Roomkey.Admin"] })).await);
    let exposition = folder.path().join("exposition");
    std::fs::write(
        &exposition,
        exposed.send().await.unwrap().text().await.unwrap(),
    )
    .unwrap();
    succeeds(
        Command::new(tool("promtool"))
            .args(["check", "metrics"])
            .stdin(std::fs::File::open(exposition).unwrap()),
    );

    roomkey.stop("KILL");
    until(&query("up"), "its end is not seen", is("0")).await;
    serving.abort();
}
