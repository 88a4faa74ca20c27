//! TURN credentials: a real coturn lets in who has some, roomkey's own or those of a fake of
//! Cloudflare's service, and nobody after their expiry.

use std::time::UNIX_EPOCH;

use roomkey::clock::{Clock, SystemClock};
use roomkey::domain::callers::caller_hash::HashKey;
use roomkey::domain::turn::credential::TurnSecret;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::fake::Fake;
use crate::peers::roomkey;
use crate::process::{Roomkey, client};
use crate::turn_server::{NEXT_TURN_SECRET, TURN_SECRET, TurnServer};
use crate::undisturbed::undisturbed;

const CANARY: &str = "upstream-canary-7c3a";

async fn ask(roomkey: &Roomkey) -> (u16, Value) {
    let url = format!("{}/api/turn-credentials", roomkey.url);
    let answer = client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The username and the credential of an answer.
fn login(answer: &Value) -> (String, String) {
    let servers = answer["iceServers"].as_array().unwrap();
    let server = servers
        .iter()
        .find(|server| server["credential"].is_string())
        .unwrap();
    let text = |name: &str| server[name].as_str().unwrap().to_owned();
    (text("username"), text("credential"))
}

/// What roomkey issues where the lifetime ends `seconds` from now.
fn signed(secret: &str, seconds: i64) -> (String, String) {
    let now = SystemClock.now().duration_since(UNIX_EPOCH).unwrap();
    let expires_at = now.as_secs().checked_add_signed(seconds).unwrap();
    let caller = HashKey::new(&[7; 32]).hash("caller", b"alice");
    let secret = TurnSecret::from(SecretString::from(secret));
    let credential = serde_json::to_value(secret.credential(expires_at, caller)).unwrap();
    login(&json!({ "iceServers": [credential] }))
}

#[tokio::test]
async fn real_coturn_relays_for_credentials_that_roomkey_issues() {
    for secret in [TURN_SECRET, NEXT_TURN_SECRET] {
        let relayed = undisturbed(async || {
            let server = TurnServer::start();
            let roomkey = roomkey(&[
                ("ROOMKEY_TURN_URLS", &server.urls()),
                ("ROOMKEY_TURN_SECRET", secret),
                ("ROOMKEY_TURN_SECONDS", "60"),
            ]);
            let (status, answer) = ask(&roomkey).await;
            assert_eq!(status, 200, "{answer}");
            assert_eq!(answer["ttlSeconds"], 60);
            let (username, credential) = login(&answer);
            server.relay(&username, &credential)
        });
        assert_eq!(relayed.await, Ok(()), "{secret}");
    }
}

#[tokio::test]
async fn real_coturn_refuses_expired_foreign_and_altered_credentials() {
    let verdicts = undisturbed(async || {
        let server = TurnServer::start();
        let (username, credential) = signed(TURN_SECRET, 60);
        let (expired, old_credential) = signed(TURN_SECRET, -5);
        let (foreign, foreign_credential) =
            signed("another-throw-away-turn-secret-of-32-bytes", 60);
        let prolonged = format!("9{}", &username[1..]);
        let logins = [
            ("a good one", &username, &credential),
            ("expired", &expired, &old_credential),
            ("another secret", &foreign, &foreign_credential),
            ("another expiry", &prolonged, &credential),
            ("another's credential", &username, &old_credential),
            ("the secret itself", &username, &TURN_SECRET.to_owned()),
        ];
        let relayed = logins.map(|(which, username, credential)| {
            let relayed = server.relay(username, credential)?;
            Some((which, relayed))
        });
        relayed.into_iter().collect::<Option<Vec<_>>>()
    });
    let expected = [
        ("a good one", Ok(())),
        ("expired", Err(401)),
        ("another secret", Err(401)),
        ("another expiry", Err(401)),
        ("another's credential", Err(401)),
        ("the secret itself", Err(401)),
    ];
    assert_eq!(verdicts.await, expected);
}

#[tokio::test]
async fn real_coturn_relays_for_what_the_fake_of_cloudflare_mints() {
    let (fake, roomkey, answer, relayed) = undisturbed(async || {
        let server = TurnServer::start();
        let (fake, [base_url]) = Fake::start(
            "fake_cloudflare.mjs",
            &[&server.port.to_string(), TURN_SECRET],
        );
        let roomkey = roomkey(&[
            ("CLOUDFLARE_TURN_BASE_URL", &base_url),
            ("CLOUDFLARE_TURN_KEY_ID", "turn-key-of-the-fake"),
            ("CLOUDFLARE_TURN_API_TOKEN", "turn-token-of-the-fake"),
            ("ROOMKEY_TURN_SECONDS", "120"),
        ]);
        let (status, answer) = ask(&roomkey).await;
        assert_eq!(status, 200, "{answer}");
        let (username, credential) = login(&answer);
        let relayed = server.relay(&username, &credential)?;
        Some((fake, roomkey, answer, relayed))
    })
    .await;
    assert_eq!(relayed, Ok(()));
    let (username, credential) = login(&answer);
    let text = answer.to_string();
    assert!(
        [":53\"", ":53?"].iter().all(|port| !text.contains(port)),
        "{text}"
    );
    let last = fake.last().await;
    let body: Value = serde_json::from_str(last["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["ttl"], 120);
    assert_eq!(
        body["customIdentifier"],
        username.split_once(':').unwrap().1
    );
    for (order, status, code) in [
        (
            json!({ "status": 401 }),
            502,
            "upstream_credentials_rejected",
        ),
        (json!({ "status": 404 }), 502, "upstream_misconfigured"),
        (json!({ "status": 400 }), 502, "upstream_rejected"),
        (json!({ "status": 429 }), 503, "upstream_rate_limited"),
        (json!({ "status": 500 }), 502, "upstream_error"),
        (json!({ "how": "reset" }), 503, "upstream_unavailable"),
        (json!({ "how": "cut" }), 502, "upstream_error"),
        (json!({ "how": "drip" }), 504, "upstream_timeout"),
    ] {
        fake.control("mint", &order).await;
        let (answered, problem) = ask(&roomkey).await;
        assert_eq!(
            (answered, &problem["code"]),
            (status, &json!(code)),
            "{order}"
        );
        assert!(!problem.to_string().contains(CANARY));
        fake.control("mint", &json!({})).await;
        assert_eq!(ask(&roomkey).await.0, 200, "after {order}");
    }
    let ended = roomkey.stop("TERM");
    for text in [ended.stdout, ended.stderr] {
        for secret in [CANARY, "turn-token-of-the-fake", &credential] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
    }
}
