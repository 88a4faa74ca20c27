//! Rotation of key-encryption keys, the vault's health, and the verification of the audit log.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Answer};
use crate::projects_app::{KEK_2, ProjectsApp};

const ROTATE: &str = "/api/projects/key/rotate";

async fn rotate(projects: &ProjectsApp, body: Value, headers: &[(&str, &str)]) -> Answer {
    projects
        .operator(Method::POST, ROTATE, headers, Some(&body))
        .await
}

/// Starts with three keys under `v1`, and then with `v2` beside it.
async fn with_two_versions() -> ProjectsApp {
    let projects = ProjectsApp::start().await;
    for project_id in ["a", "b", "c"] {
        projects.save(project_id, &[]).await;
    }
    projects.restart(&[("ROOMKEY_KEK_V2", KEK_2)])
}

async fn versions(projects: &ProjectsApp) -> Vec<String> {
    let listed = projects.get("/api/projects").await.json();
    let listed = listed["projects"].as_array().unwrap().iter();
    listed
        .map(|project| {
            project["kek_version"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn one_key_is_resealed_under_a_newer_version_and_never_under_an_older_one() {
    let projects = with_two_versions().await;
    let before = projects.get("/api/projects").await.json()["projects"][0].clone();
    let answer = rotate(
        &projects,
        json!({ "project_id": "a", "kek_version": "v2" }),
        &[],
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK);
    let (json, etag) = (answer.json(), answer.header("etag").to_owned());
    assert_eq!(
        (&json["project_id"], &json["kek_version"]),
        (&json!("a"), &json!("v2"))
    );
    assert!(json["rotated_at"].is_u64());
    assert_ne!(before["etag"], json!(etag));
    let after = projects.get("/api/projects").await.json()["projects"][0].clone();
    assert_eq!(
        (&after["etag"], &after["fingerprint"]),
        (&json!(etag), &before["fingerprint"])
    );
    // To the version that it has: nothing changes.
    let again = rotate(
        &projects,
        json!({ "project_id": "a", "kek_version": "v2" }),
        &[],
    )
    .await;
    assert_eq!((again.header("etag"), again.json()), (etag.as_str(), json));
    for (body, headers, code) in [
        (
            json!({ "project_id": "a", "kek_version": "v1" }),
            &[][..],
            "conflict",
        ),
        (
            json!({ "project_id": "nobody", "kek_version": "v2" }),
            &[],
            "not_found",
        ),
        (
            json!({ "project_id": "b", "kek_version": "v2" }),
            &[("if-match", "\"mS2Vu2cHw3H1aJm5m9m1Ag\"")],
            "precondition_failed",
        ),
        (json!({ "all": true, "kek_version": "v1" }), &[], "conflict"),
    ] {
        assert_eq!(
            rotate(&projects, body.clone(), headers).await.code(),
            code,
            "{body}"
        );
    }
    for (body, field) in [
        (
            json!({ "project_id": "a", "kek_version": "v3" }),
            "kek_version",
        ),
        (json!({ "project_id": "a" }), "kek_version"),
        (json!({ "kek_version": "v2" }), "project_id"),
        (
            json!({ "project_id": "a", "all": true, "kek_version": "v2" }),
            "project_id",
        ),
    ] {
        assert_eq!(
            rotate(&projects, body.clone(), &[]).await.fields(),
            [field],
            "{body}"
        );
    }
    let all = json!({ "all": true, "kek_version": "v2" });
    let answer = rotate(&projects, all, &[("if-match", "*")]).await;
    assert_eq!(answer.fields(), ["If-Match"]);
    assert_eq!(versions(&projects).await, ["v2", "v1", "v1"]);
    assert_eq!(
        projects.events().await[..4],
        [
            "vault_key_rotated precondition_failed",
            "vault_key_rotated not_found",
            "vault_key_rotated conflict",
            "vault_key_rotated ok",
        ]
    );
}

#[tokio::test]
async fn all_keys_are_resealed_and_one_that_does_not_open_stops_no_other() {
    let projects = with_two_versions().await;
    projects.damage("b");
    let all = || json!({ "all": true, "kek_version": "v2" });
    let answer = rotate(&projects, all(), &[]).await;
    assert_eq!(
        answer.json(),
        json!({ "success": true, "kek_version": "v2", "rotated": 2, "remaining": 1 })
    );
    let again = rotate(&projects, all(), &[]).await.json();
    assert_eq!(
        (&again["rotated"], &again["remaining"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        projects.events().await[..4],
        [
            "vault_key_rotated record_corrupt",
            "vault_key_rotated record_corrupt",
            "vault_key_rotated ok",
            "vault_key_rotated ok",
        ]
    );
    let log = projects.app.log();
    let rotated = |line: &&str| {
        line.contains(r#""action":"vault_key_rotated""#) && line.contains(r#""outcome":"success""#)
    };
    assert_eq!(log.lines().filter(rotated).count(), 2, "a line for each");
    let metrics = projects.get("/api/metrics").await.text;
    assert!(metrics.contains("roomkey_rotation_remaining 1"));
    assert!(metrics.contains("roomkey_keys_rotated_total 2"));
    // Its owner saves it again: then the old version is needed no more.
    assert_eq!(
        projects.save("b", &[("if-match", "*")]).await.status,
        StatusCode::OK
    );
    let done = rotate(&projects, all(), &[]).await.json();
    assert_eq!(
        (&done["rotated"], &done["remaining"]),
        (&json!(0), &json!(0))
    );
    let projects = projects.restart(&[("ROOMKEY_KEK_V1", ""), ("ROOMKEY_KEK_V2", KEK_2)]);
    assert_eq!(versions(&projects).await, ["v2", "v2", "v2"]);
}

#[tokio::test]
async fn a_rotation_that_lacks_the_older_key_says_so_in_the_audit_log() {
    let projects = ProjectsApp::start().await;
    projects.save("a", &[]).await;
    let projects = projects.restart(&[("ROOMKEY_KEK_V1", ""), ("ROOMKEY_KEK_V2", KEK_2)]);
    let all = json!({ "all": true, "kek_version": "v2" });
    let answer = rotate(&projects, all, &[]).await.json();
    assert_eq!(
        (&answer["rotated"], &answer["remaining"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        projects.events().await[0],
        "vault_key_rotated secret_unavailable"
    );
}

#[tokio::test]
async fn a_record_whose_version_cannot_be_read_stays_and_stops_no_other() {
    let projects = with_two_versions().await;
    for version in ["0", "-1", "10000"] {
        let unchecked = projects.database();
        unchecked
            .execute_batch("PRAGMA ignore_check_constraints = 1")
            .unwrap();
        let sql = "UPDATE projects SET kek_version = ?1 WHERE project_id = 'b'";
        assert_eq!(unchecked.execute(sql, [version]), Ok(1));
        let all = json!({ "all": true, "kek_version": "v2" });
        let answer = rotate(&projects, all, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{version}: {}", answer.text);
        assert_eq!(answer.json()["remaining"], 1, "{version}");
    }
    assert_eq!(versions(&projects).await, ["v2", "", "v2"]);
}

#[tokio::test]
async fn the_health_of_the_vault_is_a_round_trip_that_leaves_nothing_behind() {
    let projects = ProjectsApp::start().await;
    projects.save("p", &[]).await;
    let health = projects.get("/api/health/vault").await.json();
    assert_eq!(
        (&health["status"], &health["kek_version"]),
        (&json!("healthy"), &json!("v1"))
    );
    let steps = &health["vault"];
    for step in ["encryption", "decryption", "deletion"] {
        assert_eq!(steps[step], "ok");
    }
    let database = rusqlite::Connection::open(projects.folder.path().join("store.db")).unwrap();
    let probes: u64 = database
        .query_row("SELECT count(*) FROM health", [], |row| row.get(0))
        .unwrap();
    assert_eq!(probes, 0);
    assert_eq!(projects.events().await, ["vault_key_saved ok"]);
}

#[tokio::test]
async fn fault_55_a_hundred_checks_of_the_vault_at_once_are_one_and_leftovers_are_swept() {
    let projects = ProjectsApp::start().await;
    projects.save("p", &[]).await;
    let path = projects.folder.path().join("store.db");
    let database = rusqlite::Connection::open(path).unwrap();
    // The probe of the start may be there at this moment.
    let left_behind = database.execute("INSERT OR REPLACE INTO health VALUES (1, x'00')", []);
    assert_eq!(left_behind, Ok(1));
    let checks = (0..100).map(|_| projects.get("/api/health/vault"));
    for answer in futures_util::future::join_all(checks).await {
        assert_eq!(answer.json()["status"], "healthy");
    }
    let metrics = projects.get("/api/metrics").await.text;
    let calls = r#"roomkey_store_calls_total{operation="probe",outcome="ok"} "#;
    let calls = metrics
        .lines()
        .find_map(|line| line.strip_prefix(calls))
        .unwrap();
    assert!(calls.parse::<u32>().unwrap() <= 3 * 5, "{calls} calls");
}

#[tokio::test]
async fn the_vault_is_degraded_where_its_sealing_key_is_missing_or_its_store_is() {
    let projects = ProjectsApp::start().await;
    let path = projects.folder.path().join("store.db");
    std::fs::write(&path, "no database".repeat(999)).unwrap();
    let health = projects.get("/api/health/vault").await;
    assert_eq!(health.status, StatusCode::OK);
    assert_eq!(health.json()["status"], "degraded");
    assert_eq!(health.json()["vault"]["encryption"], "failed");
}

#[tokio::test]
async fn the_vault_is_degraded_where_its_local_keys_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store.keys"), "canary").unwrap();
    let upstream = crate::upstream::Upstream::start().await;
    let app = crate::projects_app::in_dev_mode(folder.path(), &upstream);
    let headers: [(&str, &[u8]); 1] = [("x-admin-api-key", ADMIN_KEY.as_bytes())];
    let path = "/api/health/vault";
    let health = app.send(Method::GET, path, &headers, None).await;
    assert_eq!(health.status, StatusCode::OK, "{}", health.text);
    let health = health.json();
    assert_eq!(
        (&health["status"], &health["kek_version"]),
        (&json!("degraded"), &json!("v1"))
    );
    for step in ["encryption", "decryption", "deletion"] {
        assert_eq!(health["vault"][step], "failed");
    }
    assert!(app.log().contains("the vault cannot be checked"));
    let keys = std::fs::read_to_string(folder.path().join("store.keys"));
    assert_eq!(keys.unwrap(), "canary");
}

#[tokio::test]
async fn a_changed_record_of_the_audit_log_is_found() {
    let projects = ProjectsApp::start().await;
    for project_id in ["a", "b", "c"] {
        projects.save(project_id, &[]).await;
    }
    let verify = || projects.get("/api/audit-logs/verify");
    assert_eq!(
        verify().await.json(),
        json!({ "intact": true, "records": 3 })
    );
    let path = projects.folder.path().join("store.db");
    let database = rusqlite::Connection::open(path).unwrap();
    let changed = database
        .execute("UPDATE audit SET project_id = 'x' WHERE sequence = 2", [])
        .unwrap();
    assert_eq!(changed, 1);
    let second = projects.get("/api/audit-logs?project_id=x").await.json()["logs"][0].clone();
    assert_eq!(
        verify().await.json(),
        json!({ "intact": false, "records": 3, "first_broken": second["id"] })
    );
}

#[tokio::test]
async fn a_parameter_of_a_route_that_has_none_is_refused_by_name() {
    let projects = ProjectsApp::start_with(&crate::turn::COTURN).await;
    for path in [
        "/api/audit-logs/verify",
        "/api/health/vault",
        "/api/turn-credentials",
    ] {
        let refused = projects.get(&format!("{path}?since=1")).await;
        assert_eq!(refused.fields(), ["since"], "{path}");
        let answer = projects.get(&format!("{path}?")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}
