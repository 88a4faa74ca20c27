//! LiveKit's browser client, unchanged, with `/api/connection-details`.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::peers::{API_SECRET, roomkey, script, tool};

#[test]
fn token_source_of_livekits_client_works_unchanged_and_caches() {
    tool("tests/real/peers/js/node_modules");
    let roomkey = roomkey(&[("ROOMKEY_AGENTS", "notes@prod")]);
    let url = format!("{}/api/connection-details", roomkey.url);
    let seen = script("node", &["tests/real/peers/js/token_source.mjs", &url], "");

    assert_eq!(seen["first"]["serverUrl"], "wss://livekit.example.com");
    assert_eq!(seen["sameToken"], true);
    assert!(seen["withoutOptions"]["participantToken"].is_string());

    let body = &seen["everything"]["body"];
    assert_eq!(
        body["room_config"]["agents"][0],
        json!({ "agent_name": "notes", "metadata": "am", "deployment": "prod" }),
        "{body}"
    );
    let claims = claims(
        seen["everything"]["answer"]["participantToken"]
            .as_str()
            .unwrap(),
    );
    assert_eq!(
        claims["roomConfig"],
        json!({ "agents": [{ "agentName": "notes", "metadata": "am", "deployment": "prod" }] })
    );
    assert_eq!(
        (&claims["metadata"], &claims["attributes"]),
        (&json!("m"), &json!({ "camelCase": "v" }))
    );

    let refused = seen["refused"].as_str().unwrap();
    assert!(
        refused.contains("400") && refused.contains("room_name") && !refused.contains("stand up"),
        "{refused}"
    );

    let post = json!("POST");
    // The second fetch of the first source is missing, since it came from the cache.
    let requests: Vec<_> = seen["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| (&request["method"], &request["status"]))
        .collect();
    let expected = [201, 201, 201, 400].map(|status| json!(status));
    assert_eq!(
        requests,
        expected
            .iter()
            .map(|status| (&post, status))
            .collect::<Vec<_>>()
    );
}

fn claims(token: &str) -> Value {
    let key = DecodingKey::from_secret(API_SECRET.as_bytes());
    jsonwebtoken::decode(token, &key, &Validation::new(Algorithm::HS256))
        .unwrap()
        .claims
}
