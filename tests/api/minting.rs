//! Permissions, budgets, log lines and diagnostics of mints.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use roomkey::clock::Clock;
use roomkey::domain::realtime::mint::MintError;
use roomkey::http::error::ApiError;
use serde_json::json;

use crate::audit::lines;
use crate::harness::{ADMIN_KEY, NOW, Setup};
use crate::issuer::Issuer;
use crate::realtime::{MovedClock, OPENAI, PATH, app, no_canary, unlimited, until};
use crate::upstream::{Act, CANARY, Upstream};

#[tokio::test]
async fn mints_have_their_own_budget_which_only_valid_requests_use() {
    let upstream = Upstream::start().await;
    let app = app(
        &upstream.openai(),
        &[("ROOMKEY_REALTIME_RATE_LIMIT", "2/1h")],
    );
    assert_eq!(
        app.post(PATH, r#"{"provider":"openai","voice":"tenor"}"#)
            .await
            .fields(),
        ["voice"]
    );
    for left in ["1", "0"] {
        let answer = app.post(PATH, OPENAI).await;
        assert_eq!(
            (
                answer.header("ratelimit-policy"),
                answer.header("x-ratelimit-remaining")
            ),
            (r#""realtime";q=2;w=3600"#, left)
        );
    }
    let refused = app.post("/api/v1/token", "{}").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "rate_limited")
    );
    assert_eq!(upstream.asked().len(), 2);
    assert_eq!(
        app.post(PATH, r#"{"provider":"openai","voice":"tenor"}"#)
            .await
            .status,
        StatusCode::BAD_REQUEST,
        "400 comes before this 429"
    );
    assert_eq!(
        app.post(PATH, r#"{"roomName":"r"}"#).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn policy_is_checked_before_the_mint_budget_and_the_upstream() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let settings = upstream.openai();
    let mut settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    settings.extend([
        ("ROOMKEY_REALTIME_RATE_LIMIT", "1/1h"),
        ("ROOMKEY_ROOMS_CLAIM", "rooms"),
    ]);
    let app = issuer.app(&settings);
    let ask = async |claims: serde_json::Value, body: &str| {
        let bearer = format!("Bearer {}", issuer.token(claims));
        let headers: [(&str, &[u8]); 2] = [
            ("content-type", b"application/json"),
            ("authorization", bearer.as_bytes()),
        ];
        app.send(Method::POST, PATH, &headers, Some(body.as_bytes()))
            .await
    };
    for (claims, body, code) in [
        (json!({ "scope": "openid" }), OPENAI, "insufficient_scope"),
        (
            json!({ "rooms": ["a"] }),
            r#"{"provider":"openai","roomName":"b"}"#,
            "room_forbidden",
        ),
        (json!({ "rooms": [] }), OPENAI, "room_forbidden"),
        (json!({ "rooms": 7 }), OPENAI, "room_forbidden"),
        (
            json!({ "rooms": ["a"] }),
            r#"{"provider":"openai","participantIdentity":"bob"}"#,
            "identity_mismatch",
        ),
    ] {
        assert_eq!(ask(claims, body).await.code(), code);
    }
    assert!(upstream.asked().is_empty());
    assert_eq!(
        ask(json!({ "rooms": ["a"] }), OPENAI).await.status,
        StatusCode::OK
    );
    assert_eq!(
        ask(json!({ "rooms": ["a"] }), OPENAI).await.code(),
        "rate_limited"
    );
}

#[tokio::test]
async fn a_disconnected_caller_is_logged_while_the_mint_continues() {
    let upstream = Upstream::start().await;
    let app = unlimited(&upstream);
    upstream.next(Act::Hang);
    tokio::select! {
        answer = app.post(PATH, OPENAI) => panic!("{answer:?}"),
        () = until(|| upstream.asked().len() == 1) => {}
    }
    until(|| upstream.gone() == 1).await;
    assert_eq!(app.post(PATH, OPENAI).await.status, StatusCode::OK);
    // The secret may exist although no caller has it, so the operator must be able to find it.
    let (audit, access) = (&lines(&app, "audit")[0], &lines(&app, "request")[0]);
    assert_eq!(
        (&audit["outcome"], &audit["code"], &audit["request_id"]),
        (
            &json!("refused"),
            &json!("abandoned"),
            &access["request_id"]
        )
    );
    assert_eq!(
        (&access["status"], &access["code"], &access["provider"]),
        (&json!(499), &json!("abandoned"), &json!("openai"))
    );
    assert_eq!(
        (&audit["actor"], &audit["provider"]),
        (&access["caller"], &json!("openai"))
    );
    assert_eq!(
        (lines(&app, "audit").len(), lines(&app, "request").len()),
        (2, 2)
    );
    let metrics = app.metrics().await;
    for line in [
        r#"roomkey_mints_total{outcome="abandoned",provider="openai"} 1"#,
        r#"roomkey_requests_total{code="abandoned",route="/api/token",status="499"} 1"#,
        r#"roomkey_tokens_total{outcome="refused",provider="openai"} 1"#,
    ] {
        assert!(
            metrics.text.lines().any(|written| written == line),
            "{line} in\n{}",
            metrics.text
        );
    }
}

#[tokio::test]
async fn a_provider_without_its_credential_is_unavailable_and_the_others_work() {
    let upstream = Upstream::start().await;
    let without_key: Vec<_> = upstream
        .azure()
        .into_iter()
        .take(2)
        .chain(upstream.openai())
        .collect();
    let app = app(&without_key, &[]);
    let answer = app.post(PATH, r#"{"provider":"azure-openai"}"#).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.code().as_str(),
            answer.header("retry-after")
        ),
        (503, "secret_unavailable", "5")
    );
    assert!(upstream.asked().is_empty() && answer.json()["remediation"].is_string());
    assert_eq!(app.post(PATH, OPENAI).await.status, StatusCode::OK);
}

#[tokio::test]
async fn diagnostics_report_faults_and_mint_only_on_request() {
    let (azure, openai) = (Upstream::start().await, Upstream::start().await);
    let app = app(&[azure.azure(), openai.openai()].concat(), &[]);
    let admin: [(&str, &[u8]); 1] = [("x-admin-api-key", ADMIN_KEY.as_bytes())];
    azure.next(Act::Answer("401 Unauthorized", CANARY.to_owned()));
    let answer = app
        .send(Method::GET, "/api/diagnostics/realtime", &admin, None)
        .await;
    let lines = answer.json()["providers"].clone();
    assert_eq!(
        (
            &lines[0]["provider"],
            &lines[0]["credential"],
            &lines[0]["breaker"]
        ),
        (&json!("azure-openai"), &json!("api-key"), &json!("closed"))
    );
    assert_eq!(lines[0]["endpoint"], azure.address.to_string());
    assert_eq!(lines[0]["probe"]["result"], "upstream_credentials_rejected");
    assert!(
        lines[0]["probe"]["remediation"]
            .as_str()
            .unwrap()
            .contains("Cognitive Services OpenAI User")
    );
    assert_eq!(lines[1]["probe"]["result"], "ok");
    assert!(lines[1].get("mint").is_none());
    assert_eq!(
        (azure.asked()[0].line(), openai.asked()[0].line()),
        ("GET /openai/v1/models", "GET /v1/models")
    );
    no_canary(&answer);

    openai.next(Act::Answer("404 Not Found", CANARY.to_owned()));
    let answer = app
        .send(Method::POST, "/api/diagnostics/realtime", &admin, None)
        .await;
    let lines = answer.json()["providers"].clone();
    assert_eq!(
        (&lines[0]["mint"]["result"], &lines[1]["mint"]["result"]),
        (&json!("ok"), &json!("upstream_misconfigured"))
    );
    assert_eq!((azure.asked().len(), openai.asked().len()), (3, 3));
    assert!(!answer.text.contains("ek_") && !app.log().contains("ek_"));
    let audit = crate::audit::lines(&app, "audit");
    let told: Vec<_> = audit
        .iter()
        .map(|line| {
            ["provider", "action", "outcome", "code", "session_id"].map(|name| line[name].as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            [
                Some("azure-openai"),
                Some("realtime.diagnose"),
                Some("issued"),
                None,
                Some("sess_0")
            ],
            [
                Some("openai"),
                Some("realtime.diagnose"),
                Some("refused"),
                Some("upstream_misconfigured"),
                None
            ],
        ]
    );
    assert!(
        audit
            .iter()
            .all(|line| line["actor"].as_str().unwrap().starts_with("admin-key:"))
    );
    no_canary(&answer);
    let typed = [admin[0], ("content-type", b"application/json")];
    let body = Some(&br#"{"provider":"openai"}"#[..]);
    let by_query = "/api/diagnostics/realtime?provider=openai";
    for refused in [
        app.send(Method::GET, by_query, &admin, None).await,
        app.send(Method::POST, by_query, &admin, None).await,
        app.send(Method::POST, "/api/diagnostics/realtime", &typed, body)
            .await,
    ] {
        assert_eq!(
            (refused.status, refused.fields()),
            (StatusCode::BAD_REQUEST, vec!["provider".to_owned()])
        );
    }
    assert_eq!((azure.asked().len(), openai.asked().len()), (3, 3));
}

#[tokio::test]
async fn a_minted_secret_is_audited_by_its_session() {
    let upstream = Upstream::start().await;
    let app = unlimited(&upstream);
    app.post(PATH, r#"{"provider":"openai","roomName":"standup-42"}"#)
        .await;
    upstream.next(Act::Answer("404 Not Found", String::new()));
    app.post(PATH, OPENAI).await;
    let audit = lines(&app, "audit");
    assert_eq!(
        (
            &audit[0]["outcome"],
            &audit[0]["session_id"],
            &audit[0]["target"]
        ),
        (&json!("issued"), &json!("sess_0"), &json!("standup-42"))
    );
    assert_eq!(
        (&audit[1]["outcome"], &audit[1]["code"]),
        (&json!("refused"), &json!("upstream_misconfigured"))
    );
    assert!(audit[0].get("jti").is_none());
}

#[tokio::test]
async fn a_mint_that_cannot_start_uses_no_budget() {
    let upstream = Upstream::start().await;
    let without_key: Vec<_> = upstream
        .azure()
        .into_iter()
        .take(2)
        .chain(upstream.openai())
        .collect();
    let clock = Arc::new(MovedClock::default());
    let mut settings: Vec<_> = without_key
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    settings.push(("ROOMKEY_REALTIME_RATE_LIMIT", "6/1h"));
    let app = Setup {
        settings: &settings,
        clock: Some(Arc::clone(&clock) as Arc<dyn Clock>),
        ..Setup::default()
    }
    .spawn();
    for _ in 0..10 {
        let answer = app.post(PATH, r#"{"provider":"azure-openai"}"#).await;
        assert_eq!(
            (answer.code().as_str(), answer.header("ratelimit-policy")),
            ("secret_unavailable", "")
        );
    }
    upstream.always(Act::Close);
    for left in ["5", "4", "3", "2", "1"] {
        assert_eq!(
            app.post(PATH, OPENAI).await.header("x-ratelimit-remaining"),
            left
        );
    }
    for _ in 0..10 {
        let answer = app.post(PATH, OPENAI).await;
        assert_eq!(
            (answer.code().as_str(), answer.header("retry-after")),
            ("upstream_unavailable", "30")
        );
    }
    clock.0.store(30, Ordering::SeqCst);
    upstream.always(Act::Answer(
        "200 OK",
        json!({ "value": "ek_1", "expires_at": NOW + 120 }).to_string(),
    ));
    assert_eq!(app.post(PATH, OPENAI).await.status, StatusCode::OK);
    assert_eq!(app.post(PATH, OPENAI).await.code(), "rate_limited");
}

#[tokio::test]
async fn a_plain_client_gets_a_secret_or_404_without_a_realtime_provider() {
    let without = Setup::default().spawn();
    for method in [Method::POST, Method::GET, Method::OPTIONS] {
        let answer = without
            .send(method.clone(), "/api/v1/token", &[], None)
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::NOT_FOUND, "not_found"),
            "{method}"
        );
    }
    let (azure, openai) = (Upstream::start().await, Upstream::start().await);
    let both = [azure.azure(), openai.openai()].concat();
    let plain = app(&both, &[]);
    let answer = plain.send(Method::POST, "/api/v1/token", &[], None).await;
    let endpoint = format!(
        "http://{}/openai/v1/realtime/calls?webrtcfilter=on",
        azure.address
    );
    assert_eq!(
        answer.json(),
        json!({ "token": "ek_0", "endpoint": endpoint, "expiresAt": "2023-11-14T22:14:20.000Z" })
    );
    let answer = plain
        .post("/api/v1/token", r#"{"voice":"tenor","roomName":"r"}"#)
        .await;
    assert_eq!(
        (answer.status, answer.fields()),
        (
            StatusCode::BAD_REQUEST,
            vec!["voice".to_owned(), "roomName".to_owned()]
        )
    );
    let openai_first = app(&both, &[("ROOMKEY_DEFAULT_PROVIDER", "openai")]);
    assert_eq!(
        openai_first
            .post("/api/v1/token", r#"{"voice":"alloy"}"#)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        openai.asked()[0].body["session"]["audio"]["output"]["voice"],
        "alloy"
    );
}

#[test]
fn too_many_mints_in_flight_get_503_overloaded() {
    let error = ApiError::Upstream(MintError::Full);
    assert_eq!(
        (error.kind().code, error.kind().status),
        ("overloaded", StatusCode::SERVICE_UNAVAILABLE)
    );
    assert!(error.remediation().is_some());
    assert_eq!(error.retry_after(), Some(1));
}
