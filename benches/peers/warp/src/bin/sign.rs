//! warp that only parses, signs and replies: no rules, no log lines, no time limits, no request
//! ids.
#![expect(clippy::disallowed_methods, reason = "roomkey's rules for testing do not bind what it is compared with")]

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use warp::Filter;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    room_name: String,
    participant_identity: String,
    participant_name: String,
    role: String,
    expiration_seconds: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    nbf: u64,
    iat: u64,
    exp: u64,
    jti: Uuid,
    name: &'a str,
    video: VideoGrant<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "LiveKit's own shape")]
struct VideoGrant<'a> {
    room_join: bool,
    room: &'a str,
    can_publish: bool,
    can_subscribe: bool,
    can_publish_data: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    can_publish_sources: Option<[&'static str; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenAnswer<'a> {
    provider: &'static str,
    token: String,
    expires_at: String,
    refresh_at: String,
    room_name: &'a str,
    participant_identity: &'a str,
    server_url: &'a str,
}

struct Settings {
    server_url: String,
    api_key: String,
    key: EncodingKey,
    header: Header,
}

fn issue(settings: &Settings, request: &TokenRequest) -> warp::reply::Json {
    let issued_at = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970").as_secs();
    let expires_at = issued_at + request.expiration_seconds;
    let speaks = request.role == "speaker";
    let claims = Claims {
        iss: &settings.api_key,
        sub: &request.participant_identity,
        nbf: issued_at,
        iat: issued_at,
        exp: expires_at,
        jti: Uuid::new_v4(),
        name: &request.participant_name,
        video: VideoGrant {
            room_join: true,
            room: &request.room_name,
            can_publish: speaks,
            can_subscribe: true,
            can_publish_data: false,
            can_publish_sources: speaks.then_some(["microphone"]),
        },
    };
    warp::reply::json(&TokenAnswer {
        provider: "livekit",
        token: jsonwebtoken::encode(&settings.header, &claims, &settings.key).expect("a token"),
        expires_at: rfc3339(expires_at),
        refresh_at: rfc3339(expires_at - 10),
        room_name: &request.room_name,
        participant_identity: &request.participant_identity,
        server_url: &settings.server_url,
    })
}

fn rfc3339(seconds: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

#[tokio::main]
async fn main() {
    let setting = |name| env::var(name).expect(name);
    let settings: &'static Settings = Box::leak(Box::new(Settings {
        server_url: setting("LIVEKIT_URL"),
        api_key: setting("LIVEKIT_API_KEY"),
        key: EncodingKey::from_secret(setting("LIVEKIT_API_SECRET").as_bytes()),
        header: Header::new(Algorithm::HS256),
    }));
    let port: u16 = setting("PORT").parse().expect("PORT");
    let token =
        warp::path!("api" / "token").and(warp::post()).and(warp::body::json()).map(move |request: TokenRequest| issue(settings, &request));
    warp::serve(token).run(([127, 0, 0, 1], port)).await;
}
