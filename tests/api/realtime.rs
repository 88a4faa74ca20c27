//! Realtime client secrets: the requests to an upstream, and the handling of its responses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use roomkey::clock::Clock;
use serde_json::{Value, json};

use crate::harness::{Answer, NOW, Setup, TestApp};
use crate::undisturbed::undisturbed;
use crate::upstream::{AZURE_KEY, Act, CANARY, OPENAI_KEY, Upstream};

pub const PATH: &str = "/api/token";
pub const OPENAI: &str = r#"{"provider":"openai"}"#;

pub fn app(settings: &[(&'static str, String)], more: &[(&str, &str)]) -> TestApp {
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(more.iter().copied())
        .collect();
    Setup {
        settings: &settings,
        ..Setup::default()
    }
    .spawn()
}

pub fn unlimited(upstream: &Upstream) -> TestApp {
    app(
        &upstream.openai(),
        &[("ROOMKEY_REALTIME_RATE_LIMIT", "off")],
    )
}

pub fn no_canary(answer: &Answer) {
    let all = format!("{:?} {}", answer.headers, answer.text).to_lowercase();
    assert!(!all.contains(CANARY), "{all}");
}

#[tokio::test]
async fn openai_returns_a_secret_and_the_url_for_the_browser() {
    let upstream = Upstream::start().await;
    let app = unlimited(&upstream);
    let answer = app
        .post(
            PATH,
            r#"{"provider":"openai","voice":"alloy","roomName":"standup-42"}"#,
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        answer.json(),
        json!({
            "provider": "openai", "token": "ek_0", "issuedAt": "2023-11-14T22:13:20.123Z",
            "expiresAt": "2023-11-14T22:14:20.000Z",
            "refreshAt": "2023-11-14T22:14:10.000Z", "sessionId": "sess_0",
            "model": "gpt-realtime-2.1", "voice": "alloy",
            "webrtcUrl": format!("http://{}/v1/realtime/calls", upstream.address),
        })
    );
    let asked = upstream.asked().remove(0);
    assert_eq!(asked.line(), "POST /v1/realtime/client_secrets");
    assert_eq!(
        asked.header("authorization"),
        format!("Bearer {OPENAI_KEY}")
    );
    assert_eq!(asked.body["session"]["audio"]["output"]["voice"], "alloy");
    let safety = asked.header("openai-safety-identifier");
    assert!(
        safety.len() == 32 && app.log().contains(&format!(r#""actor":"{safety}""#)),
        "{safety}"
    );
    no_canary(&answer);
}

#[tokio::test]
async fn azure_gets_only_the_headers_that_it_documents() {
    let upstream = Upstream::start().await;
    let session = r#"{"audio":{"input":{"turn_detection":{"threshold":0.7}}}}"#;
    let more = [
        ("AZURE_OPENAI_TRANSCRIPTION_MODEL", "transcribe"),
        ("ROOMKEY_REALTIME_INSTRUCTIONS", "Be brief."),
        ("ROOMKEY_REALTIME_SESSION", session),
        ("ROOMKEY_REALTIME_SECRET_SECONDS", "90"),
        ("ROOMKEY_DEFAULT_PROVIDER", "azure-openai"),
    ];
    let app = app(&upstream.azure(), &more);
    let answer = app.send(Method::POST, PATH, &[], None).await;
    assert_eq!(
        answer.json()["webrtcUrl"],
        format!(
            "http://{}/openai/v1/realtime/calls?webrtcfilter=on",
            upstream.address
        )
    );
    assert_eq!(
        (&answer.json()["model"], &answer.json()["provider"]),
        (&json!("voice-deployment"), &json!("azure-openai"))
    );
    assert!(!answer.text.contains("Be brief."));
    let asked = upstream.asked().remove(0);
    assert_eq!(asked.line(), "POST /openai/v1/realtime/client_secrets");
    assert_eq!(
        (
            asked.header("api-key"),
            asked.header("authorization"),
            asked.header("openai-safety-identifier")
        ),
        (AZURE_KEY, "", "")
    );
    assert_eq!(
        asked.body,
        json!({
            "expires_after": { "anchor": "created_at", "seconds": 90 },
            "session": {
                "type": "realtime", "model": "voice-deployment", "instructions": "Be brief.",
                "audio": {
                    "input": {
                        "transcription": { "model": "transcribe" },
                        "turn_detection": {
                            "type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 300,
                            "silence_duration_ms": 500,
                        },
                    },
                    "output": { "voice": "marin" },
                },
            },
        })
    );
}

#[tokio::test]
async fn a_custom_voice_is_sent_as_an_object_and_returned_as_its_id() {
    let upstream = Upstream::start().await;
    let voices = [
        ("ROOMKEY_REALTIME_VOICES", "marin,voice_1234"),
        ("ROOMKEY_REALTIME_VOICE", "voice_1234"),
    ];
    let app = app(&upstream.openai(), &voices);
    for (body, answered, sent) in [
        (
            r#"{"provider":"openai"}"#,
            "voice_1234",
            json!({ "id": "voice_1234" }),
        ),
        (
            r#"{"provider":"openai","voice":"voice_1234"}"#,
            "voice_1234",
            json!({ "id": "voice_1234" }),
        ),
        (
            r#"{"provider":"openai","voice":"marin"}"#,
            "marin",
            json!("marin"),
        ),
    ] {
        let answer = app.post(PATH, body).await;
        assert_eq!(
            (answer.status, &answer.json()["voice"]),
            (StatusCode::OK, &json!(answered)),
            "{body}"
        );
        assert_eq!(
            upstream.asked().pop().unwrap().body["session"]["audio"]["output"]["voice"],
            sent,
            "{body}"
        );
    }
    assert_eq!(
        app.post(PATH, r#"{"provider":"openai","voice":"voice_9"}"#)
            .await
            .fields(),
        ["voice"]
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn fault_39_each_upstream_status_has_its_error_without_text_of_the_body() {
    let upstream = Upstream::start().await;
    let app = unlimited(&upstream);
    let bodies = [
        String::new(),
        CANARY.to_owned(),
        json!({
            "error": { "message": CANARY, "type": CANARY, "code": CANARY, "param": null },
        })
        .to_string(),
        json!({
            "value": format!("ek_{CANARY}"), "expires_at": NOW + 60, "session": { "id": CANARY },
        })
        .to_string(),
        "x".repeat(100_000),
    ];
    for (head, status, code, retry_after, tries) in [
        ("400 Bad Request", 502, "upstream_rejected", "", 1),
        (
            "401 Unauthorized",
            502,
            "upstream_credentials_rejected",
            "",
            1,
        ),
        ("403 Forbidden", 502, "upstream_credentials_rejected", "", 1),
        ("404 Not Found", 502, "upstream_misconfigured", "", 1),
        ("408 Request Timeout", 502, "upstream_rejected", "", 1),
        ("409 Conflict", 502, "upstream_rejected", "", 1),
        ("422 Unprocessable", 502, "upstream_rejected", "", 1),
        (
            "429 Too Many Requests",
            503,
            "upstream_rate_limited",
            "5",
            1,
        ),
        (
            "429 Too Many Requests\r\nretry-after: 2.1",
            503,
            "upstream_rate_limited",
            "3",
            1,
        ),
        (
            "429 Too Many Requests\r\nretry-after-ms: 20\r\nretry-after: 9",
            503,
            "upstream_rate_limited",
            "1",
            1,
        ),
        (
            "429 Too Many Requests\r\nretry-after: 86400",
            503,
            "upstream_rate_limited",
            "60",
            1,
        ),
        ("500 Internal Server Error", 502, "upstream_error", "", 2),
        ("502 Bad Gateway", 502, "upstream_error", "", 2),
        (
            "503 Unavailable\r\nretry-after: 9",
            502,
            "upstream_error",
            "",
            2,
        ),
        ("504 Gateway Timeout", 502, "upstream_error", "", 2),
        ("599 upstreamcanary9", 502, "upstream_error", "", 2),
        (
            "301 Moved\r\nlocation: /elsewhere",
            502,
            "upstream_error",
            "",
            1,
        ),
        ("304 Not Modified", 502, "upstream_error", "", 1),
    ] {
        for body in &bodies {
            // A success in between, so that the breaker stays closed.
            assert_eq!(app.post(PATH, OPENAI).await.status, StatusCode::OK);
            let before = upstream.asked().len();
            for _ in 0..tries {
                let body = if head.starts_with("304") {
                    String::new()
                } else {
                    body.clone()
                };
                upstream.next(Act::Answer(head, body));
            }
            let answer = app.post(PATH, OPENAI).await;
            assert_eq!(
                (
                    answer.status.as_u16(),
                    answer.code().as_str(),
                    answer.header("retry-after")
                ),
                (status, code, retry_after),
                "{head}"
            );
            assert_eq!(
                answer.json()["retryable"],
                matches!(status, 503 | 504) || code == "upstream_error",
                "{head}"
            );
            assert_eq!(upstream.asked().len() - before, tries, "{head}");
            no_canary(&answer);
        }
        println!("{:<40} {status} {code}", head.lines().next().unwrap());
    }
    let metrics = app.metrics().await;
    for line in [
        r#"roomkey_mints_total{outcome="minted",provider="openai"} 90"#,
        r#"roomkey_mints_total{outcome="upstream_misconfigured",provider="openai"} 5"#,
        r#"roomkey_upstream_duration_seconds_count{provider="openai"} 180"#,
        r#"roomkey_breaker_state{provider="openai"} 0"#,
    ] {
        assert!(
            metrics.text.lines().any(|written| written == line),
            "{line} in\n{}",
            metrics.text
        );
    }
    let log = app.log().to_lowercase();
    assert!(
        !log.contains(CANARY) && !metrics.text.to_lowercase().contains(CANARY),
        "{log}"
    );
    assert!(
        !log.contains("ek_") && !log.contains(&OPENAI_KEY[3..]),
        "{log}"
    );
    assert!(
        log.contains(r#""upstream_id":"req_0123""#) && log.contains(r#""session_id":"sess_0""#),
        "{log}"
    );
}

#[tokio::test]
async fn a_success_without_a_usable_secret_is_an_error() {
    let upstream = Upstream::start().await;
    let app = unlimited(&upstream);
    let secret = |value: serde_json::Value, expires_at: serde_json::Value| {
        json!({
            "value": value, "expires_at": expires_at, "session": { "id": "sess_1" }, "note": CANARY,
        })
        .to_string()
    };
    for body in [
        String::new(),
        "{".to_owned(),
        "null".to_owned(),
        format!("<html>{CANARY}</html>"),
        secret(json!(""), json!(NOW + 60)),
        secret(json!(null), json!(NOW + 60)),
        secret(json!(format!("ek {CANARY}")), json!(NOW + 60)),
        secret(json!("ek_1"), json!(NOW)),
        secret(json!("ek_1"), json!(NOW + 86_401)),
        secret(json!("ek_1"), json!("soon")),
        json!({ "client_secret": { "value": "ek_1", "expires_at": NOW + 60 } }).to_string(),
        format!(
            r#"{{"value":"ek_1","expires_at":{},"x":"{}"}}"#,
            NOW + 60,
            "x".repeat(70_000)
        ),
    ] {
        assert_eq!(app.post(PATH, OPENAI).await.status, StatusCode::OK);
        upstream.next(Act::Answer("200 OK", body.clone()));
        let answer = app.post(PATH, OPENAI).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_GATEWAY, "upstream_error"),
            "{body:.80}"
        );
        no_canary(&answer);
    }
    // An id that is not safe to log does not make the secret unusable.
    upstream.next(Act::Answer(
        "200 OK\r\nx-request-id: up stream",
        json!({ "value": "ek_9", "expires_at": NOW + 60, "session": { "id": "a b" } }).to_string(),
    ));
    let answer = app.post(PATH, OPENAI).await;
    assert_eq!(
        (&answer.json()["token"], &answer.json()["sessionId"]),
        (&json!("ek_9"), &json!(null))
    );
    assert!(!app.log().contains("up stream") && !app.log().contains(CANARY));
}

#[tokio::test]
async fn fault_40_an_upstream_that_hangs_or_disconnects_takes_three_seconds_at_most() {
    let (upstream, app) = undisturbed(async || {
        let upstream = Upstream::start().await;
        let app = unlimited(&upstream);
        let began = Instant::now();
        upstream.next(Act::Hang);
        upstream.next(Act::HeadOnly);
        let (first, second) = tokio::join!(app.post(PATH, OPENAI), app.post(PATH, OPENAI));
        for answer in [first, second] {
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
            );
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(3), "{took:?}");
        (took < Duration::from_secs(4)).then_some((upstream, app))
    })
    .await;
    assert_eq!(
        upstream.asked().len(),
        2,
        "a secret may exist, so that no second one is asked for"
    );
    until(|| upstream.gone() == 2).await;
    upstream.next(Act::Close);
    assert_eq!(app.post(PATH, OPENAI).await.code(), "upstream_unavailable");
    upstream.next(Act::Raw(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"value\":\"ek_".to_owned(),
    ));
    assert_eq!(app.post(PATH, OPENAI).await.code(), "upstream_error");
    assert_eq!(upstream.asked().len(), 4);
    assert_eq!(app.post(PATH, OPENAI).await.status, StatusCode::OK);
}

#[tokio::test]
async fn fault_41_a_redirect_is_not_followed_and_the_key_is_sent_nowhere_else() {
    let (upstream, elsewhere) = (Upstream::start().await, Upstream::start().await);
    let app = unlimited(&upstream);
    let location = format!(
        "HTTP/1.1 307 Temporary\r\nlocation: http://{}/v1/realtime/client_secrets\r\n\
            content-length: 0\r\n\r\n",
        elsewhere.address
    );
    upstream.next(Act::Raw(location));
    assert_eq!(app.post(PATH, OPENAI).await.code(), "upstream_error");
    assert_eq!((upstream.asked().len(), elsewhere.connections()), (1, 0));
}

#[tokio::test]
async fn a_retry_after_a_5xx_returns_the_secret() {
    let upstream = Upstream::start().await;
    let app = unlimited(&upstream);
    upstream.next(Act::Answer("503 Unavailable", CANARY.to_owned()));
    let answer = app.post(PATH, OPENAI).await;
    assert_eq!((answer.status, upstream.asked().len()), (StatusCode::OK, 2));
}

#[tokio::test]
async fn an_unreachable_upstream_gets_no_more_requests_after_five_failures() {
    let upstream = Upstream::start().await;
    let clock = Arc::new(MovedClock::default());
    let settings = upstream.openai();
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let app = Setup {
        settings: &settings,
        clock: Some(Arc::clone(&clock) as Arc<dyn Clock>),
        ..Setup::default()
    }
    .spawn();
    upstream.always(Act::Close);
    for _ in 0..5 {
        let answer = app.post(PATH, OPENAI).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.code().as_str(),
                answer.header("retry-after")
            ),
            (503, "upstream_unavailable", "5")
        );
    }
    let answer = app.post(PATH, OPENAI).await;
    assert_eq!(
        (answer.code().as_str(), answer.header("retry-after")),
        ("upstream_unavailable", "30")
    );
    assert_eq!(upstream.asked().len(), 5, "the breaker is open");
    assert_eq!(
        app.post(PATH, r#"{"roomName":"r"}"#).await.status,
        StatusCode::OK,
        "LiveKit is not concerned"
    );
    clock.0.store(30, Ordering::SeqCst);
    assert_eq!(app.post(PATH, OPENAI).await.code(), "upstream_unavailable");
    assert_eq!(app.post(PATH, OPENAI).await.header("retry-after"), "30");
    assert_eq!(upstream.asked().len(), 6, "one probe");
    clock.0.store(60, Ordering::SeqCst);
    upstream.always(Act::Answer(
        "200 OK",
        json!({ "value": "ek_1", "expires_at": NOW + 120 }).to_string(),
    ));
    for _ in 0..3 {
        assert_eq!(app.post(PATH, OPENAI).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_access_line_names_the_cause_of_a_failed_mint() {
    let upstream = Upstream::start().await;
    let app = unlimited(&upstream);
    upstream.always(Act::Answer("500 Internal", CANARY.to_owned()));
    for _ in 0..6 {
        app.post(PATH, OPENAI).await;
    }
    let log = app.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let causes: Vec<_> = lines
        .filter(|line| line["message"] == "request")
        .map(|line| line["cause"].as_str().unwrap_or_default().to_owned())
        .collect();
    // Five failures in a row open the breaker.
    assert_eq!(causes[..5], ["the upstream returned 5xx"; 5]);
    assert_eq!(causes[5..], ["the breaker is open"]);
}

/// Stops the clock of all time limits, so that none of them depends on how busy the machine is. It
/// stands still while the returned value lives.
fn stopped_clock() -> std::sync::mpsc::Sender<()> {
    tokio::time::pause();
    let (running, ended) = std::sync::mpsc::channel();
    // A paused clock moves on when nothing is left to do, except while a blocking task runs.
    tokio::task::spawn_blocking(move || ended.recv());
    running
}

#[tokio::test]
async fn fault_42_a_thousand_callers_at_once_get_a_secret_each() {
    const CALLERS: u32 = 1_000;
    let _stopped = stopped_clock();
    let upstream = Upstream::start().await;
    let app = app(
        &upstream.openai(),
        &[
            ("ROOMKEY_TRUSTED_PROXIES", "127.0.0.0/8"),
            ("ROOMKEY_REALTIME_RATE_LIMIT", "1/1h"),
        ],
    );
    let ask = async |caller: u32| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + caller).to_string();
        let headers: [(&str, &[u8]); 2] = [
            ("content-type", b"application/json"),
            ("x-forwarded-for", address.as_bytes()),
        ];
        let answer = app
            .send(Method::POST, PATH, &headers, Some(OPENAI.as_bytes()))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["token"].as_str().unwrap().to_owned()
    };
    let secrets = futures_util::future::join_all((0..CALLERS).map(ask)).await;
    let secrets: BTreeSet<_> = secrets.into_iter().collect();
    let callers = usize::try_from(CALLERS).unwrap();
    assert_eq!((secrets.len(), upstream.asked().len()), (callers, callers));
    let identifiers: BTreeSet<_> = upstream
        .asked()
        .iter()
        .map(|asked| asked.header("openai-safety-identifier").to_owned())
        .collect();
    assert_eq!(identifiers.len(), callers);
}

#[tokio::test]
async fn connections_to_the_upstream_are_reused() {
    let upstream = Upstream::start().await;
    let app = unlimited(&upstream);
    for _ in 0..20 {
        assert_eq!(app.post(PATH, OPENAI).await.status, StatusCode::OK);
    }
    assert_eq!((upstream.asked().len(), upstream.connections()), (20, 1));
}

/// Waits for a condition that other tasks fulfil.
pub async fn until(happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap();
}

/// A clock that a test advances by whole seconds.
#[derive(Default)]
pub struct MovedClock(pub AtomicU64);

impl Clock for MovedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW + self.0.load(Ordering::SeqCst))
    }
}
