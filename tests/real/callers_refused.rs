//! Refused callers: those whom the provider did not sign in, and those who request too much.

use serde_json::{Value, json};

use crate::openid_provider::OpenIdProvider;
use crate::signed_in::{Answer, any_room, ask, asking, client, roomkey};

#[tokio::test]
async fn fault_14_missing_credentials_get_a_bearer_challenge() {
    let provider = OpenIdProvider::start();
    let answer = Answer::to(asking(&roomkey(&provider, &[]).await, &any_room())).await;
    assert_eq!(answer.verdict(), (401, "unauthenticated"));
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer") && !challenge.contains("error"),
        "{challenge}"
    );
}

#[tokio::test]
async fn fault_15_repeated_or_misplaced_credentials_are_rejected() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let good = provider.token("alice", json!({})).await;
    assert_eq!(ask(&roomkey, &good, &any_room()).await.status, 200);
    let plain = || asking(&roomkey, &any_room());
    for (request, how) in [
        (
            plain()
                .bearer_auth(&good)
                .header("authorization", format!("Bearer {good}")),
            "two headers",
        ),
        (
            plain().header("authorization", format!("Bearer {good} {good}")),
            "two tokens",
        ),
        (
            plain().header("authorization", format!("Bearer Bearer {good}")),
            "two schemes",
        ),
        (
            plain().header("authorization", format!("Basic {good}")),
            "another scheme",
        ),
        (plain().header("authorization", &good), "no scheme"),
        (
            client()
                .post(format!("{}/api/token?access_token={good}", roomkey.url))
                .json(&any_room()),
            "in the query",
        ),
        (
            plain().header("x-ms-client-principal", "eyJhdXRoX3R5cCI6ImFhZCJ9"),
            "the platform's header",
        ),
        (
            plain().header("x-ms-token-aad-id-token", &good),
            "the platform's token",
        ),
    ] {
        assert_eq!(
            Answer::to(request).await.verdict(),
            (401, "unauthenticated"),
            "{how}"
        );
    }
}

#[tokio::test]
async fn faults_16_to_19_every_bad_token_gets_the_same_401_and_causes_no_request() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let good = provider.token("alice", json!({})).await;
    assert_eq!(ask(&roomkey, &good, &any_room()).await.status, 200);
    let issued_at = claims(&good)["iat"].as_u64().unwrap();
    let requests = provider.requests().await;
    let slashed = format!("{}/", provider.issuer);
    let mut answers = Vec::new();
    for (header, claims, why) in [
        (
            json!({}),
            json!({ "iat": issued_at - 600, "exp": issued_at - 120 }),
            "expired past the leeway",
        ),
        (
            json!({}),
            json!({ "nbf": issued_at + 300 }),
            "not valid yet",
        ),
        (
            json!({}),
            json!({ "aud": "api://another" }),
            "another audience",
        ),
        (json!({}), json!({ "aud": [] }), "no audience in the list"),
        (json!({}), json!({ "aud": null }), "no audience"),
        (json!({}), json!({ "iss": slashed }), "another issuer"),
        (json!({}), json!({ "iss": null }), "no issuer"),
        (json!({}), json!({ "sub": null }), "no subject"),
        (json!({}), json!({ "sub": "" }), "an empty subject"),
        (json!({}), json!({ "exp": null }), "no end"),
        (
            json!({ "typ": "logout+jwt" }),
            json!({}),
            "another kind of token",
        ),
        (json!({ "typ": "" }), json!({}), "an empty kind of token"),
    ] {
        let token = provider.signed(header, claims).await;
        answers.push((ask(&roomkey, &token, &any_room()).await, why));
    }
    answers.push((
        ask(&roomkey, &provider.signed_by_another().await, &any_room()).await,
        "another key",
    ));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    answers.push((
        ask(&roomkey, &format!("{signed}."), &any_room()).await,
        "without its signature",
    ));
    answers.push((
        ask(
            &roomkey,
            &format!("{signed}.{}", reversed(signature)),
            &any_room(),
        )
        .await,
        "with a broken signature",
    ));
    for (answer, why) in &mut answers {
        assert_eq!(answer.verdict(), (401, "unauthenticated"), "{why}");
        assert!(
            answer
                .header("www-authenticate")
                .contains(r#"error="invalid_token""#),
            "{why}"
        );
        answer.body["requestId"] = Value::Null;
    }
    let first = answers[0].0.body.clone();
    assert!(answers.iter().all(|(answer, _)| answer.body == first));
    assert_eq!(provider.requests().await, requests);
}

#[tokio::test]
async fn a_token_for_several_audiences_or_a_little_late_is_accepted() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let issued_at = claims(&provider.token("alice", json!({})).await)["iat"]
        .as_u64()
        .unwrap();
    for (header, claims, why) in [
        (
            json!({}),
            json!({ "aud": ["api://another", "api://roomkey"] }),
            "two audiences",
        ),
        (
            json!({}),
            json!({ "iat": issued_at - 600, "exp": issued_at - 20 }),
            "within the leeway",
        ),
        (json!({}), json!({ "nbf": issued_at }), "with a beginning"),
        (json!({ "typ": "JWT" }), json!({}), "of the older kind"),
        (json!({ "typ": null }), json!({}), "without a kind"),
        (json!({ "kid": null }), json!({}), "without the key's name"),
        (
            json!({}),
            json!({ "exp": 253_402_300_799_u64 }),
            "until the year 9999",
        ),
        (
            json!({ "jku": "http://127.0.0.1:9/keys", "x5u": "http://127.0.0.1:9/cert" }),
            json!({}),
            "with addresses, which are not used",
        ),
    ] {
        let token = provider.signed(header, claims).await;
        assert_eq!(
            ask(&roomkey, &token, &any_room()).await.status,
            200,
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_withdrawn_key_invalidates_the_tokens_that_it_signed() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let (alice, bob) = (
        provider.token("alice", json!({})).await,
        provider.token("bob", json!({})).await,
    );
    for _ in 0..2 {
        assert_eq!(
            ask(&roomkey, &alice, &any_room()).await.status,
            200,
            "checked, and then remembered"
        );
    }
    provider.rotate(false).await;
    let new = provider.token("carol", json!({})).await;
    assert_eq!(
        ask(&roomkey, &new, &any_room()).await.status,
        200,
        "its key is looked for"
    );
    for (bearer, whose) in [(&alice, "remembered"), (&bob, "never seen")] {
        assert_eq!(
            ask(&roomkey, bearer, &any_room()).await.verdict(),
            (401, "unauthenticated"),
            "{whose}"
        );
    }
}

#[tokio::test]
async fn fault_12_a_caller_cannot_get_a_token_with_another_identity() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let alice = provider.token("alice", json!({})).await;
    for other in ["mallory", "Alice", "alice2", "u-alice"] {
        let answer = ask(
            &roomkey,
            &alice,
            &json!({ "roomName": "standup-42", "participantIdentity": other }),
        )
        .await;
        assert_eq!(answer.verdict(), (403, "identity_mismatch"));
        let text = answer.body.to_string();
        assert!(!text.contains("alice") && !text.contains(other), "{text}");
    }
}

#[tokio::test]
async fn fault_21_a_token_without_the_scope_or_role_is_not_enough() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    for (claims, expected) in [
        (json!({ "scope": "" }), (403, "insufficient_scope")),
        (
            json!({ "scope": "rooms.joiner rooms" }),
            (403, "insufficient_scope"),
        ),
        (
            json!({ "scope": "Rooms.Join" }),
            (403, "insufficient_scope"),
        ),
        (
            json!({ "scope": "", "roles": ["other"] }),
            (403, "insufficient_scope"),
        ),
        (json!({ "scope": "other rooms.join" }), (200, "")),
        (json!({ "scope": "", "scp": "other rooms.join" }), (200, "")),
        (json!({ "scope": "", "roles": ["rooms.join"] }), (200, "")),
    ] {
        let answer = ask(
            &roomkey,
            &provider.token("alice", claims.clone()).await,
            &any_room(),
        )
        .await;
        assert_eq!(answer.verdict(), expected, "{claims}");
        if expected.0 == 403 {
            assert!(
                answer
                    .header("www-authenticate")
                    .contains(r#"error="insufficient_scope""#),
                "{claims}"
            );
        }
    }
}

/// Returns the claims of a token without verification: the provider that the test started made it.
fn claims(token: &str) -> Value {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).unwrap())
            .unwrap(),
    )
    .unwrap()
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}
