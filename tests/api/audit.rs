//! The operator's view: the audit line of each token, the ids in the access log, the metrics.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Setup, TestApp, claims};
use crate::issuer::Issuer;

const JSON: (&str, &[u8]) = ("content-type", b"application/json");
const TRACEPARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub fn lines(app: &TestApp, message: &str) -> Vec<Value> {
    let lines = app.log();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["message"] == message)
        .collect()
}

#[tokio::test]
async fn each_issued_or_refused_token_has_an_audit_line_without_the_token() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[("ROOMKEY_LOG", "error")]);
    let bearer = format!(
        "Bearer {}",
        issuer.token(json!({ "sub": "auth0|canary-subject" }))
    );
    let headers = [
        JSON,
        ("authorization", bearer.as_bytes()),
        ("traceparent", TRACEPARENT),
    ];
    let answer = app
        .send(
            Method::POST,
            "/api/token",
            &headers,
            Some(br#"{"roomName":"standup-42"}"#),
        )
        .await;
    app.send(
        Method::POST,
        "/api/token",
        &headers,
        Some(br#"{"roomName":"standup-42","participantIdentity":"bob"}"#),
    )
    .await;
    app.send(
        Method::POST,
        "/api/token",
        &headers,
        Some(br#"{"roomName":"a b"}"#),
    )
    .await;
    app.send(
        Method::POST,
        "/api/connection-details",
        &[JSON],
        Some(b"{}"),
    )
    .await;
    let lines = lines(&app, "audit");
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let (_, claims) = claims(&token);
    let actor = lines[0]["actor"].as_str().unwrap();
    assert!(
        actor.len() == 32 && actor.bytes().all(|b| b.is_ascii_hexdigit()),
        "{actor}"
    );
    let (time, at) = (lines[0]["timestamp"].clone(), "2023-11-14T22:13:20.123Z");
    assert_eq!(
        lines[0],
        json!({
            "timestamp": time, "level": "INFO", "request_id": answer.header("x-request-id"),
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "actor": actor, "action": "token.issue", "provider": "livekit", "target": "standup-42",
            "outcome": "issued", "jti": claims["jti"], "occurred_at": at,
            "message": "audit",
        })
    );
    let told: Vec<_> = lines[1..]
        .iter()
        .map(|line| {
            [
                &line["actor"],
                &line["target"],
                &line["outcome"],
                &line["code"],
            ]
            .map(|value| value.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            [
                Some(actor),
                Some("standup-42"),
                Some("refused"),
                Some("identity_mismatch")
            ],
            [Some(actor), None, Some("refused"), Some("invalid_request")],
            [
                Some("unknown"),
                None,
                Some("refused"),
                Some("unauthenticated")
            ],
        ]
    );
    let log = app.log();
    assert!(
        !log.contains("eyJ") && !log.contains("canary-subject") && !log.contains("bob"),
        "{log}"
    );
}

#[tokio::test]
async fn the_access_line_has_trace_caller_and_provider_in_safe_form() {
    let app = Setup::default().spawn();
    app.send(
        Method::POST,
        "/api/token",
        &[JSON, ("traceparent", TRACEPARENT)],
        Some(br#"{"roomName":"r"}"#),
    )
    .await;
    for bad in [
        &b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"[..],
        b"canary",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
    ] {
        app.send(
            Method::POST,
            "/api/token",
            &[JSON, ("traceparent", bad)],
            Some(br#"{"roomName":"r"}"#),
        )
        .await;
    }
    app.metrics().await;
    let lines = lines(&app, "request");
    assert_eq!(
        (&lines[0]["trace_id"], &lines[0]["provider"]),
        (
            &json!("0af7651916cd43dd8448eb211c80319c"),
            &json!("livekit")
        )
    );
    assert_eq!(
        lines[0]["caller"], lines[1]["caller"],
        "the same address is the same caller"
    );
    assert!(!lines[0]["caller"].as_str().unwrap().contains("127"));
    assert!(
        lines[1..4]
            .iter()
            .all(|line| line.get("trace_id").is_none()),
        "{lines:?}"
    );
    assert!(
        lines[4]["caller"]
            .as_str()
            .unwrap()
            .starts_with("admin-key:")
            && lines[4].get("provider").is_none(),
        "{}",
        lines[4]
    );
}

#[tokio::test]
async fn fault_54_metrics_need_the_admin_key_and_contain_no_text_of_a_client() {
    let app = Setup::default().spawn();
    assert_eq!(app.get("/api/metrics").await.code(), "unauthenticated");
    app.post("/api/token", r#"{"roomName":"clientcanary7"}"#)
        .await;
    app.post("/api/token", r#"{"roomName":"r","clientcanary7":1}"#)
        .await;
    app.send(
        Method::from_bytes(b"CLIENTCANARY7").unwrap(),
        "/clientcanary7",
        &[],
        None,
    )
    .await;
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        r#"roomkey_requests_total{code="none",route="/api/token",status="200"} 1"#,
        r#"roomkey_requests_total{code="invalid_request",route="/api/token",status="400"} 1"#,
        r#"roomkey_requests_total{code="not_found",route="none",status="404"} 1"#,
        r#"roomkey_requests_total{code="unauthenticated",route="/api/metrics",status="401"} 1"#,
        r#"roomkey_request_duration_seconds_count{route="/api/token"} 2"#,
        r#"roomkey_tokens_total{outcome="issued",provider="livekit"} 1"#,
        r#"roomkey_tokens_total{outcome="refused",provider="none"} 1"#,
        "roomkey_rate_limit_degraded 0",
        "roomkey_panics_total 0",
        concat!(
            r#"roomkey_build_info{version=""#,
            env!("CARGO_PKG_VERSION"),
            r#""} 1"#
        ),
    ] {
        assert!(
            metrics.text.lines().any(|written| written == line),
            "{line} in\n{}",
            metrics.text
        );
    }
    assert!(!metrics.text.to_lowercase().contains("clientcanary7"));
    assert!(
        !metrics.text.contains("roomkey_oidc_keys_age_seconds "),
        "there is no identity provider"
    );
}
