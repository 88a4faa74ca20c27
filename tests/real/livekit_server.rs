//! Tests of roomkey's tokens with a real LiveKit server.

use futures_util::StreamExt;
use livekit_protocol::{JoinResponse, SignalResponse, signal_response::Message};
use prost::Message as _;
use serde_json::json;

use crate::peers::{API_KEY, API_SECRET, LiveKitServer, roomkey, signed, tampered, token};
use crate::process::client;

#[tokio::test]
async fn real_livekit_server_refuses_tampered_expired_and_foreign_tokens() {
    let server = LiveKitServer::start().await;
    let good = signed(API_KEY, API_SECRET, 600);
    assert_eq!(server.validate(&good).await.0, 200);
    for (token, why) in [
        (tampered(&good), "tampered"),
        (
            signed(API_KEY, API_SECRET, -90),
            "expired, past the minute of leeway",
        ),
        (
            signed(API_KEY, "another-throw-away-secret-of-32-bytes", 600),
            "foreign secret",
        ),
        (signed("APIforeign", API_SECRET, 600), "foreign key"),
    ] {
        assert_eq!(server.validate(&token).await.0, 401, "{why}");
    }
}

#[tokio::test]
async fn real_livekit_server_accepts_the_tokens_of_both_routes() {
    let (server, roomkey) = (
        LiveKitServer::start().await,
        roomkey(&[("ROOMKEY_AGENTS", "notes")]),
    );
    for (path, body) in [
        ("/api/token", json!({ "roomName": "standup-42" })),
        (
            "/api/token",
            json!({
                "roomName": "standup-42", "role": "speaker", "participantIdentity": "alice",
                "participantName": "Älice 👋",
            }),
        ),
        (
            "/api/token",
            json!({ "roomName": "standup-42", "role": "listener", "expirationSeconds": 60 }),
        ),
        ("/api/connection-details", json!({})),
        (
            "/api/connection-details",
            json!({
                "room_name": "standup-42", "participant_attributes": { "k": "v" },
                "room_config": { "agents": [{ "agent_name": "notes" }] },
            }),
        ),
    ] {
        let token = token(&roomkey, path, &body).await;
        assert_eq!(
            server.validate(&token).await,
            (200, "success".to_owned()),
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn real_livekit_server_gives_a_join_token_no_admin_call() {
    let (server, roomkey) = (LiveKitServer::start().await, roomkey(&[]));
    let token = token(
        &roomkey,
        "/api/token",
        &json!({ "roomName": "standup-42", "participantIdentity": "alice" }),
    )
    .await;
    let in_room = json!({ "room": "standup-42" });
    let on_alice = json!({ "room": "standup-42", "identity": "alice" });
    for (method, body) in [
        ("ListRooms", &json!({})),
        ("CreateRoom", &json!({ "name": "standup-42" })),
        ("DeleteRoom", &in_room),
        ("ListParticipants", &in_room),
        ("RemoveParticipant", &on_alice),
        ("UpdateParticipant", &on_alice),
        ("SendData", &in_room),
        ("MutePublishedTrack", &on_alice),
        ("UpdateRoomMetadata", &in_room),
    ] {
        let url = format!("{}/twirp/livekit.RoomService/{method}", server.url);
        let answer = client()
            .post(url)
            .bearer_auth(&token)
            .json(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{method}");
    }
}

/// Joins with a token and reads the server's first message.
async fn join(server: &LiveKitServer, token: &str, extra: &str) -> JoinResponse {
    let url = format!(
        "{}/rtc?access_token={token}{extra}",
        server.url.replace("http", "ws")
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let first = socket.next().await.unwrap().unwrap();
    match SignalResponse::decode(first.into_data()).unwrap().message {
        Some(Message::Join(join)) => join,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn real_livekit_server_joins_the_room_that_was_asked_for() {
    let (server, roomkey) = (LiveKitServer::start().await, roomkey(&[]));
    let speaker = token(
        &roomkey,
        "/api/token",
        &json!({
            "roomName": "room-a", "participantIdentity": "alice", "participantName": "Alice",
        }),
    )
    .await;
    let joined = join(&server, &speaker, "&room=room-b").await;
    assert_eq!(joined.room.unwrap().name, "room-a");
    let alice = joined.participant.unwrap();
    assert_eq!(
        (alice.identity.as_str(), alice.name.as_str()),
        ("alice", "Alice")
    );
    let permission = alice.permission.unwrap();
    assert_eq!(
        (
            permission.can_publish,
            permission.can_subscribe,
            permission.can_publish_data
        ),
        (true, true, false)
    );
    assert_eq!(
        permission.can_publish_sources,
        [livekit_protocol::TrackSource::Microphone as i32]
    );

    let listener = token(
        &roomkey,
        "/api/token",
        &json!({ "roomName": "room-a", "role": "listener" }),
    )
    .await;
    let permission = join(&server, &listener, "")
        .await
        .participant
        .unwrap()
        .permission
        .unwrap();
    assert_eq!(
        (
            permission.can_publish,
            permission.can_subscribe,
            permission.can_publish_data
        ),
        (false, true, false)
    );

    let body = json!({
        "room_name": "room-c", "participant_metadata": "m", "participant_attributes": { "k": "v" },
    });
    let joined = join(
        &server,
        &token(&roomkey, "/api/connection-details", &body).await,
        "",
    )
    .await;
    let participant = joined.participant.unwrap();
    assert_eq!(
        (
            joined.room.unwrap().name.as_str(),
            participant.metadata.as_str(),
            participant.attributes["k"].as_str()
        ),
        ("room-c", "m", "v")
    );
}
