//! Bodies as strangers send them: a corpus over both routes. After each, a good request still succeeds.

use http::{Method, StatusCode};

use crate::harness::spawn_app;

fn corpus() -> Vec<(Vec<u8>, &'static str)> {
    let deep = |open: &str, depth: usize| format!("{{\"roomName\":{}", open.repeat(depth)).into_bytes();
    let mut corpus: Vec<(Vec<u8>, &'static str)> = [
        "{",
        "}",
        "[]",
        "null",
        "true",
        "0",
        "\"x\"",
        "{\"roomName\":\"r\"",
        "{\"roomName\":\"r\"}x",
        "{\"roomName\":\"r\"}{}",
        "{\"roomName\":NaN}",
        "{\"roomName\":Infinity}",
        "/**/{}",
        "{}//",
        "\u{feff}{\"roomName\":\"r\"}",
        "{'roomName':'r'}",
        "{roomName:\"r\"}",
        "{\"roomName\":\"r\",}",
        "{\"roomName\":\"a\",\"roomName\":\"b\"}",
        "{\"room\\u004eame\":\"a\",\"roomName\":\"b\"}",
        "{\"roomName\":\"\\ud800\"}",
        "{\"x\":{\"a\":1,\"a\":2},\"roomName\":\"r\"}",
        "{\"x\":\"\\ud83d\",\"roomName\":\"r\"}",
        "{\"roomName\":\"a\nb\"}",
        "roomName=r",
        "<xml/>",
        " ",
    ]
    .into_iter()
    .map(|text| (text.as_bytes().to_vec(), "malformed_json"))
    .collect();
    corpus.push((b"{\"roomName\":\"\xff\"}".to_vec(), "malformed_json"));
    corpus.push((b"\x1f\x8b\x08\x00gzip".to_vec(), "malformed_json"));
    corpus.push((vec![0; 64], "malformed_json"));
    corpus.push(("{\"roomName\":\"r\"}".encode_utf16().flat_map(u16::to_le_bytes).collect(), "malformed_json"));
    corpus.push((deep("[", 10_000), "malformed_json"));
    corpus.push((deep("{\"a\":", 3_000), "malformed_json"));
    corpus.push((format!("[{}1]", "1,".repeat(1_000_000)).into_bytes(), "payload_too_large"));
    corpus
}

#[tokio::test]
async fn bodies_that_are_not_strict_json_are_refused_and_the_service_goes_on() {
    let app = spawn_app();
    for path in ["/api/token", "/api/connection-details"] {
        for (body, code) in corpus() {
            let answer = app.send(Method::POST, path, &[("content-type", b"application/json")], Some(&body)).await;
            assert_eq!(answer.code(), code, "{path} {:.60}", String::from_utf8_lossy(&body));
            assert!(app.post(path, r#"{"roomName":"r"}"#).await.status.is_success());
        }
    }
}

#[tokio::test]
async fn a_body_of_typos_gets_an_answer_of_bounded_size() {
    let app = spawn_app();
    let typos: serde_json::Map<_, _> = (0..1_500).map(|n| (format!("t{n}"), 1.into())).collect();
    let answer = app.post("/api/token", &serde_json::Value::from(typos).to_string()).await;
    assert_eq!((answer.status, answer.fields().len()), (StatusCode::BAD_REQUEST, 20));
    assert!(answer.text.len() < 4_096);
}
