//! Hostile request heads: headers, methods, origins.

use http::{Method, StatusCode};

use crate::attack::Attack;

#[tokio::test]
async fn fault_45_header_injection_a_bare_cr_200_headers_and_a_header_of_64_kb() {
    let mut attack = Attack::new("fault 45, hostile heads");
    let head = |line: &str| {
        format!("GET /api/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{line}\r\n\r\n")
            .into_bytes()
    };
    for (request, statuses) in [
        (head("x-request-id: a\r\nset-cookie: canary=1"), &[200][..]),
        (head("x-request-id: a\rset-cookie: canary=1"), &[400]),
        (head("x-request-id: a\nset-cookie: canary=1"), &[200, 400]),
        (head("x-azure-functions-invocationid: canary"), &[200]),
        (head("x-nul: a\0b"), &[400]),
        (head("bad name: x"), &[400]),
        (head(" folded: x"), &[400]),
        (head(": x"), &[400]),
        (head(&"x-many: y\r\n".repeat(200)), &[431]),
        (head(&format!("x-long: {}", "y".repeat(64 * 1024))), &[431]),
        (head(&format!("x-long: {}", "y".repeat(8 * 1024))), &[200]),
        (
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(70_000)).into_bytes(),
            &[414, 431],
        ),
        (b"GET /api/health HTTP/3.0\r\n\r\n".to_vec(), &[400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[0]),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            &[400],
        ),
        (b"\r\n\r\n\r\nGARBAGE\r\n\r\n".to_vec(), &[400]),
        (b"G\xc3\x89T / HTTP/1.1\r\n\r\n".to_vec(), &[400]),
        (b"GET /api/health\x00 HTTP/1.1\r\n\r\n".to_vec(), &[400]),
    ] {
        let (status, answer) = attack.raw(&request).await;
        assert!(
            statuses.contains(&status),
            "{:.80}: {answer}",
            String::from_utf8_lossy(&request)
        );
        assert!(
            !answer.contains("canary") && !answer.to_lowercase().contains("set-cookie"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn fault_46_a_method_override_header_trace_head_and_get_of_a_post_route() {
    let mut attack = Attack::new("fault 46, methods");
    for method in [
        "TRACE", "HEAD", "GET", "PUT", "DELETE", "PATCH", "PROPFIND", "post",
    ] {
        for path in ["/api/token", "/api/connection-details"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = attack
                .app
                .send(
                    method,
                    path,
                    &[
                        ("x-http-method-override", b"POST"),
                        ("x-method-override", b"POST"),
                    ],
                    None,
                )
                .await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (StatusCode::METHOD_NOT_ALLOWED, "POST, OPTIONS")
            );
            attack.survived(&answer.text).await;
        }
    }
}

#[tokio::test]
async fn fault_47_origin_null_a_look_alike_suffix_and_the_http_variant_of_an_allowed_origin() {
    let mut attack = Attack::new("fault 47, origins");
    for origin in [
        &b"null"[..],
        b"http://app.example.com",
        b"https://app.example.com.evil.example",
        b"https://xapp.example.com",
        b"https://app.example.com:8443",
        b"https://app.example.com/",
        b"HTTPS://app.example.com",
        b"https://app.example.com\xc2\xa0",
        b"*",
    ] {
        for (method, path) in [
            (Method::GET, "/api/health"),
            (Method::POST, "/api/token"),
            (Method::OPTIONS, "/api/token"),
            (Method::GET, "/nowhere"),
        ] {
            let answer = attack
                .app
                .send(
                    method,
                    path,
                    &[
                        ("origin", origin),
                        ("access-control-request-method", b"POST"),
                    ],
                    None,
                )
                .await;
            assert!(
                !answer
                    .headers
                    .keys()
                    .any(|name| name.as_str().starts_with("access-control-")),
                "{answer:?}"
            );
            attack.survived(&answer.text).await;
        }
    }
}

#[tokio::test]
async fn a_head_may_have_at_most_128_fields_and_36_kib() {
    let mut attack = Attack::new("heads at their bounds");
    let head = |more: &str| {
        format!("GET /api/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")
    };
    let of_length = |length: usize| {
        head(&format!(
            "x-long: {}\r\n",
            "y".repeat(length - head("x-long: \r\n").len())
        ))
    };
    for (fields, status) in [(100, 200), (126, 200), (127, 431)] {
        let request = head(&"x-many: y\r\n".repeat(fields));
        assert_eq!(
            attack.raw(request.as_bytes()).await.0,
            status,
            "{} fields",
            fields + 2
        );
    }
    for (length, status) in [
        (32 * 1024, 200),
        (36 * 1024, 200),
        (36 * 1024 + 1, 431),
        (200 * 1024, 431),
    ] {
        let request = of_length(length);
        assert_eq!(
            (request.len(), attack.raw(request.as_bytes()).await.0),
            (length, status)
        );
    }
}
