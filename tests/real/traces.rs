//! Traces as a collector gets them, decoded by OpenTelemetry's own package.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use roomkey::clock::Stopwatch;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::collector::{
    Collector, HEADER, PATIENCE, ROOM, Spans, TRACEPARENT, assert_nothing_personal,
    mint_for_a_caller, request,
};
use crate::fake_realtime::{API_KEY, FakeRealtime};
use crate::leaks::assert_absent;
use crate::projects;
use crate::realtime::{Vendor, bare, mint, roomkey};
use crate::reserved_port::ReservedPort;
use crate::signed_in::{ADMIN_KEY, Answer, client};
use crate::undisturbed::undisturbed;

const API_SECRET: &str = "canary-secret-of-at-least-32-bytes";
const LIVEKIT: [(&str, &str); 3] = [
    ("LIVEKIT_URL", "wss://livekit.example.com"),
    ("LIVEKIT_API_KEY", "APIcanary"),
    ("LIVEKIT_API_SECRET", API_SECRET),
];
const NO_LIMIT: (&str, &str) = ("ROOMKEY_RATE_LIMIT", "off");

/// Returns each span's name with the name of its parent, or its id where it is not ours.
fn parents(spans: &Spans) -> BTreeMap<&str, &str> {
    let name_of = |id: &'_ Value| {
        let found = spans.iter().find(|(_, span)| &span["span_id"] == id);
        found.map(|(name, _)| name.as_str())
    };
    spans
        .iter()
        .map(|(name, span)| {
            let parent = &span["parent"];
            let parent = name_of(parent).unwrap_or_else(|| parent.as_str().unwrap());
            (name.as_str(), parent)
        })
        .collect()
}

#[tokio::test]
async fn a_realtime_mint_is_one_trace_with_its_steps_and_nothing_of_its_caller() {
    let (collector, fake) = (Collector::start(), FakeRealtime::start());
    let (roomkey, answer) = mint_for_a_caller(&collector, &fake).await;
    let request_id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let secret = answer.body["token"].as_str().unwrap().to_owned();
    collector.until_received(5).await;
    let ended = roomkey.stop("TERM");
    assert!(ended.status.success(), "{ended:?}");

    let exports = collector.exports().await;
    for export in &exports {
        assert_eq!(export["path"], "/v1/traces");
        assert_eq!(export["headers"]["content-type"], "application/x-protobuf");
        assert_eq!(export["headers"]["api-key"], HEADER);
        let resource = &export["parts"][0]["resource"];
        assert_eq!(resource["service.name"], "roomkey");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(resource["deployment.environment.name"], "test");
        assert_eq!(resource["service.instance.id"].as_str().unwrap().len(), 36);
    }

    let spans = collector.spans().await;
    let expected = [
        ("POST", "mint"),
        ("POST /api/token", "00f067aa0ba902b7"),
        ("decide", "POST /api/token"),
        ("guard", "POST /api/token"),
        ("mint", "POST /api/token"),
    ];
    assert_eq!(parents(&spans), BTreeMap::from(expected));
    for span in spans.values() {
        assert_eq!(span["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            (&span["status"], &span["others"]),
            (&json!("unset"), &json!(0))
        );
    }
    let server = &spans["POST /api/token"];
    assert_eq!(
        (&server["kind"], &server["is_parent_remote"]),
        (&json!("server"), &json!(true))
    );
    assert_eq!(
        server["attributes"],
        json!({
            "http.request.method": "POST", "http.route": "/api/token",
            "http.response.status_code": 200, "roomkey.provider": "openai",
            "roomkey.request_id": request_id,
        })
    );
    let upstream = reqwest::Url::parse(&fake.url).unwrap();
    assert_eq!(spans["POST"]["kind"], "client");
    assert_eq!(
        spans["POST"]["attributes"],
        json!({
            "http.request.method": "POST", "http.response.status_code": 200,
            "server.address": "127.0.0.1", "server.port": upstream.port(),
        })
    );
    assert!(server["nanoseconds"].as_u64() >= spans["mint"]["nanoseconds"].as_u64());
    assert_nothing_personal(&exports, &ended, &[&secret]);
}

#[tokio::test]
async fn each_attempt_of_a_failed_mint_has_a_span_and_says_why() {
    let (collector, fake) = (Collector::start(), FakeRealtime::start());
    let roomkey = roomkey(&fake, Vendor::OpenAi, &collector.settings());
    fake.order(json!({ "status": 500 })).await;
    let answer = mint(&roomkey, &json!({ "roomName": ROOM })).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (502, &json!("upstream_error"))
    );
    collector.until_received(6).await;
    let ended = roomkey.stop("TERM");
    let (exports, spans) = (collector.exports().await, collector.all_spans().await);
    // Without a sender's trace the log lines name roomkey's own.
    let trace_id = format!(r#""trace_id":{}"#, spans[0]["trace_id"]);
    assert!(ended.stderr.contains(&trace_id), "{}", ended.stderr);
    let failed: Vec<_> = spans
        .iter()
        .filter(|span| span["status"] == "error")
        .map(|span| {
            let attributes = &span["attributes"];
            assert_eq!(span["message"], "");
            (
                span["name"].as_str().unwrap(),
                attributes["error.type"].as_str().unwrap(),
                attributes["http.response.status_code"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        failed,
        [
            ("POST", "failed", Some(500)),
            ("POST", "failed", Some(500)),
            ("mint", "upstream_error", None),
            ("POST /api/token", "upstream_error", Some(502)),
        ]
    );
    assert_nothing_personal(&exports, &ended, &[]);
}

#[tokio::test]
async fn a_session_shows_the_vault_and_the_store_below_it_and_no_project() {
    const PROJECT: &str = "canary-project";
    let (collector, fake) = (Collector::start(), FakeRealtime::start());
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let anonymous = [("ROOMKEY_ANONYMOUS_PROJECTS", PROJECT)];
    let settings = [&collector.settings()[..], &anonymous].concat();
    let roomkey = projects::start(&fake, &store, &settings);
    let key = json!({ "project_id": PROJECT, "openai_key": API_KEY });
    let (status, _) = projects::post(&roomkey, "/api/projects/key", &key).await;
    assert_eq!(status, 201);
    let answer = Answer::to(request(
        &roomkey,
        "/api/session",
        &json!({ "project_id": PROJECT }),
    ))
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (session, secret) = (
        &answer.body["session_id"],
        &answer.body["client_secret"]["value"],
    );
    let (session, secret) = (session.as_str().unwrap(), secret.as_str().unwrap());
    let server = "POST /api/session";
    let is_server = |span: &Value| span["name"] == server;
    collector.until(|spans| spans.iter().any(is_server)).await;
    let ended = roomkey.stop("TERM");

    let (exports, spans) = (collector.exports().await, collector.all_spans().await);
    let opened: Vec<_> = spans
        .iter()
        .filter(|span| span["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736")
        .collect();
    let by_id = |id: &Value| opened.iter().find(|span| &span["span_id"] == id);
    let described: Vec<_> = opened
        .iter()
        .map(|span| {
            let parent =
                by_id(&span["parent"]).map_or("-", |parent| parent["name"].as_str().unwrap());
            let attributes = &span["attributes"];
            let operation = ["db.operation.name", "roomkey.vault.operation"]
                .iter()
                .find_map(|key| attributes[key].as_str());
            (
                span["name"].as_str().unwrap(),
                operation.unwrap_or(""),
                parent,
            )
        })
        .collect();
    assert_eq!(
        described,
        [
            ("guard", "", server),
            ("decide", "", server),
            ("store", "read", "vault"),
            ("vault", "open", server),
            ("store", "session", server),
            ("POST", "", "mint"),
            ("mint", "", server),
            ("store", "write_audit", server),
            ("store", "session", server),
            (server, "", "-"),
        ]
    );
    assert_nothing_personal(&exports, &ended, &[session, secret, PROJECT, projects::KEK]);
}

#[tokio::test]
async fn a_request_that_is_not_sampled_and_the_probe_are_never_sent() {
    let collector = Collector::start();
    for sampler in ["always_off", "parentbased_always_off"] {
        let off = [("OTEL_TRACES_SAMPLER", sampler)];
        let roomkey = bare(&[&LIVEKIT[..], &collector.settings(), &off].concat());
        let answer = mint(&roomkey, &json!({ "roomName": ROOM })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let probe = client().get(format!("{}/", roomkey.url)).send().await;
        assert_eq!(probe.unwrap().status(), 204);
        assert!(roomkey.stop("TERM").status.success());
    }
    assert_eq!(collector.exports().await, [Value::Null; 0]);

    // The flag counts for the sampler that follows it, and a token is signed in a span.
    let follows = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
    let roomkey = bare(&[&LIVEKIT[..], &collector.settings(), &follows].concat());
    let body = json!({ "roomName": ROOM });
    let answer = Answer::to(request(&roomkey, "/api/token", &body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let probe = client()
        .get(format!("{}/", roomkey.url))
        .header("traceparent", TRACEPARENT);
    assert_eq!(probe.send().await.unwrap().status(), 204);
    collector.until_received(4).await;
    let ended = roomkey.stop("TERM");
    assert!(
        ended
            .stdout
            .contains(r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736""#)
    );
    let expected = [
        ("POST /api/token", "00f067aa0ba902b7"),
        ("decide", "POST /api/token"),
        ("guard", "POST /api/token"),
        ("sign", "POST /api/token"),
    ];
    assert_eq!(parents(&collector.spans().await), BTreeMap::from(expected));
    assert_nothing_personal(&collector.exports().await, &ended, &[API_SECRET]);
}

#[tokio::test]
async fn a_collector_that_is_down_or_never_answers_delays_neither_a_request_nor_a_stop() {
    let collector = Collector::start();
    collector.behave(json!({ "hang": true })).await;
    let nobody = ReservedPort::new();
    let closed = format!("http://{}", nobody.address);
    for (url, lines) in [
        (
            &closed,
            [
                "traces could not be exported",
                "metrics could not be exported",
            ],
        ),
        (
            &collector.url,
            [
                "the last traces were not exported",
                "the last metrics were not exported",
            ],
        ),
    ] {
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), NO_LIMIT];
        let roomkey = bare(&[&LIVEKIT[..], &endpoint].concat());
        // More spans than one batch has, so that an export is under way. Had each request waited
        // for one, it would be ten minutes.
        let began = Stopwatch::start();
        for _ in 0..200 {
            let answer = mint(&roomkey, &json!({ "roomName": "r" })).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        // The line says that the stop did not wait for an answer.
        let ended = roomkey.stop("TERM");
        assert!(ended.status.success(), "{ended:?}");
        for line in lines {
            assert_eq!(ended.stderr.matches(line).count(), 1, "{}", ended.stderr);
        }
        assert!(!ended.stderr.contains(url.as_str()), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once_while_the_collector_does_not_answer() {
    let ended = undisturbed(async || {
        let collector = Collector::start();
        collector.behave(json!({ "hang": true })).await;
        let mut roomkey = bare(&[&LIVEKIT[..], &collector.settings(), &[NO_LIMIT]].concat());
        for _ in 0..200 {
            mint(&roomkey, &json!({ "roomName": "r" })).await;
        }
        // A request in flight keeps the program until the drain is over.
        let mut unfinished = TcpStream::connect(roomkey.address()).unwrap();
        let head = "POST /api/token HTTP/1.1\r\nhost: localhost\r\n\
                    content-type: application/json\r\ncontent-length: 2\r\n\
                    expect: 100-continue\r\n\r\n";
        unfinished.write_all(head.as_bytes()).unwrap();
        // It is being served once roomkey asks for its body.
        let mut answer = [0; 12];
        unfinished.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
        roomkey.signal("TERM");
        roomkey.wait_for("stopping");
        let began = Stopwatch::start();
        let ended = roomkey.stop("TERM");
        // The drain alone would take 8 s, and the last export a second.
        (began.elapsed() < Duration::from_secs(1)).then_some(ended)
    })
    .await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn a_collector_that_refuses_is_reported_with_the_cause() {
    let collector = Collector::start();
    let mut spans = 0;
    for (order, cause) in [
        (json!({ "status": 401 }), Some("refused_credentials")),
        (json!({ "status": 404 }), Some("no_such_path")),
        (json!({ "status": 429 }), Some("refused")),
        (json!({}), None),
    ] {
        collector.behave(order).await;
        let roomkey = bare(&[&LIVEKIT[..], &collector.settings()].concat());
        let answer = mint(&roomkey, &json!({ "roomName": "r" })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        spans += 4;
        collector.until_received(spans).await;
        let ended = roomkey.stop("TERM");
        let logged = ended.stderr.split(r#""cause":""#).nth(1);
        let logged = logged.and_then(|rest| rest.split('"').next());
        assert_eq!(logged, cause, "{}", ended.stderr);
        assert_absent(&[HEADER], &[&ended.stdout, &ended.stderr]);
    }
    let received = collector.all_spans().await;
    assert_eq!(received.len(), spans, "no batch is sent twice");
}

#[tokio::test]
async fn spans_that_a_collector_refuses_are_counted() {
    let collector = Collector::start();
    collector.behave(json!({ "rejected": 2 })).await;
    let roomkey = bare(&[&LIVEKIT[..], &collector.settings()].concat());
    mint(&roomkey, &json!({ "roomName": "r" })).await;
    let counted = async {
        loop {
            let url = format!("http://{}/api/metrics", roomkey.address());
            let scrape = client().get(url).bearer_auth(ADMIN_KEY).send().await;
            let metrics = scrape.unwrap().text().await.unwrap();
            if metrics.contains(r#"roomkey_trace_spans_total{outcome="failed"} 2"#) {
                break;
            }
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
}
