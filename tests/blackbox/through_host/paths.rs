//! Paths as the host reads them: whatever their case, and with one slash at the end or none.

use http::{Method, StatusCode};

use super::{Answer, post, request, room, start};
use crate::host::Mode;

async fn other_case_and_one_slash_at_the_end_lead_to_the_same_route(mode: Mode) {
    let host = start(mode).await;
    for path in [
        "/api/token",
        "/api/token/",
        "/API/token",
        "/api/TOKEN",
        "/Api/Token/",
        "/api/x/../token",
        "/api/%54oken/",
    ] {
        let answer = Answer::of(post(&host, path, r#"{"roomName":"standup-42"}"#)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        assert_eq!(room(answer.json()["token"].as_str().unwrap()), "standup-42");

        let answer = Answer::of(request(&host, Method::GET, path)).await;
        assert_eq!(
            (answer.status, answer.list("allow").as_deref()),
            (StatusCode::METHOD_NOT_ALLOWED, Some("POST, OPTIONS")),
            "{path}"
        );

        let preflight = request(&host, Method::OPTIONS, path)
            .header("origin", "http://localhost:4200")
            .header("access-control-request-method", "POST");
        let answer = Answer::of(preflight).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("http://localhost:4200"),
            "{path}"
        );
    }
    for path in ["/API/Connection-Details/", "/api/connection-details"] {
        let answer = Answer::of(post(&host, path, r#"{"room_name":"r"}"#)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{path}: {answer:?}");
    }
    for path in ["/API/Health/", "/api/HEALTH"] {
        assert_eq!(
            Answer::of(request(&host, Method::GET, path)).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
}

async fn the_access_line_names_the_route_and_not_the_spelling(mode: Mode) {
    let host = start(mode).await;
    let answer = Answer::of(post(&host, "/API/Token/", r#"{"roomName":"r"}"#)).await;
    let id = answer.header("x-request-id").unwrap();
    let is_access_line = |line: &str| line.contains(id) && line.contains("duration_us");
    host.journal
        .until(|entries| entries.lines.iter().any(|(_, line)| is_access_line(line)))
        .await;
    host.journal.read(|entries| {
        let (_, line) = entries
            .lines
            .iter()
            .find(|(_, line)| is_access_line(line))
            .unwrap();
        assert!(
            line.contains(r#""route":"/api/token""#) && !line.contains("Token"),
            "{line}"
        );
    });
}

async fn two_slashes_and_escaped_ones_are_other_paths(mode: Mode) {
    let host = start(mode).await;
    for path in [
        "/api/token//",
        "/api/token%2F",
        "/api/token%2f",
        "/api/token%5C",
        "/api/token%252F",
        "/api/token;v=1",
        "/api/token%20",
    ] {
        let answer = Answer::of(post(&host, path, r#"{"roomName":"r"}"#)).await;
        // Forwarding makes a slash of a backslash, and so the route.
        let is_route = mode == Mode::Forwarding && path.ends_with("%5C");
        let expected = if is_route {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
        assert!(answer.header("x-request-id").is_some(), "ours: {answer:?}");
    }
    for path in ["/api//token", "//api/token", "/api%2Ftoken", "/api%5Ctoken"] {
        let answer = Answer::of(post(&host, path, r#"{"roomName":"r"}"#)).await;
        assert!(
            answer.is_the_hosts_own(StatusCode::NOT_FOUND),
            "{path}: {answer:?}"
        );
    }
}

in_both_modes! {
    other_case_and_one_slash_at_the_end_lead_to_the_same_route
    the_access_line_names_the_route_and_not_the_spelling
    two_slashes_and_escaped_ones_are_other_paths
}
