//! Rate limits by caller, address and wrong credentials, and the headers that report them.

use http::{Method, StatusCode};
use serde_json::json;

use crate::forgery::{changed, claims, header};
use crate::harness::{ADMIN_KEY, Answer, NOW, Setup, TestApp};
use crate::issuer::{FORGE, Issuer};

const BODY: &[u8] = br#"{"roomName":"r"}"#;
/// An admin key in the form of a JWT.
const KEY_LIKE_A_TOKEN: &str = "canary-of-an-admin-key.in-three-parts.like-a-jwt";
const JSON: (&str, &[u8]) = ("content-type", b"application/json");

async fn ask(app: &TestApp, header: (&str, &str)) -> Answer {
    app.send(
        Method::POST,
        "/api/token",
        &[JSON, (header.0, header.1.as_bytes())],
        Some(BODY),
    )
    .await
}

async fn metrics(app: &TestApp, key: &str, address: &str) -> Answer {
    app.send(
        Method::GET,
        "/api/metrics",
        &[
            ("x-admin-api-key", key.as_bytes()),
            ("x-forwarded-for", address.as_bytes()),
        ],
        None,
    )
    .await
}

/// The values of the rate limit headers: limit, remaining, seconds until one more, the time of
/// that, `Retry-After`.
fn numbers(answer: &Answer) -> [Option<u64>; 5] {
    let part = |header: &str, name: &str| {
        answer
            .header(header)
            .split(';')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let whole = |header: &str| answer.header(header).parse().ok();
    assert_eq!(part("ratelimit-policy", "q"), whole("x-ratelimit-limit"));
    assert_eq!(part("ratelimit", "r"), whole("x-ratelimit-remaining"));
    [
        whole("x-ratelimit-limit"),
        whole("x-ratelimit-remaining"),
        part("ratelimit", "t"),
        whole("x-ratelimit-reset"),
        whole("retry-after"),
    ]
}

#[tokio::test]
async fn a_caller_past_the_limit_gets_429_with_consistent_headers() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[("ROOMKEY_RATE_LIMIT", "3/1h")]);
    let alice = format!("Bearer {}", issuer.token(json!({})));
    for left in [2, 1, 0] {
        let answer = ask(&app, ("authorization", &alice)).await;
        assert_eq!(
            (answer.status, answer.header("ratelimit-policy")),
            (StatusCode::OK, r#""token";q=3;w=3600"#)
        );
        let [limit, remaining, seconds, moment, retry_after] = numbers(&answer);
        assert_eq!((limit, remaining, retry_after), (Some(3), Some(left), None));
        // The fixed clock shows 0.123 s past a second.
        assert_eq!(moment, Some(NOW + seconds.unwrap() + 1));
    }
    let refused = ask(&app, ("authorization", &alice)).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "rate_limited")
    );
    assert_eq!(
        numbers(&refused),
        [
            Some(3),
            Some(0),
            Some(1_200),
            Some(NOW + 1_201),
            Some(1_200)
        ]
    );
    assert_eq!(refused.json()["retryable"], true);
    // Another token of the same caller shares its budget, another caller has its own.
    let again = format!("Bearer {}", issuer.token(json!({ "jti": "2" })));
    assert_eq!(
        ask(&app, ("authorization", &again)).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    let bob = format!("Bearer {}", issuer.token(json!({ "sub": "bob" })));
    assert_eq!(
        ask(&app, ("authorization", &bob)).await.status,
        StatusCode::OK
    );
    let seen = metrics(&app, ADMIN_KEY, "").await.text;
    assert!(
        seen.contains("roomkey_rate_limited_total{budget=\"token\"} 2\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn every_response_of_a_limited_route_reports_what_is_left() {
    let app = Setup {
        settings: &[("ROOMKEY_RATE_LIMIT", "9/1h")],
        ..Setup::default()
    }
    .spawn();
    assert_eq!(
        numbers(&app.post("/api/token", "{").await)[1],
        Some(8),
        "400"
    );
    assert_eq!(
        numbers(
            &app.send(
                Method::POST,
                "/api/token",
                &[("content-type", b"text/plain")],
                Some(b"x")
            )
            .await
        )[1],
        Some(7),
        "415"
    );
    assert_eq!(
        numbers(&app.post("/api/connection-details", "{}").await)[1],
        Some(6),
        "201"
    );
    for path in ["/api/health", "/api/openapi.json", "/nowhere"] {
        assert_eq!(
            app.get(path).await.header("ratelimit"),
            "",
            "{path} has no limit"
        );
    }
    assert_eq!(
        app.get("/api/token").await.header("ratelimit"),
        "",
        "405 comes before the limit"
    );
    let unlimited = Setup::default().spawn();
    assert_eq!(
        unlimited
            .post("/api/token", r#"{"roomName":"r"}"#)
            .await
            .header("ratelimit"),
        ""
    );
}

#[tokio::test]
async fn anonymous_callers_count_by_address_which_only_a_trusted_proxy_may_report() {
    let limit = ("ROOMKEY_RATE_LIMIT", "1/1h");
    let asks = async |settings: &[(&str, &str)], headers: &[(&str, &str)]| {
        let app = Setup {
            settings: &[&[limit], settings].concat(),
            ..Setup::default()
        }
        .spawn();
        let mut admitted = 0;
        for header in headers {
            admitted += usize::from(ask(&app, *header).await.status == StatusCode::OK);
        }
        admitted
    };
    let forwarded = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.2"),
        ("x-forwarded-for", "6.6.6.6, 192.0.2.1"),
    ];
    assert_eq!(asks(&[], &forwarded).await, 1, "the peer is no proxy");
    assert_eq!(
        asks(&[("ROOMKEY_TRUSTED_PROXIES", "127.0.0.0/8")], &forwarded).await,
        2
    );
    let six = [
        ("x-forwarded-for", "2001:db8::1"),
        ("x-forwarded-for", "2001:db8::2"),
        ("x-forwarded-for", "2001:db8:0:1::1"),
    ];
    assert_eq!(
        asks(&[("ROOMKEY_TRUSTED_PROXIES", "127.0.0.0/8")], &six).await,
        2,
        "a /64 is one"
    );
    let client_ip = [
        ("client-ip", "192.0.2.1:4711"),
        ("client-ip", "192.0.2.1:4712"),
        ("client-ip", "[2001:db8::1]:1"),
    ];
    assert_eq!(asks(&[("WEBSITE_INSTANCE_ID", "i")], &client_ip).await, 2);
    assert_eq!(
        asks(&[], &client_ip).await,
        1,
        "outside Azure anyone can write it"
    );
    let app = Setup {
        settings: &[limit, ("WEBSITE_INSTANCE_ID", "i")],
        ..Setup::default()
    }
    .spawn();
    for (claimed, seen, status) in [
        ("6.6.6.6:1", "192.0.2.1:1", 200),
        ("6.6.6.7:1", "192.0.2.1:2", 429),
        ("192.0.2.1:1", "192.0.2.9:1", 200),
    ] {
        let twice = [
            JSON,
            ("client-ip", claimed.as_bytes()),
            ("client-ip", seen.as_bytes()),
        ];
        let answer = app
            .send(Method::POST, "/api/token", &twice, Some(BODY))
            .await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "the last of two is the front end's"
        );
    }
    assert_eq!(
        asks(&[("WEBSITE_INSTANCE_ID", "i")], &forwarded).await,
        1,
        "in Azure its own header counts"
    );
}

#[tokio::test]
async fn fault_24_wrong_admin_keys_are_throttled_by_address() {
    let app = Setup {
        settings: &[("ROOMKEY_TRUSTED_PROXIES", "127.0.0.0/8")],
        ..Setup::default()
    }
    .spawn();
    let huge = "k".repeat(20_000);
    let wrong = [
        "",
        "x",
        &ADMIN_KEY[..ADMIN_KEY.len() - 1],
        &ADMIN_KEY.to_uppercase(),
        "ä",
        &huge,
        &format!("{ADMIN_KEY} "),
        "k",
        "k",
        "k",
    ];
    for key in wrong {
        let answer = metrics(&app, key, "192.0.2.1").await;
        // Trailing white space of a header value is removed in transit.
        let expected = if key.trim() == ADMIN_KEY {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        };
        assert_eq!(answer.status, expected, "{key:.40}");
    }
    assert_eq!(
        metrics(&app, "k", "192.0.2.1").await.status,
        StatusCode::UNAUTHORIZED,
        "the tenth"
    );
    let refused = metrics(&app, "k", "192.0.2.1").await;
    assert_eq!(
        (refused.status, refused.header("ratelimit-policy")),
        (StatusCode::TOO_MANY_REQUESTS, r#""wrong-key";q=10;w=3600"#)
    );
    assert_eq!(
        metrics(&app, ADMIN_KEY, "192.0.2.1").await.status,
        StatusCode::TOO_MANY_REQUESTS,
        "guessing must not go on"
    );
    for _ in 0..20 {
        assert_eq!(
            metrics(&app, ADMIN_KEY, "192.0.2.2").await.status,
            StatusCode::OK
        );
    }
    let log = app.log();
    assert!(
        log.contains(r#""cause":"admin_key""#) && log.contains(r#""caller":"admin-key:"#),
        "{log}"
    );
}

async fn scrape_with_bearer(app: &TestApp, bearer: &str, address: &str) -> Answer {
    app.send(
        Method::GET,
        "/api/metrics",
        &[
            ("authorization", format!("Bearer {bearer}").as_bytes()),
            ("x-forwarded-for", address.as_bytes()),
        ],
        None,
    )
    .await
}

#[tokio::test]
async fn wrong_admin_keys_as_a_bearer_are_throttled_with_those_in_the_header() {
    let app = Setup {
        settings: &[("ROOMKEY_TRUSTED_PROXIES", "127.0.0.0/8")],
        ..Setup::default()
    }
    .spawn();
    let guess = ADMIN_KEY.replace("canary", "canaries");
    for wrong in ["x", &guess, "a.b", "a.b.c.d", ".."] {
        assert_eq!(
            scrape_with_bearer(&app, wrong, "192.0.2.1").await.status,
            StatusCode::UNAUTHORIZED,
            "{wrong}"
        );
        assert_eq!(
            metrics(&app, wrong, "192.0.2.1").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    for key in [&*guess, ADMIN_KEY] {
        let refused = scrape_with_bearer(&app, key, "192.0.2.1").await;
        assert_eq!(
            (refused.status, refused.header("ratelimit-policy")),
            (StatusCode::TOO_MANY_REQUESTS, r#""wrong-key";q=10;w=3600"#),
            "guessing must not go on"
        );
    }
    for _ in 0..20 {
        let scraped = scrape_with_bearer(&app, ADMIN_KEY, "192.0.2.2").await;
        assert_eq!(scraped.status, StatusCode::OK);
        assert!(
            scraped
                .text
                .contains("roomkey_auth_rejected_total{reason=\"admin_key\"} 10\n"),
            "{}",
            scraped.text
        );
        assert!(!scraped.text.contains("canar"), "{}", scraped.text);
    }
    let log = app.log();
    assert!(log.contains(r#""caller":"admin-key:"#), "{log}");
    assert!(!log.contains("canar"), "{log}");
}

#[tokio::test]
async fn a_bearer_is_tried_as_a_token_or_as_an_admin_key_and_never_as_both() {
    let issuer = Issuer::start().await;
    let settings = [
        ("ROOMKEY_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("ROOMKEY_ADMIN_KEYS", KEY_LIKE_A_TOKEN),
    ];
    let app = issuer.app(&settings);
    let refused = |answer: &Answer| (answer.status, answer.header("ratelimit-policy").to_owned());
    // Forged tokens use up no budget of admin keys.
    for _ in 0..20 {
        let answer = scrape_with_bearer(&app, KEY_LIKE_A_TOKEN, "192.0.2.1").await;
        assert_eq!(
            refused(&answer),
            (StatusCode::UNAUTHORIZED, String::new()),
            "what looks like a token is none of the keys"
        );
    }
    let key = metrics(&app, KEY_LIKE_A_TOKEN, "192.0.2.1").await;
    assert_eq!(key.status, StatusCode::OK, "it works in its own header");
    let both = [
        ("authorization", &b"Bearer x"[..]),
        ("x-admin-api-key", KEY_LIKE_A_TOKEN.as_bytes()),
    ];
    let answer = app.send(Method::GET, "/api/metrics", &both, None).await;
    assert_eq!(answer.status, StatusCode::OK, "the header of keys decides");
    let two = [("authorization", &b"Bearer x"[..]); 2];
    let answer = app.send(Method::GET, "/api/metrics", &two, None).await;
    assert_eq!(
        refused(&answer),
        (StatusCode::UNAUTHORIZED, String::new()),
        "two bearers are no key"
    );
}

#[tokio::test]
async fn past_the_budget_of_rejected_tokens_the_401_stays_and_valid_tokens_work() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[]);
    let bearer = |token: String| format!("Bearer {token}");
    let seen_before = bearer(issuer.token(json!({})));
    assert_eq!(
        ask(&app, ("authorization", &seen_before)).await.status,
        StatusCode::OK
    );
    let forged = FORGE
        .forgeries(&issuer.terms)
        .into_iter()
        .find(|forgery| forgery.reason == "form")
        .unwrap();
    let forged = format!("Bearer {}", forged.token.trim());
    let mut first = None;
    for _ in 0..1_000 {
        let answer = ask(&app, ("authorization", &forged)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        first.get_or_insert(answer);
    }
    let asked = issuer.asked();
    let expired =
        bearer(issuer.token(json!({ "iat": NOW - 700, "nbf": NOW - 700, "exp": NOW - 100 })));
    let unknown = bearer(FORGE.sign(
        &changed(&header(), json!({ "kid": "unknown" })),
        &claims(&issuer.terms),
    ));
    let without = bearer(
        FORGE
            .sign(&changed(&header(), json!({ "kid": null })), &json!({}))
            .replace("..", "."),
    );
    for refused in [&forged, &expired, &unknown, &without] {
        let answer = ask(&app, ("authorization", refused)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            answer.header("www-authenticate"),
            r#"Bearer realm="roomkey", error="invalid_token""#
        );
        let names = |answer: &Answer| {
            answer
                .headers
                .keys()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&answer),
            names(first.as_ref().unwrap()),
            "the same as within the budget"
        );
    }
    assert_eq!(issuer.asked(), asked, "no key is looked for");
    for good in [&seen_before, &bearer(issuer.token(json!({ "sub": "bob" })))] {
        assert_eq!(
            ask(&app, ("authorization", good)).await.status,
            StatusCode::OK
        );
    }
    let seen = metrics(&app, ADMIN_KEY, "").await.text;
    assert!(
        seen.contains("roomkey_rate_limited_total{budget=\"refused-bearer\"} 4\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn several_admin_keys_may_be_active_and_without_any_nobody_is_admitted() {
    let second = "canary-second-key-of-32-characters";
    let app = Setup {
        settings: &[("ROOMKEY_ADMIN_KEYS", &format!("{ADMIN_KEY},{second}"))],
        ..Setup::default()
    }
    .spawn();
    assert_eq!(metrics(&app, ADMIN_KEY, "").await.status, StatusCode::OK);
    assert_eq!(metrics(&app, second, "").await.status, StatusCode::OK);
    let both = [
        ("x-admin-api-key", ADMIN_KEY.as_bytes()),
        ("x-admin-api-key", second.as_bytes()),
    ];
    assert_eq!(
        app.send(Method::GET, "/api/metrics", &both, None)
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        app.get("/api/metrics").await.status,
        StatusCode::UNAUTHORIZED
    );
}
