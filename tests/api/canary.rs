//! Secrets and clients' texts never reach a response, a log line or a metric.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{ADMIN_KEY, API_KEY, API_SECRET, TestApp, spawn_app, spawn_app_with};
use crate::projects_app::{HASH_KEY, KEK_1, PROJECT_KEY, ProjectsApp};
use crate::turn::{COTURN, PATH as TURN, TURN_SECRET, TURN_TOKEN, cloudflare, ice_servers};
use crate::upstream::{AZURE_KEY, Act, CANARY, OPENAI_KEY, Upstream};

/// The text that a client sends everywhere. It is a valid room name and header value.
const CLIENT: &str = "clientcanary7";

/// Returns the forms in which a text could leak: raw, hex, percent-encoded, JSON escapes, and
/// base64 at each of its three alignments.
fn forms(text: &str) -> Vec<String> {
    let each = |format: fn(u8) -> String| text.bytes().map(format).collect::<String>();
    let mut forms = vec![
        text.to_owned(),
        each(|b| format!("{b:02x}")),
        each(|b| format!("%{b:02X}")),
        each(|b| format!("\\u{b:04x}")),
    ];
    for skipped in 0..3 {
        let tail = text.get(skipped..).unwrap();
        let whole_groups = tail.get(..tail.len() / 3 * 3).unwrap();
        forms.extend([
            STANDARD.encode(whole_groups),
            URL_SAFE_NO_PAD.encode(whole_groups),
            STANDARD_NO_PAD.encode(text),
        ]);
    }
    forms
}

fn assert_absent(canary: &str, sink: &str, place: &str) {
    let lower = sink.to_lowercase();
    for form in forms(canary) {
        assert!(
            !lower.contains(&form.to_lowercase()),
            "{canary} as {form} in {place}:\n{sink}"
        );
    }
}

/// Sends a request and returns the whole response as text.
async fn sink(
    app: &TestApp,
    method: Method,
    path: &str,
    headers: &[(&str, &[u8])],
    body: Option<&[u8]>,
) -> String {
    let answer = app.send(method, path, headers, body).await;
    let mut sink = format!("{}\n{}", answer.status, answer.text);
    for (name, value) in &answer.headers {
        write!(
            sink,
            "\n{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        )
        .unwrap();
    }
    sink
}

#[tokio::test]
async fn canary_every_form_of_a_leak_is_recognized() {
    for leak in [
        API_SECRET.to_owned(),
        STANDARD.encode(format!("x{API_SECRET}")),
        URL_SAFE_NO_PAD.encode(format!("xy{API_SECRET}z")),
        API_SECRET.to_uppercase(),
    ] {
        assert!(
            std::panic::catch_unwind(|| assert_absent(API_SECRET, &leak, "a leak")).is_err(),
            "{leak}"
        );
    }
}

#[tokio::test]
async fn canary_no_text_of_a_client_is_repeated_in_an_error_or_the_log() {
    let app = spawn_app();
    let json: (&str, &[u8]) = ("content-type", b"application/json");
    let spoiled: Vec<(&str, &[u8])> = [
        "x-request-id",
        "x-azure-functions-invocationid",
        "authorization",
        "cookie",
        "user-agent",
        "origin",
        "referer",
        "x-forwarded-for",
        "client-ip",
        "traceparent",
        "x-ms-client-principal",
        "accept",
        "access-control-request-headers",
        "access-control-request-method",
        "x-clientcanary7",
    ]
    .map(|name| (name, CLIENT.as_bytes()))
    .into();
    let values = [
        format!(r#"{{"provider":"{CLIENT}"}}"#),
        format!(r#"{{"roomName":"{CLIENT} "}}"#),
        format!(r#"{{"roomName":"r","participantIdentity":"{CLIENT} "}}"#),
        format!(r#"{{"roomName":"r","participantName":"{CLIENT}\u0000"}}"#),
        format!(r#"{{"roomName":"r","role":"{CLIENT}"}}"#),
        format!(r#"{{"roomName":"r","expirationSeconds":"{CLIENT}"}}"#),
        format!(r#"{{"roomName":"r","unknown":"{CLIENT}"}}"#),
        format!(r#"{{"roomName":"r","roomName":"{CLIENT}"}}"#),
        format!(r#"{{"roomName":"{CLIENT}"#),
        CLIENT.to_owned(),
    ];
    for body in &values {
        let answer = sink(
            &app,
            Method::POST,
            &format!("/api/token?token={CLIENT}"),
            &[&[json], &spoiled[..]].concat(),
            Some(body.as_bytes()),
        )
        .await;
        assert!(answer.starts_with("400"), "{answer}");
        assert_absent(CLIENT, &answer, body);
    }
    let configs = [
        format!(r#"{{"room_name":"{CLIENT} "}}"#),
        format!(r#"{{"participant_metadata":["{CLIENT}"]}}"#),
        format!(r#"{{"participant_attributes":{{"lk.{CLIENT}":"x"}}}}"#),
        format!(r#"{{"room_config":{{"{CLIENT}":1}}}}"#),
        format!(r#"{{"room_config":{{"agents":[{{"agent_name":"{CLIENT}"}}]}}}}"#),
    ];
    for body in &configs {
        let answer = sink(
            &app,
            Method::POST,
            "/api/connection-details",
            &[&[json], &spoiled[..]].concat(),
            Some(body.as_bytes()),
        )
        .await;
        assert!(answer.starts_with("400"), "{answer}");
        assert_absent(CLIENT, &answer, body);
    }
    for (method, path) in [
        (Method::GET, format!("/{CLIENT}")),
        (
            Method::GET,
            format!("/api/token/{CLIENT}?{CLIENT}={CLIENT}"),
        ),
        (
            Method::from_bytes(CLIENT.as_bytes()).unwrap(),
            "/api/token".to_owned(),
        ),
        (Method::OPTIONS, "/api/token".to_owned()),
        (Method::GET, format!("/api/health?{CLIENT}")),
    ] {
        let spoiled: Vec<_> = spoiled
            .iter()
            .copied()
            .filter(|(name, _)| method != Method::OPTIONS || !name.starts_with("access-control"))
            .collect();
        assert_absent(
            CLIENT,
            &sink(&app, method, &path, &spoiled, None).await,
            &path,
        );
    }
    let media_type = format!("text/{CLIENT}");
    let answer = sink(
        &app,
        Method::POST,
        "/api/token",
        &[("content-type", media_type.as_bytes())],
        Some(b"x"),
    )
    .await;
    assert_absent(CLIENT, &answer, "content-type");
    assert_absent(CLIENT, &app.log(), "the log");
}

#[tokio::test]
async fn canary_only_the_sanitized_name_of_an_unknown_field_is_repeated_in_an_error() {
    let app = spawn_app();
    let name = format!("<b>{CLIENT}\\r\\n\\u202e{}", "x".repeat(100));
    let answer = app
        .post("/api/token", &format!(r#"{{"roomName":"r","{name}":1}}"#))
        .await;
    assert_eq!(
        answer.fields(),
        [format!(
            "_b_{CLIENT}___{}",
            "x".repeat(40 - 3 - CLIENT.len() - 3)
        )]
    );
    assert_absent(CLIENT, &app.log(), "the log");
}

#[tokio::test]
async fn canary_no_secret_reaches_a_response_or_the_log() {
    let app = spawn_app();
    let json: (&str, &[u8]) = ("content-type", b"application/json");
    let token_request = br#"{"roomName":"r","participantIdentity":"clientcanary7",
        "participantName":"clientcanary7"}"#;
    let details_request = br#"{"room_name":"r","participant_metadata":"clientcanary7"}"#;
    for (method, path, body) in [
        (Method::POST, "/api/token", Some(&token_request[..])),
        (
            Method::POST,
            "/api/connection-details",
            Some(details_request),
        ),
        (Method::POST, "/api/token", Some(b"{")),
        (Method::GET, "/", None),
        (Method::GET, "/api/health", None),
        (Method::GET, "/api/health/ready", None),
        (Method::GET, "/api/openapi.json", None),
        (Method::GET, "/nowhere", None),
        (Method::PUT, "/api/token", None),
        (Method::GET, "/api/metrics", None),
    ] {
        let headers = [json, ("x-admin-api-key", ADMIN_KEY.as_bytes())];
        let answer = sink(&app, method, path, &headers, body).await;
        assert_absent(API_SECRET, &answer, path);
        assert_absent(ADMIN_KEY, &answer, path);
        // LiveKit requires the API key in the token as `iss`, in base64. It must be nowhere else.
        assert!(!answer.contains(API_KEY), "{answer}");
    }
    let log = app.log();
    assert_absent(API_SECRET, &log, "the log");
    assert_absent(ADMIN_KEY, &log, "the log");
    assert_absent(API_KEY, &log, "the log");
    assert_absent(CLIENT, &log, "the log");
    assert!(!log.contains("eyJ"), "a token in the log: {log}");
}

#[tokio::test]
async fn canary_no_key_and_no_text_of_a_realtime_provider_reaches_any_output() {
    let (azure, openai) = (Upstream::start().await, Upstream::start().await);
    let settings = [azure.azure(), openai.openai()].concat();
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let app = spawn_app_with(&settings, None);
    let headers: [(&str, &[u8]); 2] = [
        ("content-type", b"application/json"),
        ("x-admin-api-key", ADMIN_KEY.as_bytes()),
    ];
    let told = format!(r#"{{"error":{{"message":"{CANARY} {OPENAI_KEY} {AZURE_KEY}"}}}}"#);
    for answered in [
        "200 OK",
        "400 Bad Request",
        "401 Unauthorized",
        "404 Not Found",
        "429 Too Many Requests",
        "500 Error",
    ] {
        for (method, path, body) in [
            (
                Method::POST,
                "/api/token",
                Some(&br#"{"provider":"openai"}"#[..]),
            ),
            (
                Method::POST,
                "/api/token",
                Some(br#"{"provider":"azure-openai"}"#),
            ),
            (Method::POST, "/api/v1/token", Some(b"{}")),
            (Method::GET, "/api/diagnostics/realtime", None),
            (Method::POST, "/api/diagnostics/realtime", None),
            (Method::GET, "/api/metrics", None),
        ] {
            for upstream in [&azure, &openai] {
                upstream.always(Act::Mint);
                assert!(
                    sink(
                        &app,
                        Method::POST,
                        "/api/diagnostics/realtime",
                        &headers,
                        None
                    )
                    .await
                    .starts_with("200")
                );
                upstream.always(Act::Answer(answered, told.clone()));
            }
            let answer = sink(&app, method, path, &headers, body).await;
            for canary in [CANARY, OPENAI_KEY, AZURE_KEY] {
                assert_absent(canary, &answer, path);
            }
        }
    }
    for canary in [CANARY, OPENAI_KEY, AZURE_KEY, "ek_"] {
        assert!(
            !app.log().to_lowercase().contains(&canary.to_lowercase()),
            "{canary}"
        );
    }
}

#[tokio::test]
async fn canary_no_turn_secret_and_no_word_of_cloudflare_reaches_anything() {
    let upstream = Upstream::start().await;
    let settings = cloudflare(&upstream);
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let told = format!(r#"{{"errors":[{{"message":"{CANARY} {TURN_TOKEN}"}}]}}"#);
    for settings in [&settings[..], &COTURN] {
        let app = spawn_app_with(settings, None);
        for act in [
            Act::Answer("201 Created", ice_servers()),
            Act::Answer("201 Created", told.clone()),
            Act::Answer("400 Bad Request", told.clone()),
            Act::Answer("401 Unauthorized", told.clone()),
            Act::Answer("404 Not Found", told.clone()),
            Act::Answer("500 Error", told.clone()),
        ] {
            upstream.always(act);
            for path in [
                TURN,
                "/api/metrics",
                "/api/health/ready",
                "/api/openapi.json",
            ] {
                let key = [("x-admin-api-key", ADMIN_KEY.as_bytes())];
                let answer = sink(&app, Method::GET, path, &key, None).await;
                for canary in [CANARY, TURN_TOKEN, TURN_SECRET] {
                    assert_absent(canary, &answer, path);
                }
            }
        }
        for canary in [
            CANARY,
            TURN_TOKEN,
            TURN_SECRET,
            "cloudflare-credential",
            "cloudflare-user",
        ] {
            assert_absent(canary, &app.log(), "the log");
        }
    }
}

#[tokio::test]
async fn canary_no_key_of_a_project_reaches_the_store_a_backup_a_response_or_the_log() {
    let projects = ProjectsApp::start_with(&[("ROOMKEY_ANONYMOUS_PROJECTS", "p")]).await;
    let (mut text, mut secrets) = (String::new(), Vec::new());
    let wrong = |key: &str| json!({ "project_id": "p|", "openai_key": key });
    for body in [
        json!({ "project_id": "p", "openai_key": PROJECT_KEY }),
        json!({ "project_id": "p", "openai_key": PROJECT_KEY }),
        wrong(PROJECT_KEY),
        wrong(&format!("{PROJECT_KEY} ")),
    ] {
        text += &projects.save_body(&body, &[]).await.text;
    }
    let refused = format!("{{\"error\":\"{PROJECT_KEY} {CANARY}\"}}");
    projects
        .upstream
        .next(Act::Answer("401 Unauthorized", refused));
    for _ in 0..2 {
        let opened = projects
            .app
            .post("/api/session", r#"{"project_id":"p"}"#)
            .await;
        if opened.status == StatusCode::OK {
            secrets.push(
                opened.json()["client_secret"]["value"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        } else {
            text += &opened.text;
        }
    }
    assert_eq!(secrets.len(), 1);
    for path in [
        "/api/projects",
        "/api/audit-logs",
        "/api/metrics",
        "/api/health/ready",
    ] {
        text += &projects.get(path).await.text;
    }
    projects.back_up("before.db");
    projects.delete("p", &[]).await;
    projects.back_up("after.db");
    let mut store = Vec::new();
    for file in std::fs::read_dir(projects.folder.path()).unwrap() {
        store.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    // Each byte as one character, so that any text in it is found.
    let store: String = store.into_iter().map(char::from).collect();
    let kek = String::from_utf8(
        data_encoding::BASE64URL_NOPAD
            .decode(KEK_1.as_bytes())
            .unwrap(),
    );
    let kek = kek.unwrap();
    for canary in [PROJECT_KEY, HASH_KEY, ADMIN_KEY, KEK_1, &kek, CANARY] {
        assert_absent(canary, &text, "the responses");
        assert_absent(canary, &projects.app.log(), "the log");
        assert_absent(canary, &store, "the store");
    }
    assert!(!projects.app.log().contains(&secrets[0]) && !store.contains(&secrets[0]));
}
