//! Tests of `POST /api/token`.

use http::StatusCode;
use serde_json::json;

use crate::harness::{API_KEY, NOW, claims, spawn_app, spawn_app_with};

const PATH: &str = "/api/token";

#[tokio::test]
async fn a_wrong_request_gets_an_error_for_every_field_and_no_token() {
    let app = spawn_app();
    let body = r#"{"roomName":"a b","participantName":"\u0007","role":"owner",
        "expirationSeconds":59,"roomAdmin":true}"#;
    let answer = app.post(PATH, body).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::BAD_REQUEST, "invalid_request")
    );
    assert_eq!(
        answer.fields(),
        [
            "roomName",
            "participantName",
            "role",
            "expirationSeconds",
            "roomAdmin"
        ]
    );
    assert_eq!(answer.json()["detail"], "5 fields are not valid.");
    for member in ["token", "participant_token", "value"] {
        assert!(answer.json().get(member).is_none());
    }
}

#[tokio::test]
async fn only_the_charset_utf_8_is_accepted_in_any_spelling() {
    let app = spawn_app();
    let status = async |media_type: &str| {
        let headers: [(&str, &[u8]); 1] = [("content-type", media_type.as_bytes())];
        app.send(
            http::Method::POST,
            PATH,
            &headers,
            Some(br#"{"roomName":"r"}"#),
        )
        .await
        .status
    };
    for parameters in [
        "",
        ";",
        "; charset=utf-8",
        ";charset=UTF-8",
        "; charset=\"utf-8\"",
        "; charset=utf8",
        "; charset=UTF8",
        "; Charset=\"Utf8\"",
        "; charset = utf-8",
        "; charset=utf-8; profile=x",
        "; odata.metadata=minimal",
    ] {
        assert_eq!(
            status(&format!("application/json{parameters}")).await,
            StatusCode::OK,
            "{parameters}"
        );
    }
    for parameters in [
        "; charset=utf-16",
        "; charset=utf",
        "; charset=",
        "; charset=latin1",
        "; charset=utf8; charset=utf-16",
        "; charset=utf-8x",
    ] {
        assert_eq!(
            status(&format!("application/json{parameters}")).await,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{parameters}"
        );
    }
    for other in [
        "application/json-patch+json",
        "text/json",
        "application/jsonx",
        "application/json, application/json",
    ] {
        assert_eq!(
            status(other).await,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{other}"
        );
    }
}

#[tokio::test]
async fn needless_invisible_characters_in_a_name_are_rejected() {
    let app = spawn_app();
    let body = |name: &str| json!({ "roomName": "r", "participantName": name }).to_string();
    for name in [
        "Al\u{200b}ice",
        "Alice\u{200f}",
        "\u{3164}",
        "A\u{ad}lice",
        "Alice\u{e0061}",
        " \u{301}",
    ] {
        let answer = app.post(PATH, &body(name)).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec!["participantName".to_owned()]),
            "{name:?}"
        );
    }
    for name in ["👩‍👩‍👧", "محمد\u{200c}رضا", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"] {
        assert_eq!(
            app.post(PATH, &body(name)).await.status,
            StatusCode::OK,
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_absent_body_counts_as_an_empty_object() {
    let app = spawn_app();
    let answer = app.send(http::Method::POST, PATH, &[], None).await;
    assert_eq!(
        (answer.status, answer.fields()),
        (StatusCode::BAD_REQUEST, vec!["roomName".to_owned()])
    );
}

#[tokio::test]
async fn a_speakers_token_has_the_times_of_the_response() {
    let app = spawn_app();
    let body = r#"{"provider":"livekit","roomName":"standup-42","participantIdentity":"alice",
        "participantName":"Alice Ä","role":"speaker","expirationSeconds":60}"#;
    let answer = app.post(PATH, body).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::OK, "application/json")
    );
    let json = answer.json();
    assert_eq!(json["expiresAt"], "2023-11-14T22:14:20.000Z");
    assert_eq!(json["refreshAt"], "2023-11-14T22:14:10.000Z");
    assert_eq!(
        (&json["roomName"], &json["participantIdentity"]),
        (&json!("standup-42"), &json!("alice"))
    );
    assert_eq!(
        (&json["provider"], &json["serverUrl"]),
        (&json!("livekit"), &json!("wss://livekit.example.com"))
    );

    let (header, claims) = claims(json["token"].as_str().unwrap());
    assert_eq!(header, json!({ "alg": "HS256", "typ": "JWT" }));
    let video = json!({
        "roomJoin": true, "room": "standup-42", "canPublish": true, "canSubscribe": true,
        "canPublishData": false, "canPublishSources": ["microphone"],
    });
    let jti = &claims["jti"];
    assert!(uuid::Uuid::try_parse(jti.as_str().unwrap()).is_ok());
    assert_eq!(
        claims,
        json!({
            "iss": API_KEY, "sub": "alice", "nbf": NOW, "iat": NOW, "exp": NOW + 60, "jti": jti,
            "name": "Alice Ä", "video": video,
        })
    );
}

#[tokio::test]
async fn a_listener_may_publish_nothing() {
    let app = spawn_app();
    let answer = app
        .post(PATH, r#"{"roomName":"r","role":"listener"}"#)
        .await;
    let (_, claims) = claims(answer.json()["token"].as_str().unwrap());
    assert_eq!(
        claims["video"],
        json!({
            "roomJoin": true, "room": "r", "canPublish": false, "canSubscribe": true,
            "canPublishData": false,
        })
    );
}

#[tokio::test]
async fn every_guest_gets_a_new_identity_and_every_token_a_new_id() {
    let app = spawn_app();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let json = app.post(PATH, r#"{"roomName":"r"}"#).await.json();
        let (_, claims) = claims(json["token"].as_str().unwrap());
        assert_eq!(claims["sub"], json["participantIdentity"]);
        assert_eq!(claims["name"], json["participantIdentity"]);
        assert_eq!(claims["exp"].as_u64(), Some(NOW + 3_600));
        let guest = json["participantIdentity"]
            .as_str()
            .unwrap()
            .strip_prefix("guest-")
            .unwrap()
            .to_owned();
        assert_eq!(guest.len(), 12);
        seen.extend([guest, claims["jti"].to_string()]);
    }
    assert_eq!(seen.len(), 40);
}

#[tokio::test]
async fn the_operators_ceiling_and_room_pattern_are_enforced() {
    let app = spawn_app_with(
        &[
            ("ROOMKEY_MAX_TOKEN_SECONDS", "120"),
            ("ROOMKEY_ROOM_PATTERN", "team-[0-9]+"),
        ],
        None,
    );
    let answer = app
        .post(PATH, r#"{"roomName":"team-1x","expirationSeconds":121}"#)
        .await;
    assert_eq!(answer.fields(), ["roomName", "expirationSeconds"]);
    let answer = app.post(PATH, r#"{"roomName":"team-1"}"#).await;
    assert_eq!(answer.json()["expiresAt"], "2023-11-14T22:15:20.000Z");
}
