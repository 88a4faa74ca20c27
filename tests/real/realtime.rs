//! Client secrets of a Realtime upstream that serves, refuses or fails.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use roomkey::clock::{Clock, Stopwatch, SystemClock};
use roomkey::domain::livekit::lifetime::Rfc3339;
use serde_json::{Value, json};

use crate::fake_azure::FakeAzure;
use crate::fake_realtime::{API_KEY, CANARY, DEPLOYMENT, FakeRealtime, MODEL};
use crate::leaks::assert_absent;
use crate::process::Roomkey;
use crate::signed_in::{ADMIN_KEY, Answer, client};
use crate::undisturbed::undisturbed;

/// The deadline of a mint plus the time that a busy machine may add.
const DEADLINE: Duration = Duration::from_millis(3_000 + 1_500);
/// The longest time until the first Entra token arrives or an upstream notices a disconnect.
const PATIENCE: Duration = Duration::from_mins(1);

/// The vendor whose service the fake stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Vendor {
    OpenAi,
    Azure,
}

impl Vendor {
    /// Returns the provider's name in requests.
    pub fn provider(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure-openai",
        }
    }

    /// Returns OpenAI's model or Azure's deployment.
    pub fn model(self) -> &'static str {
        match self {
            Self::OpenAi => MODEL,
            Self::Azure => DEPLOYMENT,
        }
    }
}

/// Starts a roomkey with the given settings and the required ones only.
pub fn bare(settings: &[(&str, &str)]) -> Roomkey {
    let base = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "0"),
        ("ROOMKEY_CALLER_AUTH", "anonymous"),
        ("ROOMKEY_ADMIN_KEYS", ADMIN_KEY),
    ];
    Roomkey::start(
        Path::new(env!("CARGO_BIN_EXE_roomkey")),
        Path::new(env!("CARGO_MANIFEST_DIR")),
        &[&base, settings].concat(),
    )
}

/// Starts a roomkey that mints at one vendor's side of the fake with its API key.
pub fn roomkey(fake: &FakeRealtime, vendor: Vendor, settings: &[(&str, &str)]) -> Roomkey {
    match vendor {
        Vendor::OpenAi => bare(
            &[
                &fake.openai_settings()[..],
                &[("OPENAI_API_KEY", API_KEY)],
                settings,
            ]
            .concat(),
        ),
        Vendor::Azure => bare(
            &[
                &fake.azure_settings()[..],
                &[("AZURE_OPENAI_API_KEY", API_KEY)],
                settings,
            ]
            .concat(),
        ),
    }
}

/// Requests a token.
pub async fn mint(roomkey: &Roomkey, body: &Value) -> Answer {
    Answer::to(
        client()
            .post(format!("{}/api/token", roomkey.url))
            .json(body),
    )
    .await
}

/// Stops roomkey and returns all of its output: a response with its headers, and its log.
fn outputs(roomkey: Roomkey, answer: &Answer) -> [String; 3] {
    let ended = roomkey.stop("TERM");
    [format!("{answer:?}"), ended.stdout, ended.stderr]
}

#[tokio::test]
async fn a_realtime_token_has_the_upstreams_secret_and_the_url_for_the_browser() {
    for (vendor, calls) in [
        (Vendor::OpenAi, "/v1/realtime/calls"),
        (Vendor::Azure, "/openai/v1/realtime/calls?webrtcfilter=on"),
    ] {
        let fake = FakeRealtime::start();
        let roomkey = roomkey(
            &fake,
            vendor,
            &[(
                "ROOMKEY_REALTIME_INSTRUCTIONS",
                "canary-of-the-instructions",
            )],
        );
        let before = SystemClock.now();
        let answer = mint(
            &roomkey,
            &json!({ "roomName": "standup-42", "participantIdentity": "alice" }),
        )
        .await;

        assert_eq!(answer.status, 200, "{vendor:?}: {answer:?}");
        let members: HashSet<_> = answer
            .body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected = [
            "provider",
            "token",
            "issuedAt",
            "expiresAt",
            "refreshAt",
            "sessionId",
            "model",
            "voice",
            "webrtcUrl",
        ];
        assert_eq!(members, HashSet::from(expected), "{vendor:?}");
        let text = |name: &str| answer.body[name].as_str().unwrap();
        assert!(
            text("token").starts_with("ek_") && text("sessionId").starts_with("sess_"),
            "{vendor:?}"
        );
        assert_eq!(
            (text("provider"), text("model"), text("voice")),
            (vendor.provider(), vendor.model(), "marin")
        );
        assert_eq!(text("webrtcUrl"), format!("{}{calls}", fake.url));
        assert_eq!(answer.header("cache-control"), "no-store");
        // RFC 3339 in one form and one zone: the order of the texts is that of the times.
        assert!(
            *Rfc3339::of(before).to_string() <= *text("issuedAt")
                && text("issuedAt") <= text("refreshAt"),
            "{vendor:?}: {answer:?}"
        );
        assert!(
            text("refreshAt") < text("expiresAt"),
            "{vendor:?}: {answer:?}"
        );
        assert!(
            *text("expiresAt")
                <= *Rfc3339::of(SystemClock.now() + Duration::from_mins(1)).to_string(),
            "{vendor:?}: {answer:?}"
        );

        let asked = fake.last_mint().await;
        assert_eq!(
            asked["body"]["expires_after"],
            json!({ "anchor": "created_at", "seconds": 60 }),
            "{vendor:?}"
        );
        assert_eq!(
            asked["body"]["session"]["instructions"], "canary-of-the-instructions",
            "{vendor:?}"
        );
        let token = text("token").to_owned();
        let [shown, stdout, stderr] = outputs(roomkey, &answer);
        assert_absent(
            &["canary-of-the-instructions", API_KEY],
            &[&shown, &stdout, &stderr],
        );
        assert_absent(&[&token], &[&stdout, &stderr]);
    }
}

#[tokio::test]
async fn v1_token_works_like_a_plain_realtime_token_service() {
    let fake = FakeRealtime::start();
    let roomkey = roomkey(&fake, Vendor::Azure, &[]);
    let url = format!("{}/api/v1/token", roomkey.url);
    for request in [
        client().post(&url),
        client().post(&url).json(&json!({ "voice": "cedar" })),
    ] {
        let answer = Answer::to(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body["token"].as_str().unwrap().starts_with("ek_"));
        assert_eq!(
            answer.body["endpoint"],
            format!("{}/openai/v1/realtime/calls?webrtcfilter=on", fake.url)
        );
        assert!(answer.body["expiresAt"].is_string());
    }
    assert_eq!(
        fake.last_mint().await["body"]["session"]["audio"]["output"]["voice"],
        "cedar"
    );
}

#[tokio::test]
async fn callers_may_only_choose_listed_values_and_openai_gets_a_hash() {
    let fake = FakeRealtime::start();
    let settings = [
        ("ROOMKEY_REALTIME_VOICES", "marin,cedar"),
        ("ROOMKEY_HASH_KEY", "a-hash-key-for-tests-only-0123456789"),
    ];
    let roomkey = roomkey(&fake, Vendor::OpenAi, &settings);
    for body in [
        json!({ "voice": "alloy" }),
        json!({ "model": "gpt-realtime-0" }),
        json!({ "role": "speaker" }),
        json!({ "expirationSeconds": 600 }),
        json!({ "participantName": "Alice" }),
        json!({ "instructions": "Be rude." }),
        json!({ "provider": "azure-openai" }),
        json!({ "provider": "livekit", "roomName": "standup-42" }),
    ] {
        assert_eq!(
            mint(&roomkey, &body).await.verdict(),
            (400, "invalid_request"),
            "{body}"
        );
    }
    assert_eq!(fake.count("mints").await, 0);

    let mut identifiers = Vec::new();
    for _ in 0..2 {
        assert_eq!(
            mint(&roomkey, &json!({ "voice": "cedar" })).await.status,
            200
        );
        let headers = fake.last_mint().await["headers"].clone();
        identifiers.push(
            headers["openai-safety-identifier"]
                .as_str()
                .unwrap_or_else(|| panic!("{headers}"))
                .to_owned(),
        );
    }
    assert_eq!(identifiers[0], identifiers[1]);
    let is_hash =
        identifiers[0].len() == 32 && identifiers[0].bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hash, "{identifiers:?}");
}

#[tokio::test]
async fn azure_without_a_key_uses_one_token_of_the_managed_identity() {
    let (azure, fake) = (FakeAzure::start(), FakeRealtime::start());
    let [_, identity, header, authority] = azure.settings();
    let client_id = ("AZURE_CLIENT_ID", "11111111-1111-4111-8111-111111111111");
    let unlimited = [
        ("ROOMKEY_RATE_LIMIT", "off"),
        ("ROOMKEY_REALTIME_RATE_LIMIT", "off"),
    ];
    azure
        .order_identity(json!({ "status": 500, "times": 1 }))
        .await;
    let roomkey = bare(
        &[
            &fake.azure_settings()[..],
            &[identity, header, authority, client_id],
            &unlimited,
        ]
        .concat(),
    );
    // The token is fetched in the background. Until then the response must be 503.
    let began = Stopwatch::start();
    while mint(&roomkey, &json!({})).await.status == 503 {
        assert!(began.elapsed() < PATIENCE, "it does not get a token");
    }
    let requests = azure.identity_requests().await;
    for _ in 0..20 {
        assert_eq!(mint(&roomkey, &json!({})).await.status, 200);
    }
    // One attempt that failed, and one that succeeded.
    assert_eq!((requests, azure.identity_requests().await), (2, 2));
    let url = azure.last_identity_request().await["url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        url.contains("resource=https%3A%2F%2Fcognitiveservices.azure.com")
            || url.contains("resource=https://cognitive"),
        "{url}"
    );
    assert!(
        url.contains("client_id=11111111-1111-4111-8111-111111111111"),
        "{url}"
    );
    assert!(
        fake.last_mint().await["headers"]["authorization"]
            .as_str()
            .unwrap()
            .starts_with("Bearer ey")
    );
}

#[tokio::test]
async fn every_upstream_response_maps_to_an_error_without_its_text() {
    let fake = FakeRealtime::start();
    let limited = json!({ "status": 429, "headers": { "retry-after": "7" } });
    let elsewhere =
        json!({ "status": 307, "headers": { "location": format!("{}/v1/models", fake.url) } });
    let answered = |body: Value| json!({ "status": 200, "body": body });
    let soon = SystemClock
        .now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 60;
    let good = json!({ "value": "ek_x", "expires_at": soon, "session": { "id": "sess_x" } });
    let with = |member: &str, value: Value| {
        let mut changed = good.clone();
        changed[member] = value;
        answered(changed)
    };
    let rows = [
        (json!({ "status": 400 }), 502, "upstream_rejected"),
        (
            json!({ "status": 401 }),
            502,
            "upstream_credentials_rejected",
        ),
        (
            json!({ "status": 403 }),
            502,
            "upstream_credentials_rejected",
        ),
        (json!({ "status": 404 }), 502, "upstream_misconfigured"),
        (
            json!({ "status": 409, "body": CANARY }),
            502,
            "upstream_rejected",
        ),
        (limited, 503, "upstream_rate_limited"),
        (json!({ "status": 500 }), 502, "upstream_error"),
        (json!({ "status": 503 }), 502, "upstream_error"),
        (elsewhere, 502, "upstream_error"),
        (answered(json!(CANARY)), 502, "upstream_error"),
        (
            json!({ "status": 200, "body": format!("{{{CANARY}") }),
            502,
            "upstream_error",
        ),
        (with("value", json!("")), 502, "upstream_error"),
        (
            with("value", json!({ "text": CANARY })),
            502,
            "upstream_error",
        ),
        (with("expires_at", json!(soon - 600)), 502, "upstream_error"),
        (
            with("expires_at", json!(soon + 100_000)),
            502,
            "upstream_error",
        ),
        (with("expires_at", json!("soon")), 502, "upstream_error"),
        (
            with("padding", json!("x".repeat(100_000))),
            502,
            "upstream_error",
        ),
        (json!({ "how": "cut" }), 502, "upstream_error"),
        (json!({ "how": "hang" }), 504, "upstream_timeout"),
        (json!({ "how": "drip" }), 504, "upstream_timeout"),
    ];
    for (order, status, code) in rows {
        fake.order(order.clone()).await;
        let (roomkey, answer) = undisturbed(async || {
            // Each uses its own, so that no breaker opens.
            let roomkey = roomkey(&fake, Vendor::Azure, &[]);
            let stopwatch = Stopwatch::start();
            let answer = mint(&roomkey, &json!({})).await;
            (stopwatch.elapsed() < DEADLINE).then_some((roomkey, answer))
        })
        .await;
        assert_eq!(answer.verdict(), (status, code), "{order}");
        assert_eq!(
            answer.headers.contains_key("retry-after"),
            status == 503,
            "{order}"
        );
        let is_retryable = [503, 504].contains(&status) || code == "upstream_error";
        assert_eq!(answer.body["retryable"], is_retryable, "{order}");
        let [shown, stdout, stderr] = outputs(roomkey, &answer);
        assert_absent(&[CANARY, API_KEY, "ek_x"], &[&shown, &stdout, &stderr]);
    }
    assert_eq!(
        (fake.count("mints").await, fake.count("models").await),
        (0, 0)
    );
}

#[tokio::test]
async fn an_unreachable_upstream_gives_503_and_a_single_failure_is_retried() {
    let fake = FakeRealtime::start();
    let roomkey = roomkey(&fake, Vendor::OpenAi, &[]);
    fake.order(json!({ "status": 500, "times": 1 })).await;
    assert_eq!(mint(&roomkey, &json!({})).await.status, 200);
    assert_eq!(fake.count("mints").await, 1);

    drop(fake);
    let answer = mint(&roomkey, &json!({})).await;
    assert_eq!(answer.verdict(), (503, "upstream_unavailable"));
    assert!(answer.number("retry-after") >= 1);
}

#[tokio::test]
async fn three_hundred_callers_at_once_get_a_secret_each_over_reused_connections() {
    rlimit::increase_nofile_limit(8_192).unwrap();
    // As many as a busy machine serves within the time limit of a mint. The tests of the routes
    // stop the clock and serve a thousand.
    undisturbed(async || get_a_secret_each(300).await).await;
}

/// Returns nothing if a mint was late.
async fn get_a_secret_each(callers: u32) -> Option<()> {
    let fake = FakeRealtime::start();
    let settings = [("ROOMKEY_TRUSTED_PROXIES", "127.0.0.1/32")];
    let roomkey = roomkey(&fake, Vendor::Azure, &settings);
    fake.order(json!({ "delayMs": 300 })).await;
    let url = format!("{}/api/token", roomkey.url);
    let asked = (0..callers).map(|caller| {
        let address = format!("10.0.{}.{}", caller / 250, caller % 250 + 1);
        Answer::to(
            client()
                .post(&url)
                .header("x-forwarded-for", address)
                .json(&json!({})),
        )
    });
    let answers = join_all(asked).await;
    // A busy machine may take longer than the time limits of a mint and of a connection. Only these
    // open the breaker, which asks for 30 s: one that opens without them fails the test.
    let is_late = |answer: &Answer| match answer.verdict().1 {
        "upstream_timeout" => true,
        "upstream_unavailable" => answer.number("retry-after") == 5,
        _ => false,
    };
    if answers.iter().any(is_late) {
        return None;
    }
    let secrets: HashSet<_> = answers
        .iter()
        .map(|answer| {
            answer.body["token"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer:?}"))
        })
        .collect();
    assert_eq!(secrets.len(), usize::try_from(callers).unwrap());
    assert_eq!(fake.count("mints").await, u64::from(callers));

    // Sequential mints need no new connection.
    fake.order(json!({})).await;
    let connections = fake.count("connections").await;
    for _ in 0..10 {
        assert_eq!(mint(&roomkey, &json!({})).await.status, 200);
    }
    // Requests to the fake's controls use another port.
    assert_eq!(fake.count("connections").await, connections);
    Some(())
}

#[tokio::test]
async fn disconnected_callers_do_not_open_the_breaker() {
    let (fake, answer) = undisturbed(async || {
        let fake = FakeRealtime::start();
        let roomkey = roomkey(
            &fake,
            Vendor::OpenAi,
            &[("ROOMKEY_REALTIME_RATE_LIMIT", "off")],
        );
        fake.order(json!({ "delayMs": 1_300 })).await;
        let request = client()
            .post(format!("{}/api/token", roomkey.url))
            .json(&json!({}));
        let began = Stopwatch::start();
        let asking: Vec<_> = (0..5)
            .map(|_| tokio::spawn(request.try_clone().unwrap().send()))
            .collect();
        while fake.count("asked").await < 5 {
            assert!(began.elapsed() < PATIENCE, "the upstream is not asked");
        }
        let mut hung_up = true;
        for caller in asking {
            caller.abort();
            hung_up &= caller.await.is_err();
        }
        let answer = mint(&roomkey, &json!({})).await;
        // The five were asked for within the time limit of a mint, so none of them ran into it.
        (hung_up && began.elapsed() < Duration::from_secs(3)).then_some((fake, answer))
    })
    .await;
    assert_eq!(answer.verdict(), (200, ""));
    assert_eq!(
        (fake.count("asked").await, fake.count("abandoned").await),
        (6, 0),
        "each mint runs to its end"
    );
}

#[tokio::test]
async fn a_failing_model_does_not_affect_other_models() {
    let fake = FakeRealtime::start();
    let settings = [
        ("ROOMKEY_REALTIME_RATE_LIMIT", "off"),
        ("ROOMKEY_REALTIME_MODELS", "broken-model"),
    ];
    let roomkey = roomkey(&fake, Vendor::OpenAi, &settings);
    fake.order(json!({ "status": 500, "times": 10 })).await;
    for _ in 0..5 {
        let answer = mint(&roomkey, &json!({ "model": "broken-model" })).await;
        assert_eq!(answer.verdict(), (502, "upstream_error"));
    }
    let paused = mint(&roomkey, &json!({ "model": "broken-model" })).await;
    assert_eq!(
        (paused.verdict(), paused.number("retry-after")),
        ((503, "upstream_unavailable"), 30)
    );
    assert_eq!(mint(&roomkey, &json!({})).await.verdict(), (200, ""));
}

#[tokio::test]
async fn a_caller_has_separate_budgets_for_mints_and_requests() {
    let fake = FakeRealtime::start();
    let roomkey = roomkey(
        &fake,
        Vendor::OpenAi,
        &[("ROOMKEY_REALTIME_RATE_LIMIT", "2/15m")],
    );
    // A request that is refused for another reason does not use it.
    assert_eq!(
        mint(&roomkey, &json!({ "voice": "nobody" })).await.status,
        400
    );
    for status in [200, 200, 429, 429] {
        let answer = mint(&roomkey, &json!({})).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.headers.contains_key("retry-after"), status == 429);
    }
    assert_eq!(fake.count("mints").await, 2);
}

#[tokio::test]
async fn diagnostics_need_the_admin_key_and_mint_only_on_post() {
    let fake = FakeRealtime::start();
    let roomkey = roomkey(&fake, Vendor::Azure, &[]);
    let url = format!("{}/api/diagnostics/realtime", roomkey.url);
    assert_eq!(
        Answer::to(client().get(&url)).await.verdict(),
        (401, "unauthenticated")
    );

    let seen = Answer::to(client().get(&url).header("x-admin-api-key", ADMIN_KEY)).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(fake.count("mints").await, 0);
    let tried = Answer::to(client().post(&url).header("x-admin-api-key", ADMIN_KEY)).await;
    assert_eq!(tried.status, 200, "{tried:?}");
    assert_eq!(fake.count("mints").await, 1);

    fake.accept_keys(&["another"]).await;
    let refused = Answer::to(client().get(&url).header("x-admin-api-key", ADMIN_KEY)).await;
    assert_eq!(refused.status, 200, "{refused:?}");
    assert_absent(
        &[API_KEY, CANARY, "ek_"],
        &[
            &format!("{seen:?}"),
            &format!("{tried:?}"),
            &format!("{refused:?}"),
        ],
    );
}
