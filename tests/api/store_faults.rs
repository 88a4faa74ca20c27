//! A store that is locked, full or read-only: every change is refused within its time, reads go on,
//! nothing is lost, and it recovers without a restart.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::Answer;
use crate::projects_app::{PROJECT_KEY, ProjectsApp};
use crate::undisturbed::undisturbed;

const SETTINGS: [(&str, &str); 2] = [
    ("ROOMKEY_ANONYMOUS_PROJECTS", "p"),
    ("ROOMKEY_PROJECT_CONCURRENCY", "2"),
];

/// Starts with a key and one open session, and returns the session's id.
async fn with_a_session() -> (ProjectsApp, Value) {
    let projects = ProjectsApp::start_with(&SETTINGS).await;
    projects.save("p", &[]).await;
    let opened = open(&projects).await;
    assert_eq!(opened.status, StatusCode::OK, "{}", opened.text);
    let session_id = opened.json()["session_id"].clone();
    (projects, session_id)
}

async fn open(projects: &ProjectsApp) -> Answer {
    projects
        .app
        .post("/api/session", r#"{"project_id":"p"}"#)
        .await
}

async fn end(projects: &ProjectsApp, session_id: &Value) -> Answer {
    let body = json!({ "session_id": session_id }).to_string();
    projects.app.post("/api/session/end", &body).await
}

async fn listed(projects: &ProjectsApp) -> Value {
    projects.get("/api/projects").await.json()["projects"][0].clone()
}

/// The longest time of an answer while the store fails: its 3 s, and one more for the way.
const BOUND: Duration = Duration::from_secs(3 + 1);

/// Checks the answers while no change can be written, and those after `heal`. Returns nothing if
/// they took longer than the store may.
async fn fails_and_recovers(
    projects: &ProjectsApp,
    session_id: &Value,
    cause: &str,
    heal: impl FnOnce(),
) -> Option<()> {
    let before = listed(projects).await;
    let etag = before["etag"].as_str().unwrap().to_owned();
    assert_eq!(before["active_sessions"], 1);
    let minted = projects.upstream.asked().len();
    let body = json!({ "project_id": "p", "openai_key": PROJECT_KEY });
    let delete = json!({ "project_id": "p" });
    let operator = async |method: Method, body: &Value| {
        let if_match = [("if-match", "*")];
        projects
            .operator(method, "/api/projects/key", &if_match, Some(body))
            .await
    };
    let refused = async {
        let (saved, deleted, opened, ended) = tokio::join!(
            operator(Method::POST, &body),
            operator(Method::DELETE, &delete),
            open(projects),
            end(projects, session_id),
        );
        [saved, deleted, opened, ended]
    };
    // They run at once: one after the other would take 12 s.
    let refused = timeout(BOUND, refused).await.ok()?;
    for answer in &refused {
        assert_eq!(answer.code(), "store_unavailable", "{}", answer.text);
        assert_eq!(answer.header("retry-after"), "5");
    }
    assert_eq!(projects.upstream.asked().len(), minted, "a secret is lost");
    let health = timeout(BOUND, projects.get("/api/health/vault"))
        .await
        .ok()?;
    let health = health.json();
    assert_eq!(
        (&health["status"], &health["vault"]["encryption"]),
        (&json!("degraded"), &json!("failed"))
    );
    assert_eq!(listed(projects).await, before, "reads go on");
    let log = projects.app.log();
    let line = format!(r#""message":"the store is not available","cause":"{cause}""#);
    assert!(log.contains(&line), "{line} in\n{log}");
    assert!(!log.contains("the store is available again"), "{log}");
    let ready = projects.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let metrics = projects.get("/api/metrics").await.text;
    assert!(metrics.contains("roomkey_store_available 0"));

    heal();
    let saved = projects.save("p", &[("if-match", &etag)]).await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.text);
    for answer in join_all([open(projects), open(projects)]).await {
        let code = [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS];
        assert!(code.contains(&answer.status), "{}", answer.text);
    }
    assert_eq!(listed(projects).await["active_sessions"], 2);
    assert_eq!(end(projects, session_id).await.status, StatusCode::OK);
    assert_eq!(listed(projects).await["active_sessions"], 1);
    let verified = projects.get("/api/audit-logs/verify").await.json();
    assert_eq!(verified["intact"], true, "{verified}");
    let ready = projects.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert!(projects.app.log().contains("the store is available again"));
    Some(())
}

#[tokio::test]
async fn a_store_that_another_process_has_locked_refuses_changes_until_it_is_free() {
    undisturbed(async || {
        let (projects, session_id) = with_a_session().await;
        let other = projects.database();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        fails_and_recovers(&projects, &session_id, "locked", || {
            other.execute_batch("ROLLBACK").unwrap();
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_full_store_refuses_changes_until_there_is_room() {
    undisturbed(async || {
        let (projects, session_id) = with_a_session().await;
        let database = projects.database();
        // The number of pages cannot be limited from outside, but a table without a next row id fails
        // in the same way (`SQLITE_FULL`).
        database
            .execute_batch(
                "CREATE TABLE full_up (id INTEGER PRIMARY KEY AUTOINCREMENT);
             INSERT INTO full_up VALUES (9223372036854775807);",
            )
            .unwrap();
        let changes = [
            ("audit", "INSERT"),
            ("sessions", "INSERT"),
            ("sessions", "UPDATE"),
            ("projects", "UPDATE"),
            ("health", "INSERT"),
        ];
        for (table, change) in changes {
            let sql = format!(
                "CREATE TRIGGER full_{table}_{change} BEFORE {change} ON {table}
             BEGIN INSERT INTO full_up (id) VALUES (NULL); END"
            );
            database.execute_batch(&sql).unwrap();
        }
        fails_and_recovers(&projects, &session_id, "full", || {
            for (table, change) in changes {
                let sql = format!("DROP TRIGGER full_{table}_{change}");
                database.execute_batch(&sql).unwrap();
            }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_read_only_store_refuses_changes_until_it_can_be_written() {
    undisturbed(async || {
        let (projects, session_id) = with_a_session().await;
        let ProjectsApp {
            app,
            upstream,
            folder,
        } = projects;
        drop(app);
        // Whoever closes the file last empties and removes its log.
        let log = folder.path().join("store.db-wal");
        let closed = async {
            while log.exists() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), closed).await.unwrap();
        // Permissions would not stop a test that runs as root: a header with a higher version for
        // writers than for readers makes the file read-only (https://sqlite.org/fileformat.html).
        let path = folder.path().join("store.db");
        let set_version_of_writers = |version: u8| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[version], 18).unwrap();
        };
        set_version_of_writers(3);
        let projects = ProjectsApp::start_in(folder, upstream, &SETTINGS);
        fails_and_recovers(&projects, &session_id, "read_only", || {
            set_version_of_writers(2);
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_store_that_could_not_be_written_is_ready_again_without_a_request_for_it() {
    let projects = ProjectsApp::start().await;
    projects.save("p", &[]).await;
    let other = projects.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = projects.save("q", &[]).await;
    assert_eq!(refused.code(), "store_unavailable");
    other.execute_batch("ROLLBACK").unwrap();
    let ready = projects.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let database = projects.database();
    let probes = || {
        let sql = "SELECT count(*) FROM health";
        database.query_row(sql, [], |row| row.get::<_, u64>(0))
    };
    let recovered = async {
        while projects.get("/api/health/ready").await.status != StatusCode::OK || probes() != Ok(0)
        {
        }
    };
    timeout(Duration::from_secs(20), recovered).await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_be_written_at_the_start_is_not_ready_before_the_first_change() {
    let projects = ProjectsApp::start().await;
    projects.save("p", &[]).await;
    let other = projects.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let projects = projects.restart(&[]);
    let state = async |expected: StatusCode| {
        let reached = async { while projects.get("/api/health/ready").await.status != expected {} };
        timeout(Duration::from_secs(20), reached).await.unwrap();
    };
    state(StatusCode::SERVICE_UNAVAILABLE).await;
    other.execute_batch("ROLLBACK").unwrap();
    state(StatusCode::OK).await;
}
