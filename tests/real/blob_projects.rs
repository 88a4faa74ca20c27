//! roomkey with its store in Azurite, which it opens over TLS with a token of its identity.

use std::cell::Cell;
use std::time::Duration;

use roomkey::clock::Stopwatch;
use serde_json::{Value, json};

use crate::azurite::Azurite;
use crate::fake_azure::{CANARY, FakeAzure};
use crate::fake_realtime::{API_KEY, FakeRealtime};
use crate::process::Roomkey;
use crate::projects::{end, open, post, save_key, start};
use crate::signed_in::{ADMIN_KEY, client};
use crate::undisturbed::undisturbed;

/// The longest time of an answer while the store hangs: its 3 s, and one more for the way.
const STORE_BOUND: Duration = Duration::from_secs(3 + 1);

async fn get(roomkey: &Roomkey, path: &str) -> (u16, Value) {
    let url = format!("http://{}{path}", roomkey.address());
    let request = client().get(url).header("x-admin-api-key", ADMIN_KEY);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn two_instances_with_one_container_admit_exactly_as_many_sessions_as_one() {
    // Fewer at once on a busy machine: each call reads and writes again whenever another was first.
    let counts = Cell::new(20);
    let (_peers, azurite, container, processes, sessions) = undisturbed(async || {
        let count = counts.replace(10);
        let (azure, fake) = (FakeAzure::start(), FakeRealtime::start());
        let azurite = Azurite::start_for(&azure);
        let container = azurite.container().await;
        let mut store = container.clone();
        store.set_query(None);
        let limit = ("ROOMKEY_PROJECT_CONCURRENCY", "7");
        let settings = [&azure.identity_settings()[..], &[limit]].concat();
        let processes = [(); 2].map(|()| start(&fake, store.as_str(), &settings));
        save_key(&processes[0]).await;
        let sessions = open(&processes, count, "concurrency_limited").await?;
        end(&processes, &sessions, |number| (number + 1) % 2).await?;
        Some(((azure, fake), azurite, container, processes, sessions))
    })
    .await;
    assert_eq!(sessions.len(), 7);
    let (status, verified) = get(&processes[1], "/api/audit-logs/verify").await;
    assert_eq!(status, 200);
    assert_eq!(verified["intact"], true, "{verified}");
    // The saved key, and 7 sessions that were opened and ended.
    assert_eq!(verified["records"], 15, "{verified}");
    let [one, two] = processes;
    let lines = [one.stop("TERM"), two.stop("TERM")];
    let contents = azurite.contents(&container).await;
    let holds = |part: &str| {
        contents
            .windows(part.len())
            .any(|window| window == part.as_bytes())
    };
    assert!(holds("vault_key_saved"), "the contents are read");
    assert!(!holds(API_KEY));
    for ended in lines {
        assert!(!format!("{ended:?}").contains(API_KEY));
    }
}

#[tokio::test]
async fn a_container_that_hangs_or_refuses_is_503_within_its_time_and_heals() {
    let ((azure, fake), (azurite, store), roomkey, (status, answer)) = undisturbed(async || {
        let (azure, fake) = (FakeAzure::start(), FakeRealtime::start());
        let azurite = Azurite::start_for(&azure);
        let mut store = azurite.container().await;
        store.set_query(None);
        let roomkey = start(&fake, store.as_str(), &azure.identity_settings());
        save_key(&roomkey).await;
        azurite.signal("-STOP");
        let began = Stopwatch::start();
        let refused = post(&roomkey, "/api/session", &json!({ "project_id": "p" })).await;
        (began.elapsed() < STORE_BOUND).then_some((
            (azure, fake),
            (azurite, store),
            roomkey,
            refused,
        ))
    })
    .await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (503, Some("store_unavailable"))
    );
    let (status, health) = get(&roomkey, "/api/health/ready").await;
    assert_eq!(status, 503, "{health}");
    azurite.signal("-CONT");
    let began = Stopwatch::start();
    while get(&roomkey, "/api/health/ready").await.0 != 200 {
        assert!(began.elapsed() < Duration::from_mins(1), "it does not heal");
    }
    let (status, _) = post(&roomkey, "/api/session", &json!({ "project_id": "p" })).await;
    assert_eq!(status, 200);
    azure.order_identity(json!({ "status": 400 })).await;
    let other = start(&fake, store.as_str(), &azure.identity_settings());
    let body = json!({ "project_id": "p", "openai_key": API_KEY });
    let (status, answer) = post(&other, "/api/projects/key", &body).await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (503, Some("store_unavailable"))
    );
    assert!(!answer.to_string().contains(CANARY));
    let ended = other.stop("TERM");
    assert!(!format!("{ended:?}").contains(CANARY));
}
