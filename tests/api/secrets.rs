//! Secrets in a Key Vault that cannot be reached. `tests/real/` has the tests with one that can.

use http::{Method, StatusCode};

use crate::harness::{ADMIN_KEY, API_SECRET, Setup, TestApp};

/// The address of a vault that nothing listens on.
const VAULT: (&str, &str) = ("KEY_VAULT_URL", "https://127.0.0.1:1");

/// The settings of a managed identity, which no test machine has.
const IDENTITY: (&str, &str) = ("IDENTITY_ENDPOINT", "http://127.0.0.1:1");

fn app_with(settings: &[(&str, &str)], left_out: &[&str]) -> TestApp {
    Setup {
        settings,
        left_out,
        ..Setup::default()
    }
    .spawn()
}

#[tokio::test]
async fn secrets_livekit_returns_503_until_its_pair_is_read() {
    let app = app_with(&[VAULT], &["LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"]);
    for (path, body) in [
        ("/api/token", r#"{"roomName":"r"}"#),
        ("/api/connection-details", "{}"),
    ] {
        let answer = app.post(path, body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "secret_unavailable")
        );
    }
    assert_eq!(
        app.post("/api/token", "{}").await.code(),
        "invalid_request",
        "what is wrong with a request is said first"
    );
    assert_eq!(
        app.get("/api/health").await.status,
        StatusCode::OK,
        "the rest works"
    );
    let ready = app.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let missing = |name: &str| serde_json::json!({ "name": name, "state": "missing" });
    let expected = serde_json::json!({
        "status": "waiting",
        "dependencies": [missing("livekit-api-key"), missing("livekit-api-secret")],
    });
    assert_eq!(ready.json(), expected);
    let metrics = app.metrics().await;
    assert!(
        metrics
            .text
            .contains(r#"roomkey_secret_state{secret="livekit-api-key",state="missing"} 1"#),
        "{}",
        metrics.text
    );
}

#[tokio::test]
async fn secrets_only_operators_wait_for_the_admin_keys() {
    let app = app_with(
        &[VAULT, ("ROOMKEY_ADMIN_KEYS_SECRET_NAME", "admin-keys")],
        &["ROOMKEY_ADMIN_KEYS"],
    );
    for key in [ADMIN_KEY, "wrong"] {
        for _ in 0..20 {
            let answer = app
                .send(
                    Method::GET,
                    "/api/metrics",
                    &[("x-admin-api-key", key.as_bytes())],
                    None,
                )
                .await;
            assert_eq!(
                answer.code(),
                "secret_unavailable",
                "no key is wrong before there is one"
            );
        }
    }
    assert_eq!(app.get("/api/metrics").await.code(), "unauthenticated");
    assert_eq!(
        app.post("/api/token", r#"{"roomName":"r"}"#).await.status,
        StatusCode::OK
    );
    let ready = app.get("/api/health/ready").await;
    assert_eq!(
        (ready.status, &ready.json()["dependencies"][0]["name"]),
        (StatusCode::OK, &"roomkey-admin-keys".into())
    );
}

#[tokio::test]
async fn secrets_in_the_settings_need_no_vault() {
    let app = app_with(&[VAULT], &[]);
    assert_eq!(
        app.post("/api/token", r#"{"roomName":"r"}"#).await.status,
        StatusCode::OK
    );
    assert_eq!(
        app.get("/api/health/ready").await.json()["dependencies"],
        serde_json::json!([])
    );
    assert!(!app.log().contains(API_SECRET));
}

#[tokio::test]
async fn secrets_a_missing_entra_token_has_its_own_readiness_line() {
    let azure = [
        ("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:1"),
        ("AZURE_OPENAI_DEPLOYMENT", "d"),
        IDENTITY,
    ];
    let app = app_with(&azure, &[]);
    let ready = app.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let expected = serde_json::json!({
        "status": "waiting", "dependencies": [{ "name": "azure-openai-token", "state": "missing" }],
    });
    assert_eq!(ready.json(), expected);
    let metrics = app.metrics().await;
    assert!(
        metrics
            .text
            .contains(r#"roomkey_secret_state{secret="azure-openai-token",state="missing"} 1"#),
        "{}",
        metrics.text
    );
    let with_key = app_with(
        &[
            azure[0],
            azure[1],
            ("AZURE_OPENAI_API_KEY", "canary-azure-key-0123456789"),
        ],
        &[],
    );
    assert_eq!(
        with_key.get("/api/health/ready").await.json()["dependencies"],
        serde_json::json!([]),
        "no token is needed"
    );
}

#[tokio::test]
async fn secrets_without_the_hash_key_no_caller_is_served() {
    let app = app_with(&[VAULT, ("ROOMKEY_HASH_KEY_SECRET_NAME", "hash-key")], &[]);
    for body in [r#"{"roomName":"r"}"#, "no JSON"] {
        let answer = app.post("/api/token", body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "secret_unavailable"),
            "{body}"
        );
    }
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.code(),
        "secret_unavailable",
        "wrong keys could not be counted either"
    );
    let ready = app.get("/api/health/ready").await;
    let expected = serde_json::json!({
        "status": "waiting", "dependencies": [{ "name": "roomkey-hash-key", "state": "missing" }],
    });
    assert_eq!(
        (ready.status, ready.json()),
        (StatusCode::SERVICE_UNAVAILABLE, expected)
    );
}

#[tokio::test]
async fn secrets_without_the_redis_address_each_instance_counts_alone() {
    let hash_key = ("ROOMKEY_HASH_KEY", "a-hash-key-for-tests-only-0123456789");
    let app = app_with(
        &[
            VAULT,
            ("ROOMKEY_RATE_LIMIT", "3/1h"),
            ("ROOMKEY_REDIS_URL_SECRET_NAME", "redis-url"),
            hash_key,
        ],
        &[],
    );
    for expected in [200, 200, 200, 429, 429] {
        assert_eq!(
            app.post("/api/token", r#"{"roomName":"r"}"#).await.status,
            expected
        );
    }
    let ready = app.get("/api/health/ready").await;
    let expected = serde_json::json!({
        "status": "ready", "dependencies": [{ "name": "roomkey-redis-url", "state": "missing" }],
    });
    assert_eq!((ready.status, ready.json()), (StatusCode::OK, expected));
    let metrics = app.metrics().await;
    assert!(
        metrics.text.contains("roomkey_rate_limit_degraded 1"),
        "{}",
        metrics.text
    );
    assert!(
        metrics
            .text
            .contains(r#"roomkey_secret_state{secret="roomkey-redis-url",state="missing"} 1"#),
        "{}",
        metrics.text
    );
}

#[tokio::test]
async fn secrets_without_the_collectors_headers_requests_are_served() {
    let app = app_with(
        &[
            VAULT,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"),
            ("OTEL_EXPORTER_OTLP_HEADERS_SECRET_NAME", "otlp-headers"),
        ],
        &[],
    );
    let answer = app.post("/api/token", r#"{"roomName":"r"}"#).await;
    assert_eq!(answer.status, StatusCode::OK);
    let ready = app.get("/api/health/ready").await;
    let name = "otel-exporter-otlp-headers";
    let expected = serde_json::json!({
        "status": "ready", "dependencies": [{ "name": name, "state": "missing" }],
    });
    assert_eq!((ready.status, ready.json()), (StatusCode::OK, expected));
}
