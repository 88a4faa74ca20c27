//! Two processes with one store of project keys: limits and keys are those of both.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::fake_realtime::{API_KEY, FakeRealtime};
use crate::process::Roomkey;
use crate::realtime::bare;
use crate::redis_server::RedisServer;
use crate::signed_in::{ADMIN_KEY, client};
use crate::undisturbed::undisturbed;

/// A key-encryption key that only the tests use.
pub const KEK: &str = "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg";

/// Starts two processes with one store, and saves the key of the project `p`.
async fn two_processes(
    fake: &FakeRealtime,
    folder: &tempfile::TempDir,
    settings: &[(&str, &str)],
) -> [Roomkey; 2] {
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let processes = [(); 2].map(|()| start(fake, &store, settings));
    save_key(&processes[0]).await;
    processes
}

/// Starts a roomkey with a store and without limits.
pub fn start(fake: &FakeRealtime, store: &str, settings: &[(&str, &str)]) -> Roomkey {
    let shared = [
        ("ROOMKEY_STORE", store),
        ("ROOMKEY_KEK_V1", KEK),
        ("ROOMKEY_HASH_KEY", "canary-hash-key-of-at-least-32-bytes"),
        ("ROOMKEY_ANONYMOUS_PROJECTS", "p"),
        ("ROOMKEY_RATE_LIMIT", "off"),
        ("ROOMKEY_REALTIME_RATE_LIMIT", "off"),
        ("ROOMKEY_PROJECT_RATE_LIMIT", "off"),
    ];
    bare(&[&fake.openai_settings()[..], &shared, settings].concat())
}

pub async fn save_key(roomkey: &Roomkey) {
    let body = json!({ "project_id": "p", "openai_key": API_KEY });
    let (status, _) = post(roomkey, "/api/projects/key", &body).await;
    assert_eq!(status, 201);
}

/// Sends a request of an operator.
pub async fn post(roomkey: &Roomkey, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{}{path}", roomkey.address());
    let request = client().post(url).header("x-admin-api-key", ADMIN_KEY);
    let response = request.json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Opens sessions at both processes at once, and returns the ids of those that were admitted, or
/// nothing if the store was too late for one.
pub async fn open(processes: &[Roomkey; 2], count: usize, refused_by: &str) -> Option<Vec<Value>> {
    let body = json!({ "project_id": "p" });
    let opened = (0..count).map(|number| post(&processes[number % 2], "/api/session", &body));
    let mut sessions = Vec::new();
    for (status, answer) in join_all(opened).await {
        match (status, answer["code"].as_str()) {
            (200, _) => sessions.push(answer["session_id"].clone()),
            (503, Some("store_unavailable")) => return None,
            refused => assert_eq!(refused, (429, Some(refused_by))),
        }
    }
    Some(sessions)
}

/// Ends sessions, each at the process whose number `at` returns. Returns nothing if the store was
/// too late for one.
pub async fn end(
    processes: &[Roomkey; 2],
    sessions: &[Value],
    at: impl Fn(usize) -> usize,
) -> Option<()> {
    for (number, session_id) in sessions.iter().enumerate() {
        let body = json!({ "session_id": session_id });
        let (status, answer) = post(&processes[at(number)], "/api/session/end", &body).await;
        match (status, answer["code"].as_str()) {
            (200, _) => {}
            (503, Some("store_unavailable")) => return None,
            refused => panic!("{refused:?}"),
        }
    }
    Some(())
}

#[tokio::test]
async fn two_processes_with_one_store_admit_exactly_as_many_sessions_as_one() {
    let admitted = undisturbed(async || {
        let (fake, folder) = (FakeRealtime::start(), tempfile::tempdir().unwrap());
        let limit = ("ROOMKEY_PROJECT_CONCURRENCY", "7");
        let processes = two_processes(&fake, &folder, &[limit]).await;
        let sessions = open(&processes, 40, "concurrency_limited").await?;
        // Each process ends what the other has opened.
        end(&processes, &sessions, |number| number % 2).await?;
        let again = open(&processes, 40, "concurrency_limited").await?;
        Some((sessions.len(), again.len()))
    });
    assert_eq!(admitted.await, (7, 7));
}

#[tokio::test]
async fn two_processes_with_one_store_share_a_projects_day() {
    let (admitted, mints) = undisturbed(async || {
        let (fake, folder) = (FakeRealtime::start(), tempfile::tempdir().unwrap());
        let limits = [
            ("ROOMKEY_PROJECT_CONCURRENCY", "1000"),
            ("ROOMKEY_PROJECT_DAILY_SESSIONS", "11"),
        ];
        let processes = two_processes(&fake, &folder, &limits).await;
        let sessions = open(&processes, 40, "rate_limited").await?;
        Some((sessions.len(), fake.count("mints").await))
    })
    .await;
    assert_eq!(admitted, 11);
    assert_eq!(mints, 11, "a refused session costs no secret");
}

/// Two instances with a store each, so that only Redis can know the sessions of both.
#[tokio::test]
async fn two_processes_with_one_redis_admit_exactly_as_many_sessions_as_one() {
    let admitted = undisturbed(async || {
        let (fake, redis) = (FakeRealtime::start(), RedisServer::start());
        let folder = tempfile::tempdir().unwrap();
        let url = redis.url();
        let settings = [
            ("ROOMKEY_REDIS_URL", url.as_str()),
            ("ROOMKEY_PROJECT_CONCURRENCY", "7"),
            ("ROOMKEY_PROJECT_DAILY_SESSIONS", "11"),
        ];
        let processes = ["one.db", "two.db"].map(|file| {
            let store = format!("sqlite:{}", folder.path().join(file).display());
            start(&fake, &store, &settings)
        });
        for process in &processes {
            save_key(process).await;
        }
        let sessions = open(&processes, 40, "concurrency_limited").await?;
        end(&processes, &sessions, |number| (number + 1) % 2).await?;
        let again = open(&processes, 40, "rate_limited").await?;
        Some((sessions.len(), again.len()))
    });
    assert_eq!(admitted.await, (7, 4));
}
