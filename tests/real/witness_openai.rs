//! OpenAI's own SDK uses the fake of the Realtime services, and its mint is compared with
//! roomkey's.

use serde_json::{Value, json};

use crate::fake_realtime::{API_KEY, DEPLOYMENT, FakeRealtime, MODEL};
use crate::peers::{script, tool};
use crate::realtime::{self, Vendor};

/// Returns the response that OpenAI's SDK gets from the fake for a session, and its request.
fn witness(fake: &FakeRealtime, session: &Value) -> Value {
    tool("tests/real/peers/js/node_modules/openai");
    let given =
        json!({ "url": fake.url, "controls": fake.controls(), "key": API_KEY, "session": session });
    script(
        "node",
        &["tests/real/peers/js/openai_witness.mjs"],
        &given.to_string(),
    )
}

#[test]
fn openais_sdk_works_with_the_fake_realtime_of_both_vendors() {
    let fake = FakeRealtime::start();
    let seen = witness(
        &fake,
        &json!({
            "type": "realtime", "model": DEPLOYMENT, "audio": { "output": { "voice": "marin" } },
        }),
    );

    for (client, url) in [
        ("openai", "/v1/realtime/client_secrets"),
        ("azure", "/openai/v1/realtime/client_secrets"),
        (
            "azureSdk",
            "/openai/v1/realtime/client_secrets?api-version=v1",
        ),
    ] {
        let minted = &seen[client];
        assert!(
            minted["value"]
                .as_str()
                .is_some_and(|value| value.starts_with("ek_")),
            "{client}: {minted}"
        );
        assert!(
            minted["session"]["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("sess_")),
            "{client}: {minted}"
        );
        assert!(minted["expires_at"].is_u64(), "{client}: {minted}");
        assert_eq!(
            minted["session"]["audio"]["output"]["voice"], "marin",
            "{client}"
        );
        assert_eq!(
            (&minted["request"]["method"], &minted["request"]["url"]),
            (&json!("POST"), &json!(url)),
            "{client}"
        );
    }
    assert_ne!(seen["openai"]["value"], seen["azure"]["value"]);
    assert_eq!(
        seen["models"],
        json!([[MODEL, DEPLOYMENT], [MODEL, DEPLOYMENT]])
    );
    for call in seen["hungUp"].as_array().unwrap() {
        let id = call["id"].as_str().unwrap();
        assert!(id.starts_with("rtc_"), "{call}");
        assert_eq!(call["stranger"]["status"], 401, "{call}");
    }
    // A mint that gets 500 twice is retried twice and returns one secret.
    assert_eq!(seen["tries"], json!([1, "2"]));
}

#[test]
fn openais_sdk_recognizes_the_errors_of_the_fake_realtime() {
    let fake = FakeRealtime::start();
    let seen = witness(&fake, &json!({ "type": "realtime", "model": DEPLOYMENT }));
    for (case, name, status, code, request_id) in [
        (
            "key",
            "AuthenticationError",
            Some(401),
            Some("invalid_api_key"),
            true,
        ),
        (
            "azureKey",
            "AuthenticationError",
            Some(401),
            Some("401"),
            false,
        ),
        (
            "audience",
            "AuthenticationError",
            Some(401),
            Some("401"),
            false,
        ),
        (
            "model",
            "NotFoundError",
            Some(404),
            Some("model_not_found"),
            true,
        ),
        (
            "deployment",
            "NotFoundError",
            Some(404),
            Some("DeploymentNotFound"),
            false,
        ),
        (
            "noDeployment",
            "BadRequestError",
            Some(400),
            Some("missing_required_parameter"),
            false,
        ),
        (
            "temperature",
            "BadRequestError",
            Some(400),
            Some("unknown_parameter"),
            true,
        ),
        (
            "beta",
            "BadRequestError",
            Some(400),
            Some("beta_api_shape_disabled"),
            true,
        ),
        (
            "400",
            "BadRequestError",
            Some(400),
            Some("invalid_request_error"),
            true,
        ),
        ("403", "PermissionDeniedError", Some(403), Some("403"), true),
        (
            "429",
            "RateLimitError",
            Some(429),
            Some("rate_limit_exceeded"),
            true,
        ),
        ("500", "InternalServerError", Some(500), None, true),
        ("reset", "APIConnectionError", None, None, false),
    ] {
        let expected =
            json!({ "name": name, "status": status, "code": code, "requestId": request_id });
        assert_eq!(seen["refused"][case], expected, "{case}");
    }
}

#[tokio::test]
async fn roomkeys_mint_agrees_with_that_of_openais_sdk() {
    for vendor in [Vendor::OpenAi, Vendor::Azure] {
        let fake = FakeRealtime::start();
        let model = vendor.model();
        // The session by the vendors' documentation for these settings, not by roomkey's code.
        let session = json!({
            "type": "realtime", "model": model, "instructions": "Be brief.",
            "audio": {
                "input": {
                    "transcription": { "model": "gpt-4o-mini-transcribe", "language": "de" },
                    "turn_detection": {
                        "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300,
                        "silence_duration_ms": 500,
                    },
                },
                "output": { "voice": "cedar" },
            },
        });
        let sdk = witness(&fake, &session);
        let sdk = &sdk[if vendor == Vendor::Azure {
            "azure"
        } else {
            "openai"
        }]["request"];

        let extra = r#"{"audio":{"input":{"transcription":{
        "model":"gpt-4o-mini-transcribe","language":"de"}}}}"#;
        let settings = [
            ("ROOMKEY_REALTIME_INSTRUCTIONS", "Be brief."),
            ("ROOMKEY_REALTIME_SESSION", extra),
        ];
        let roomkey = realtime::roomkey(&fake, vendor, &settings);
        let answer = realtime::mint(
            &roomkey,
            &json!({ "provider": vendor.provider(), "voice": "cedar" }),
        )
        .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let ours = fake.last_mint().await;

        assert_eq!(
            (&ours["method"], &ours["url"]),
            (&sdk["method"], &sdk["url"]),
            "{vendor:?}"
        );
        let sdk_body: Value = serde_json::from_str(sdk["body"].as_str().unwrap()).unwrap();
        assert_eq!(
            common(&sdk_body, &ours["body"]),
            sdk_body,
            "{vendor:?}: {}",
            ours["body"]
        );
        // Headers of the connection and the client's name differ, and Azure's key has another
        // header.
        for name in ["content-type", "accept", "authorization", "host"] {
            match ours["headers"].get(name) {
                Some(value) => assert_eq!(value, &sdk["headers"][name], "{vendor:?}: {name}"),
                None => assert!(
                    name == "accept" || vendor == Vendor::Azure,
                    "{vendor:?}: no {name}"
                ),
            }
        }
        if vendor == Vendor::Azure {
            assert_eq!(ours["headers"]["api-key"], API_KEY);
        }
        assert_eq!(ours["headers"].get("openai-beta"), None);
    }
}

/// Returns the members of `ours` that `theirs` has too, at any depth.
fn common(theirs: &Value, ours: &Value) -> Value {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => theirs
            .iter()
            .filter_map(|(name, member)| Some((name.clone(), common(member, ours.get(name)?))))
            .collect(),
        _ => ours.clone(),
    }
}
