//! The first requests of an instance: they wait for the first fetch, share it, and are served.

use std::time::Duration;

use futures_util::future::join_all;
use roomkey::clock::Stopwatch;
use serde_json::{Value, json};

use crate::fake_azure::FakeAzure;
use crate::fake_realtime::FakeRealtime;
use crate::openid_provider::OpenIdProvider;
use crate::process::Roomkey;
use crate::realtime::{bare, mint};
use crate::signed_in::{Answer, any_room, ask, client, cold_roomkey};
use crate::undisturbed::undisturbed;

/// The response times of a vault in the same region and of the identity endpoint on the machine.
const VAULT_MS: u64 = 150;
const IDENTITY_MS: u64 = 60;
/// The longest time of the first request on a machine that runs nothing else.
const TARGET: Duration = Duration::from_millis(350);
/// The longest time of the first request on a machine that runs other tests: less than the 3 s for
/// which it waits.
const BOUND: Duration = Duration::from_secs(2);

async fn slow_azure() -> FakeAzure {
    let azure = FakeAzure::start();
    azure.set("livekit-api-key", "APIcanary").await;
    azure
        .set("livekit-api-secret", "a-canary-secret-of-32-bytes-or-more")
        .await;
    azure.order_vault(json!({ "delayMs": VAULT_MS })).await;
    azure
        .order_identity(json!({ "delayMs": IDENTITY_MS }))
        .await;
    azure
}

fn with_livekit_in(azure: &FakeAzure) -> Roomkey {
    bare(
        &[
            &azure.settings()[..],
            &[
                ("LIVEKIT_URL", "wss://livekit.example.com"),
                ("ROOMKEY_RATE_LIMIT", "off"),
            ],
        ]
        .concat(),
    )
}

/// Sends requests as soon as the readiness probe of the Functions host gets a response. Returns
/// nothing if they took so long that a time limit may have ended the wait for the first fetch.
async fn first_answers(roomkey: &Roomkey, count: usize, body: Value) -> Option<Vec<Answer>> {
    let began = Stopwatch::start();
    assert_eq!(
        client().get(&roomkey.url).send().await.unwrap().status(),
        204
    );
    let answers = join_all((0..count).map(|_| mint(roomkey, &body))).await;
    let took = began.elapsed();
    println!(
        "{count} first requests: {} ms, aimed at {} ms",
        took.as_millis(),
        TARGET.as_millis()
    );
    (took < BOUND).then_some(answers)
}

#[tokio::test]
async fn the_first_request_waits_for_the_vault_and_is_served() {
    let answers = undisturbed(async || {
        let azure = slow_azure().await;
        first_answers(&with_livekit_in(&azure), 1, any_room()).await
    });
    assert_eq!(answers.await[0].verdict(), (200, ""));
}

#[tokio::test]
async fn forty_first_requests_share_one_read_of_the_vault() {
    let (azure, answers) = undisturbed(async || {
        let azure = slow_azure().await;
        let roomkey = with_livekit_in(&azure);
        let answers = first_answers(&roomkey, 40, any_room()).await?;
        Some((azure, answers))
    })
    .await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    let reads = (
        azure.reads("livekit-api-key").await,
        azure.reads("livekit-api-secret").await,
    );
    assert_eq!((reads, azure.identity_requests().await), ((1, 1), 1));
}

#[tokio::test]
async fn forty_first_mints_share_one_token_of_entra() {
    let (azure, answers) = undisturbed(async || {
        let (azure, fake) = (slow_azure().await, FakeRealtime::start());
        let identity = azure
            .settings()
            .into_iter()
            .filter(|(name, _)| *name != "KEY_VAULT_URL");
        let settings: Vec<_> = identity
            .chain(fake.azure_settings())
            .chain([("ROOMKEY_REALTIME_RATE_LIMIT", "off")])
            .collect();
        let answers = first_answers(&bare(&settings), 40, json!({})).await?;
        Some((azure, answers))
    })
    .await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    assert_eq!(azure.identity_requests().await, 1);
}

#[tokio::test]
async fn the_first_mint_with_a_key_from_the_vault_is_served() {
    let answers = undisturbed(async || {
        let (azure, fake) = (slow_azure().await, FakeRealtime::start());
        azure
            .set("azure-openai-key", crate::fake_realtime::API_KEY)
            .await;
        let key = [("AZURE_OPENAI_API_KEY_SECRET_NAME", "azure-openai-key")];
        let roomkey = bare(&[&azure.settings()[..], &fake.azure_settings(), &key].concat());
        first_answers(&roomkey, 1, json!({})).await
    });
    assert_eq!(answers.await[0].verdict(), (200, ""));
}

#[tokio::test]
async fn the_first_signed_in_callers_are_served() {
    let (provider, answers) = undisturbed(async || {
        let provider = OpenIdProvider::start();
        let answers = first_signed_in(&provider, 40).await?;
        Some((provider, answers))
    })
    .await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    assert_eq!(provider.key_fetches().await, 1);
}

/// As [`first_answers`], for callers with a token of a provider.
pub async fn first_signed_in(provider: &OpenIdProvider, count: usize) -> Option<Vec<Answer>> {
    let (bearer, body) = (provider.token("alice", json!({})).await, any_room());
    let began = Stopwatch::start();
    let roomkey = cold_roomkey(provider, &[("ROOMKEY_RATE_LIMIT", "off")]);
    let answers = join_all((0..count).map(|_| ask(&roomkey, &bearer, &body))).await;
    (began.elapsed() < BOUND).then_some(answers)
}

#[tokio::test]
async fn after_a_failed_first_read_no_request_waits() {
    undisturbed(async || {
        let azure = slow_azure().await;
        azure.order_vault(json!({ "status": 403 })).await;
        let roomkey = with_livekit_in(&azure);
        assert_eq!(
            mint(&roomkey, &any_room()).await.verdict(),
            (503, "secret_unavailable")
        );
        azure.order_vault(json!({ "how": "hang" })).await;
        let began = Stopwatch::start();
        for _ in 0..20 {
            let answer = mint(&roomkey, &any_room()).await;
            assert_eq!(answer.verdict(), (503, "secret_unavailable"));
            assert!(answer.number("retry-after") >= 1);
        }
        (began.elapsed() < Duration::from_secs(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_vault_that_hangs_delays_the_first_request_by_3_s_at_most() {
    let answer = undisturbed(async || {
        let azure = slow_azure().await;
        azure.order_vault(json!({ "how": "hang" })).await;
        let roomkey = with_livekit_in(&azure);
        let began = Stopwatch::start();
        let answer = mint(&roomkey, &any_room()).await;
        let seconds = began.elapsed().as_secs();
        assert!(seconds >= 2, "{seconds} s");
        (seconds < 4).then_some(answer)
    });
    assert_eq!(answer.await.verdict(), (503, "secret_unavailable"));
}
