//! `GET /api/turn-credentials`: by shared secret, at Cloudflare, and without TURN.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::audit::lines;
use crate::harness::{ADMIN_KEY, Answer, NOW, Setup, TestApp, spawn_app, spawn_app_with};
use crate::issuer::Issuer;
use crate::realtime::{app, no_canary, until};
use crate::upstream::{Act, CANARY, Upstream};

pub const PATH: &str = "/api/turn-credentials";
pub const TURN_SECRET: &str = "canary-turn-secret-of-at-least-32-bytes";
pub const TURN_TOKEN: &str = "canary-turn-token-0123456789";
const KEY_ID: &str = "0123456789abcdef0123456789abcdef";

pub const COTURN: [(&str, &str); 2] = [
    (
        "ROOMKEY_TURN_URLS",
        "stun:turn.example.com:3478,turn:turn.example.com:3478?transport=udp,\
         turns:turn.example.com:443,turn:turn.example.com:53",
    ),
    ("ROOMKEY_TURN_SECRET", TURN_SECRET),
];

/// The settings of a roomkey that has an upstream as Cloudflare.
pub fn cloudflare(upstream: &Upstream) -> Vec<(&'static str, String)> {
    vec![
        ("CLOUDFLARE_TURN_KEY_ID", KEY_ID.to_owned()),
        ("CLOUDFLARE_TURN_API_TOKEN", TURN_TOKEN.to_owned()),
        (
            "CLOUDFLARE_TURN_BASE_URL",
            format!("http://{}/v1", upstream.address),
        ),
    ]
}

/// The answer that Cloudflare's documentation shows, with what roomkey must not hand on.
pub fn ice_servers() -> String {
    json!({ "note": CANARY, "iceServers": [
        { "urls": ["stun:stun.cloudflare.com:3478", "stun:stun.cloudflare.com:53"] },
        { "urls": [
            "turn:turn.cloudflare.com:3478?transport=udp", "turn:turn.cloudflare.com:53?transport=udp",
            "turns:turn.cloudflare.com:443?transport=tcp",
        ], "username": "cloudflare-user", "credential": "cloudflare-credential", "note": CANARY },
    ] })
    .to_string()
}

async fn cloudflare_app() -> (Upstream, TestApp) {
    let upstream = Upstream::start().await;
    upstream.always(Act::Answer(
        "201 Created\r\ncf-ray: 8c0ffee-FRA",
        ice_servers(),
    ));
    let app = app(&cloudflare(&upstream), &[]);
    (upstream, app)
}

fn turn_server(answer: &Answer) -> Value {
    let servers = answer.json()["iceServers"].clone();
    let mut servers = servers.as_array().unwrap().iter();
    servers
        .find(|server| server["credential"].is_string())
        .unwrap()
        .clone()
}

async fn metrics(app: &TestApp) -> String {
    let headers: [(&str, &[u8]); 1] = [("x-admin-api-key", ADMIN_KEY.as_bytes())];
    app.send(Method::GET, "/api/metrics", &headers, None)
        .await
        .text
}

#[tokio::test]
async fn coturn_credentials_are_the_callers_own_and_expire_as_the_answer_says() {
    let app = spawn_app_with(
        &[COTURN[0], COTURN[1], ("ROOMKEY_TURN_SECONDS", "600")],
        None,
    );
    let answer = app.get(PATH).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let caller = lines(&app, "audit")[0]["actor"].clone();
    let username = format!("{}:{}", NOW + 600, caller.as_str().unwrap());
    // The password is checked by a real coturn, and against Python's in the domain's tests.
    let password = turn_server(&answer)["credential"].clone();
    assert_eq!(
        answer.json(),
        json!({
            "iceServers": [
                { "urls": ["stun:turn.example.com:3478"] },
                {
                    "urls": ["turn:turn.example.com:3478?transport=udp", "turns:turn.example.com:443"],
                    "username": username, "credential": password,
                },
            ],
            "expiresAt": "2023-11-14T22:23:20.000Z", "ttlSeconds": 600,
        })
    );
    assert_eq!(
        data_encoding::BASE64
            .decode(password.as_str().unwrap().as_bytes())
            .unwrap()
            .len(),
        20
    );
    let head = app.send(Method::HEAD, PATH, &[], None).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(
        app.post(PATH, "{}").await.header("allow"),
        "GET, HEAD, OPTIONS"
    );
}

#[tokio::test]
async fn two_callers_never_share_credentials() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&COTURN);
    let ask = async |subject: &str| {
        let bearer = format!("Bearer {}", issuer.token(json!({ "sub": subject })));
        let headers: [(&str, &[u8]); 1] = [("authorization", bearer.as_bytes())];
        turn_server(&app.send(Method::GET, PATH, &headers, None).await)
    };
    let (alice, again, bob) = (ask("alice").await, ask("alice").await, ask("bob").await);
    assert_eq!(alice, again);
    assert_ne!(alice["username"], bob["username"]);
    assert_ne!(alice["credential"], bob["credential"]);
    assert!(!alice.to_string().contains("alice"));
}

#[tokio::test]
async fn cloudflare_is_asked_as_documented_and_its_answer_is_reduced_to_what_browsers_use() {
    let (upstream, app) = cloudflare_app().await;
    let answer = app.get(PATH).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        answer.json(),
        json!({
            "iceServers": [
                { "urls": ["stun:stun.cloudflare.com:3478"] },
                {
                    "urls": ["turn:turn.cloudflare.com:3478?transport=udp", "turns:turn.cloudflare.com:443?transport=tcp"],
                    "username": "cloudflare-user", "credential": "cloudflare-credential",
                },
            ],
            "expiresAt": "2023-11-14T23:13:20.000Z", "ttlSeconds": 3600,
        })
    );
    no_canary(&answer);
    let asked = upstream.asked().remove(0);
    assert_eq!(
        asked.line(),
        format!("POST /v1/turn/keys/{KEY_ID}/credentials/generate-ice-servers")
    );
    assert_eq!(
        asked.header("authorization"),
        format!("Bearer {TURN_TOKEN}")
    );
    let audit = &lines(&app, "audit")[0];
    assert_eq!(
        asked.body,
        json!({ "ttl": 3600, "customIdentifier": audit["actor"] })
    );
}

#[tokio::test]
async fn fault_44_a_provider_that_fails_is_an_error_and_never_stun_alone() {
    for (act, asked, status, code) in [
        (
            Act::Answer("401 Unauthorized", CANARY.to_owned()),
            1,
            502,
            "upstream_credentials_rejected",
        ),
        (
            Act::Answer("403 Forbidden", CANARY.to_owned()),
            1,
            502,
            "upstream_credentials_rejected",
        ),
        (
            Act::Answer("404 Not Found", CANARY.to_owned()),
            1,
            502,
            "upstream_misconfigured",
        ),
        (
            Act::Answer("400 Bad Request", CANARY.to_owned()),
            1,
            502,
            "upstream_rejected",
        ),
        (
            Act::Answer("429 Too Many\r\nretry-after: 7", CANARY.to_owned()),
            1,
            503,
            "upstream_rate_limited",
        ),
        (
            Act::Answer("500 Error", CANARY.to_owned()),
            2,
            502,
            "upstream_error",
        ),
        (
            Act::Answer(
                "302 Found\r\nlocation: http://127.0.0.1:1/",
                CANARY.to_owned(),
            ),
            1,
            502,
            "upstream_error",
        ),
        (
            Act::Answer("201 Created", CANARY.to_owned()),
            1,
            502,
            "upstream_error",
        ),
        (
            Act::Answer(
                "201 Created",
                r#"{"iceServers":[{"urls":["stun:stun.cloudflare.com:3478"]}]}"#.to_owned(),
            ),
            1,
            502,
            "upstream_error",
        ),
        (
            Act::Answer(
                "201 Created",
                format!(r#"{{"iceServers":"{}"}}"#, "x".repeat(70_000)),
            ),
            1,
            502,
            "upstream_error",
        ),
        (Act::Close, 1, 503, "upstream_unavailable"),
        (Act::Hang, 1, 504, "upstream_timeout"),
        (Act::HeadOnly, 1, 504, "upstream_timeout"),
    ] {
        let (upstream, app) = cloudflare_app().await;
        upstream.always(act);
        let answer = app.get(PATH).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{}",
            answer.text
        );
        assert!(
            answer.json()["remediation"].is_string(),
            "operators can act"
        );
        assert!(!answer.text.contains("stun:") && !answer.text.contains("Azure"));
        assert_eq!(upstream.asked().len(), asked, "{code}");
        no_canary(&answer);
        upstream.always(Act::Answer("201 Created", ice_servers()));
        assert_eq!(app.get(PATH).await.status, StatusCode::OK, "it recovers");
    }
}

#[tokio::test]
async fn five_failures_in_a_row_open_the_breaker_of_turn_alone() {
    let (upstream, openai) = (Upstream::start().await, Upstream::start().await);
    upstream.always(Act::Answer("200 OK", "[]".to_owned()));
    let app = app(&[cloudflare(&upstream), openai.openai()].concat(), &[]);
    for _ in 0..5 {
        assert_eq!(app.get(PATH).await.code(), "upstream_error");
    }
    let paused = app.get(PATH).await;
    assert_eq!(
        (paused.status, paused.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable")
    );
    assert_eq!(upstream.asked().len(), 5, "it is left alone");
    let metrics = metrics(&app).await;
    for line in [
        r#"roomkey_breaker_state{provider="cloudflare"} 2"#,
        r#"roomkey_breaker_state{provider="openai"} 0"#,
        r#"roomkey_mints_total{outcome="upstream_error",provider="cloudflare"} 5"#,
        r#"roomkey_mints_total{outcome="upstream_unavailable",provider="cloudflare"} 1"#,
        r#"roomkey_turn_credentials_total{outcome="refused",provider="cloudflare"} 6"#,
        r#"roomkey_turn_credentials_total{outcome="issued",provider="cloudflare"} 0"#,
        r#"roomkey_upstream_duration_seconds_count{provider="cloudflare"} 5"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let minted = app
        .post("/api/token", r#"{"provider":"openai"}"#)
        .await
        .status;
    assert_eq!(minted, StatusCode::OK);
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_counted_and_leaves_its_lines() {
    let (upstream, app) = cloudflare_app().await;
    upstream.always(Act::Hang);
    tokio::select! {
        answer = app.get(PATH) => panic!("{answer:?}"),
        () = until(|| upstream.asked().len() == 1) => {}
    }
    until(|| !lines(&app, "request").is_empty()).await;
    let (audit, access) = (&lines(&app, "audit")[0], &lines(&app, "request")[0]);
    assert_eq!(
        (&audit["action"], &audit["outcome"], &audit["code"]),
        (&json!("turn.issue"), &json!("refused"), &json!("abandoned"))
    );
    assert_eq!(
        (&access["status"], &access["provider"]),
        (&json!(499), &json!("cloudflare"))
    );
    assert!(
        metrics(&app)
            .await
            .contains(r#"roomkey_mints_total{outcome="abandoned",provider="cloudflare"} 1"#)
    );
}

#[tokio::test]
async fn each_credential_has_an_audit_line_without_the_credential() {
    let (_upstream, app) = cloudflare_app().await;
    let answer = app.get(PATH).await;
    let (audit, access) = (&lines(&app, "audit")[0], &lines(&app, "request")[0]);
    assert_eq!(
        (&audit["action"], &audit["outcome"], &audit["provider"]),
        (&json!("turn.issue"), &json!("issued"), &json!("cloudflare"))
    );
    assert_eq!(
        (&audit["actor"], &audit["request_id"]),
        (&access["caller"], &access["request_id"])
    );
    assert_eq!(
        (&access["route"], &access["upstream_id"], &access["status"]),
        (&json!(PATH), &json!("8c0ffee-FRA"), &json!(200))
    );
    let server = turn_server(&answer);
    for secret in ["username", "credential"] {
        assert!(!app.log().contains(server[secret].as_str().unwrap()));
    }
    assert!(
        metrics(&app).await.contains(
            r#"roomkey_turn_credentials_total{outcome="issued",provider="cloudflare"} 1"#
        )
    );
}

#[tokio::test]
async fn turn_is_guarded_and_limited_like_tokens() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[
        COTURN[0],
        COTURN[1],
        ("ROOMKEY_RATE_LIMIT", "2/1h"),
        ("ROOMKEY_ROOMS_CLAIM", "rooms"),
    ]);
    let ask = async |claims: Value| {
        let bearer = format!("Bearer {}", issuer.token(claims));
        let headers: [(&str, &[u8]); 1] = [("authorization", bearer.as_bytes())];
        app.send(Method::GET, PATH, &headers, None).await
    };
    assert_eq!(app.get(PATH).await.code(), "unauthenticated");
    for (claims, code) in [
        (
            json!({ "sub": "no-scope", "scope": "openid", "rooms": ["a"] }),
            "insufficient_scope",
        ),
        (json!({ "sub": "no-room", "rooms": [] }), "room_forbidden"),
    ] {
        assert_eq!(ask(claims).await.code(), code);
    }
    for left in ["1", "0"] {
        let answer = ask(json!({ "rooms": ["a"] })).await;
        assert_eq!(
            (answer.status, answer.header("x-ratelimit-remaining")),
            (StatusCode::OK, left)
        );
    }
    let refused = ask(json!({ "rooms": ["a"] })).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "rate_limited")
    );
}

#[tokio::test]
async fn without_turn_servers_there_is_no_such_route() {
    let app = spawn_app();
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let answer = app.send(method.clone(), PATH, &[], None).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::NOT_FOUND, "not_found"),
            "{method}"
        );
    }
    assert!(lines(&app, "audit").is_empty());
}

#[tokio::test]
async fn turn_alone_is_a_service_too() {
    let setup = Setup {
        settings: &COTURN,
        left_out: &["LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"],
        ..Setup::default()
    };
    let app = setup.spawn();
    assert_eq!(app.get(PATH).await.status, StatusCode::OK);
    let token = app.post("/api/token", r#"{"roomName":"r"}"#).await;
    assert_eq!(
        (token.status, token.fields()),
        (StatusCode::BAD_REQUEST, vec!["provider".to_owned()])
    );
}
