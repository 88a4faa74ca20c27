//! LiveKit's verifiers in JavaScript, Python and Rust, which are strict about different things. A
//! token must be valid for all three.

use serde_json::{Value, json};

use crate::peers::{API_KEY, API_SECRET, roomkey, script, signed, tampered, token, tool};

/// Returns the result of each verifier for each token: the claims, or `None` if it rejects it.
fn verdicts(tokens: &[String]) -> Vec<(&'static str, Vec<Option<Value>>)> {
    let cases: Vec<_> = tokens
        .iter()
        .map(|token| json!({ "apiKey": API_KEY, "apiSecret": API_SECRET, "token": token }))
        .collect();
    let cases = Value::from(cases).to_string();
    let python = tool("target/tools/venv/bin/python");
    tool("tests/real/peers/js/node_modules");
    let said = |answer: &Value| {
        answer
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["ok"].as_bool().unwrap().then(|| one["claims"].clone()))
            .collect()
    };
    let rust = livekit_token::TokenVerifier::with_api_key(API_KEY, API_SECRET);
    vec![
        (
            "javascript",
            said(&script("node", &["tests/real/peers/js/verify.mjs"], &cases)),
        ),
        (
            "python",
            said(&script(
                python.to_str().unwrap(),
                &["tests/real/peers/python/verify.py"],
                &cases,
            )),
        ),
        (
            "rust",
            tokens
                .iter()
                .map(|token| {
                    rust.verify(token)
                        .ok()
                        .map(|claims| serde_json::to_value(claims).unwrap())
                })
                .collect(),
        ),
    ]
}

#[test]
fn three_verifiers_refuse_tampered_expired_and_foreign_tokens() {
    let refused = [
        tampered(&signed(API_KEY, API_SECRET, 600)),
        signed(API_KEY, API_SECRET, -90),
        signed(API_KEY, "another-throw-away-secret-of-32-bytes", 600),
    ];
    for (verifier, verdicts) in verdicts(&refused) {
        assert_eq!(verdicts, [None, None, None], "{verifier}");
    }
}

#[tokio::test]
async fn three_verifiers_accept_the_tokens_of_both_routes_and_read_the_same_grants() {
    let roomkey = roomkey(&[("ROOMKEY_AGENTS", "notes")]);
    let attached = json!({
        "room_name": "standup-42", "participant_metadata": "m",
        "participant_attributes": { "k": "v" },
        "room_config": { "agents": [{ "agent_name": "notes", "metadata": "am" }] },
    });
    let tokens = [
        token(
            &roomkey,
            "/api/token",
            &json!({ "roomName": "standup-42", "role": "speaker" }),
        )
        .await,
        token(
            &roomkey,
            "/api/token",
            &json!({ "roomName": "standup-42", "role": "listener" }),
        )
        .await,
        token(&roomkey, "/api/connection-details", &attached).await,
    ];
    for (verifier, verdicts) in verdicts(&tokens) {
        for (claims, speaks) in verdicts.iter().zip([true, false, true]) {
            let video = &claims
                .as_ref()
                .unwrap_or_else(|| panic!("{verifier} refused a token"))["video"];
            let grant = |camel: &str, snake: &str| {
                video
                    .get(camel)
                    .or(video.get(snake))
                    .cloned()
                    .unwrap_or(Value::Null)
            };
            assert_eq!(
                (grant("roomJoin", "room_join"), grant("room", "room")),
                (json!(true), json!("standup-42")),
                "{verifier}"
            );
            assert_eq!(grant("canPublish", "can_publish"), speaks, "{verifier}");
            assert_eq!(grant("canSubscribe", "can_subscribe"), true, "{verifier}");
            assert_eq!(
                grant("canPublishData", "can_publish_data"),
                false,
                "{verifier}"
            );
            let sources = grant("canPublishSources", "can_publish_sources");
            let sources: Vec<_> = sources.as_array().into_iter().flatten().cloned().collect();
            assert_eq!(
                sources,
                if speaks {
                    vec![json!("microphone")]
                } else {
                    vec![]
                },
                "{verifier}"
            );
        }
        let attached = verdicts[2].as_ref().unwrap();
        assert_eq!(
            (&attached["metadata"], &attached["attributes"]["k"]),
            (&json!("m"), &json!("v")),
            "{verifier}"
        );
    }
}
