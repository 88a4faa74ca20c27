//! The order of refusals, as a generated table of route × method × content type × body. Each
//! refusal protects the next step.

use std::io::Write;

use http::Method;

use crate::harness::{spawn_app, spawn_app_with};

/// Returns the refusal that the documented order requires for one request.
fn expected(path: &str, method: &str, media_type: Option<&str>, body: &Body) -> u16 {
    let methods = match path {
        "/" | "/api/health" | "/api/health/ready" | "/api/openapi.json" => {
            &["GET", "HEAD", "OPTIONS"][..]
        }
        "/api/token" | "/api/token/" | "/api/connection-details" => &["POST", "OPTIONS"],
        _ => return 404,
    };
    match method {
        _ if !methods.contains(&method) => 405,
        "OPTIONS" => 204,
        "GET" | "HEAD" => {
            if path == "/" {
                204
            } else {
                200
            }
        }
        _ if media_type.is_some_and(|media_type| media_type != "application/json") => 415,
        _ if media_type.is_none() && !body.bytes.is_empty() => 415,
        _ if path.starts_with("/api/token") => body.to_token,
        _ => body.to_connection_details,
    }
}

struct Body {
    bytes: Vec<u8>,
    to_token: u16,
    to_connection_details: u16,
}

fn bodies() -> Vec<Body> {
    let body = |text: &str, to_token, to_connection_details| Body {
        bytes: text.as_bytes().to_vec(),
        to_token,
        to_connection_details,
    };
    vec![
        body("", 400, 201),
        body("{}", 400, 201),
        body(r#"{"roomName":"r"}"#, 200, 201),
        body(r#"{"roomName":"r","room_name":"a b"}"#, 400, 400),
        body("{", 400, 400),
        body(&" ".repeat(16 * 1024 + 1), 413, 413),
    ]
}

#[tokio::test]
async fn refusals_follow_the_documented_order_for_every_combination() {
    let app = spawn_app();
    let mut sent = 0;
    for path in [
        "/",
        "/api/health",
        "/api/health/ready",
        "/api/openapi.json",
        "/api/token",
        "/api/connection-details",
        "/api/token/",
        "/api/token//",
        "/nowhere",
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
        ] {
            for media_type in [
                None,
                Some("application/json"),
                Some("text/plain"),
                Some("application/json; charset=utf-16"),
            ] {
                for body in bodies() {
                    let headers: Vec<(&str, &[u8])> = media_type
                        .iter()
                        .map(|media_type| ("content-type", media_type.as_bytes()))
                        .collect();
                    let answer = app
                        .send(
                            Method::from_bytes(method.as_bytes()).unwrap(),
                            path,
                            &headers,
                            Some(&body.bytes),
                        )
                        .await;
                    let shown = String::from_utf8_lossy(&body.bytes);
                    assert_eq!(
                        answer.status,
                        expected(path, method, media_type, &body),
                        "{method} {path} {media_type:?} {shown:.20}"
                    );
                    sent += 1;
                }
            }
        }
    }
    let _ = writeln!(std::io::stderr(), "order of refusal: {sent} requests");
}

#[tokio::test]
async fn each_refusal_precedes_the_next() {
    let app = spawn_app_with(&[], None);
    let large = vec![b' '; 16 * 1024 + 1];
    let (json, text) = (
        ("content-type", &b"application/json"[..]),
        ("content-type", &b"text/plain"[..]),
    );
    for (method, path, header, body, code) in [
        (Method::PUT, "/nowhere", text, &large[..], "not_found"),
        (
            Method::PUT,
            "/api/token",
            text,
            &large,
            "method_not_allowed",
        ),
        (
            Method::POST,
            "/api/token",
            text,
            &large,
            "unsupported_media_type",
        ),
        (
            Method::POST,
            "/api/token",
            ("x-no-type", &b""[..]),
            &large,
            "unsupported_media_type",
        ),
        (
            Method::POST,
            "/api/token",
            json,
            &large,
            "payload_too_large",
        ),
        (Method::POST, "/api/token", json, b"{", "malformed_json"),
        (Method::POST, "/api/token", json, b"{}", "invalid_request"),
    ] {
        assert_eq!(
            app.send(method, path, &[header], Some(body)).await.code(),
            code
        );
    }
}
