//! Rules for every route: paths, methods, content types, sizes, ids and the order of refusal.

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::harness::{ADMIN_KEY, Setup, UNDER_HOST, spawn_app, spawn_app_with};
use crate::wire::{connect, until_closed};

const GETS: [&str; 4] = ["/", "/api/health", "/api/health/ready", "/api/openapi.json"];
const POSTS: [&str; 2] = ["/api/token", "/api/connection-details"];
const NOWHERE: [&str; 16] = [
    "/api",
    "/api/",
    "/api//token",
    "//api/token",
    "//",
    "/api/token//",
    "/API/token//",
    "/api/%74oken",
    "/api%2Ftoken",
    "/api%2ftoken",
    "/api%5Ctoken",
    "/api/token%2F",
    "/api/token%20",
    "/api/token;x",
    "/token",
    "/api/to\u{212a}en",
];

#[tokio::test]
async fn case_and_one_slash_at_the_end_do_not_matter() {
    let app = spawn_app();
    for path in ["/API/Token/", "/api/TOKEN", "/api/token/", "/Api/token?x=/"] {
        assert_eq!(
            app.post(path, r#"{"roomName":"Room-A"}"#).await.json()["roomName"],
            "Room-A",
            "{path}"
        );
        let wrong = app.get(path).await;
        assert_eq!(
            (wrong.status, wrong.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, "POST, OPTIONS"),
            "{path}"
        );
        let asks: [(&str, &[u8]); 2] = [
            ("origin", b"https://app.example.com"),
            ("access-control-request-method", b"POST"),
        ];
        let preflight = app.send(Method::OPTIONS, path, &asks, None).await;
        assert_eq!(
            preflight.header("access-control-allow-methods"),
            "POST, OPTIONS",
            "{path}"
        );
    }
    let metrics = app
        .send(
            Method::GET,
            "/API/METRICS/",
            &[("x-admin-api-key", ADMIN_KEY.as_bytes())],
            None,
        )
        .await
        .text;
    for (status, code) in [(200, "none"), (405, "method_not_allowed"), (204, "none")] {
        let expected = format!(
            r#"roomkey_requests_total{{code="{code}",route="/api/token",status="{status}"}} 4"#
        );
        assert!(metrics.contains(&expected), "{expected}: {metrics}");
    }
    let log = app.log();
    assert_eq!(log.matches(r#""route":"/api/token""#).count(), 12, "{log}");
    assert!(!log.contains("Token") && !log.contains("TOKEN"), "{log}");
    assert_eq!(app.get("/api/health/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_route_accepts_its_methods_and_no_other() {
    let app = spawn_app();
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get",
    ];
    for method in methods.map(|name| Method::from_bytes(name.as_bytes()).unwrap()) {
        for path in GETS {
            let answer = app.send(method.clone(), path, &[], None).await;
            let expected = match (method.as_str(), path) {
                ("OPTIONS", _) | ("GET" | "HEAD", "/") => StatusCode::NO_CONTENT,
                ("GET" | "HEAD", _) => StatusCode::OK,
                _ => StatusCode::METHOD_NOT_ALLOWED,
            };
            assert_eq!(answer.status, expected, "{method} {path}");
            let lists_methods = !matches!(method.as_str(), "GET" | "HEAD");
            assert_eq!(
                answer.header("allow"),
                if lists_methods {
                    "GET, HEAD, OPTIONS"
                } else {
                    ""
                },
                "{method} {path}"
            );
        }
        for path in POSTS {
            let answer = app.send(method.clone(), path, &[], None).await;
            let expected = match (method.as_str(), path) {
                ("OPTIONS", _) => StatusCode::NO_CONTENT,
                ("POST", "/api/token") => StatusCode::BAD_REQUEST,
                ("POST", _) => StatusCode::CREATED,
                _ => StatusCode::METHOD_NOT_ALLOWED,
            };
            assert_eq!(answer.status, expected, "{method} {path}");
            assert_eq!(
                answer.header("allow"),
                if method == Method::POST {
                    ""
                } else {
                    "POST, OPTIONS"
                },
                "{method} {path}"
            );
        }
        for path in NOWHERE {
            let answer = app.send(method.clone(), path, &[], None).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_head_request_gets_the_headers_of_a_get_and_no_body() {
    let app = spawn_app();
    let (get, head) = (
        app.get("/api/health").await,
        app.send(Method::HEAD, "/api/health", &[], None).await,
    );
    assert_eq!(head.text, "");
    assert_eq!(head.header("content-length"), get.text.len().to_string());
    assert_eq!(head.header("content-type"), get.header("content-type"));
}

#[tokio::test]
async fn every_post_route_accepts_only_json_in_utf_8() {
    let app = spawn_app();
    for path in POSTS {
        for (types, refused) in [
            (&["application/json"][..], false),
            (&["application/json; charset=utf-8"], false),
            (&["application/json;charset=UTF-8"], false),
            (&["application/json ; charset=utf-8"], false),
            (&["application/json;charset=utf-8;charset=latin1"], true),
            (&["application/json;charset=\"utf-8"], true),
            (&["Application/JSON; charset=\"utf-8\""], false),
            (&["application/json; charset=utf-16"], true),
            (&["application/json; charset=iso-8859-1"], true),
            (&["text/plain"], true),
            (&["text/json"], true),
            (&["application/x-www-form-urlencoded"], true),
            (&["multipart/form-data; boundary=x"], true),
            (&["application/problem+json"], true),
            (&["application/jsonp"], true),
            (&["*/*"], true),
            (&[""], true),
            (&["application/json, text/plain"], true),
            (&["application/json", "application/json"], true),
            (&["application/json\u{e9}"], true),
            (&[], true),
        ] {
            let headers: Vec<(&str, &[u8])> = types
                .iter()
                .map(|text| ("content-type", text.as_bytes()))
                .collect();
            let answer = app
                .send(Method::POST, path, &headers, Some(br#"{"roomName":"r"}"#))
                .await;
            assert_eq!(
                answer.status == StatusCode::UNSUPPORTED_MEDIA_TYPE,
                refused,
                "{path} {types:?}"
            );
            assert_eq!(answer.status.is_success(), !refused, "{path} {types:?}");
        }
        for encoding in [&b"gzip"[..], b"br", b"deflate", b"identity", b""] {
            let headers: [(&str, &[u8]); 2] = [
                ("content-type", b"application/json"),
                ("content-encoding", encoding),
            ];
            let answer = app
                .send(Method::POST, path, &headers, Some(br#"{"roomName":"r"}"#))
                .await;
            assert_eq!(answer.code(), "unsupported_media_type", "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_over_16_kib_is_refused_and_closes_the_connection() {
    let app = spawn_app();
    let padded = |length: usize| format!("{:<length$}", r#"{"roomName":"r"}"#);
    assert_eq!(
        app.post("/api/token", &padded(16 * 1024)).await.status,
        StatusCode::OK
    );
    let answer = app.post("/api/token", &padded(16 * 1024 + 1)).await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (StatusCode::PAYLOAD_TOO_LARGE, "close")
    );
}

/// Sends raw bytes and reads until the server closes the connection.
async fn raw(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = connect(address).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    until_closed(&mut stream).await
}

#[tokio::test]
async fn chunked_bodies_are_read_like_any_other() {
    let app = spawn_app();
    let head = "POST /api/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = raw(
        app.address,
        &format!("{head}5\r\n{{\"roo\r\nb\r\nmName\":\"r\"}}\r\n0\r\n\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let large = format!(
        "{head}{}0\r\n\r\n",
        format!("1000\r\n{}\r\n", " ".repeat(0x1000)).repeat(5)
    );
    assert!(raw(app.address, &large).await.starts_with("HTTP/1.1 413"));
    assert!(
        raw(app.address, &format!("{head}zz\r\n"))
            .await
            .starts_with("HTTP/1.1 400")
    );
}

#[tokio::test]
async fn every_form_of_a_request_target_gets_a_response() {
    let app = spawn_app();
    assert!(
        raw(app.address, "GET /api/health HTTP/1.0\r\n\r\n")
            .await
            .contains(" 200 ")
    );
    let absolute =
        "GET http://other.example/api/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(raw(app.address, absolute).await.starts_with("HTTP/1.1 200"));
    for nowhere in ["OPTIONS *", "CONNECT a:1", "GET a:1", "POST *"] {
        let answer = raw(
            app.address,
            &format!("{nowhere} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{nowhere}: {answer}");
    }
}

#[tokio::test]
async fn the_request_id_is_the_hosts_last_invocation_id_or_a_fresh_one() {
    let app = spawn_app();
    let id = async |values: &[&[u8]]| {
        let headers: Vec<_> = values
            .iter()
            .map(|value| ("x-azure-functions-invocationid", *value))
            .collect();
        app.send(Method::GET, "/api/health", &headers, None)
            .await
            .header("x-request-id")
            .to_owned()
    };
    let (forged, ours) = (
        b"11111111-1111-4111-8111-111111111111",
        "ABCDEF01-2222-4222-8222-222222222222",
    );
    assert_eq!(id(&[forged, ours.as_bytes()]).await, ours.to_lowercase());
    // A client library may join the two into one header (RFC 9110 §5.3).
    assert_eq!(
        id(&[format!("11111111-1111-4111-8111-111111111111, {ours}").as_bytes()]).await,
        ours.to_lowercase()
    );
    let mut fresh = std::collections::BTreeSet::new();
    for bad in [
        &b"x"[..],
        b"",
        b"\xff",
        b"{11111111-1111-4111-8111-111111111111}",
        b"11111111111141118111111111111111",
        b"11111111-1111-4111-8111-11111111111g",
    ] {
        fresh.insert(id(&[forged, bad]).await);
    }
    fresh.insert(id(&[]).await);
    assert_eq!(fresh.len(), 7);
    assert!(!fresh.contains(std::str::from_utf8(forged).unwrap()));
}

#[tokio::test]
async fn every_request_except_the_probe_has_one_access_line() {
    let app = spawn_app();
    app.get("/").await;
    app.send(Method::HEAD, "/", &[], None).await;
    assert_eq!(app.log(), "");
    app.send(Method::POST, "/", &[], None).await;
    let answer = app.get("/api/health?secret=query").await;
    app.post("/api/token", "{").await;
    app.send(Method::DELETE, "/some/path", &[], None).await;
    app.send(Method::PATCH, "/some/path", &[], None).await;
    let lines: Vec<serde_json::Value> = app
        .log()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["message"] == "request")
        .collect();
    let shown: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["method"].as_str().unwrap(),
                line["route"].as_str().unwrap(),
                line["status"].as_u64().unwrap(),
                line["code"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("POST", "/", 405, Some("method_not_allowed")),
            ("GET", "/api/health", 200, None),
            ("POST", "/api/token", 400, Some("malformed_json")),
            ("DELETE", "none", 404, Some("not_found")),
            ("other", "none", 404, Some("not_found"))
        ]
    );
    assert_eq!(lines[1]["request_id"], answer.header("x-request-id"));
    assert!(lines.iter().all(|line| line["level"] == "INFO"
        && line["duration_us"].is_u64()
        && line["timestamp"].is_string()));
}

#[tokio::test]
async fn health_reports_the_version_and_readiness() {
    let app = spawn_app_with(&[], None);
    let health = app.get("/api/health").await.json();
    assert_eq!(
        (health["status"].as_str(), health["version"].as_str()),
        (Some("healthy"), Some(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(
        app.get("/api/health/ready").await.json(),
        serde_json::json!({ "status": "ready", "dependencies": [] })
    );
}

#[tokio::test]
async fn a_request_without_a_host_or_with_two_is_refused_before_anything_else() {
    let app = spawn_app();
    for (head, status) in [
        ("GET /api/health HTTP/1.1\r\n", "400"),
        ("GET /api/health HTTP/1.1\r\nhost: a\r\nhost: a\r\n", "400"),
        ("GET /nowhere HTTP/1.1\r\n", "400"),
        ("PUT /api/token HTTP/1.1\r\n", "400"),
        ("GET / HTTP/1.1\r\n", "400"),
        ("GET /api/health HTTP/1.0\r\nhost: a\r\nhost: b\r\n", "400"),
        ("GET /api/health HTTP/1.0\r\n", "200"),
        ("GET /api/health HTTP/1.1\r\nhost:\r\n", "200"),
    ] {
        let answer = raw(app.address, &format!("{head}connection: close\r\n\r\n")).await;
        assert!(answer.contains(&format!(" {status} ")), "{head}: {answer}");
        if status == "400" {
            assert!(
                answer.contains(r#""code":"invalid_request""#)
                    && answer.contains(r#""field":"Host""#),
                "{head}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn on_a_loopback_address_only_loopback_hosts_are_served() {
    let ask = async |app: &crate::harness::TestApp, path: &str, host: &str| {
        app.send(Method::GET, path, &[("host", host.as_bytes())], None)
            .await
    };
    let app = Setup {
        left_out: &[UNDER_HOST],
        ..Setup::default()
    }
    .spawn();
    for path in ["/", "/api/health", "/nowhere", "/api/token"] {
        let answer = ask(&app, path, "rebound.example:7071").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::MISDIRECTED_REQUEST, "misdirected_request"),
            "{path}"
        );
        assert!(
            answer.json()["remediation"]
                .as_str()
                .unwrap()
                .contains("ROOMKEY_TRUSTED_PROXIES")
        );
    }
    for host in ["localhost:7071", "127.0.0.1", "[::1]:80", "app.localhost"] {
        assert_eq!(
            ask(&app, "/api/health", host).await.status,
            StatusCode::OK,
            "{host}"
        );
    }
    let core_tools = [("AZURE_FUNCTIONS_ENVIRONMENT", "Development")];
    let app = Setup {
        settings: &core_tools,
        ..Setup::default()
    }
    .spawn();
    assert_eq!(
        ask(&app, "/api/health", "rebound.example").await.status,
        StatusCode::MISDIRECTED_REQUEST,
        "Core Tools"
    );
    let proxies = [("ROOMKEY_TRUSTED_PROXIES", "127.0.0.1/32")];
    let app = Setup {
        settings: &proxies,
        left_out: &[UNDER_HOST],
        ..Setup::default()
    }
    .spawn();
    assert_eq!(
        ask(&app, "/api/health", "voice.example.com").await.status,
        StatusCode::OK,
        "a reverse proxy of one's own"
    );
    assert_eq!(
        ask(&spawn_app(), "/api/health", "voice.example.com")
            .await
            .status,
        StatusCode::OK,
        "a Functions host of one's own"
    );
}
