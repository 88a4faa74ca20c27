//! Slow, silent, lying and too many clients. The limits are short here; the black-box tests use the
//! real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use roomkey::clock::{Clock, Stopwatch};
use roomkey::entropy::Entropy;
use roomkey::http::edge::ConnectionLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Setup, TestApp};
use crate::wire::{GET, POST_BODY, POST_HEAD, connect, exchange, in_flight, until_closed};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(30);
/// Limits that no test reaches by accident.
fn wide() -> ConnectionLimits {
    ConnectionLimits {
        head: LONG,
        request: LONG,
        idle: LONG,
        drain: LONG,
        ..ConnectionLimits::default()
    }
}

fn spawn(bounds: ConnectionLimits) -> TestApp {
    Setup {
        bounds,
        ..Setup::default()
    }
    .spawn()
}

#[tokio::test]
async fn an_unfinished_head_closes_the_connection_however_slowly_it_arrives() {
    let app = spawn(ConnectionLimits {
        head: SHORT,
        ..wide()
    });
    let began = Stopwatch::start();
    let (mut silent, mut dripping) = (connect(app.address).await, connect(app.address).await);
    silent.write_all(b"GET /api/he").await.unwrap();
    let drip = async {
        let (mut reader, mut writer) = dripping.split();
        let mut closed = [0];
        for byte in b"GET /api/health HTTP/1.1\r\nx-slow: "
            .iter()
            .chain(std::iter::repeat(&b'x'))
        {
            // The pause is the attack itself; the test ends when the server closes.
            match tokio::time::timeout(SHORT / 10, reader.read(&mut closed)).await {
                Ok(_closed) => break,
                Err(_still_open) => {
                    if writer.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
            }
        }
    };
    let (silent, ()) = tokio::join!(until_closed(&mut silent), drip);
    assert_eq!(silent, "");
    assert!((SHORT..LONG / 2).contains(&began.elapsed()));
}

#[tokio::test]
async fn an_unfinished_body_gets_408_and_closes_the_connection() {
    let app = spawn(ConnectionLimits {
        request: SHORT,
        ..wide()
    });
    for body in [&b""[..], b"{\"roomName\""] {
        let began = Stopwatch::start();
        let mut stream = connect(app.address).await;
        stream.write_all(&[POST_HEAD, body].concat()).await.unwrap();
        let answer = until_closed(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(
            answer.contains("connection: close") && answer.contains("\"code\":\"request_timeout\""),
            "{answer}"
        );
        assert!((SHORT..LONG / 2).contains(&began.elapsed()));
    }
    assert_eq!(app.get("/api/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_time_of_a_request_counts_from_its_first_byte() {
    let app = spawn(ConnectionLimits {
        request: SHORT * 8,
        ..wide()
    });
    let mut stream = connect(app.address).await;
    let began = Stopwatch::start();
    stream
        .write_all(b"POST /api/token HTTP/1.1\r\n")
        .await
        .unwrap();
    // Three quarters of the time pass within the head.
    let mut nothing = [0];
    assert!(
        tokio::time::timeout(SHORT * 6, stream.read(&mut nothing))
            .await
            .is_err()
    );
    stream
        .write_all(b"host: x\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n")
        .await
        .unwrap();
    // Another request, which begins now, has all of its time before it.
    let mut other = connect(app.address).await;
    other.write_all(POST_HEAD).await.unwrap();
    let closed = async |stream: &mut TcpStream| {
        assert!(until_closed(stream).await.starts_with("HTTP/1.1 408 "));
        began.elapsed()
    };
    let (first, second) = tokio::join!(closed(&mut stream), closed(&mut other));
    assert!(first + SHORT < second, "{first:?} and {second:?}");
}

#[tokio::test]
async fn an_idle_connection_closes_only_after_the_idle_timeout() {
    let app = spawn(ConnectionLimits {
        head: SHORT,
        idle: SHORT * 10,
        ..wide()
    });
    let mut stream = connect(app.address).await;
    exchange(&mut stream, GET).await;
    let mut nothing = [0];
    assert!(
        tokio::time::timeout(SHORT * 2, stream.read(&mut nothing))
            .await
            .is_err(),
        "closed with the time of a head"
    );
    exchange(&mut stream, GET).await;
    let idle = Stopwatch::start();
    assert_eq!(until_closed(&mut stream).await, "");
    assert!(
        (SHORT * 8..LONG / 2).contains(&idle.elapsed()),
        "{:?}",
        idle.elapsed()
    );
    // A connection that never sends anything is idle too.
    assert_eq!(until_closed(&mut connect(app.address).await).await, "");
}

#[tokio::test]
async fn a_client_that_reads_no_responses_is_disconnected() {
    let app = spawn(ConnectionLimits {
        request: SHORT,
        ..wide()
    });
    let mut stream = connect(app.address).await;
    let pipelined = b"GET /api/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    // Writing fails once the server has closed; 1,000 answers of some 40 KB are far more than any
    // socket holds.
    let written = tokio::time::timeout(LONG, async {
        while stream.write_all(&pipelined).await.is_ok() {}
    })
    .await;
    assert!(written.is_ok(), "still open");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let app = spawn(wide());
    let mut stream = connect(app.address).await;
    let close = b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream
        .write_all(&[GET, POST_HEAD, POST_BODY, GET, close].concat())
        .await
        .unwrap();
    let answers = until_closed(&mut stream).await;
    let statuses: Vec<_> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer.get(..3).unwrap())
        .collect();
    assert_eq!(statuses, ["200", "200", "200", "404"]);
}

#[tokio::test]
async fn fault_05_a_false_content_length_affects_only_its_own_connection() {
    let app = spawn(ConnectionLimits {
        request: SHORT,
        ..wide()
    });
    for (length, body, expected) in [
        ("2147483648", POST_BODY, "413"),
        ("16384", POST_BODY, "408"),
        ("17", POST_BODY, "408"),
        ("15", POST_BODY, "400"),
        ("18446744073709551616", POST_BODY, "400"),
        ("-1", POST_BODY, "400"),
        ("16\r\ncontent-length: 17", POST_BODY, "400"),
        ("16\r\ntransfer-encoding: chunked", b"0\r\n\r\n", "400"),
    ] {
        let mut stream = connect(app.address).await;
        let head = format!(
            "POST /api/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: {length}\r\n\r\n"
        );
        stream
            .write_all(&[head.as_bytes(), body].concat())
            .await
            .unwrap();
        let answer = until_closed(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{length}: {answer}"
        );
        assert_eq!(
            app.post("/api/token", r#"{"roomName":"r"}"#).await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn a_response_before_the_body_was_read_announces_the_close() {
    let app = spawn(wide());
    for (method, path, headers) in [
        ("POST", "/nowhere", "content-length: 8000"),
        ("PUT", "/api/token", "content-length: 8000"),
        (
            "POST",
            "/api/token",
            "content-type: text/plain\r\ncontent-length: 8000",
        ),
        (
            "POST",
            "/api/token",
            "content-type: text/plain\r\ntransfer-encoding: chunked",
        ),
        ("GET", "/api/health", "content-length: 8000"),
        ("OPTIONS", "/api/token", "content-length: 8000"),
    ] {
        let mut stream = connect(app.address).await;
        stream
            .write_all(
                format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n").as_bytes(),
            )
            .await
            .unwrap();
        let answer = until_closed(&mut stream).await;
        assert!(
            answer.contains("connection: close\r\n"),
            "{method} {path}: {answer}"
        );
    }
    // Where the body has arrived, the connection goes on.
    let mut stream = connect(app.address).await;
    for _ in 0..3 {
        assert!(
            !exchange(
                &mut stream,
                b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
            )
            .await
            .contains("connection: close")
        );
    }
}

#[tokio::test]
async fn a_large_body_is_refused_at_once_without_a_reset() {
    let app = spawn(wide());
    let mut stream = connect(app.address).await;
    let head = b"POST /api/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
        content-length: 900000\r\n\r\n";
    let answer = exchange(&mut stream, head).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close\r\n"),
        "{answer}"
    );
    // A reset would end these with an error, and on a slow line it would overtake the response.
    for _ in 0..9 {
        stream.write_all(&vec![b' '; 100_000]).await.unwrap();
        app.get("/api/health").await;
    }
    assert_eq!(until_closed(&mut stream).await, "");
}

#[tokio::test]
async fn requests_past_the_limit_get_503_except_probe_and_health() {
    let app = spawn(ConnectionLimits {
        requests: 3,
        ..wide()
    });
    let mut holding = Vec::new();
    for _ in 0..3 {
        holding.push(in_flight(app.address).await);
    }
    for (method, path, code) in [
        (http::Method::GET, "/nowhere", "not_found"),
        (http::Method::GET, "/api/token", "method_not_allowed"),
        (http::Method::POST, "/api/token", "overloaded"),
        (http::Method::GET, "/api/health/ready", "overloaded"),
    ] {
        let answer = app
            .send(method, path, &[("content-type", b"text/plain")], None)
            .await;
        assert_eq!(answer.code(), code, "{path}");
        assert_eq!(answer.json()["retryable"], code == "overloaded");
    }
    assert_eq!(app.get("/").await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        app.get("/api/health").await.status,
        StatusCode::OK,
        "it is alive"
    );
    for stream in &mut holding {
        assert!(
            exchange(stream, POST_BODY)
                .await
                .starts_with("HTTP/1.1 200 ")
        );
    }
    assert_eq!(app.get("/api/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_disconnected_client_releases_its_request_slot() {
    let app = spawn(ConnectionLimits {
        requests: 1,
        ..wide()
    });
    for _ in 0..20 {
        let mut stream = connect(app.address).await;
        stream.write_all(POST_HEAD).await.unwrap();
        drop(stream);
    }
    let recovered = async { while app.get("/api/health/ready").await.status != StatusCode::OK {} };
    assert!(tokio::time::timeout(LONG, recovered).await.is_ok());
}

#[tokio::test]
async fn connections_past_the_limit_get_503_and_are_closed() {
    let app = spawn(ConnectionLimits {
        connections: 2,
        ..wide()
    });
    let mut seated = [connect(app.address).await, connect(app.address).await];
    for stream in &mut seated {
        assert!(exchange(stream, GET).await.starts_with("HTTP/1.1 200 "));
    }
    let mut refused = connect(app.address).await;
    refused.write_all(GET).await.unwrap();
    let answer = until_closed(&mut refused).await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ")
            && answer.contains("connection: close")
            && answer.contains("retry-after: 1"),
        "{answer}"
    );

    // Only one connection at a time is told that the server is full; further ones are just closed.
    let (mut waiting, mut surplus) = (connect(app.address).await, connect(app.address).await);
    waiting.write_all(b"GET /").await.unwrap();
    assert_eq!(until_closed(&mut surplus).await, "");

    let [first, _second] = seated;
    drop(first);
    let recovered = async { while !app.get("/api/health").await.status.is_success() {} };
    drop(waiting);
    assert!(tokio::time::timeout(LONG, recovered).await.is_ok());
}

/// A clock that fails three times after the start has read it.
#[derive(Default)]
struct PanickingClock(AtomicUsize);

impl Clock for PanickingClock {
    fn now(&self) -> SystemTime {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            1..=3 => panic!("canary-secret-of-at-least-32-bytes"),
            _ => SystemTime::UNIX_EPOCH,
        }
    }
}

#[tokio::test]
async fn fault_51_a_panic_while_signing_becomes_a_logged_500_and_keeps_the_connection() {
    let app = Setup {
        clock: Some(Arc::new(PanickingClock::default())),
        ..Setup::default()
    }
    .spawn();
    for _ in 0..3 {
        let answer = app.post("/api/token", r#"{"roomName":"r"}"#).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        );
        assert_eq!(app.get("/api/health").await.status, StatusCode::OK);
    }
    let metrics = app.metrics().await;
    assert!(
        metrics.text.contains("\nroomkey_panics_total 3\n"),
        "{}",
        metrics.text
    );
    let log = app.log();
    assert_eq!(log.matches(r#""level":"ERROR""#).count(), 3);
    assert!(
        log.contains(r#""cause":"a panic"#) && !log.contains("canary"),
        "{log}"
    );
}

/// A source of randomness that fails every third time after the start.
#[derive(Default)]
struct PanickingEntropy(AtomicUsize);

impl Entropy for PanickingEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(
            asked < 3 || !asked.is_multiple_of(3),
            "canary-secret-of-at-least-32-bytes"
        );
        bytes.fill(7);
    }
}

#[tokio::test]
async fn a_panic_outside_of_a_handler_gets_500_too() {
    let app = Setup {
        entropy: Some(Arc::new(PanickingEntropy::default())),
        ..Setup::default()
    }
    .spawn();
    let mut statuses = std::collections::BTreeSet::new();
    // A pooled connection that was closed without an answer would end the test here.
    let mut stream = connect(app.address).await;
    for _ in 0..12 {
        let answer = exchange(&mut stream, GET).await;
        statuses.insert(answer.get(9..12).unwrap().to_owned());
        assert!(
            !answer.contains("canary") && answer.contains("x-request-id: "),
            "{answer}"
        );
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), ["200", "500"]);
    assert!(!app.log().contains("canary"));
}

#[tokio::test]
async fn a_stop_reports_not_ready_and_finishes_all_requests() {
    let mut app = spawn(wide());
    let mut flying = Vec::new();
    for _ in 0..100 {
        flying.push(in_flight(app.address).await);
    }
    let mut idle = connect(app.address).await;
    exchange(&mut idle, GET).await;

    assert_eq!(app.get("/api/health/ready").await.status, StatusCode::OK);
    app.stop();
    assert_eq!(
        until_closed(&mut idle).await,
        "",
        "an idle connection has nothing to finish"
    );
    let ready = app.get("/api/health/ready").await;
    assert_eq!(
        (ready.status, ready.json()["status"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("stopping"))
    );
    assert_eq!(
        app.post("/api/token", r#"{"roomName":"r"}"#).await.status,
        StatusCode::OK
    );
    for stream in &mut flying {
        stream.write_all(POST_BODY).await.unwrap();
        let answer = until_closed(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    app.stopped().await;
}

#[tokio::test]
async fn a_stop_aborts_requests_that_do_not_finish() {
    let mut app = spawn(ConnectionLimits {
        drain: SHORT,
        ..wide()
    });
    let mut stream = connect(app.address).await;
    stream.write_all(POST_HEAD).await.unwrap();
    app.get("/api/health").await;
    app.stop();
    let began = Stopwatch::start();
    let address = app.address;
    app.stopped().await;
    assert!((SHORT..LONG / 2).contains(&began.elapsed()));
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is free again"
    );
}

#[tokio::test]
async fn requests_refused_by_a_used_up_budget_share_one_summary_line() {
    let bounds = ConnectionLimits {
        summary: SHORT,
        ..wide()
    };
    let mut app = Setup {
        bounds,
        settings: &[("ROOMKEY_RATE_LIMIT", "2/1h")],
        ..Setup::default()
    }
    .spawn();
    let refuse = async |app: &TestApp, times: usize| {
        for _ in 0..times {
            assert_eq!(
                app.post("/api/token", r#"{"roomName":"r"}"#).await.status,
                StatusCode::TOO_MANY_REQUESTS
            );
        }
    };
    for _ in 0..2 {
        assert_eq!(
            app.post("/api/token", r#"{"roomName":"r"}"#).await.status,
            StatusCode::OK
        );
    }
    refuse(&app, 5).await;
    let summaries = |app: &TestApp| -> u64 {
        let log = app.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("requests refused without lines of their own"));
        lines
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["requests"].as_u64().unwrap())
            .sum()
    };
    let told = async |app: &TestApp, refused: u64| {
        while summaries(app) < refused {
            app.get("/").await;
        }
    };
    tokio::time::timeout(LONG, told(&app, 5)).await.unwrap();
    let log = app.log();
    assert!(
        log.contains(r#""budget":"token""#)
            && !log.contains("rate_limited")
            && !log.contains(r#""status":429"#),
        "{log}"
    );
    assert_eq!(
        log.matches(r#""message":"audit""#).count(),
        2,
        "those that were issued: {log}"
    );
    let metrics = app.metrics().await.text;
    assert!(
        metrics.contains(
            r#"roomkey_requests_total{code="rate_limited",route="/api/token",status="429"} 5"#
        ),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"roomkey_tokens_total{outcome="refused",provider="none"} 5"#),
        "{metrics}"
    );
    // Requests after the last summary are reported when the service stops.
    refuse(&app, 3).await;
    app.stop();
    let stopped = async {
        while summaries(&app) < 8 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, stopped).await.unwrap();
    assert_eq!(summaries(&app), 8);
}
