//! LiveKit's browser client, unchanged, against `/api/connection-details`.

use serde_json::json;

use crate::peers::{roomkey, script, tool};

#[test]
fn token_source_of_livekits_client_works_unchanged_and_its_cache_holds() {
    tool("tests/real/peers/js/node_modules");
    let roomkey = roomkey(&[]);
    let url = format!("{}/api/connection-details", roomkey.url);
    let seen = script("node", &["tests/real/peers/js/token_source.mjs", &url], "");

    assert_eq!(seen["first"]["serverUrl"], "wss://livekit.example.com");
    assert_eq!(seen["sameToken"], true);
    assert!(seen["withoutOptions"]["participantToken"].is_string());

    let refused = seen["refused"].as_str().unwrap();
    assert!(refused.contains("400") && refused.contains("room_name") && !refused.contains("stand up"), "{refused}");

    // The second fetch of the first source is not among them: it came from the cache.
    let requests: Vec<_> = seen["requests"].as_array().unwrap().iter().map(|request| (&request["method"], &request["status"])).collect();
    assert_eq!(requests, [(&json!("POST"), &json!(201)), (&json!("POST"), &json!(201)), (&json!("POST"), &json!(400))]);
}
