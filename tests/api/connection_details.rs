//! Tests of `POST /api/connection-details`, LiveKit's standard token endpoint.

use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{NOW, Setup, claims, spawn_app, spawn_app_with};

const PATH: &str = "/api/connection-details";

#[tokio::test]
async fn fields_that_the_caller_may_not_choose_are_rejected() {
    let app = spawn_app_with(&[("ROOMKEY_AGENTS", "notes")], None);
    for (body, field) in [
        (r#"{"room_name":"a b"}"#, "room_name"),
        (r#"{"room_config":{"egress":{"room":{}}}}"#, "room_config"),
        (
            r#"{"room_config":{"agents":[{"agent_name":"other"}]}}"#,
            "room_config",
        ),
        (
            r#"{"participant_attributes":{"lk.agent.state":"x"}}"#,
            "participant_attributes",
        ),
    ] {
        let answer = app.post(PATH, body).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec![field.to_owned()]),
            "{body}"
        );
        assert!(answer.json().get("participant_token").is_none());
    }
}

#[tokio::test]
async fn a_room_is_required_if_the_pattern_does_not_match_random_rooms() {
    let app = spawn_app_with(&[("ROOMKEY_ROOM_PATTERN", "team-[0-9]+")], None);
    assert_eq!(app.post(PATH, "{}").await.fields(), ["room_name"]);
    assert_eq!(
        app.post(PATH, r#"{"room_name":"team-1"}"#).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn bodies_of_livekits_clients_are_accepted() {
    let app = spawn_app();
    for body in [
        "",
        "{}",
        r#"{"room_config":{}}"#,
        r#"{"room_name":null,"a_field_of_tomorrow":[1]}"#,
    ] {
        let answer = app.post(PATH, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{body}");
        let json = answer.json();
        let (_, claims) = claims(json["participant_token"].as_str().unwrap());
        assert!(json["room_name"].as_str().unwrap().starts_with("room-"));
        assert_eq!(claims["video"]["room"], json["room_name"]);
        assert_eq!(claims["name"], json["participant_name"]);
        assert_eq!(
            (claims["iat"].as_u64(), claims["exp"].as_u64()),
            (Some(NOW), Some(NOW + 600))
        );
        assert_eq!(claims["video"]["canPublishSources"], json!(["microphone"]));
    }
}

#[tokio::test]
async fn attachments_of_the_app_are_in_the_token() {
    let app = spawn_app_with(&[("ROOMKEY_AGENTS", "notes, helper")], None);
    let body = json!({
        "room_name": "r", "participant_identity": "alice", "participant_name": "Alice",
        "participant_metadata": "m",
        "participant_attributes": { "k": "v" },
        "room_config": { "agents": [{ "agent_name": "helper", "metadata": "am" }] },
    });
    let json = app.post(PATH, &body.to_string()).await.json();
    assert_eq!(json["participant_name"], "Alice");
    let (_, claims) = claims(json["participant_token"].as_str().unwrap());
    assert_eq!(
        (&claims["sub"], &claims["name"], &claims["metadata"]),
        (&json!("alice"), &json!("Alice"), &json!("m"))
    );
    assert_eq!(claims["attributes"], json!({ "k": "v" }));
    assert_eq!(
        claims["roomConfig"],
        json!({ "agents": [{ "agentName": "helper", "metadata": "am" }] })
    );
}

#[tokio::test]
async fn the_camel_case_of_protobuf_json_gets_the_same_token() {
    let app = spawn_app_with(&[("ROOMKEY_AGENTS", "notes@prod")], None);
    let agent = json!({
        "agentName": "notes", "deployment": "prod", "metadata": "am", "attributes": { "k": "v" },
    });
    let body = json!({
        "roomName": "r", "participantIdentity": "alice", "participantName": "Alice",
        "participantMetadata": "m",
        "participantAttributes": { "k": "v" },
        "roomConfig": { "name": "", "emptyTimeout": 0, "agents": [agent] },
    });
    let answer = app.post(PATH, &body.to_string()).await;
    assert_eq!(
        (answer.status, &answer.json()["room_name"]),
        (StatusCode::CREATED, &json!("r"))
    );
    let (_, claims) = claims(answer.json()["participant_token"].as_str().unwrap());
    assert_eq!(
        (&claims["sub"], &claims["name"], &claims["metadata"]),
        (&json!("alice"), &json!("Alice"), &json!("m"))
    );
    assert_eq!(
        (&claims["attributes"], &claims["roomConfig"]),
        (&json!({ "k": "v" }), &json!({ "agents": [agent] }))
    );
}

#[tokio::test]
async fn a_field_in_both_spellings_is_rejected_by_name() {
    let app = spawn_app_with(&[("ROOMKEY_AGENTS", "notes")], None);
    for (body, field) in [
        (r#"{"room_name":"r","roomName":"r"}"#, "room_name"),
        (
            r#"{"participant_identity":null,"participantIdentity":"a"}"#,
            "participant_identity",
        ),
        (r#"{"room_config":{},"roomConfig":{}}"#, "room_config"),
        (
            r#"{"roomConfig":{"agents":[{"agent_name":"notes","agentName":"notes"}]}}"#,
            "room_config",
        ),
        (
            r#"{"room_config":{"agents":[{"agent_name":"notes","deployment":"other"}]}}"#,
            "room_config",
        ),
    ] {
        let answer = app.post(PATH, body).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec![field.to_owned()]),
            "{body}"
        );
    }
}

#[tokio::test]
async fn an_empty_request_gets_its_own_room_identity_and_token() {
    let app = spawn_app_with(&[("ROOMKEY_MAX_TOKEN_SECONDS", "120")], None);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let json = app.post(PATH, "{}").await.json();
        let (_, claims) = claims(json["participant_token"].as_str().unwrap());
        assert_eq!(
            (&claims["name"], claims["exp"].as_u64()),
            (&claims["sub"], Some(NOW + 120))
        );
        assert_eq!(claims["sub"].as_str().unwrap().len(), "guest-".len() + 12);
        seen.extend([
            json["room_name"].to_string(),
            claims["sub"].to_string(),
            claims["jti"].to_string(),
        ]);
    }
    assert_eq!(seen.len(), 60);
}

#[tokio::test]
async fn the_longest_token_fits_into_the_url_that_proxies_accept() {
    let app = spawn_app();
    let body = json!({
        "room_name": "r".repeat(128), "participant_identity": "i".repeat(128),
        "participant_name": "😀".repeat(64),
        "participant_metadata": "m".repeat(1024),
        "participant_attributes": { "k": "v".repeat(1023) },
    });
    let token = app.post(PATH, &body.to_string()).await.json()["participant_token"]
        .as_str()
        .unwrap()
        .len();
    assert!(token < 8_000, "{token}");
}

#[tokio::test]
async fn without_livekit_the_route_does_not_exist() {
    let left_out = ["LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"];
    let settings = [
        ("OPENAI_API_KEY", "sk-canary-of-openai"),
        ("ROOMKEY_RATE_LIMIT", "1/1h"),
    ];
    let app = Setup {
        settings: &settings,
        left_out: &left_out,
        ..Setup::default()
    }
    .spawn();
    for method in [Method::POST, Method::POST, Method::GET, Method::OPTIONS] {
        let credentials: &[u8] = b"Bearer canary";
        let answer = app
            .send(
                method.clone(),
                PATH,
                &[("authorization", credentials)],
                None,
            )
            .await;
        assert_eq!(
            (answer.status, answer.header("ratelimit-policy")),
            (StatusCode::NOT_FOUND, ""),
            "{method}"
        );
    }
    assert!(!app.log().contains(r#""message":"audit""#));
}
