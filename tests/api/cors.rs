//! CORS headers, which follow from `host.json` alone.

use http::{Method, StatusCode};

use crate::harness::{Answer, TestApp, spawn_app, spawn_app_with};

const PAGE: &[u8] = b"https://app.example.com";

async fn from(app: &TestApp, origin: &[u8]) -> Answer {
    app.send(Method::GET, "/api/health", &[("origin", origin)], None)
        .await
}

async fn preflight(app: &TestApp, origin: &[u8], asked: &[u8]) -> Answer {
    let headers: [(&str, &[u8]); 3] = [
        ("origin", origin),
        ("access-control-request-method", b"POST"),
        ("access-control-request-headers", asked),
    ];
    app.send(Method::OPTIONS, "/api/token", &headers, None)
        .await
}

fn cors_headers(answer: &Answer) -> Vec<&str> {
    answer
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("access-control-"))
        .collect()
}

#[tokio::test]
async fn an_origin_that_is_not_listed_byte_for_byte_gets_no_cors_header() {
    let app = spawn_app();
    for origin in [
        &b"null"[..],
        b"",
        b"*",
        b"http://app.example.com",
        b"https://app.example.com/",
        b"https://app.example.com:443",
        b"https://APP.example.com",
        b"https://app.example.com.evil.example",
        b"https://evil-app.example.com",
        b"https://app.example.co",
        b"https://app.example.com\xff",
        b"https://app.example.com https://evil.example",
    ] {
        for answer in [
            from(&app, origin).await,
            preflight(&app, origin, b"content-type").await,
        ] {
            assert_eq!(
                cors_headers(&answer),
                [""; 0],
                "{}",
                String::from_utf8_lossy(origin)
            );
            assert_eq!(answer.header("vary"), "Origin");
        }
    }
    let twice = app
        .send(
            Method::GET,
            "/api/health",
            &[("origin", PAGE), ("origin", PAGE)],
            None,
        )
        .await;
    assert_eq!(cors_headers(&twice), [""; 0]);
}

#[tokio::test]
async fn a_listed_origin_is_allowed_on_errors_too() {
    let app = spawn_app();
    for (method, path) in [
        (Method::GET, "/api/health"),
        (Method::GET, "/nowhere"),
        (Method::PUT, "/api/token"),
        (Method::POST, "/api/token"),
    ] {
        let answer = app.send(method, path, &[("origin", PAGE)], None).await;
        assert_eq!(
            answer.header("access-control-allow-origin").as_bytes(),
            PAGE,
            "{path}"
        );
        assert_eq!(answer.header("vary"), "Origin");
        assert_eq!(
            answer.header("access-control-expose-headers"),
            "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, X-RateLimit-Limit, \
             X-RateLimit-Remaining, X-RateLimit-Reset, ETag, Location"
        );
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
}

#[tokio::test]
async fn a_preflight_of_a_listed_origin_lists_methods_and_headers() {
    let app = spawn_app();
    let answer = preflight(&app, PAGE, b"content-type, Authorization,x-my-header").await;
    assert_eq!(
        (
            answer.status,
            answer.header("access-control-allow-origin").as_bytes()
        ),
        (StatusCode::NO_CONTENT, PAGE)
    );
    assert_eq!(
        answer.header("access-control-allow-methods"),
        "POST, OPTIONS"
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        "content-type, Authorization,x-my-header"
    );
    assert_eq!(answer.header("access-control-max-age"), "600");
}

#[tokio::test]
async fn requested_headers_that_are_not_header_names_are_not_allowed() {
    let app = spawn_app();
    for asked in [
        &b"a b"[..],
        b"a,,b",
        b"",
        b"a:b",
        b"<script>",
        b"\xff",
        b"a\tb",
        b"content-type, (",
    ] {
        let answer = preflight(&app, PAGE, asked).await;
        assert_eq!(
            answer.header("access-control-allow-headers"),
            "",
            "{}",
            String::from_utf8_lossy(asked)
        );
    }
}

#[tokio::test]
async fn a_preflight_of_a_path_that_does_not_exist_is_404() {
    let app = spawn_app();
    let headers: [(&str, &[u8]); 2] =
        [("origin", PAGE), ("access-control-request-method", b"POST")];
    assert_eq!(
        app.send(Method::OPTIONS, "/api/nowhere", &headers, None)
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn apps_on_the_list_get_the_same_headers_as_pages() {
    let origins = [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    ];
    let host_json = format!(
        "// comments and trailing commas are fine\n{{ \"version\": \"2.0\", \
         \"Cors\": {{ \"allowedOrigins\": {origins:?}, }}, /* end */ }}"
    );
    let app = spawn_app_with(&[], Some(&host_json));
    for origin in origins {
        for answer in [
            from(&app, origin.as_bytes()).await,
            preflight(&app, origin.as_bytes(), b"content-type").await,
        ] {
            assert_eq!(
                (
                    answer.header("access-control-allow-origin"),
                    answer.header("vary")
                ),
                (origin, "Origin")
            );
        }
    }
    for other in [
        "null",
        "capacitor://localhost:80",
        "capacitor://localhost/",
        "capacitor://LOCALHOST",
        "http://localhost",
        "ionic://app",
    ] {
        assert_eq!(
            cors_headers(&from(&app, other.as_bytes()).await),
            [""; 0],
            "{other}"
        );
    }
}

#[tokio::test]
async fn cors_follows_host_json_and_nothing_else() {
    let listing = |origin: &str| {
        format!(
            r#"{{"version":"2.0","cors":{{
                "allowedOrigins":["{origin}"],"supportCredentials":true}}}}"#
        )
    };
    for (listed, other) in [
        ("https://one.example", "https://two.example"),
        ("https://two.example", "https://one.example"),
    ] {
        let app = spawn_app_with(&[], Some(&listing(listed)));
        let answer = from(&app, listed.as_bytes()).await;
        assert_eq!(
            (
                answer.header("access-control-allow-origin"),
                answer.header("access-control-allow-credentials")
            ),
            (listed, "true")
        );
        assert_eq!(cors_headers(&from(&app, other.as_bytes()).await), [""; 0]);
    }
    let everyone = spawn_app_with(&[], Some(&listing("*").replace("true", "false")));
    let answer = from(&everyone, b"https://anyone.example").await;
    assert_eq!(
        (
            answer.header("access-control-allow-origin"),
            answer.header("vary")
        ),
        ("*", "")
    );
    let nobody = spawn_app_with(&[], None);
    assert_eq!(cors_headers(&from(&nobody, PAGE).await), [""; 0]);
}
