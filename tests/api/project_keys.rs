//! Keys of projects: save, replace, delete, list, and the audit log of all that.

use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{ADMIN_KEY, API_SECRET, NOW, spawn_app};
use crate::projects_app::{KEK_2, PROJECT_KEY, ProjectsApp};
use crate::upstream::{Act, CANARY};

#[tokio::test]
async fn a_key_is_saved_listed_replaced_and_deleted() {
    let projects = ProjectsApp::start().await;
    let saved = projects.save("customer-42", &[]).await;
    assert_eq!(saved.status, StatusCode::CREATED);
    let created_at = NOW * 1_000 + 123;
    assert_eq!(
        saved.json(),
        json!({ "success": true, "project_id": "customer-42", "kek_version": "v1", "created_at": created_at })
    );
    let first = saved.header("etag").to_owned();
    let listed = projects.get("/api/projects").await.json();
    let project = &listed["projects"][0];
    assert_eq!(
        (
            &project["etag"],
            &project["created_at"],
            &project["rotated_at"]
        ),
        (&json!(first), &json!(created_at), &json!(null))
    );
    assert_eq!(listed["next_cursor"], json!(null));

    let replaced = projects.save("customer-42", &[("if-match", &first)]).await;
    assert_eq!(replaced.status, StatusCode::OK);
    let second = replaced.header("etag").to_owned();
    assert_ne!(first, second);
    let listed = projects.get("/api/projects").await.json();
    assert_eq!(listed["projects"][0]["fingerprint"], project["fingerprint"]);

    let deleted = projects
        .delete("customer-42", &[("if-match", &second)])
        .await;
    assert_eq!(
        deleted.json(),
        json!({ "success": true, "project_id": "customer-42" })
    );
    let listed = projects.get("/api/projects").await.json();
    assert_eq!(listed["projects"], json!([]));
    let again = projects.save("customer-42", &[]).await;
    assert_eq!(again.status, StatusCode::CREATED);
    assert!(![first, second].contains(&again.header("etag").to_owned()));
}

#[tokio::test]
async fn fault_29_an_existing_key_is_replaced_only_where_if_match_names_it() {
    let projects = ProjectsApp::start().await;
    for tag in ["*", "\"mS2Vu2cHw3H1aJm5m9m1Ag\""] {
        let answer = projects.save("p", &[("if-match", tag)]).await;
        assert_eq!(
            answer.code(),
            "precondition_failed",
            "nothing is there: {tag}"
        );
    }
    let first = projects.save("p", &[]).await.header("etag").to_owned();
    assert_eq!(projects.save("p", &[]).await.code(), "conflict");
    let weak = format!("W/{first}");
    for stale in ["\"mS2Vu2cHw3H1aJm5m9m1Ag\"", weak.as_str()] {
        let answer = projects.save("p", &[("if-match", stale)]).await;
        assert_eq!(answer.code(), "precondition_failed", "{stale}");
        let answer = projects.delete("p", &[("if-match", stale)]).await;
        assert_eq!(answer.code(), "precondition_failed", "{stale}");
    }
    for malformed in ["", "abc", "\"a\"b", "*,\"a\""] {
        let answer = projects.save("p", &[("if-match", malformed)]).await;
        assert_eq!(answer.fields(), ["If-Match"], "{malformed:?}");
    }
    let listed = projects.get("/api/projects").await.json();
    assert_eq!(
        listed["projects"][0]["etag"],
        json!(first),
        "it has changed"
    );
    let any = projects.save("p", &[("if-match", "*")]).await;
    assert_eq!(any.status, StatusCode::OK);
    let list = format!("\"x\", {}", any.header("etag"));
    let one_of = projects.delete("p", &[("if-match", &list)]).await;
    assert_eq!(one_of.status, StatusCode::OK);
}

#[tokio::test]
async fn fault_31_a_project_that_is_not_there_cannot_be_deleted_and_the_try_is_audited() {
    let projects = ProjectsApp::start().await;
    assert_eq!(projects.delete("nobody", &[]).await.code(), "not_found");
    projects.save("p", &[]).await;
    assert_eq!(projects.delete("p", &[]).await.status, StatusCode::OK);
    assert_eq!(projects.delete("p", &[]).await.code(), "not_found");
    assert_eq!(
        projects.events().await,
        [
            "vault_key_deleted not_found",
            "vault_key_deleted ok",
            "vault_key_saved ok",
            "vault_key_deleted not_found",
        ]
    );
}

#[tokio::test]
async fn fault_26_and_27_what_is_no_project_or_no_key_is_refused_by_name() {
    let projects = ProjectsApp::start().await;
    let long = "k9".repeat(300);
    for (body, fields) in [
        (json!({}), &["project_id", "openai_key"][..]),
        (
            json!({ "project_id": "a|b", "openai_key": PROJECT_KEY }),
            &["project_id"],
        ),
        (
            json!({ "project_id": "a\0", "openai_key": PROJECT_KEY }),
            &["project_id"],
        ),
        (
            json!({ "project_id": "@health", "openai_key": PROJECT_KEY }),
            &["project_id"],
        ),
        (
            json!({ "project_id": "p".repeat(10_000), "openai_key": PROJECT_KEY }),
            &["project_id"],
        ),
        (
            json!({ "project_id": "p", "openai_key": "" }),
            &["openai_key"],
        ),
        (
            json!({ "project_id": "p", "openai_key": long }),
            &["openai_key"],
        ),
        (
            json!({ "project_id": "p", "openai_key": format!("{PROJECT_KEY}\n") }),
            &["openai_key"],
        ),
        (
            json!({ "project_id": "p", "openai_key": "sk-your-openai-key-goes-here" }),
            &["openai_key"],
        ),
        (
            json!({ "project_id": "p", "openai_key": ADMIN_KEY }),
            &["openai_key"],
        ),
        (
            json!({ "project_id": "p", "openai_key": null }),
            &["openai_key"],
        ),
        (
            json!({ "project_id": "p", "openai_key": PROJECT_KEY, "kek_version": "v2" }),
            &["kek_version"],
        ),
        (
            json!({ "project_id": "p", "openai_key": PROJECT_KEY, "validate": "yes" }),
            &["validate"],
        ),
        (
            json!({ "project_id": "p", "openai_key": PROJECT_KEY, "ttl": 1 }),
            &["ttl"],
        ),
    ] {
        let answer = projects.save_body(&body, &[]).await;
        assert_eq!(answer.fields(), fields, "{body}");
        assert!(!answer.text.contains("canary"), "{}", answer.text);
    }
    let listed = projects.get("/api/projects").await.json();
    assert_eq!(listed["projects"], json!([]));
    assert_eq!(projects.events().await, Vec::<String>::new());
}

#[tokio::test]
async fn fault_28_a_key_is_tried_by_a_mint_of_ten_seconds_before_it_is_stored() {
    let projects = ProjectsApp::start().await;
    let body = json!({ "project_id": "p", "openai_key": PROJECT_KEY, "validate": true });
    let said = || format!("{{\"error\":{{\"message\":\"{CANARY}\"}}}}");
    for (act, status, code) in [
        (
            Act::Answer("401 Unauthorized", said()),
            400,
            "invalid_request",
        ),
        (Act::Answer("403 Forbidden", said()), 400, "invalid_request"),
        (
            Act::Answer("404 Not Found", said()),
            502,
            "upstream_misconfigured",
        ),
        (
            Act::Answer("400 Bad Request", said()),
            502,
            "upstream_rejected",
        ),
        (
            Act::Answer("429 Too Many Requests", said()),
            503,
            "upstream_rate_limited",
        ),
        (Act::Answer("200 OK", said()), 502, "upstream_error"),
        (Act::Hang, 504, "upstream_timeout"),
    ] {
        projects.upstream.next(act);
        let answer = projects.save_body(&body, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code)
        );
        assert!(!answer.text.contains(CANARY) && !answer.text.contains("canary"));
        if code == "invalid_request" {
            assert_eq!(answer.fields(), ["openai_key"]);
        }
    }
    let failing = || Act::Answer("500 Internal Server Error", said());
    (0..2).for_each(|_| projects.upstream.next(failing()));
    assert_eq!(
        projects.save_body(&body, &[]).await.code(),
        "upstream_unavailable"
    );
    let listed = projects.get("/api/projects").await.json();
    assert_eq!(listed["projects"], json!([]), "nothing may be stored");

    assert_eq!(
        projects.save_body(&body, &[]).await.status,
        StatusCode::CREATED
    );
    let asked = projects.upstream.asked();
    let last = asked.last().unwrap();
    assert_eq!(last.line(), "POST /v1/realtime/client_secrets");
    assert_eq!(
        last.header("authorization"),
        format!("Bearer {PROJECT_KEY}")
    );
    assert_eq!(last.body["expires_after"]["seconds"], 10);
    // A save that is refused anyway is not tried at the provider.
    assert_eq!(projects.save_body(&body, &[]).await.code(), "conflict");
    assert_eq!(projects.upstream.asked().len(), asked.len());
}

#[tokio::test]
async fn a_damaged_record_is_listed_and_can_be_replaced_and_deleted() {
    let projects = ProjectsApp::start().await;
    projects.save("well", &[]).await;
    for assignment in [
        "fingerprint = 'none'",
        "fingerprint = CAST(x'ff' AS TEXT)",
        "tag = CAST(x'ff' AS TEXT)",
        "created_at_ms = -1",
        "rotated_at_ms = -1",
    ] {
        for repair in ["save", "delete"] {
            let etag = projects.save("p", &[]).await.header("etag").to_owned();
            projects.damage_column("p", assignment);
            let listed = projects.get("/api/projects").await.json();
            let line = &listed["projects"][0];
            assert_eq!(line["project_id"], "p", "{assignment}: {listed}");
            assert_eq!(line["etag"], json!(null), "{assignment}");
            assert!(listed["projects"][1]["etag"].is_string(), "{assignment}");
            assert_eq!(projects.save("p", &[]).await.code(), "conflict");
            let stale = projects.save("p", &[("if-match", &etag)]).await;
            assert_eq!(stale.code(), "precondition_failed", "{assignment}");
            let repaired = if repair == "save" {
                projects.save("p", &[("if-match", "*")]).await
            } else {
                projects.delete("p", &[]).await
            };
            assert_eq!(repaired.status, StatusCode::OK, "{assignment} {repair}");
            projects.delete("p", &[]).await;
        }
    }
    let ready = projects.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK, "one record is not the store");
}

#[tokio::test]
async fn projects_are_listed_by_pages() {
    let projects = ProjectsApp::start().await;
    for number in 0..5 {
        projects.save(&format!("p{number}"), &[]).await;
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = projects
            .get(&format!("/api/projects?limit=2{cursor}"))
            .await
            .json();
        pages += 1;
        seen.extend(
            page["projects"]
                .as_array()
                .unwrap()
                .iter()
                .map(|project| project["project_id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen.join(" ").as_str(), pages), ("p0 p1 p2 p3 p4", 3));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=abc", "limit"),
        ("cursor=p1", "cursor"),
        ("cursor=", "cursor"),
        ("project_id=p1", "project_id"),
        ("limit=1&limit=2", "limit"),
    ] {
        let answer = projects.get(&format!("/api/projects?{query}")).await;
        assert_eq!(answer.fields(), [field], "{query}");
        let answer = projects
            .get(&format!(
                "/api/audit-logs?{}",
                query.replace("project_id", "project")
            ))
            .await;
        assert_eq!(
            answer.fields(),
            [field.replace("project_id", "project")],
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what_and_its_lines_have_the_same_hash() {
    let projects = ProjectsApp::start().await;
    let saved = projects.save("p", &[]).await;
    projects.save("q", &[]).await;
    projects.save("p", &[]).await;
    let logs = projects.get("/api/audit-logs").await.json();
    let logs = logs["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 3);
    let (refused, first) = (&logs[0], &logs[2]);
    assert_eq!(
        (&refused["status"], &refused["code"]),
        (&json!("failure"), &json!("conflict"))
    );
    assert_eq!(first["request_id"], saved.header("x-request-id"));
    assert_eq!(first["timestamp"], NOW * 1_000 + 123);
    assert!(first["actor"].as_str().unwrap().starts_with("admin-key:"));
    let lines = projects.app.log();
    for log in logs {
        let hash = log["hash"].as_str().unwrap();
        let of_record = lines.lines().filter(|line| line.contains(hash));
        let of_record: Vec<serde_json::Value> = of_record
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(of_record.len(), 1, "{hash}");
        assert_eq!(of_record[0]["record"], log["id"]);
        assert_eq!(of_record[0]["action"], log["event_type"]);
        assert_eq!(of_record[0]["project_id"], log["project_id"]);
    }
    for (filter, count) in [
        ("project_id=p", 2),
        ("project_id=nobody", 0),
        ("event_type=vault_key_saved", 3),
        ("event_type=vault_key_deleted", 0),
        ("from=1700000000124", 0),
        ("to=1700000000122", 0),
        ("from=1700000000123&to=1700000000123&limit=2", 2),
    ] {
        let page = projects
            .get(&format!("/api/audit-logs?{filter}"))
            .await
            .json();
        assert_eq!(page["logs"].as_array().unwrap().len(), count, "{filter}");
    }
    let backwards = projects.get("/api/audit-logs?from=2&to=1").await;
    assert_eq!(backwards.fields(), ["from"]);
    let page = projects.get("/api/audit-logs?limit=2").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = projects
        .get(&format!("/api/audit-logs?limit=2&cursor={cursor}"))
        .await
        .json();
    assert_eq!(&rest["logs"][0], first);
    let foreign = projects
        .get(&format!("/api/projects?cursor={cursor}"))
        .await;
    assert_eq!(foreign.fields(), ["cursor"]);
}

#[tokio::test]
async fn without_a_store_the_routes_of_projects_do_not_exist() {
    let app = spawn_app();
    for (method, path) in [
        (Method::POST, "/api/projects/key"),
        (Method::DELETE, "/api/projects/key"),
        (Method::GET, "/api/projects/key"),
        (Method::OPTIONS, "/api/projects/key"),
        (Method::GET, "/api/projects"),
        (Method::GET, "/api/audit-logs"),
    ] {
        let key = ADMIN_KEY.as_bytes();
        let answer = app
            .send(method.clone(), path, &[("x-admin-api-key", key)], None)
            .await;
        assert_eq!(answer.code(), "not_found", "{method} {path}");
    }
}

#[tokio::test]
async fn fault_34_a_store_that_cannot_be_opened_is_503_and_recovers_without_a_restart() {
    let projects = ProjectsApp::start().await;
    projects.save("p", &[]).await;
    let path = projects.folder.path().join("store.db");
    let text = std::fs::read(&path).unwrap();
    assert!(!text.is_empty());
    let projects = {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("store.db"),
            "canary: not a database".repeat(99),
        )
        .unwrap();
        ProjectsApp::start_in(folder, projects.upstream, &[])
    };
    let answer = projects.save("p", &[]).await;
    assert_eq!(answer.code(), "store_unavailable");
    let ready = projects.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        ready.json()["dependencies"],
        json!([{ "name": "store", "state": "missing" }])
    );
    let path = projects.folder.path().join("store.db");
    let left = std::fs::read_to_string(&path).unwrap();
    assert!(
        left.starts_with("canary: not a database"),
        "it was overwritten"
    );
    assert!(projects.app.log().contains("the store is not available"));
    let metrics = projects.get("/api/metrics").await;
    assert!(metrics.text.contains("roomkey_store_available 0"));
    // A token for a room needs no store.
    let token = projects.app.post("/api/token", r#"{"roomName":"r"}"#).await;
    assert_eq!(token.status, StatusCode::OK);

    std::fs::remove_file(&path).unwrap();
    assert_eq!(projects.save("p", &[]).await.status, StatusCode::CREATED);
    assert_eq!(
        projects.get("/api/health/ready").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_damaged_record_is_kept_and_touches_no_other_project() {
    let projects = ProjectsApp::start().await;
    projects.save("good", &[]).await;
    projects.save("bad", &[]).await;
    projects.damage("bad");
    let listed = projects.get("/api/projects").await;
    assert_eq!(listed.status, StatusCode::OK);
    assert_eq!(listed.json()["projects"].as_array().unwrap().len(), 2);
    assert_eq!(projects.delete("good", &[]).await.status, StatusCode::OK);
    let replaced = projects.save("bad", &[("if-match", "*")]).await;
    assert!(
        matches!(replaced.status.as_u16(), 200 | 500),
        "{}",
        replaced.text
    );
}

#[tokio::test]
async fn a_key_that_seals_and_is_missing_is_a_line_in_readiness() {
    let projects = ProjectsApp::start().await;
    projects.save("p", &[]).await;
    let projects = projects.restart(&[("ROOMKEY_KEK_V1", ""), ("ROOMKEY_KEK_V2", KEK_2)]);
    let listed = projects.get("/api/projects").await.json();
    assert_eq!(
        listed["projects"][0]["kek_version"], "v1",
        "nothing is lost"
    );
    let seen = async {
        loop {
            let ready = projects.get("/api/health/ready").await;
            if ready.text.contains("roomkey-kek-v1") {
                return ready;
            }
        }
    };
    let ready = tokio::time::timeout(std::time::Duration::from_secs(20), seen)
        .await
        .unwrap();
    assert_eq!(ready.status, StatusCode::OK, "other keys serve");
    assert!(
        ready
            .text
            .contains(r#""name":"roomkey-kek-v1","state":"missing""#)
    );
    assert!(!ready.text.contains(API_SECRET));
}
