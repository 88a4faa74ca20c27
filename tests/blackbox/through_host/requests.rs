//! What a client sees through the host: routes, refusals, ids, bodies, CORS.

use std::convert::Infallible;
use std::path::Path;

use futures_util::stream;
use http::{Method, StatusCode};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::{Answer, post, request, room, start};
use crate::host::{Host, Mode};
use crate::package::unpacked;

/// The id and the function's name of the latest invocation.
fn invocation(host: &Host) -> (String, String) {
    host.journal.read(|entries| {
        entries
            .invocations
            .last()
            .map(|(id, function)| (id.to_string(), function.clone()))
            .unwrap()
    })
}

fn list_methods(folder: &Path, function: &str, methods: &[&str]) {
    let path = folder.join(function).join("function.json");
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    *json.pointer_mut("/bindings/0/methods").unwrap() = json!(methods);
    std::fs::write(path, json.to_string()).unwrap();
}

async fn both_routes_serve_under_the_invocations_id(mode: Mode) {
    let host = start(mode).await;
    for (path, body, status, token, function) in [
        (
            "/api/token",
            r#"{"roomName":"standup-42"}"#,
            StatusCode::OK,
            "token",
            "token",
        ),
        (
            "/api/connection-details",
            r#"{"room_name":"standup-42"}"#,
            StatusCode::CREATED,
            "participant_token",
            "web",
        ),
    ] {
        let answer = Answer::of(post(&host, path, body)).await;
        let (id, by) = invocation(&host);
        assert_eq!(
            (answer.status, by.as_str(), answer.header("x-request-id")),
            (status, function, Some(id.as_str())),
            "{answer:?}"
        );
        assert_eq!(room(answer.json()[token].as_str().unwrap()), "standup-42");
        assert_eq!(
            (
                answer.header("cache-control"),
                answer.header("x-content-type-options")
            ),
            (Some("no-store"), Some("nosniff"))
        );
    }
}

async fn a_forged_invocation_id_never_wins(mode: Mode) {
    let host = start(mode).await;
    let forged = "11111111-1111-4111-8111-111111111111";
    for sent in [
        &[forged][..],
        &[forged, forged],
        &["11111111-1111-4111-8111-111111111111, x"],
    ] {
        let forging = sent
            .iter()
            .fold(post(&host, "/api/token", "{}"), |request, value| {
                request.header("x-azure-functions-invocationid", *value)
            });
        let answer = Answer::of(forging.header("x-request-id", forged)).await;
        assert_eq!(
            answer.header("x-request-id"),
            Some(invocation(&host).0.as_str()),
            "{sent:?}"
        );
        assert!(!format!("{answer:?}").contains(forged), "{answer:?}");
    }
}

async fn our_refusals_come_through_as_they_are(mode: Mode) {
    let host = start(mode).await;
    let [too_large, huge] =
        [16, 512].map(|kibibytes| format!(r#"{{"roomName":"{}"}}"#, "r".repeat(kibibytes * 1024)));
    for (method, path, content_type, body, status, code) in [
        (Method::GET, "/api/nothing", None, "", 404, "not_found"),
        (
            Method::GET,
            "/api/token",
            None,
            "",
            405,
            "method_not_allowed",
        ),
        (
            Method::DELETE,
            "/api/connection-details",
            None,
            "",
            405,
            "method_not_allowed",
        ),
        (
            Method::POST,
            "/api/token",
            Some("text/plain"),
            "{}",
            415,
            "unsupported_media_type",
        ),
        (
            Method::POST,
            "/api/token",
            Some("application/json"),
            &too_large,
            413,
            "payload_too_large",
        ),
        (
            Method::POST,
            "/api/token",
            Some("application/json"),
            &huge,
            413,
            "payload_too_large",
        ),
        (
            Method::POST,
            "/api/token",
            Some("application/json"),
            "{",
            400,
            "malformed_json",
        ),
        (
            Method::POST,
            "/api/token",
            Some("application/json"),
            "{}",
            400,
            "invalid_request",
        ),
    ] {
        let sent = request(&host, method, path).body(body.to_owned());
        let answer = Answer::of(
            content_type
                .into_iter()
                .fold(sent, |sent, value| sent.header("content-type", value)),
        )
        .await;
        let (id, _) = invocation(&host);
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), problem["code"].as_str()),
            (status, Some(code)),
            "{path}: {answer:?}"
        );
        assert_eq!(
            (answer.header("x-request-id"), problem["requestId"].as_str()),
            (Some(id.as_str()), Some(id.as_str()))
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(
            answer.list("allow").as_deref(),
            (status == 405).then_some("POST, OPTIONS")
        );
        // The next good request is served.
        assert_eq!(
            Answer::of(post(&host, "/api/token", r#"{"roomName":"r"}"#))
                .await
                .status,
            StatusCode::OK,
            "after {path}"
        );
    }
}

async fn a_chunked_body_is_served_where_the_host_passes_it_on(mode: Mode) {
    let host = start(mode).await;
    let chunks = [r#"{"roomName""#, r#":"standup-42"}"#]
        .map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))));
    let body = reqwest::Body::wrap(StreamBody::new(stream::iter(chunks)));
    let answer = Answer::of(post(&host, "/api/token", body)).await;
    match mode {
        Mode::Forwarding => assert!(
            answer.is_the_hosts_own(StatusCode::INTERNAL_SERVER_ERROR),
            "{answer:?}"
        ),
        Mode::Proxying => assert_eq!(
            room(answer.json()["token"].as_str().unwrap()),
            "standup-42",
            "{answer:?}"
        ),
    }
}

async fn a_content_type_that_is_none_is_refused_by_the_host_or_by_us(mode: Mode) {
    let host = start(mode).await;
    for content_type in ["json", "not a type"] {
        let sent = request(&host, Method::POST, "/api/token")
            .header("content-type", content_type)
            .body("{}");
        let answer = Answer::of(sent).await;
        match mode {
            Mode::Forwarding => assert!(
                answer.is_the_hosts_own(StatusCode::INTERNAL_SERVER_ERROR),
                "{answer:?}"
            ),
            Mode::Proxying => assert_eq!(
                answer.json()["code"],
                "unsupported_media_type",
                "{answer:?}"
            ),
        }
    }
}

async fn a_compressed_body_is_refused_whether_or_not_the_host_says_that_it_is_one(mode: Mode) {
    let host = start(mode).await;
    // `{"roomName":"r"}`, stored without compression: a service that inflates it would serve it.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x10\x00\xef\xff{\"roomName\":\"r\"}";
    let answer =
        Answer::of(post(&host, "/api/token", &gzip[..]).header("content-encoding", "gzip")).await;
    let expected = match mode {
        Mode::Forwarding => (StatusCode::BAD_REQUEST, "malformed_json"),
        Mode::Proxying => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
    };
    assert_eq!(
        (answer.status, answer.json()["code"].as_str().unwrap()),
        expected
    );
}

async fn a_method_that_token_does_not_list_falls_to_web(mode: Mode) {
    let app = unpacked();
    list_methods(app.folder(), "token", &["post"]);
    list_methods(app.folder(), "web", &["get"]);
    let host = Host::start(app, mode, &[]).await;
    assert_eq!(
        Answer::of(post(&host, "/api/token", r#"{"roomName":"r"}"#))
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(invocation(&host).1, "token");
    let answer = Answer::of(request(&host, Method::GET, "/api/token")).await;
    assert_eq!(
        (answer.status, answer.list("allow").as_deref()),
        (StatusCode::METHOD_NOT_ALLOWED, Some("POST, OPTIONS"))
    );
    assert_eq!(invocation(&host).1, "web");
    let answer = Answer::of(request(&host, Method::PUT, "/api/token")).await;
    assert!(answer.is_the_hosts_own(StatusCode::NOT_FOUND), "{answer:?}");
}

async fn what_no_function_takes_is_the_hosts_own_404(mode: Mode) {
    let host = start(mode).await;
    let unlisted = Method::from_bytes(b"PROPFIND").unwrap();
    for (method, path) in [
        (Method::GET, "/token"),
        (Method::POST, "/apix/token"),
        (unlisted, "/api/token"),
    ] {
        let answer = Answer::of(request(&host, method, path)).await;
        assert!(
            answer.is_the_hosts_own(StatusCode::NOT_FOUND),
            "{path}: {answer:?}"
        );
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "host.json asks for it"
        );
    }
    assert!(
        Answer::of(request(&host, Method::GET, "/"))
            .await
            .is_the_hosts_own(StatusCode::NO_CONTENT)
    );
    assert!(host.ping().await && host.journal.read(|entries| entries.invocations.is_empty()));
}

async fn an_escaped_letter_in_the_path_reaches_the_same_route(mode: Mode) {
    let host = start(mode).await;
    let answer = Answer::of(post(&host, "/api/%74oken?x=1&x=2", r#"{"roomName":"r"}"#)).await;
    assert_eq!(
        (answer.status, invocation(&host).1.as_str()),
        (StatusCode::OK, "token")
    );
}

async fn head_is_answered_as_get_without_the_body(mode: Mode) {
    let host = start(mode).await;
    let get = Answer::of(request(&host, Method::GET, "/api/health")).await;
    let head = Answer::of(request(&host, Method::HEAD, "/api/health")).await;
    assert_eq!(
        (get.status, head.status, head.text.as_str()),
        (StatusCode::OK, StatusCode::OK, "")
    );
    assert_eq!(
        head.header("content-length"),
        Some(get.text.len().to_string().as_str())
    );
}

async fn a_preflight_is_answered_by_the_handler_from_host_json(mode: Mode) {
    let host = start(mode).await;
    for (origin, allowed) in [
        ("http://localhost:4200", Some("http://localhost:4200")),
        ("https://evil.example.com", None),
    ] {
        let preflight = request(&host, Method::OPTIONS, "/api/token")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let answer = Answer::of(preflight).await;
        assert_eq!(
            (answer.status, invocation(&host).1.as_str()),
            (StatusCode::NO_CONTENT, "token")
        );
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
        assert_eq!(
            answer.header("access-control-allow-headers"),
            allowed.map(|_| "content-type")
        );
    }
}

in_both_modes! {
    both_routes_serve_under_the_invocations_id
    a_forged_invocation_id_never_wins
    our_refusals_come_through_as_they_are
    a_chunked_body_is_served_where_the_host_passes_it_on
    a_content_type_that_is_none_is_refused_by_the_host_or_by_us
    a_compressed_body_is_refused_whether_or_not_the_host_says_that_it_is_one
    a_method_that_token_does_not_list_falls_to_web
    what_no_function_takes_is_the_hosts_own_404
    an_escaped_letter_in_the_path_reaches_the_same_route
    head_is_answered_as_get_without_the_body
    a_preflight_is_answered_by_the_handler_from_host_json
}
