//! Azure's built-in sign-in: the headers and shapes that are accepted, and the web pages that may
//! use its cookie.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Answer, Setup, TestApp};

const BODY: &[u8] = br#"{"roomName":"r"}"#;
const AZURE: [(&str, &str); 3] = [
    ("ROOMKEY_CALLER_AUTH", "easy-auth"),
    ("WEBSITE_INSTANCE_ID", "i"),
    ("WEBSITE_AUTH_ENABLED", "True"),
];
const HOST_JSON: &str =
    r#"{"cors":{"allowedOrigins":["https://page.example"],"supportCredentials":true}}"#;

type Headers<'a> = &'a [(&'a str, &'a str)];

fn app(settings: &[(&str, &str)]) -> TestApp {
    Setup {
        settings: &[&AZURE, settings].concat(),
        host_json: Some(HOST_JSON),
        ..Setup::default()
    }
    .spawn()
}

async fn send(app: &TestApp, method: Method, path: &str, headers: Headers<'_>) -> Answer {
    let body = (method == Method::POST).then_some(BODY);
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    app.send(
        method,
        path,
        &[&headers[..], &[("content-type", &b"application/json"[..])]].concat(),
        body,
    )
    .await
}

async fn ask(app: &TestApp, headers: Headers<'_>) -> Answer {
    send(app, Method::POST, "/api/token", headers).await
}

fn encoded(principal: &Value) -> String {
    data_encoding::BASE64.encode(principal.to_string().as_bytes())
}

fn alice() -> String {
    encoded(&json!({
        "auth_typ": "aad", "claims": [{ "typ": "sub", "val": "alice" }], "name_typ": "name",
        "role_typ": "roles",
    }))
}

fn of_static_web_apps(roles: &[&str]) -> String {
    encoded(&json!({
        "identityProvider": "github", "userId": "0a1b", "userDetails": "alice",
        "userRoles": roles,
    }))
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_before_any_budget_is_charged() {
    let app = app(&[("ROOMKEY_RATE_LIMIT", "2/1h")]);
    let alice = alice();
    let principal = ("x-ms-client-principal", alice.as_str());
    let host = ("host", "app.azurewebsites.net");
    for origin in [
        "https://evil.example",
        "null",
        "http://app.azurewebsites.net",
        "https://app.azurewebsites.net.evil.example",
    ] {
        for _ in 0..3 {
            let answer = ask(&app, &[host, principal, ("origin", origin)]).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::FORBIDDEN, "origin_forbidden"),
                "{origin}"
            );
            assert_eq!(
                (
                    answer.header("ratelimit"),
                    answer.header("access-control-allow-origin")
                ),
                ("", ""),
                "{origin}"
            );
            assert!(
                answer.json()["remediation"]
                    .as_str()
                    .unwrap()
                    .contains("host.json")
                    && !answer.text.contains(origin)
            );
        }
    }
    assert_eq!(
        ask(
            &app,
            &[
                host,
                principal,
                ("origin", "https://evil.example"),
                ("origin", "https://page.example")
            ]
        )
        .await
        .status,
        403
    );
    for (path, method) in [
        ("/api/connection-details", Method::POST),
        ("/api/metrics", Method::GET),
        ("/api/diagnostics/realtime", Method::POST),
    ] {
        let answer = send(
            &app,
            method,
            path,
            &[host, principal, ("origin", "https://evil.example")],
        )
        .await;
        assert_eq!(answer.code(), "origin_forbidden", "{path}");
    }
    let by_key = [
        host,
        ("x-admin-api-key", "wrong"),
        ("origin", "https://evil.example"),
    ];
    for _ in 0..12 {
        assert_eq!(
            send(&app, Method::GET, "/api/metrics", &by_key)
                .await
                .code(),
            "origin_forbidden"
        );
    }
    let key = ("x-admin-api-key", ADMIN_KEY);
    assert_eq!(
        send(&app, Method::GET, "/api/metrics", &[key]).await.status,
        StatusCode::OK,
        "no wrong key was counted"
    );
    assert_eq!(app.get("/api/health").await.status, StatusCode::OK);
    // Both of the caller's requests are still left.
    for origin in ["https://page.example", "https://app.azurewebsites.net"] {
        assert_eq!(
            ask(&app, &[host, principal, ("origin", origin)])
                .await
                .status,
            StatusCode::OK,
            "{origin}"
        );
    }
    assert_eq!(
        ask(&app, &[host, principal]).await.status,
        StatusCode::TOO_MANY_REQUESTS,
        "a program, which sends no origin"
    );
}

#[tokio::test]
async fn the_sites_own_pages_are_admitted_directly_and_through_static_web_apps() {
    let app = app(&[]);
    let alice = alice();
    let principal = ("x-ms-client-principal", alice.as_str());
    for headers in [
        &[
            ("host", "127.0.0.1:4711"),
            ("x-forwarded-host", "app.azurewebsites.net"),
            ("origin", "https://app.azurewebsites.net"),
        ][..],
        &[
            ("host", "app.azurewebsites.net"),
            (
                "x-ms-original-url",
                "https://calm-sea-1.2.azurestaticapps.net/api/token",
            ),
            ("origin", "https://calm-sea-1.2.azurestaticapps.net"),
        ],
    ] {
        assert_eq!(
            ask(&app, &[headers, &[principal]].concat()).await.status,
            StatusCode::OK,
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn without_a_sign_in_cookie_any_page_is_admitted() {
    let app = Setup {
        host_json: Some(HOST_JSON),
        ..Setup::default()
    }
    .spawn();
    assert_eq!(
        ask(&app, &[("origin", "https://evil.example")])
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn large_principals_and_claims_without_values_are_accepted() {
    let app = app(&[]);
    let groups: Vec<_> = (0..170)
        .map(|n| {
            json!({
                "typ": "groups",
                "val": format!("{n:08}-aaaa-bbbb-cccc-dddddddddddd-and-a-name-of-some-length"),
            })
        })
        .collect();
    let claims = [
        &[
            json!({ "typ": "sub", "val": "alice" }),
            json!({ "typ": "name", "val": null }),
            json!({ "typ": "x" }),
        ][..],
        &groups,
    ]
    .concat();
    let large = encoded(
        &json!({ "auth_typ": "aad", "claims": claims, "name_typ": null, "role_typ": null }),
    );
    assert!(
        (18 * 1024..24 * 1024).contains(&large.len()),
        "{}",
        large.len()
    );
    let answer = ask(&app, &[("x-ms-client-principal", &large)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let too_large = "A".repeat(24 * 1024 + 4);
    assert_eq!(
        ask(&app, &[("x-ms-client-principal", &too_large)])
            .await
            .code(),
        "unauthenticated"
    );
}

#[tokio::test]
async fn a_caller_behind_static_web_apps_is_identified_by_headers_that_agree() {
    let app = app(&[("ROOMKEY_OIDC_SCOPE", "rooms.join")]);
    let principal =
        of_static_web_apps(&["anonymous", "authenticated", "rooms.join", "Roomkey.Admin"]);
    let principal = ("x-ms-client-principal", principal.as_str());
    let (id, idp) = (
        ("x-ms-client-principal-id", "0a1b"),
        ("x-ms-client-principal-idp", "azureStaticWebApps"),
    );
    let answer = ask(&app, &[principal, id, idp]).await;
    assert!(
        answer.json()["participantIdentity"]
            .as_str()
            .unwrap()
            .starts_with("u-"),
        "{}",
        answer.text
    );
    assert_eq!(
        send(&app, Method::GET, "/api/metrics", &[principal, id, idp])
            .await
            .status,
        StatusCode::OK,
        "by the role"
    );
    let only_built_in = of_static_web_apps(&["anonymous", "authenticated"]);
    assert_eq!(
        ask(&app, &[("x-ms-client-principal", &only_built_in), id, idp])
            .await
            .code(),
        "insufficient_scope"
    );
    let anonymous = of_static_web_apps(&["anonymous"]);
    for headers in [
        &[principal][..],
        &[principal, id],
        &[principal, idp],
        &[principal, ("x-ms-client-principal-id", "other"), idp],
        &[principal, id, id, idp],
        &[principal, id, idp, idp],
        &[principal, principal, id, idp],
        &[principal, id, ("x-ms-client-principal-idp", "aad")],
        &[("x-ms-client-principal", &anonymous), id, idp],
        &[id, idp],
        &[("x-ms-client-principal-id", "anonymous"), idp],
    ] {
        assert_eq!(
            ask(&app, headers).await.code(),
            "unauthenticated",
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn a_claim_setting_excludes_callers_of_static_web_apps_and_is_logged() {
    let app = app(&[("ROOMKEY_ROOMS_CLAIM", "rooms")]);
    let principal = of_static_web_apps(&["authenticated"]);
    let headers = [
        ("x-ms-client-principal", principal.as_str()),
        ("x-ms-client-principal-id", "0a1b"),
        ("x-ms-client-principal-idp", "azureStaticWebApps"),
    ];
    for _ in 0..3 {
        assert_eq!(ask(&app, &headers).await.code(), "room_forbidden");
    }
    let log = app.log();
    assert_eq!(
        log.matches(r#""cause":"no_claims""#).count(),
        1,
        "said once: {log}"
    );
}

#[tokio::test]
async fn anonymous_visitors_of_static_web_apps_count_by_their_own_address() {
    let asks = async |settings: &[(&str, &str)], headers: &[Headers<'_>]| {
        let limit = [("ROOMKEY_RATE_LIMIT", "1/1h"), ("WEBSITE_INSTANCE_ID", "i")];
        let app = Setup {
            settings: &[&limit[..], settings].concat(),
            ..Setup::default()
        }
        .spawn();
        let mut admitted = 0;
        for headers in headers {
            admitted += usize::from(ask(&app, headers).await.status == StatusCode::OK);
        }
        admitted
    };
    let (egress, idp) = (
        ("client-ip", "20.1.2.3:5"),
        ("x-ms-client-principal-idp", "azureStaticWebApps"),
    );
    let one = ("x-forwarded-for", "192.0.2.1:4711, 20.1.2.3:5");
    let forged = ("x-forwarded-for", "6.6.6.6, 192.0.2.1:4712, 20.1.2.3:5");
    let other = ("x-forwarded-for", "192.0.2.2:4711, 20.1.2.3:6");
    let through_swa = [
        &[egress, idp, one][..],
        &[egress, idp, forged],
        &[egress, idp, other],
    ];
    let on = [("WEBSITE_AUTH_ENABLED", "True")];
    assert_eq!(
        asks(&on, &through_swa).await,
        2,
        "two visitors behind one egress"
    );
    assert_eq!(
        asks(&[], &through_swa).await,
        1,
        "without the sign-in anyone could write the marker"
    );
    let off = [
        on[0],
        (
            "WEBSITE_AUTH_V2_CONFIG_JSON",
            r#"{"platform":{"enabled":false}}"#,
        ),
    ];
    assert_eq!(
        asks(&off, &through_swa).await,
        1,
        "the platform says that it is off"
    );
    assert_eq!(
        asks(&on, &[&[egress, one], &[egress, other]]).await,
        1,
        "not through Static Web Apps"
    );
    assert_eq!(
        asks(&on, &[&[egress, idp, idp, one], &[egress, idp, idp, other]]).await,
        1,
        "a marker that stands there twice"
    );
    let alone = ("x-forwarded-for", "20.1.2.3:5");
    assert_eq!(
        asks(
            &on,
            &[
                &[egress, idp, alone],
                &[("client-ip", "20.1.2.4:5"), idp, alone]
            ]
        )
        .await,
        2,
        "as in proxying mode"
    );
}
