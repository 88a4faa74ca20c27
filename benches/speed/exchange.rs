//! The one request that every server gets, and what its answer must be.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

pub const SERVER_URL: &str = "wss://livekit.example.com";
pub const API_KEY: &str = "APIbenchmark";
pub const API_SECRET: &str = "a-secret-for-benchmarks-only-0123456789";

const ROOM: &str = "standup-42";
pub const IDENTITY: &str = "alice";
const LIFETIME: u64 = 3600;

pub fn body() -> Value {
    json!({
        "roomName": ROOM, "participantIdentity": IDENTITY, "participantName": "Alice", "role": "speaker", "expirationSeconds": LIFETIME,
    })
}

/// The request as it travels.
pub fn request() -> Vec<u8> {
    request_with("")
}

/// The request with a further header, which ends in a line break.
pub fn request_with(header: &str) -> Vec<u8> {
    post("/api/token", &body(), header)
}

/// A request with a JSON body, and with a further header, which ends in a line break.
pub fn post(path: &str, body: &Value, header: &str) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    let head = "HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ";
    format!("POST {path} {head}{length}\r\n{header}\r\n{body}").into_bytes()
}

/// A request without a body.
pub fn get(path: &str, header: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n").into_bytes()
}

/// The request for a client secret of a Realtime upstream.
pub fn mint_request() -> Vec<u8> {
    let body = json!({ "provider": "azure-openai", "voice": "marin" });
    post("/api/token", &body, "")
}

/// Where the answer's body begins and ends, once its head has arrived.
///
/// # Errors
/// What is wrong with it: neither 200 nor 201, or without a length.
pub fn extent(received: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let Some(head) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let lines = received[..head].split(|byte| *byte == b'\n');
    let length = lines.clone().find_map(|line| {
        let (name, value) = line.split_at_checked("content-length:".len())?;
        name.eq_ignore_ascii_case(b"content-length:").then(|| {
            value
                .trim_ascii()
                .iter()
                .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
        })
    });
    match length {
        Some(length)
            if received.starts_with(b"HTTP/1.1 200 ") || received.starts_with(b"HTTP/1.1 201 ") =>
        {
            Ok(Some((head + 4, head + 4 + length)))
        }
        _ => Err(format!(
            "neither 200 nor 201 with a length: {}",
            String::from_utf8_lossy(received)
        )),
    }
}

/// Checks the answer of a server that signs: its fields, the token's signature, and what it grants.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_token(body: &[u8]) -> Result<(), String> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[API_KEY]);
    validation.set_required_spec_claims(&["iss", "sub", "exp", "nbf"]);
    validation.validate_nbf = true;
    let key = DecodingKey::from_secret(API_SECRET.as_bytes());
    let token = answer["token"].as_str().unwrap_or_default();
    let claims: Value = jsonwebtoken::decode(token, &key, &validation)
        .map_err(|error| error.to_string())?
        .claims;
    let lifetime = claims["exp"]
        .as_u64()
        .zip(claims["nbf"].as_u64())
        .map(|(exp, nbf)| exp - nbf);
    let video = &claims["video"];
    let found = json!([
        [
            answer["provider"],
            answer["roomName"],
            answer["participantIdentity"],
            answer["serverUrl"]
        ],
        [
            answer["expiresAt"].as_str().map(str::len),
            answer["refreshAt"].as_str().map(str::len)
        ],
        [claims["sub"], claims["name"], lifetime],
        [
            video["room"],
            video["roomJoin"],
            video["canPublish"],
            video["canSubscribe"],
            video["canPublishData"],
            video["canPublishSources"]
        ],
    ]);
    let expected = json!([
        ["livekit", ROOM, IDENTITY, SERVER_URL],
        [24, 24],
        [IDENTITY, "Alice", LIFETIME],
        [ROOM, true, true, true, false, ["microphone"]],
    ]);
    if found == expected {
        Ok(())
    } else {
        Err(format!("{found} instead of {expected}"))
    }
}

/// Checks the answer of a server that mints.
///
/// # Errors
/// The answer, when it is another.
pub fn check_mint(body: &[u8]) -> Result<(), String> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let begins = |name: &str, with: &str| {
        answer[name]
            .as_str()
            .is_some_and(|text| text.starts_with(with))
    };
    let is_whole =
        begins("token", "ek_") && begins("sessionId", "sess_") && begins("webrtcUrl", "http://");
    if is_whole && answer["voice"] == "marin" {
        Ok(())
    } else {
        Err(answer.to_string())
    }
}

/// Checks the answer with a session of a project.
///
/// # Errors
/// The answer, when it is another.
pub fn check_session(body: &[u8]) -> Result<(), String> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let secret = answer["client_secret"]["value"]
        .as_str()
        .unwrap_or_default();
    if secret.starts_with("ek_") && answer["session_id"].as_str().map(str::len) == Some(36) {
        Ok(())
    } else {
        Err(answer.to_string())
    }
}

/// Checks the answer of the server that echoes.
///
/// # Errors
/// The answer, when it is another.
pub fn check_echo(answer: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Value>(answer) {
        Ok(answer) if answer == body() => Ok(()),
        _ => Err(String::from_utf8_lossy(answer).into_owned()),
    }
}
