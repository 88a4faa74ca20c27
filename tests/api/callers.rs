//! Authentication and authorization: every route with every kind of caller, forged tokens, and the
//! operator's policy.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use http::{Method, StatusCode};
use roomkey::http::routes::{Feature, ROUTES};
use serde_json::json;

use crate::harness::{ADMIN_KEY, Answer, Setup, TestApp};
use crate::issuer::{FORGE, Issuer};
use crate::projects_app::store_settings;
use crate::turn::COTURN;
use crate::upstream::Upstream;

type Headers = Vec<(&'static str, String)>;

const JSON: (&str, &[u8]) = ("content-type", b"application/json");
/// A principal header of Azure's sign-in, as anyone on the Internet can write it.
const PRINCIPAL: &str = r#"{"auth_typ":"aad","name_typ":"name","role_typ":"roles","claims":[
    {"typ":"sub","val":"mallory"},{"typ":"roles","val":"Roomkey.Admin"}]}"#;

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

async fn ask(
    app: &TestApp,
    method: &Method,
    path: &str,
    headers: &Headers,
    body: Option<&str>,
) -> Answer {
    let headers: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .chain([JSON])
        .collect();
    app.send(method.clone(), path, &headers, body.map(str::as_bytes))
        .await
}

async fn ask_token(app: &TestApp, headers: &Headers, body: &str) -> Answer {
    ask(app, &Method::POST, "/api/token", headers, Some(body)).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn every_route_treats_every_kind_of_caller_as_the_table_says() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let openai = upstream.openai();
    let folder = tempfile::tempdir().unwrap();
    let store = store_settings(&folder, &upstream);
    let store = store
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| *name != "OPENAI_BASE_URL");
    let openai: Vec<_> = openai
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(store)
        .collect();
    let settings = [&openai[..], &COTURN].concat();
    // More than ten wrong keys from one address are refused unread, so that the routes of projects,
    // which are many, are asked elsewhere.
    let (app, projects) = (issuer.app(&settings), issuer.app(&settings));
    let expired = issuer.terms.now - 61 - 600;
    let forged = FORGE
        .forgeries(&issuer.terms)
        .into_iter()
        .find(|forgery| forgery.reason == "signature")
        .unwrap();
    let callers: [(&str, Headers); 11] = [
        ("nobody", vec![]),
        ("forged token", vec![bearer(&forged.token)]),
        (
            "expired token",
            vec![bearer(&issuer.token(
                json!({ "iat": expired, "nbf": expired, "exp": expired + 600 }),
            ))],
        ),
        (
            "token without the scope",
            vec![bearer(&issuer.token(json!({ "scope": "openid" })))],
        ),
        ("token", vec![bearer(&issuer.token(json!({})))]),
        (
            "token with the operators' role",
            vec![bearer(&issuer.token(json!({ "roles": ["Roomkey.Admin"] })))],
        ),
        (
            "operator's key",
            vec![("x-admin-api-key", ADMIN_KEY.to_owned())],
        ),
        (
            "wrong operator's key",
            vec![("x-admin-api-key", ADMIN_KEY.replace("canary", "CANARY"))],
        ),
        (
            "operator's key beside a forged token",
            vec![
                ("x-admin-api-key", ADMIN_KEY.to_owned()),
                bearer(&forged.token),
            ],
        ),
        (
            "Azure's sign-in, from outside",
            vec![(
                "x-ms-client-principal",
                data_encoding::BASE64.encode(PRINCIPAL.as_bytes()),
            )],
        ),
        ("operator's key as a bearer", vec![bearer(ADMIN_KEY)]),
    ];
    let expected: BTreeMap<(&str, &str), [u16; 11]> = BTreeMap::from([
        (("GET", "/"), [204; 11]),
        (("GET", "/api/health"), [200; 11]),
        (("GET", "/api/health/ready"), [200; 11]),
        (("GET", "/api/openapi.json"), [200; 11]),
        (
            ("POST", "/api/token"),
            [401, 401, 401, 403, 200, 200, 401, 401, 401, 401, 401],
        ),
        (
            ("POST", "/api/v1/token"),
            [401, 401, 401, 403, 200, 200, 401, 401, 401, 401, 401],
        ),
        (
            ("GET", "/api/diagnostics/realtime"),
            [401, 401, 401, 403, 403, 200, 200, 401, 200, 401, 401],
        ),
        (
            ("POST", "/api/diagnostics/realtime"),
            [401, 401, 401, 403, 403, 200, 200, 401, 200, 401, 401],
        ),
        (
            ("POST", "/api/connection-details"),
            [401, 401, 401, 403, 201, 201, 401, 401, 401, 401, 401],
        ),
        (
            ("GET", "/api/turn-credentials"),
            [401, 401, 401, 403, 200, 200, 401, 401, 401, 401, 401],
        ),
        (
            ("POST", "/api/session"),
            [401, 401, 401, 400, 400, 400, 401, 401, 401, 401, 401],
        ),
        (
            ("POST", "/api/session/end"),
            [401, 401, 401, 400, 400, 400, 400, 401, 400, 401, 401],
        ),
        (
            ("POST", "/api/projects/key"),
            [401, 401, 401, 403, 403, 400, 400, 401, 400, 401, 401],
        ),
        (
            ("DELETE", "/api/projects/key"),
            [401, 401, 401, 403, 403, 400, 400, 401, 400, 401, 401],
        ),
        (
            ("POST", "/api/projects/key/rotate"),
            [401, 401, 401, 403, 403, 400, 400, 401, 400, 401, 401],
        ),
        (
            ("GET", "/api/health/vault"),
            [401, 401, 401, 403, 403, 200, 200, 401, 200, 401, 401],
        ),
        (
            ("GET", "/api/audit-logs/verify"),
            [401, 401, 401, 403, 403, 200, 200, 401, 200, 401, 401],
        ),
        (
            ("GET", "/api/projects"),
            [401, 401, 401, 403, 403, 200, 200, 401, 200, 401, 401],
        ),
        (
            ("GET", "/api/audit-logs"),
            [401, 401, 401, 403, 403, 200, 200, 401, 200, 401, 401],
        ),
        (
            ("GET", "/api/metrics"),
            [401, 401, 401, 403, 403, 200, 200, 401, 200, 401, 200],
        ),
    ]);
    // Readiness and callers wait until the keys have been fetched.
    for app in [&app, &projects] {
        let ready = async { while app.get("/api/health/ready").await.status != StatusCode::OK {} };
        tokio::time::timeout(Duration::from_secs(30), ready)
            .await
            .unwrap();
    }

    let mut table = String::new();
    for route in ROUTES.iter() {
        let row = expected
            .get(&(route.method.as_str(), route.path))
            .unwrap_or_else(|| {
                panic!(
                    "{} {} is new: say who may call it",
                    route.method, route.path
                )
            });
        let body = match (&route.method, route.path) {
            (&Method::POST, "/api/v1/token" | "/api/diagnostics/realtime") => Some("{}"),
            (&Method::POST, _) => Some(r#"{"roomName":"r"}"#),
            _ => None,
        };
        for ((caller, headers), expected) in callers.iter().zip(row) {
            let app = if route.needs == Some(Feature::Store) {
                &projects
            } else {
                &app
            };
            let answer = ask(app, &route.method, route.path, headers, body).await;
            writeln!(
                table,
                "{:<4} {:<24} {caller:<37} {}",
                route.method.as_str(),
                route.path,
                answer.status.as_u16()
            )
            .unwrap();
            assert_eq!(
                answer.status.as_u16(),
                *expected,
                "{} {} {caller}: {}",
                route.method,
                route.path,
                answer.text
            );
        }
    }
    println!("{table}");
}

#[tokio::test]
async fn a_caller_is_refused_before_the_body_is_read() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[]);
    let answer = app
        .send(
            Method::POST,
            "/api/token",
            &[("content-type", b"text/plain")],
            Some(&vec![b'x'; 20_000]),
        )
        .await;
    assert_eq!(answer.code(), "unauthenticated");
    let signed_in = vec![bearer(&issuer.token(json!({ "scope": "openid" })))];
    assert_eq!(
        ask_token(&app, &signed_in, "{").await.code(),
        "malformed_json",
        "400 comes before 403"
    );
}

#[tokio::test]
async fn fault_14_and_15_missing_and_malformed_credentials_get_401() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[]);
    let good = issuer.token(json!({}));
    let none = app.post("/api/token", r#"{"roomName":"r"}"#).await;
    assert_eq!(
        (none.status, none.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, r#"Bearer realm="roomkey""#)
    );
    let in_query = app
        .post(
            &format!("/api/token?access_token={good}"),
            r#"{"roomName":"r"}"#,
        )
        .await;
    assert_eq!(
        (in_query.status, in_query.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, r#"Bearer realm="roomkey""#)
    );
    for headers in [
        vec![bearer(&good), bearer(&good)],
        vec![("authorization", "Basic YTpi".to_owned())],
        vec![("authorization", format!("Bearer {good} {good}"))],
        vec![("authorization", format!("Bearer {good}, Bearer {good}"))],
        vec![("authorization", good.clone())],
        vec![("authorization", "Bearer".to_owned())],
        vec![("authorization", String::new())],
    ] {
        let answer = ask_token(&app, &headers, r#"{"roomName":"r"}"#).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{headers:?}");
        assert_eq!(
            answer.header("www-authenticate"),
            r#"Bearer realm="roomkey", error="invalid_token""#
        );
    }
    assert!(!app.log().contains("access_token") && !app.log().contains("eyJ"));
    assert_eq!(
        ask_token(
            &app,
            &vec![("authorization", format!("bearer  {good}"))],
            r#"{"roomName":"r"}"#
        )
        .await
        .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn fault_16_to_19_every_forged_token_gets_the_same_401_and_causes_no_request() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[]);
    assert_eq!(
        ask_token(
            &app,
            &vec![bearer(&issuer.token(json!({})))],
            r#"{"roomName":"r"}"#
        )
        .await
        .status,
        StatusCode::OK
    );
    // A token with an unknown key may cause one fetch per minute. It is used up first, so that the
    // forgeries cause none.
    let forgeries = FORGE.forgeries(&issuer.terms);
    let unknown = forgeries
        .iter()
        .find(|forgery| forgery.name == "kid is unknown")
        .unwrap();
    assert_eq!(
        ask_token(&app, &vec![bearer(&unknown.token)], r#"{"roomName":"r"}"#)
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    let asked = issuer.asked();
    let mut bodies = std::collections::BTreeSet::new();
    for forgery in &forgeries {
        // Some are not valid header values, or have trailing white space, which is not part of one.
        // Those never reach a server.
        if forgery.token.ends_with([' ', '\t']) {
            continue;
        }
        let Ok(value) = http::HeaderValue::from_str(&format!("Bearer {}", forgery.token)) else {
            continue;
        };
        let answer = app
            .send(
                Method::POST,
                "/api/token",
                &[JSON, ("authorization", value.as_bytes())],
                Some(br#"{"roomName":"r"}"#),
            )
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", forgery.name);
        assert_eq!(
            answer.header("www-authenticate"),
            r#"Bearer realm="roomkey", error="invalid_token""#,
            "{}",
            forgery.name
        );
        println!("401  {:<12} {}", forgery.reason, forgery.name);
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("requestId");
        bodies.insert(body.to_string());
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(issuer.asked(), asked, "no forged token causes a request");
    let metrics = app.metrics().await;
    for reason in [
        "algorithm",
        "type",
        "critical",
        "key",
        "signature",
        "claims",
        "expired",
        "too_early",
        "issuer",
        "tenant",
        "audience",
    ] {
        let none = format!("roomkey_auth_rejected_total{{reason=\"{reason}\"}} 0\n");
        assert!(
            metrics.text.contains(&none[..none.len() - 3]) && !metrics.text.contains(&none),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn fault_12_13_and_21_a_known_caller_stays_within_identity_rooms_and_scope() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[("ROOMKEY_ROOMS_CLAIM", "rooms")]);
    let rooms = |rooms: serde_json::Value| vec![bearer(&issuer.token(json!({ "rooms": rooms })))];
    for (headers, body, expected) in [
        (rooms(json!(["standup"])), r#"{"roomName":"standup"}"#, None),
        (
            rooms(json!(["standup"])),
            r#"{"roomName":"standup","participantIdentity":"alice"}"#,
            None,
        ),
        (rooms(json!(["team-*"])), r#"{"roomName":"team-7"}"#, None),
        (
            rooms(json!(["standup"])),
            r#"{"roomName":"standup","participantIdentity":"bob"}"#,
            Some("identity_mismatch"),
        ),
        (
            rooms(json!(["standup"])),
            r#"{"roomName":"standup2"}"#,
            Some("room_forbidden"),
        ),
        (
            rooms(json!([])),
            r#"{"roomName":"standup"}"#,
            Some("room_forbidden"),
        ),
        (
            rooms(json!(7)),
            r#"{"roomName":"standup"}"#,
            Some("room_forbidden"),
        ),
        (
            rooms(json!(null)),
            r#"{"roomName":"standup"}"#,
            Some("room_forbidden"),
        ),
        (
            vec![bearer(&issuer.token(json!({ "scope": "openid" })))],
            r#"{"roomName":"standup"}"#,
            Some("insufficient_scope"),
        ),
    ] {
        let answer = ask_token(&app, &headers, body).await;
        match expected {
            None => assert_eq!(answer.json()["participantIdentity"], "alice", "{body}"),
            Some(code) => {
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (StatusCode::FORBIDDEN, code),
                    "{body}"
                );
                assert!(
                    !answer.text.contains("alice") && !answer.text.contains("standup"),
                    "{}",
                    answer.text
                );
                let challenge = if code == "insufficient_scope" {
                    r#"Bearer realm="roomkey", error="insufficient_scope""#
                } else {
                    ""
                };
                assert_eq!(answer.header("www-authenticate"), challenge);
            }
        }
    }
    // A caller with listed rooms must not get a random room, which is not on the list.
    let random = ask(
        &app,
        &Method::POST,
        "/api/connection-details",
        &rooms(json!(["standup"])),
        Some("{}"),
    )
    .await;
    assert_eq!(random.code(), "room_forbidden");
    let random = ask(
        &app,
        &Method::POST,
        "/api/connection-details",
        &rooms(json!(["room-*"])),
        Some("{}"),
    )
    .await;
    assert_eq!(random.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_ambiguous_identity_is_replaced_by_a_hash_of_issuer_and_subject() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[]);
    let identity = async |subject: &str| {
        let answer = ask_token(
            &app,
            &vec![bearer(&issuer.token(json!({ "sub": subject })))],
            r#"{"roomName":"r"}"#,
        )
        .await;
        answer.json()["participantIdentity"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for subject in [
        "auth0|alice",
        "alice@example.com",
        "u-alice",
        "guest-alice",
        "ä",
    ] {
        let derived = identity(subject).await;
        assert!(
            derived.len() == 28 && derived.starts_with("u-"),
            "{subject}: {derived}"
        );
        assert_eq!(derived, identity(subject).await);
        assert_ne!(derived, identity(&format!("{subject}2")).await);
    }
}

#[tokio::test]
async fn fault_22_without_keys_nobody_is_admitted_and_missing_credentials_still_get_401() {
    let issuer = Issuer::start().await;
    let (terms, token) = (issuer.terms.issuer.clone(), issuer.token(json!({})));
    let settings = [
        ("ROOMKEY_CALLER_AUTH", "oidc"),
        ("ROOMKEY_OIDC_ISSUER", terms.as_str()),
        ("ROOMKEY_OIDC_AUDIENCE", "api://roomkey"),
    ];
    drop(issuer);
    let app = Setup {
        settings: &settings,
        ..Setup::default()
    }
    .spawn();
    let answer = ask_token(&app, &vec![bearer(&token)], r#"{"roomName":"r"}"#).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "auth_unavailable")
    );
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(
        app.post("/api/token", r#"{"roomName":"r"}"#).await.code(),
        "unauthenticated"
    );
    let ready = app.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        ready.json(),
        json!({
            "status": "waiting",
            "dependencies": [{ "name": "identity-provider", "state": "missing" }],
        })
    );
}

#[tokio::test]
async fn fault_23_azures_sign_in_counts_only_where_azure_removes_forged_headers() {
    let principal = data_encoding::BASE64.encode(PRINCIPAL.as_bytes());
    let signed_in: Headers = vec![("x-ms-client-principal", principal.clone())];
    let azure = [
        ("ROOMKEY_CALLER_AUTH", "easy-auth"),
        ("WEBSITE_INSTANCE_ID", "i"),
        ("WEBSITE_AUTH_ENABLED", "true"),
    ];
    let app = Setup {
        settings: &azure,
        ..Setup::default()
    }
    .spawn();
    let answer = ask_token(&app, &signed_in, r#"{"roomName":"r"}"#).await;
    assert!(
        answer.json()["participantIdentity"]
            .as_str()
            .unwrap()
            .starts_with("u-"),
        "{}",
        answer.text
    );
    assert_eq!(
        ask(&app, &Method::GET, "/api/metrics", &signed_in, None)
            .await
            .status,
        StatusCode::OK,
        "by the role"
    );
    assert_eq!(
        ask_token(&app, &vec![], r#"{"roomName":"r"}"#)
            .await
            .header("www-authenticate"),
        r#"Bearer realm="roomkey""#
    );
    for bad in [
        vec![signed_in[0].clone(), signed_in[0].clone()],
        vec![("x-ms-client-principal", "e30=".to_owned())],
    ] {
        assert_eq!(
            ask_token(&app, &bad, r#"{"roomName":"r"}"#).await.code(),
            "unauthenticated"
        );
    }
    let anonymous = Setup::default().spawn();
    let answer = ask_token(&anonymous, &signed_in, r#"{"roomName":"r"}"#).await;
    assert!(
        answer.json()["participantIdentity"]
            .as_str()
            .unwrap()
            .starts_with("guest-"),
        "{}",
        answer.text
    );
    assert_eq!(
        ask(&anonymous, &Method::GET, "/api/metrics", &signed_in, None)
            .await
            .code(),
        "unauthenticated"
    );
}
