//! Sessions with the keys of projects: who may open and end them, their limits, and what is left
//! when something fails.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use roomkey::clock::Stopwatch;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Answer, NOW};
use crate::issuer::Issuer;
use crate::projects_app::{KEK_2, PROJECT_KEY, ProjectsApp, store_settings};
use crate::reserved_port::ReservedPort;
use crate::undisturbed::undisturbed;
use crate::upstream::{Act, CANARY, Upstream};

const OPEN: &str = "/api/session";
const END: &str = "/api/session/end";
const ANYONE: (&str, &str) = ("ROOMKEY_ANONYMOUS_PROJECTS", "p,q,damaged");

async fn with_project(changed: &[(&str, &str)]) -> ProjectsApp {
    let changed: Vec<_> = [ANYONE]
        .into_iter()
        .chain(changed.iter().copied())
        .collect();
    let projects = ProjectsApp::start_with(&changed).await;
    projects.save("p", &[]).await;
    projects
}

async fn open(projects: &ProjectsApp, body: Value) -> Answer {
    projects.app.post(OPEN, &body.to_string()).await
}

async fn end(projects: &ProjectsApp, body: Value) -> Answer {
    projects.app.post(END, &body.to_string()).await
}

async fn active(projects: &ProjectsApp) -> Value {
    projects.get("/api/projects").await.json()["projects"][0]["active_sessions"].clone()
}

#[tokio::test]
async fn a_session_is_minted_with_the_projects_key_and_counts_until_it_is_ended() {
    let projects = with_project(&[]).await;
    let answer = open(&projects, json!({ "project_id": "p", "voice": "cedar" })).await;
    assert_eq!(answer.status, StatusCode::OK);
    let session = answer.json();
    let expires_at = session["client_secret"]["expires_at"].as_u64().unwrap();
    assert_eq!(expires_at, NOW + 60);
    assert!(
        session["client_secret"]["value"]
            .as_str()
            .unwrap()
            .starts_with("ek_")
    );
    assert_eq!(
        session["metadata"]["created_at"],
        "2023-11-14T22:13:20.123Z"
    );
    assert_eq!(
        (&session["model"], &session["voice"]),
        (&json!("gpt-realtime-2.1"), &json!("cedar"))
    );
    assert!(session.get("turn_credentials").is_none());
    assert!(
        session["webrtc_url"]
            .as_str()
            .unwrap()
            .ends_with("/v1/realtime/calls")
    );
    let asked = projects.upstream.asked();
    let mint = asked.last().unwrap();
    assert_eq!(mint.line(), "POST /v1/realtime/client_secrets");
    assert_eq!(
        mint.header("authorization"),
        format!("Bearer {PROJECT_KEY}")
    );
    assert_eq!(mint.body["expires_after"]["seconds"], 60);
    let listed = projects.get("/api/projects").await.json()["projects"][0].clone();
    assert_eq!(
        (&listed["active_sessions"], &listed["sessions_today"]),
        (&json!(1), &json!(1))
    );

    let id = &session["session_id"];
    for _ in 0..2 {
        let ended = end(&projects, json!({ "session_id": id })).await;
        assert_eq!(
            ended.json(),
            json!({ "success": true, "session_id": id, "hung_up": false })
        );
    }
    assert_eq!(active(&projects).await, 0);
    assert_eq!(
        projects.events().await[..2],
        ["session_ended ok", "session_created ok"]
    );
    let logs = projects
        .get("/api/audit-logs?event_type=session_created")
        .await
        .json();
    assert_eq!(&logs["logs"][0]["session_id"], id);
    let hash = logs["logs"][0]["hash"].as_str().unwrap();
    assert!(projects.app.log().contains(hash), "it has no log line");
}

#[tokio::test]
async fn fault_33_a_project_that_is_unknown_deleted_or_not_the_callers_is_one_404() {
    let projects = with_project(&[]).await;
    projects.save("q", &[]).await;
    projects.delete("q", &[]).await;
    projects.save("secret", &[]).await;
    let mut bodies = Vec::new();
    for project_id in ["nobody", "q", "secret"] {
        let answer = open(&projects, json!({ "project_id": project_id })).await;
        assert_eq!(answer.code(), "not_found", "{project_id}");
        let mut json = answer.json();
        json["requestId"] = json!(null);
        bodies.push(json);
    }
    assert_eq!((&bodies[0], &bodies[0]), (&bodies[1], &bodies[2]));
    assert!(projects.upstream.asked().is_empty());
    let sessions = projects.events().await;
    assert!(sessions.iter().all(|event| event.starts_with("vault_key")));
}

#[tokio::test]
async fn a_wrong_session_request_is_refused_by_name() {
    let projects = with_project(&[]).await;
    for (body, field) in [
        (json!({}), "project_id"),
        (json!({ "project_id": "p", "model": "gpt-5" }), "model"),
        (json!({ "project_id": "p", "voice": "nobody" }), "voice"),
        (
            json!({ "project_id": "p", "instructions": "Be rude." }),
            "instructions",
        ),
        (
            json!({ "project_id": "p", "temperature": 1 }),
            "temperature",
        ),
    ] {
        let answer = open(&projects, body.clone()).await;
        assert_eq!(answer.fields(), [field], "{body}");
    }
    for (body, field) in [
        (json!({}), "session_id"),
        (json!({ "session_id": "x" }), "session_id"),
        (
            json!({ "session_id": "0b0e6d0e-8a55-4bd6-9d8b-3f0d1f0a7c11", "call_id": "a/b" }),
            "call_id",
        ),
    ] {
        assert_eq!(
            end(&projects, body.clone()).await.fields(),
            [field],
            "{body}"
        );
    }
    let projects = projects.restart(&[ANYONE, ("ROOMKEY_PROJECT_INSTRUCTIONS", "client")]);
    let body = json!({ "project_id": "p", "instructions": "Be kind." });
    assert_eq!(open(&projects, body).await.status, StatusCode::OK);
    let asked = projects.upstream.asked();
    assert_eq!(
        asked.last().unwrap().body["session"]["instructions"],
        "Be kind."
    );
}

#[tokio::test]
async fn a_project_has_as_many_sessions_at_once_as_it_may_and_the_refusal_says_when() {
    let projects = with_project(&[("ROOMKEY_PROJECT_CONCURRENCY", "2")]).await;
    let body = || json!({ "project_id": "p" });
    let first = open(&projects, body()).await.json();
    assert_eq!(open(&projects, body()).await.status, StatusCode::OK);
    let full = open(&projects, body()).await;
    assert_eq!(
        (full.status.as_u16(), full.code().as_str()),
        (429, "concurrency_limited")
    );
    assert_eq!(full.header("retry-after"), "3600");
    assert_eq!(
        full.header("ratelimit"),
        "\"project-concurrency\";r=0;t=3600"
    );
    assert_eq!(
        full.header("ratelimit-policy"),
        "\"project-concurrency\";q=2;w=3600"
    );
    let minted = projects.upstream.asked().len();
    assert_eq!(minted, 2, "a refused session costs no secret");
    end(&projects, json!({ "session_id": first["session_id"] })).await;
    assert_eq!(open(&projects, body()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_projects_budget_and_its_day_are_limits_of_their_own() {
    let projects = with_project(&[("ROOMKEY_PROJECT_RATE_LIMIT", "2/1h")]).await;
    let body = || json!({ "project_id": "p" });
    for _ in 0..2 {
        assert_eq!(open(&projects, body()).await.status, StatusCode::OK);
    }
    let refused = open(&projects, body()).await;
    assert_eq!(
        (refused.code().as_str(), refused.header("ratelimit")),
        ("rate_limited", "\"project\";r=0;t=1800")
    );

    let projects = projects.restart(&[ANYONE, ("ROOMKEY_PROJECT_DAILY_SESSIONS", "3")]);
    assert_eq!(open(&projects, body()).await.status, StatusCode::OK);
    let refused = open(&projects, body()).await;
    assert_eq!(refused.code(), "rate_limited");
    // 22:13:20.123 in UTC: the next day begins in 6,399.877 s.
    assert_eq!(refused.header("ratelimit"), "\"project-day\";r=0;t=6400");
    let metrics = projects.get("/api/metrics").await.text;
    assert!(metrics.contains(r#"roomkey_rate_limited_total{budget="project-day"} 1"#));
    assert!(metrics.contains(r#"roomkey_sessions_total{outcome="rate_limited"} 1"#));
}

#[tokio::test]
async fn a_failed_mint_gives_the_place_back_and_is_audited() {
    let projects = with_project(&[("ROOMKEY_PROJECT_CONCURRENCY", "1")]).await;
    let said = || format!("{{\"error\":\"{CANARY}\"}}");
    for (act, code) in [
        (
            Act::Answer("401 Unauthorized", said()),
            "upstream_credentials_rejected",
        ),
        (
            Act::Answer("429 Too Many Requests", said()),
            "upstream_rate_limited",
        ),
        (
            Act::Answer("404 Not Found", said()),
            "upstream_misconfigured",
        ),
        (Act::Answer("200 OK", said()), "upstream_error"),
    ] {
        projects.upstream.next(act);
        let answer = open(&projects, json!({ "project_id": "p" })).await;
        assert_eq!(answer.code(), code);
        assert!(!answer.text.contains(CANARY) && !answer.text.contains("canary"));
        assert_eq!(projects.events().await[0], format!("session_error {code}"));
        let freed = async { while active(&projects).await != 0 {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), freed)
            .await
            .unwrap();
    }
    let answer = open(&projects, json!({ "project_id": "p" })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let listed = projects.get("/api/projects").await.json();
    assert_eq!(listed["projects"][0]["sessions_today"], 1);
}

#[tokio::test]
async fn forty_projects_mint_at_once_each_with_its_own_key_and_one_bad_key_hurts_no_other() {
    let names: Vec<String> = (0..40).map(|number| format!("p{number}")).collect();
    let anyone = names.join(",");
    let projects = ProjectsApp::start_with(&[
        ("ROOMKEY_ANONYMOUS_PROJECTS", &anyone),
        ("ROOMKEY_REALTIME_RATE_LIMIT", "off"),
    ])
    .await;
    let key = |name: &str| format!("sk-proj-canary-of-{name}-0123456789");
    for name in &names {
        let body = json!({ "project_id": name, "openai_key": key(name) });
        assert_eq!(
            projects.save_body(&body, &[]).await.status,
            StatusCode::CREATED
        );
    }
    projects.upstream.refuse_key(&key("p7"));
    let opened = names
        .iter()
        .map(|name| open(&projects, json!({ "project_id": name })));
    for (name, answer) in names
        .iter()
        .zip(futures_util::future::join_all(opened).await)
    {
        if name == "p7" {
            assert_eq!(answer.code(), "upstream_credentials_rejected");
            continue;
        }
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text);
        let secret = answer.json()["client_secret"]["value"].clone();
        let minted_with = projects.upstream.key_of_secret(secret.as_str().unwrap());
        assert_eq!(minted_with, key(name), "{name}");
    }
    for _ in 0..10 {
        let refused = open(&projects, json!({ "project_id": "p7" })).await;
        assert_eq!(refused.code(), "upstream_credentials_rejected");
    }
    let well = open(&projects, json!({ "project_id": "p8" })).await;
    assert_eq!(
        well.status,
        StatusCode::OK,
        "one project's key opened the breaker"
    );
    let metrics = projects.get("/api/metrics").await.text;
    assert!(metrics.contains(r#"roomkey_breaker_state{provider="openai-projects"} 0"#));
    assert!(!metrics.contains("p7"), "a metric names a project");
}

#[tokio::test]
async fn a_key_that_does_not_open_is_500_or_503_for_its_own_project_only() {
    let projects = with_project(&[]).await;
    projects.save("damaged", &[]).await;
    projects.damage("damaged");
    let answer = open(&projects, json!({ "project_id": "damaged" })).await;
    assert_eq!(answer.code(), "record_corrupt");
    assert_eq!(projects.events().await[0], "session_error record_corrupt");
    assert_eq!(
        open(&projects, json!({ "project_id": "p" })).await.status,
        StatusCode::OK
    );
    let projects = projects.restart(&[ANYONE, ("ROOMKEY_KEK_V1", ""), ("ROOMKEY_KEK_V2", KEK_2)]);
    let answer = open(&projects, json!({ "project_id": "p" })).await;
    assert_eq!(answer.code(), "secret_unavailable");
    let remediation = answer.json()["remediation"].clone();
    assert!(remediation.as_str().unwrap().contains("key-encryption key"));
    let metrics = projects.get("/api/metrics").await.text;
    assert!(metrics.contains(r#"roomkey_vault_opens_total{outcome="kek_missing"} 1"#));
}

#[tokio::test]
async fn a_call_is_hung_up_with_the_projects_key_and_one_that_is_over_counts() {
    let projects = with_project(&[]).await;
    let session = open(&projects, json!({ "project_id": "p" })).await.json();
    let body = json!({ "session_id": session["session_id"], "call_id": "rtc_canary-1" });
    for (act, hung_up) in [
        (Act::Answer("200 OK", String::new()), true),
        (Act::Answer("404 Not Found", "{}".to_owned()), true),
        (
            Act::Answer(
                "400 Bad Request",
                r#"{"error":{"message":"canary","code":"call_not_found"}}"#.to_owned(),
            ),
            true,
        ),
    ] {
        projects.upstream.next(act);
        let ended = end(&projects, body.clone()).await;
        assert_eq!(ended.json()["hung_up"], hung_up, "{}", ended.text);
    }
    let asked = projects.upstream.asked();
    let last = asked.last().unwrap();
    assert_eq!(last.line(), "POST /v1/realtime/calls/rtc_canary-1/hangup");
    assert_eq!(
        last.header("authorization"),
        format!("Bearer {PROJECT_KEY}")
    );
    for (act, code) in [
        (
            Act::Answer("400 Bad Request", "{}".to_owned()),
            "upstream_rejected",
        ),
        (
            Act::Answer("401 Unauthorized", "{}".to_owned()),
            "upstream_credentials_rejected",
        ),
        (
            Act::Answer("503 Service Unavailable", "{}".to_owned()),
            "upstream_error",
        ),
        (Act::Hang, "upstream_timeout"),
    ] {
        projects.upstream.next(act);
        assert_eq!(end(&projects, body.clone()).await.code(), code);
        assert_eq!(active(&projects).await, 0, "the slot is free all the same");
        assert_eq!(projects.events().await[0], format!("session_error {code}"));
    }
    projects.delete("p", &[]).await;
    let ended = end(&projects, body).await;
    assert_eq!(
        ended.json()["hung_up"],
        false,
        "a deleted project ends no calls"
    );
}

#[tokio::test]
async fn only_its_caller_or_an_operator_ends_a_session() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let store = store_settings(&folder, &upstream);
    let settings: Vec<_> = store
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain([("ROOMKEY_PROJECTS_CLAIM", "projects")])
        .collect();
    let app = issuer.app(&settings);
    let token = |subject: &str, more: Value| {
        let mut claims = json!({ "sub": subject, "projects": ["team-*"] });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        format!("Bearer {}", issuer.token(claims))
    };
    let ask = async |path: &str, credential: (&str, &str), body: Value| {
        let headers: [(&str, &[u8]); 2] = [
            (credential.0, credential.1.as_bytes()),
            ("content-type", b"application/json"),
        ];
        app.send(
            Method::POST,
            path,
            &headers,
            Some(body.to_string().as_bytes()),
        )
        .await
    };
    let admin = ("x-admin-api-key", crate::harness::ADMIN_KEY);
    for project_id in ["team-1", "other"] {
        let body = json!({ "project_id": project_id, "openai_key": PROJECT_KEY });
        ask("/api/projects/key", admin, body).await;
    }
    let (alice, bob) = (token("alice", json!({})), token("bob", json!({})));
    let operator = token("carol", json!({ "roles": ["Roomkey.Admin"] }));
    let unlisted = ask(
        OPEN,
        ("authorization", &alice),
        json!({ "project_id": "other" }),
    )
    .await;
    assert_eq!(unlisted.code(), "not_found");
    for ending in [
        ("authorization", alice.as_str()),
        ("authorization", &operator),
        admin,
    ] {
        let opened = ask(
            OPEN,
            ("authorization", &alice),
            json!({ "project_id": "team-1" }),
        )
        .await;
        let body = json!({ "session_id": opened.json()["session_id"] });
        let stranger = ask(END, ("authorization", &bob), body.clone()).await;
        assert_eq!(stranger.code(), "not_found");
        let ended = ask(END, ending, body).await;
        assert_eq!(ended.status, StatusCode::OK, "{}", ended.text);
    }
    let no_scope = token("dave", json!({ "scope": "openid" }));
    let refused = ask(
        OPEN,
        ("authorization", &no_scope),
        json!({ "project_id": "team-1" }),
    )
    .await;
    assert_eq!(refused.code(), "insufficient_scope");
    let unknown = json!({ "session_id": "0b0e6d0e-8a55-4bd6-9d8b-3f0d1f0a7c11" });
    assert_eq!(ask(END, admin, unknown).await.code(), "not_found");
}

#[tokio::test]
async fn ending_a_session_costs_no_token_and_has_a_budget_of_its_own() {
    let projects = with_project(&[("ROOMKEY_RATE_LIMIT", "2/1h")]).await;
    let mut opened = Vec::new();
    for _ in 0..2 {
        let session = open(&projects, json!({ "project_id": "p" })).await.json();
        opened.push(json!({ "session_id": session["session_id"] }));
    }
    let refused = open(&projects, json!({ "project_id": "p" })).await;
    assert_eq!(refused.header("ratelimit"), "\"token\";r=0;t=1800");
    for body in &opened {
        let ended = end(&projects, body.clone()).await;
        assert_eq!(ended.status, StatusCode::OK, "{}", ended.text);
    }
    let flood = end(&projects, opened[0].clone()).await;
    assert_eq!(
        (flood.code().as_str(), flood.header("ratelimit")),
        ("rate_limited", "\"session-end\";r=0;t=1800")
    );
    assert_eq!(active(&projects).await, 0);
}

#[tokio::test]
async fn a_session_that_redis_cannot_count_is_503_and_in_the_audit_log() {
    let closed = ReservedPort::new();
    let redis = format!("redis://{}", closed.address);
    let projects = with_project(&[("ROOMKEY_REDIS_URL", &redis)]).await;
    let answer = open(&projects, json!({ "project_id": "p" })).await;
    assert_eq!(answer.code(), "store_unavailable");
    assert!(projects.upstream.asked().is_empty(), "a secret is lost");
    assert_eq!(
        projects.events().await,
        ["session_error store_unavailable", "vault_key_saved ok"]
    );
    let logs = projects.get("/api/audit-logs").await.json();
    let hash = logs["logs"][0]["hash"].as_str().unwrap();
    assert!(projects.app.log().contains(hash), "it has no log line");
}

#[tokio::test]
async fn in_dev_mode_a_session_is_its_callers_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let start = || crate::projects_app::in_dev_mode(folder.path(), &upstream);
    let app = start();
    let headers: [(&str, &[u8]); 2] = [
        ("x-admin-api-key", ADMIN_KEY.as_bytes()),
        ("content-type", b"application/json"),
    ];
    let key = json!({ "project_id": "p", "openai_key": PROJECT_KEY }).to_string();
    let path = "/api/projects/key";
    app.send(Method::POST, path, &headers, Some(key.as_bytes()))
        .await;
    let session = app.post(OPEN, r#"{"project_id":"p"}"#).await.json();
    drop(app);
    let app = start();
    let body = json!({ "session_id": session["session_id"] }).to_string();
    let ended = app.post(END, &body).await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text);
    let path = "/api/audit-logs?limit=2";
    let logs = app.send(Method::GET, path, &headers, None).await.json();
    let (ended, opened) = (&logs["logs"][0], &logs["logs"][1]);
    assert_eq!(ended["event_type"], "session_ended");
    assert_eq!(ended["actor"], opened["actor"]);
}

#[tokio::test]
async fn a_session_brings_turn_credentials_where_they_are_offered_and_wanted() {
    let settings: Vec<_> = [ANYONE].into_iter().chain(crate::turn::COTURN).collect();
    let projects = ProjectsApp::start_with(&settings).await;
    projects.save("p", &[]).await;
    let session = open(&projects, json!({ "project_id": "p" })).await.json();
    let servers = session["turn_credentials"]["iceServers"]
        .as_array()
        .unwrap();
    assert!(
        servers
            .iter()
            .any(|server| server["credential"].is_string())
    );
    let turn_server = session["metadata"]["turn_server"].as_str().unwrap();
    assert!(turn_server.starts_with("turn"), "{turn_server}");
    let unwanted = open(&projects, json!({ "project_id": "p", "turn": false }))
        .await
        .json();
    assert!(unwanted.get("turn_credentials").is_none());
    assert!(unwanted["metadata"].get("turn_server").is_none());
}

/// An app with a project `p`, whose TURN credentials come from a fake of Cloudflare's service.
async fn with_cloudflare(fake: &Upstream) -> ProjectsApp {
    let turn = crate::turn::cloudflare(fake);
    let settings: Vec<_> = [ANYONE]
        .into_iter()
        .chain(turn.iter().map(|(name, value)| (*name, value.as_str())))
        .collect();
    let projects = ProjectsApp::start_with(&settings).await;
    projects.save("p", &[]).await;
    projects
}

#[tokio::test]
async fn a_slow_turn_provider_does_not_delay_the_log_line_of_the_audit_record() {
    // The answer waits for 3 s, and a line that waits with it comes no sooner.
    undisturbed(async || {
        let fake = Upstream::start().await;
        fake.always(Act::Hang);
        let projects = with_cloudflare(&fake).await;
        let logged = async {
            loop {
                let newest = projects.get("/api/audit-logs").await.json()["logs"][0].clone();
                let hash = newest["hash"].as_str().unwrap();
                if newest["event_type"] == "session_created" && projects.app.log().contains(hash) {
                    break;
                }
            }
        };
        let began = Stopwatch::start();
        tokio::select! {
            biased;
            _answer = open(&projects, json!({ "project_id": "p" })) => None,
            () = logged => (began.elapsed() < Duration::from_secs(2)).then_some(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_turn_provider_that_fails_does_not_fail_the_session() {
    let fake = Upstream::start().await;
    fake.always(Act::Answer("401 Unauthorized", "{}".to_owned()));
    let projects = with_cloudflare(&fake).await;
    let answer = open(&projects, json!({ "project_id": "p" })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(answer.json().get("turn_credentials").is_none());
    let metrics = projects.get("/api/metrics").await.text;
    let refused = metrics.lines().find(|line| {
        line.starts_with("roomkey_turn_credentials_total") && line.contains("refused")
    });
    assert!(
        refused.is_some_and(|line| line.ends_with(" 1")),
        "{metrics}"
    );
}
