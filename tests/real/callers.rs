//! What a caller gets whom a real identity provider vouches for: tokens in his own name, for his
//! rooms, so often and no more.

use std::time::{SystemTime, UNIX_EPOCH};

use roomkey::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::openid_provider::OpenIdProvider;
use crate::peers::LiveKitServer;
use crate::signed_in::{ADMIN_KEY, Answer, any_room, ask, asking, client, metric, roomkey};

#[tokio::test]
async fn a_caller_gets_a_token_in_his_own_name_and_a_real_livekit_server_accepts_it() {
    let (provider, server) = (OpenIdProvider::start(), LiveKitServer::start().await);
    let roomkey = roomkey(&provider, &[]).await;
    let alice = provider.token("alice", json!({})).await;
    for body in [
        any_room(),
        json!({ "roomName": "standup-42", "participantIdentity": "alice", "participantName": "Alice" }),
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
async fn a_subject_that_is_no_name_becomes_the_same_hashed_identity_each_time() {
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
async fn a_caller_enters_the_rooms_of_his_claim_and_no_other() {
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
async fn past_the_limit_a_caller_is_told_when_to_come_back_and_others_are_not_held_up() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[("ROOMKEY_RATE_LIMIT", "3/15m")]).await;
    let (alice, bob) = (
        provider.token("alice", json!({})).await,
        provider.token("bob", json!({})).await,
    );
    // A token of the same caller that is another: the limit counts callers.
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
        // One of three is back after a third of the span, all are back after all of it.
        let retry_after = refused.number("retry-after");
        assert!((290..=300).contains(&retry_after), "{retry_after}");
        assert!(retry_after <= refused.parameter("ratelimit", "t"));
    }
    let answer = ask(&roomkey, &bob, &any_room()).await;
    assert_eq!(
        (answer.status, answer.number("x-ratelimit-remaining")),
        (200, 2)
    );
    assert!(metric(&roomkey, "roomkey_rate_limited_total").await >= 2.0);
}

/// The draft's headers and the older ones say the same about a limit of 3 in 15 minutes.
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
    // The answer was written less than a minute ago, on this machine's clock, and each number is
    // rounded on its own.
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
async fn what_is_refused_for_its_credentials_takes_nothing_from_the_callers_budget() {
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
async fn fault_25_users_and_operators_do_not_reach_each_others_routes() {
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
async fn neither_a_callers_token_nor_his_subject_reaches_a_line_of_the_log() {
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
