//! Callers with tokens of a real identity provider: their identities, rooms and rate limits.

use std::time::{SystemTime, UNIX_EPOCH};

use roomkey::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::openid_provider::OpenIdProvider;
use crate::peers::LiveKitServer;
use crate::signed_in::{ADMIN_KEY, Answer, any_room, ask, asking, client, metric, roomkey};

#[tokio::test]
async fn a_callers_token_has_the_callers_identity_and_livekit_accepts_it() {
    let (provider, server) = (OpenIdProvider::start(), LiveKitServer::start().await);
    let roomkey = roomkey(&provider, &[]).await;
    let alice = provider.token("alice", json!({})).await;
    for body in [
        any_room(),
        json!({
            "roomName": "standup-42", "participantIdentity": "alice", "participantName": "Alice",
        }),
    ] {
        let answer = ask(&roomkey, &alice, &body).await;
        assert_eq!(
            (answer.status, &answer.body["participantIdentity"]),
            (200, &json!("alice")),
            "{body}"
        );
        let token = answer.body["token"].as_str().unwrap();
        assert_eq!(
            server.validate(token).await,
            (200, "success".to_owned()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_program_gets_a_token_with_its_own_client_credentials() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let answer = ask(&roomkey, &provider.client_credentials().await, &any_room()).await;
    assert_eq!(
        (answer.status, &answer.body["participantIdentity"]),
        (200, &json!("demo"))
    );
}

#[tokio::test]
async fn a_subject_that_is_not_a_name_gets_a_stable_hashed_identity() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let mut identities = Vec::new();
    for sub in [
        "auth0|alice@example.com",
        "auth0|alice@example.com",
        "auth0|bob@example.com",
        "guest-alice",
        "u-alice",
    ] {
        let answer = ask(&roomkey, &provider.token(sub, json!({})).await, &any_room()).await;
        let identity = answer.body["participantIdentity"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer:?}"))
            .to_owned();
        let hashed = identity
            .strip_prefix("u-")
            .unwrap_or_else(|| panic!("{sub} became {identity}"));
        assert_eq!(
            (
                hashed.len(),
                hashed
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
            ),
            (26, true),
            "{identity}"
        );
        identities.push(identity);
    }
    assert_eq!(identities[0], identities[1]);
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), 4);
}

#[tokio::test]
async fn another_claim_may_be_the_identity() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[("ROOMKEY_IDENTITY_CLAIM", "oid")]).await;
    let token = provider
        .token(
            "pairwise",
            json!({ "oid": "0f5c8b1e-0000-4000-8000-a1b2c3d4e5f6" }),
        )
        .await;
    let answer = ask(&roomkey, &token, &any_room()).await;
    assert_eq!(
        (answer.status, &answer.body["participantIdentity"]),
        (200, &json!("0f5c8b1e-0000-4000-8000-a1b2c3d4e5f6"))
    );
}

#[tokio::test]
async fn a_caller_may_only_enter_the_rooms_of_the_claim() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[("ROOMKEY_ROOMS_CLAIM", "rooms")]).await;
    let forbidden = (403, "room_forbidden");
    for (claims, room, expected) in [
        (
            json!({ "rooms": ["standup-42", "team-*"] }),
            "standup-42",
            (200, ""),
        ),
        (
            json!({ "rooms": ["standup-42", "team-*"] }),
            "team-a",
            (200, ""),
        ),
        (
            json!({ "rooms": ["standup-42", "team-*"] }),
            "standup-421",
            forbidden,
        ),
        (
            json!({ "rooms": ["standup-42", "team-*"] }),
            "Team-a",
            forbidden,
        ),
        (json!({}), "standup-42", forbidden),
        (json!({ "rooms": [] }), "standup-42", forbidden),
        (json!({ "rooms": 42 }), "standup-42", forbidden),
        (
            json!({ "rooms": { "standup-42": true } }),
            "standup-42",
            forbidden,
        ),
    ] {
        let token = provider.token("alice", claims.clone()).await;
        let answer = ask(&roomkey, &token, &json!({ "roomName": room })).await;
        assert_eq!(answer.verdict(), expected, "{claims} {room}");
    }
}

#[tokio::test]
async fn past_the_limit_a_caller_gets_retry_after_and_others_are_served() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[("ROOMKEY_RATE_LIMIT", "3/15m")]).await;
    let (alice, bob) = (
        provider.token("alice", json!({})).await,
        provider.token("bob", json!({})).await,
    );
    // Another token of the same caller: the limit counts callers, not tokens.
    let alice_again = provider.token("alice", json!({})).await;
    for (bearer, left) in [(&alice, 2), (&alice, 1), (&alice_again, 0)] {
        let answer = ask(&roomkey, bearer, &any_room()).await;
        assert_eq!(
            (answer.status, answer.number("x-ratelimit-remaining")),
            (200, left)
        );
        assert!(!answer.headers.contains_key("retry-after"));
        headers_agree(&answer, left);
    }
    for bearer in [&alice, &alice_again] {
        let refused = ask(&roomkey, bearer, &any_room()).await;
        assert_eq!(
            (refused.verdict(), &refused.body["retryable"]),
            ((429, "rate_limited"), &json!(true))
        );
        headers_agree(&refused, 0);
        // One of three requests is possible again after a third of the span, all after all of it.
        // A busy machine has used up some of it.
        let retry_after = refused.number("retry-after");
        assert!((240..=300).contains(&retry_after), "{retry_after}");
        assert!(retry_after <= refused.parameter("ratelimit", "t"));
    }
    let answer = ask(&roomkey, &bob, &any_room()).await;
    assert_eq!(
        (answer.status, answer.number("x-ratelimit-remaining")),
        (200, 2)
    );
    assert!(metric(&roomkey, "roomkey_rate_limited_total").await >= 2.0);
}

/// Checks that the draft's headers and the older ones agree about a limit of 3 in 15 minutes.
fn headers_agree(answer: &Answer, left: u64) {
    assert_eq!(
        (
            answer.parameter("ratelimit-policy", "q"),
            answer.parameter("ratelimit-policy", "w")
        ),
        (3, 900)
    );
    assert_eq!(
        (
            answer.parameter("ratelimit", "r"),
            answer.number("x-ratelimit-remaining")
        ),
        (left, left)
    );
    assert_eq!(answer.number("x-ratelimit-limit"), 3);
    let name = |header: &str| answer.header(header).split(';').next().unwrap().to_owned();
    assert_eq!(name("ratelimit"), name("ratelimit-policy"));
    // The response is less than a minute old by this machine's clock, and each number is rounded
    // separately.
    let (until_reset, reset_at) = (
        answer.parameter("ratelimit", "t"),
        answer.number("x-ratelimit-reset"),
    );
    assert!(until_reset <= 900);
    let now = seconds(SystemClock.now());
    assert!(
        (now - 60..=now + 1).contains(&(reset_at - until_reset)),
        "{reset_at} - {until_reset} against {now}"
    );
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn rejected_credentials_use_no_budget_of_a_caller() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[("ROOMKEY_RATE_LIMIT", "3/15m")]).await;
    for _ in 0..2 {
        assert_eq!(
            ask(&roomkey, &provider.signed_by_another().await, &any_room())
                .await
                .status,
            401
        );
    }
    let answer = ask(
        &roomkey,
        &provider.signed(json!({}), json!({})).await,
        &any_room(),
    )
    .await;
    assert_eq!(
        (answer.status, answer.number("x-ratelimit-remaining")),
        (200, 2)
    );
}

#[tokio::test]
async fn fault_25_users_and_operators_cannot_use_each_others_routes() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let (user, admin) = (
        provider.token("alice", json!({})).await,
        provider
            .token("ada", json!({ "roles": ["Roomkey.Admin"] }))
            .await,
    );
    let metrics = || client().get(format!("{}/api/metrics", roomkey.url));
    for (request, expected, who) in [
        (metrics(), (401, "unauthenticated"), "nobody"),
        (
            metrics().header("x-admin-api-key", "a-wrong-key-of-the-right-length-012345"),
            (401, "unauthenticated"),
            "a wrong key",
        ),
        (
            metrics().header("x-admin-api-key", &ADMIN_KEY[..ADMIN_KEY.len() - 1]),
            (401, "unauthenticated"),
            "a key's beginning",
        ),
        (
            metrics().bearer_auth(&user),
            (403, "insufficient_scope"),
            "a user",
        ),
        (metrics().bearer_auth(&admin), (200, ""), "an admin by role"),
        (
            metrics().header("x-admin-api-key", ADMIN_KEY),
            (200, ""),
            "an admin by key",
        ),
        (
            asking(&roomkey, &any_room()).header("x-admin-api-key", ADMIN_KEY),
            (401, "unauthenticated"),
            "the admin key on a user's route",
        ),
        (
            asking(&roomkey, &any_room()).bearer_auth(&user),
            (200, ""),
            "a user on his route",
        ),
    ] {
        assert_eq!(Answer::to(request).await.verdict(), expected, "{who}");
    }
}

#[tokio::test]
async fn neither_token_nor_subject_of_a_caller_reaches_the_log() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[("ROOMKEY_LOG", "debug")]).await;
    let (good, foreign) = (
        provider.token("canary-subject", json!({})).await,
        provider.signed_by_another().await,
    );
    let mut secrets = vec!["canary-subject".to_owned()];
    for bearer in [&good, &foreign] {
        secrets.extend(bearer.split('.').map(str::to_owned));
        let answer = ask(&roomkey, bearer, &any_room()).await;
        secrets.extend(answer.body["token"].as_str().map(str::to_owned));
    }
    let ended = roomkey.stop("TERM");
    for secret in secrets {
        assert!(
            !ended.stdout.contains(&secret) && !ended.stderr.contains(&secret),
            "{secret} was logged"
        );
    }
    let lines = ended
        .stdout
        .lines()
        .chain(ended.stderr.lines())
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert!(
        lines.filter(|line| line["route"] == "/api/token").count() >= 2,
        "no access lines: the search proves nothing"
    );
}
