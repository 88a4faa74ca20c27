//! Secrets in a Key Vault with outages, rotated values and unusable values.

use std::time::Duration;

use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use roomkey::clock::Stopwatch;
use serde_json::{Value, json};

use crate::fake_azure::{self, FakeAzure};
use crate::fake_realtime::{self, FakeRealtime};
use crate::leaks::assert_absent;
use crate::process::Roomkey;
use crate::realtime::{bare, mint};
use crate::signed_in::{Answer, client};

/// LiveKit's API key and secret under their default names, before and after a rotation.
const OLD: [&str; 2] = ["APIoldcanary", "an-old-canary-secret-of-32-bytes-or-more"];
const NEW: [&str; 2] = ["APInewcanary", "a-new-canary-secret-of-32-bytes-or-more-1"];
const PAIR_NAMES: [&str; 2] = ["livekit-api-key", "livekit-api-secret"];
/// The name of Azure OpenAI's key in the vault.
const AZURE_KEY: (&str, &str) = ("AZURE_OPENAI_API_KEY_SECRET_NAME", "azure-openai-key");

/// The longest time of a recovery: attempts are at most a minute apart, and a hanging one takes
/// three seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Starts a roomkey with LiveKit's pair in the vault and further settings.
fn roomkey(azure: &FakeAzure, settings: &[(&str, &str)]) -> Roomkey {
    let livekit = [
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("ROOMKEY_RATE_LIMIT", "off"),
        ("ROOMKEY_REALTIME_RATE_LIMIT", "off"),
    ];
    bare(&[&azure.settings()[..], &livekit, settings].concat())
}

async fn set_pair(azure: &FakeAzure, pair: [&str; 2]) {
    for (name, value) in PAIR_NAMES.iter().zip(pair) {
        azure.set(name, value).await;
    }
}

async fn livekit_token(roomkey: &Roomkey) -> Answer {
    mint(
        roomkey,
        &json!({ "provider": "livekit", "roomName": "standup-42" }),
    )
    .await
}

/// Reports whether a token has this API key as `iss` and is signed with its secret.
fn is_of(answer: &Answer, [key, secret]: [&str; 2]) -> bool {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[key]);
    let token = answer.body["token"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"));
    jsonwebtoken::decode::<Value>(
        token,
        &DecodingKey::from_secret(secret.as_bytes()),
        &validation,
    )
    .is_ok()
}

/// Repeats a request until the response is the expected one, and returns it. A response that is
/// neither expected nor allowed until then fails at once.
async fn until(what: &str, ask: impl AsyncFn() -> Answer, meanwhile: (u16, &str)) -> Answer {
    let began = Stopwatch::start();
    loop {
        let answer = ask().await;
        if answer.status == 200 {
            return answer;
        }
        assert_eq!(answer.verdict(), meanwhile, "{what}");
        assert!(began.elapsed() < PATIENCE, "{what} does not heal");
    }
}

async fn ready(roomkey: &Roomkey) -> Answer {
    Answer::to(client().get(format!("{}/api/health/ready", roomkey.url))).await
}

/// Returns the states in the readiness report of dependencies whose name contains a text.
fn states<'a>(ready: &'a Answer, part: &str) -> Vec<&'a str> {
    let lines = ready.body["dependencies"]
        .as_array()
        .unwrap_or_else(|| panic!("{ready:?}"))
        .iter();
    lines
        .filter(|line| line["name"].as_str().unwrap().contains(part))
        .map(|line| line["state"].as_str().unwrap())
        .collect()
}

/// Stops roomkey and searches its output for secrets and the fakes' canaries.
fn assert_silent(roomkey: Roomkey, answers: &[&Answer]) {
    let ended = roomkey.stop("TERM");
    assert!(ended.status.success(), "{ended:?}");
    let answers = format!("{answers:?}");
    let texts = [
        OLD[0],
        OLD[1],
        NEW[0],
        NEW[1],
        fake_azure::CANARY,
        fake_azure::IDENTITY_HEADER,
        fake_realtime::CANARY,
        fake_realtime::API_KEY,
    ];
    assert_absent(&texts, &[&ended.stdout, &ended.stderr]);
    // A token contains the API key, so responses may contain it.
    assert_absent(
        &[
            OLD[1],
            NEW[1],
            fake_azure::CANARY,
            fake_realtime::CANARY,
            fake_realtime::API_KEY,
        ],
        &[&answers],
    );
}

#[tokio::test]
async fn a_start_without_the_vault_serves_everything_as_soon_as_it_is_back() {
    let azure = FakeAzure::start();
    set_pair(&azure, OLD).await;
    azure.stop_vault().await;
    let roomkey = roomkey(&azure, &[]);

    let refused = livekit_token(&roomkey).await;
    assert_eq!(refused.verdict(), (503, "secret_unavailable"));
    assert!(refused.number("retry-after") >= 1);
    assert_eq!(refused.body["retryable"], true);
    assert_eq!(
        Answer::to(client().get(format!("{}/api/health", roomkey.url)))
            .await
            .status,
        200
    );
    let waiting = ready(&roomkey).await;
    assert_eq!(
        (waiting.status, &waiting.body["status"]),
        (503, &json!("waiting"))
    );
    assert!(waiting.body.to_string().contains("missing"), "{waiting:?}");

    azure.start_vault().await;
    let served = until(
        "the vault",
        async || livekit_token(&roomkey).await,
        (503, "secret_unavailable"),
    )
    .await;
    assert!(is_of(&served, OLD));
    let now = ready(&roomkey).await;
    assert_eq!(now.status, 200, "{now:?}");
    let lines = now.body["dependencies"].as_array().unwrap();
    assert!(!lines.is_empty());
    for line in lines {
        assert_eq!(line["state"], "fresh", "{line}");
        assert!(line["since"].is_string(), "{line}");
    }
    assert_silent(roomkey, &[&refused, &waiting, &served, &now]);
}

#[tokio::test]
async fn every_vault_failure_gives_the_same_503_and_logs_none_of_its_text() {
    let azure = FakeAzure::start();
    for (order, secret) in [
        (json!({ "status": 401 }), None),
        (json!({ "status": 403 }), None),
        (json!({ "status": 404 }), None),
        (
            json!({ "status": 429, "headers": { "retry-after": "86400" } }),
            None,
        ),
        (json!({ "status": 500 }), None),
        (json!({ "status": 200, "body": fake_azure::CANARY }), None),
        (json!({ "how": "hang" }), None),
        (json!({ "how": "drip" }), None),
        (json!({ "how": "cut" }), None),
        (json!({ "how": "reset" }), None),
        (json!({}), Some("changeme")),
        (json!({}), Some("too-short")),
        (
            json!({}),
            Some("@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/x)"),
        ),
        (json!({}), Some("")),
    ] {
        set_pair(&azure, [OLD[0], secret.unwrap_or(OLD[1])]).await;
        azure.order_vault(order.clone()).await;
        let read = azure.reads(PAIR_NAMES[0]).await + azure.reads(PAIR_NAMES[1]).await;
        let roomkey = roomkey(&azure, &[]);
        // Either both of them, or repeatedly the first that fails.
        let began = Stopwatch::start();
        while azure.reads(PAIR_NAMES[0]).await + azure.reads(PAIR_NAMES[1]).await < read + 2 {
            assert!(
                began.elapsed() < PATIENCE,
                "{order} {secret:?}: the vault is not read"
            );
        }
        let answer = livekit_token(&roomkey).await;
        assert_eq!(
            answer.verdict(),
            (503, "secret_unavailable"),
            "{order} {secret:?}"
        );
        // The vault is read again, however long its `Retry-After` is.
        azure.order_vault(json!({})).await;
        set_pair(&azure, OLD).await;
        let served = until(
            "the value",
            async || livekit_token(&roomkey).await,
            (503, "secret_unavailable"),
        )
        .await;
        assert!(is_of(&served, OLD), "{order} {secret:?}");
        assert_silent(roomkey, &[&answer, &served]);
    }
}

#[tokio::test]
async fn a_missing_or_disabled_secret_is_used_as_soon_as_it_is_available() {
    let azure = FakeAzure::start();
    let roomkey = roomkey(&azure, &[]);
    azure.until_read(PAIR_NAMES[0], 1).await;
    assert_eq!(
        livekit_token(&roomkey).await.verdict(),
        (503, "secret_unavailable")
    );
    set_pair(&azure, OLD).await;
    until(
        "the pair",
        async || livekit_token(&roomkey).await,
        (503, "secret_unavailable"),
    )
    .await;

    let other = FakeAzure::start();
    set_pair(&other, OLD).await;
    other.disable(PAIR_NAMES[0]).await;
    let switched_off = self::roomkey(&other, &[]);
    other.until_read(PAIR_NAMES[0], 1).await;
    assert_eq!(
        livekit_token(&switched_off).await.verdict(),
        (503, "secret_unavailable")
    );
    set_pair(&other, NEW).await;
    let served = until(
        "the pair",
        async || livekit_token(&switched_off).await,
        (503, "secret_unavailable"),
    )
    .await;
    assert!(is_of(&served, NEW));
    assert_silent(switched_off, &[&served]);
}

#[tokio::test]
async fn a_rotated_pair_is_used_without_a_restart_and_never_mixed_with_the_old_one() {
    let azure = FakeAzure::start();
    set_pair(&azure, OLD).await;
    let roomkey = roomkey(&azure, &[("ROOMKEY_SECRET_REFRESH_SECONDS", "30")]);
    let first = until(
        "the first read",
        async || livekit_token(&roomkey).await,
        (503, "secret_unavailable"),
    )
    .await;
    assert!(is_of(&first, OLD));

    let read = azure.reads(PAIR_NAMES[1]).await;
    set_pair(&azure, NEW).await;
    azure.until_read(PAIR_NAMES[1], read + 1).await;
    let began = Stopwatch::start();
    let last = loop {
        let answer = livekit_token(&roomkey).await;
        assert!(
            is_of(&answer, OLD) || is_of(&answer, NEW),
            "a key of one pair with the secret of the other"
        );
        if is_of(&answer, NEW) {
            break answer;
        }
        assert!(began.elapsed() < PATIENCE, "the new pair does not sign");
    };

    // Neither half a pair nor an unusable value replaces it.
    for (name, value) in [(PAIR_NAMES[1], "changeme"), (PAIR_NAMES[0], "")] {
        azure.set(name, value).await;
    }
    let read = azure.reads(PAIR_NAMES[0]).await;
    azure.until_read(PAIR_NAMES[0], read + 2).await;
    assert!(is_of(&livekit_token(&roomkey).await, NEW));
    assert_silent(roomkey, &[&first, &last]);
}

#[tokio::test]
async fn a_rotated_key_fails_no_request_and_a_rejected_one_does_not_flood_the_vault() {
    let (azure, fake) = (FakeAzure::start(), FakeRealtime::start());
    set_pair(&azure, OLD).await;
    azure.set(AZURE_KEY.1, fake_realtime::API_KEY).await;
    // The regular refresh would take an hour.
    let settings = [
        &fake.azure_settings()[..],
        &[AZURE_KEY, ("ROOMKEY_SECRET_REFRESH_SECONDS", "3600")],
    ]
    .concat();
    let roomkey = roomkey(&azure, &settings);
    let realtime = async || mint(&roomkey, &json!({ "provider": "azure-openai" })).await;
    let first = until("the first read", realtime, (503, "secret_unavailable")).await;
    let read = azure.reads(AZURE_KEY.1).await;
    for _ in 0..20 {
        assert_eq!(realtime().await.status, 200);
    }
    assert_eq!(
        azure.reads(AZURE_KEY.1).await,
        read,
        "a mint does not read the vault"
    );

    let rotated = "another-key-of-the-fake-0123456789";
    azure.set(AZURE_KEY.1, rotated).await;
    fake.accept_keys(&[rotated]).await;
    let together = join_all((0..10).map(|_| realtime())).await;
    assert!(
        together.iter().all(|answer| answer.status == 200),
        "{together:?}"
    );
    assert_eq!(
        azure.reads(AZURE_KEY.1).await,
        read + 1,
        "one read for all of them"
    );
    let served = realtime().await;
    assert_eq!(served.status, 200);
    assert_eq!(fake.last_mint().await["headers"]["api-key"], rotated);

    let read = azure.reads(AZURE_KEY.1).await;
    fake.accept_keys(&["nobody-has-this-one"]).await;
    let began = Stopwatch::start();
    for _ in 0..50 {
        assert_eq!(
            realtime().await.verdict(),
            (502, "upstream_credentials_rejected")
        );
    }
    // At most one read in 30 s, and one that was in flight.
    let allowed = 2 + began.elapsed().as_secs() / 30;
    assert!(
        azure.reads(AZURE_KEY.1).await <= read + allowed,
        "the vault is stormed"
    );
    assert_absent(&[rotated], &[&format!("{first:?} {together:?} {served:?}")]);
    assert_silent(roomkey, &[&first, &served]);
}

#[tokio::test]
async fn a_vault_that_is_killed_during_a_read_removes_no_value() {
    let (azure, fake) = (FakeAzure::start(), FakeRealtime::start());
    set_pair(&azure, OLD).await;
    azure.set(AZURE_KEY.1, fake_realtime::API_KEY).await;
    let roomkey = roomkey(&azure, &[&fake.azure_settings()[..], &[AZURE_KEY]].concat());
    let realtime = async || mint(&roomkey, &json!({ "provider": "azure-openai" })).await;
    until("the first read", realtime, (503, "secret_unavailable")).await;
    until(
        "the first read",
        async || livekit_token(&roomkey).await,
        (503, "secret_unavailable"),
    )
    .await;

    // The next read hangs in the vault when the vault dies.
    let read = azure.reads(AZURE_KEY.1).await + azure.reads(PAIR_NAMES[0]).await;
    azure.order_vault(json!({ "how": "hang" })).await;
    fake.accept_keys(&[]).await;
    assert_eq!(
        realtime().await.verdict(),
        (502, "upstream_credentials_rejected")
    );
    let began = Stopwatch::start();
    while azure.reads(AZURE_KEY.1).await + azure.reads(PAIR_NAMES[0]).await == read {
        assert!(began.elapsed() < PATIENCE, "the vault is not read");
    }
    azure.stop_vault().await;
    fake.accept_keys(&[fake_realtime::API_KEY]).await;

    for _ in 0..20 {
        assert!(is_of(&livekit_token(&roomkey).await, OLD));
        assert_eq!(realtime().await.status, 200);
    }
    let now = ready(&roomkey).await;
    assert_eq!(now.status, 200, "{now:?}");
    assert!(!now.body.to_string().contains("missing"), "{now:?}");
    assert_silent(roomkey, &[&now]);
}

#[tokio::test]
async fn readiness_lists_each_secret_and_which_one_is_missing() {
    let (azure, fake) = (FakeAzure::start(), FakeRealtime::start());
    set_pair(&azure, OLD).await;
    // Azure OpenAI's key is missing, which affects nothing else.
    let roomkey = roomkey(&azure, &[&fake.azure_settings()[..], &[AZURE_KEY]].concat());
    let served = until(
        "the pair",
        async || livekit_token(&roomkey).await,
        (503, "secret_unavailable"),
    )
    .await;
    let waiting = ready(&roomkey).await;
    assert_eq!(
        (waiting.status, &waiting.body["status"]),
        (503, &json!("waiting"))
    );
    assert_eq!(states(&waiting, "azure-openai"), ["missing"], "{waiting:?}");
    assert!(
        states(&waiting, "livekit")
            .iter()
            .all(|state| *state == "fresh"),
        "{waiting:?}"
    );
    assert!(!states(&waiting, "livekit").is_empty(), "{waiting:?}");
    // Only roomkey's names appear. The names in the vault are the operator's.
    assert_absent(
        &[AZURE_KEY.1, "kv.vault.localhost"],
        &[&waiting.body.to_string()],
    );

    azure.set(AZURE_KEY.1, fake_realtime::API_KEY).await;
    let realtime = async || mint(&roomkey, &json!({ "provider": "azure-openai" })).await;
    until("the key", realtime, (503, "secret_unavailable")).await;
    assert_eq!(ready(&roomkey).await.status, 200);
    assert_silent(roomkey, &[&served, &waiting]);
}
