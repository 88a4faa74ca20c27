//! Key rotations and outages of the identity provider, and attempts to make roomkey fetch keys too
//! often.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use roomkey::clock::Stopwatch;
use serde_json::json;

use crate::cold_start::first_signed_in;
use crate::openid_provider::{OpenIdProvider, Outage};
use crate::process::Roomkey;
use crate::signed_in::{Answer, any_room, ask, asking, cold_roomkey, metric, roomkey};
use crate::undisturbed::undisturbed;

/// The longest time of a recovery: retries begin a second apart, and a hanging request takes two.
const PATIENCE: Duration = Duration::from_mins(1);

/// The longest time of the first request of an instance: it waits 3 s at most for the first fetch.
const COLD_BOUND: Duration = Duration::from_secs(3 + 1);
/// The longest time of a request after a failed first fetch, for which nobody waits.
const KNOWN_BOUND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_new_key_causes_one_fetch_and_the_old_one_stays_valid() {
    let provider = OpenIdProvider::start();
    let roomkey = roomkey(&provider, &[]).await;
    let old = [
        provider.token("alice", json!({})).await,
        provider.token("alice", json!({})).await,
    ];
    assert_eq!(ask(&roomkey, &old[0], &any_room()).await.status, 200);
    let fetched = provider.key_fetches().await;

    provider.rotate(true).await;
    let new: Vec<_> = join_all((0..20).map(|_| provider.token("alice", json!({})))).await;
    let body = any_room();
    for answer in join_all(new.iter().map(|bearer| ask(&roomkey, bearer, &body))).await {
        assert_eq!(answer.verdict(), (200, ""));
    }
    assert_eq!(provider.key_fetches().await, fetched + 1);
    for bearer in &old {
        assert_eq!(
            ask(&roomkey, bearer, &any_room()).await.verdict(),
            (200, "")
        );
    }
    assert_eq!(provider.key_fetches().await, fetched + 1);
}

#[tokio::test]
async fn fault_20_a_thousand_tokens_with_unknown_keys_cause_one_fetch_at_most() {
    let provider = OpenIdProvider::start();
    // Each comes from another address, so that the limit on failures is not reached.
    let roomkey = roomkey(&provider, &[("ROOMKEY_TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let good = provider.token("alice", json!({})).await;
    assert_eq!(ask(&roomkey, &good, &any_room()).await.status, 200);
    let fetched = provider.key_fetches().await;

    let (_, rest) = good.split_once('.').unwrap();
    let began = Stopwatch::start();
    for batch in 0..20_u8 {
        let answers = join_all((0..50_u8).map(|index| {
            let header =
                json!({ "alg": "RS256", "typ": "at+jwt", "kid": format!("key-{batch}-{index}") })
                    .to_string();
            let bearer = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            let request = asking(&roomkey, &any_room())
                .header("x-forwarded-for", format!("198.18.{batch}.{index}"));
            Answer::to(request.bearer_auth(bearer))
        }));
        for answer in answers.await {
            assert_eq!(answer.verdict(), (401, "unauthenticated"));
        }
    }
    // One in 30 s, and hardly any machine takes longer.
    let allowed = 1 + began.elapsed().as_secs() / 30;
    assert!(provider.key_fetches().await <= fetched + allowed);
    assert_eq!(ask(&roomkey, &good, &any_room()).await.status, 200);
}

#[tokio::test]
async fn fault_22_with_cached_keys_an_outage_of_the_provider_has_no_effect() {
    for outage in [Outage::Reset, Outage::Hang] {
        let provider = OpenIdProvider::start();
        let roomkey = roomkey(&provider, &[]).await;
        let (seen, unseen) = (
            provider.token("alice", json!({})).await,
            provider.token("bob", json!({})).await,
        );
        let foreign = provider.signed_by_another().await;
        assert_eq!(ask(&roomkey, &seen, &any_room()).await.status, 200);
        provider.stop(outage).await;
        for (bearer, expected) in [
            (&seen, (200, "")),
            (&unseen, (200, "")),
            (&foreign, (401, "unauthenticated")),
        ] {
            assert_eq!(
                ask(&roomkey, bearer, &any_room()).await.verdict(),
                expected,
                "{outage:?}"
            );
        }
    }
}

#[tokio::test]
async fn fault_22_without_keys_nobody_gets_a_token_until_the_provider_recovers() {
    for outage in [Outage::Reset, Outage::Hang] {
        let (provider, roomkey, [good, foreign], answers) = undisturbed(async || {
            let provider = OpenIdProvider::start();
            let bearers = [
                provider.token("alice", json!({})).await,
                provider.signed_by_another().await,
            ];
            provider.stop(outage).await;
            let roomkey = cold_roomkey(&provider, &[("ROOMKEY_RATE_LIMIT", "off")]);
            let mut answers = Vec::new();
            for (bearer, bound) in bearers.iter().zip([COLD_BOUND, KNOWN_BOUND]) {
                let began = Stopwatch::start();
                answers.push(ask(&roomkey, bearer, &any_room()).await);
                if began.elapsed() >= bound {
                    return None;
                }
            }
            Some((provider, roomkey, bearers, answers))
        })
        .await;
        for answer in answers {
            assert_eq!(
                (answer.verdict(), &answer.body["retryable"]),
                ((503, "auth_unavailable"), &json!(true)),
                "{outage:?}"
            );
            assert!(answer.number("retry-after") >= 1);
        }
        // Missing credentials get 401 whatever the provider does.
        assert_eq!(
            Answer::to(asking(&roomkey, &any_room())).await.verdict(),
            (401, "unauthenticated")
        );

        provider.resume().await;
        healed(&roomkey, &good).await;
        assert_eq!(
            ask(&roomkey, &foreign, &any_room()).await.verdict(),
            (401, "unauthenticated")
        );
        assert!(metric(&roomkey, "roomkey_oidc_keys_age_seconds").await < PATIENCE.as_secs_f64());
    }
}

#[tokio::test]
async fn two_hundred_callers_at_a_cold_start_share_one_fetch_and_are_served() {
    let (provider, answers) = undisturbed(async || {
        let provider = OpenIdProvider::start();
        let answers = first_signed_in(&provider, 200).await?;
        Some((provider, answers))
    })
    .await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    assert_eq!(provider.key_fetches().await, 1);
}

/// Sends requests until one gets a token. Each response before it must be a 503.
async fn healed(roomkey: &Roomkey, bearer: &str) {
    let began = Stopwatch::start();
    loop {
        let answer = ask(roomkey, bearer, &any_room()).await;
        if answer.status == 200 {
            return;
        }
        assert_eq!(answer.verdict(), (503, "auth_unavailable"));
        assert!(began.elapsed() < PATIENCE, "it does not heal");
    }
}
