//! Requests that no client of ours sends. One that ended the process would stop the whole app in
//! proxying, where the host sends it again to the next process, and to the next.

use super::{start, start_with};
use crate::attack::report;
use crate::host::{Host, Mode};
use crate::host_tests::message::{Client, Message};
use crate::host_tests::replay::{Exchange, exchanges};
use crate::undisturbed::undisturbed;

/// One process has served all of it.
fn assert_alive(host: &Host) {
    host.journal.read(|entries| {
        assert!(
            entries.starts.len() == 1 && entries.exits.is_empty(),
            "{entries:?}"
        );
    });
}

fn is_ours(answer: &Message) -> bool {
    let mut headers = answer.headers.iter();
    headers.any(|header| header.to_lowercase().starts_with("x-request-id: "))
}

/// Sends a recorded request and returns as many answers as were recorded.
async fn answers_to(host: &Host, exchange: &Exchange) -> Vec<Message> {
    let mut client = Client::send(host.address, &exchange.request).await;
    let mut answers = Vec::new();
    for _ in &exchange.answers {
        let Some(answer) = client.answer().await else {
            panic!("{}: no answer", exchange.name)
        };
        answers.push(answer);
    }
    answers
}

async fn every_recorded_request_gets_its_answer_and_none_ends_the_process(mode: Mode) {
    let host = start(mode).await;
    let (exchanges, mut ours) = (exchanges(mode), 0);
    for exchange in &exchanges {
        // The host answers 500 where the machine was too busy for one of its time limits.
        let answers = undisturbed(async || {
            let answers = answers_to(&host, exchange).await;
            let is_late = |answer: &Message| answer.status() == "500" && !is_ours(answer);
            let is_disturbed = exchange.is_answered_by_the_handler() && answers.iter().any(is_late);
            (!is_disturbed).then_some(answers)
        });
        for (recorded, answer) in exchange.answers.iter().zip(answers.await) {
            // Ours, or the host's own as it was recorded.
            let is_hosts =
                answer.status() == recorded.status() && !exchange.is_answered_by_the_handler();
            assert!(
                is_ours(&answer) && !answer.status().starts_with('5')
                    || is_hosts
                    || answer.status() == "100",
                "{}: {answer:?}",
                exchange.name
            );
            ours += usize::from(is_ours(&answer));
        }
    }
    assert_alive(&host);
    report(&format!(
        "{mode:?}: {} recorded requests, {ours} answered by the program, none with a fault",
        exchanges.len()
    ));
}

async fn no_hostile_body_ends_the_process(mode: Mode) {
    let host = start(mode).await;
    let long = |part: &str| part.repeat(16_000 / part.len()).into_bytes();
    let bodies = [
        long("["),
        long(r#"{"a":"#),
        long(r#"[{"a":"#),
        long("\""),
        long("\\"),
        [
            br#"{"roomName":""#.to_vec(),
            long(r"\ud83d\ude00"),
            br#""}"#.to_vec(),
        ]
        .concat(),
        br#"{"roomName":"\ud800"}"#.to_vec(),
        br#"{"expirationSeconds":1e999999999,"roomName":"r"}"#.to_vec(),
        br#"{"expirationSeconds":-9223372036854775809,"roomName":"r"}"#.to_vec(),
        br#"{"expirationSeconds":18446744073709551616,"roomName":"r"}"#.to_vec(),
        br#"{"roomName":"r","roomName":"r"}"#.to_vec(),
        b"\xff\xfe{\x00}\x00".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"roomName\":\"\xc3\x28\"}".to_vec(),
        b"\x00".repeat(16_000),
        b"null".to_vec(),
        b"-".to_vec(),
    ];
    // Where there is no Realtime provider, `/api/v1/token` is 404 before any body is read.
    for path in ["/api/token", "/api/connection-details"] {
        for body in &bodies {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let answer = Client::send(host.address, &[head.as_bytes(), body].concat())
                .await
                .answer()
                .await
                .unwrap();
            // Some are no fault of `/api/connection-details`, which asks for nothing.
            let is_refused = answer.status().starts_with('4') && !answer.code().is_empty();
            assert!(is_refused || answer.status() == "201", "{path}: {answer:?}");
        }
    }
    assert_alive(&host);
}

/// Headers that carry something to parse, with what is none.
const HEADERS: [&str; 16] = [
    "Authorization: Bearer",
    "Authorization: Bearer ..",
    "Authorization: Bearer e30.e30.e30",
    "Authorization: Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.W10.AAAA",
    "Authorization: Basic \u{0}",
    "X-MS-CLIENT-PRINCIPAL: e30=\r\nX-MS-CLIENT-PRINCIPAL-ID: x",
    "X-MS-CLIENT-PRINCIPAL: W1tbW1tbW1tbW1tb",
    "X-MS-CLIENT-PRINCIPAL: %%%",
    "CLIENT-IP: [::1]:99999\r\nX-Forwarded-For: ,,,",
    "CLIENT-IP: 999.999.999.999:1",
    "Origin: null\r\nAccess-Control-Request-Headers: ,,;\r\nAccess-Control-Request-Method: \"",
    "X-Azure-Functions-InvocationId: {}\r\nX-Request-Id: -",
    "traceparent: 00--\r\ntracestate: =",
    "Content-Type: ;\r\nContent-Encoding: ,\r\nAccept-Encoding: *;q=x",
    "Range: bytes=9-0\r\nIf-None-Match: \"\r\nIf-Modified-Since: 0",
    "Cookie: =;=\r\nExpect: 200-ok\r\nTE: ;",
];

const ROUTES: [&str; 7] = [
    "/api/health",
    "/api/health/ready",
    "/api/openapi.json",
    "/api/token?=&&%00=%ff",
    "/api/connection-details",
    "/api/metrics",
    "/api/diagnostics/realtime",
];

async fn no_hostile_header_ends_the_process_on_any_route(mode: Mode) {
    let livekit = [
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", "APIkey"),
        ("LIVEKIT_API_SECRET", "a-secret-of-more-than-32-characters"),
    ];
    let oidc = [
        ("ROOMKEY_CALLER_AUTH", "oidc"),
        ("ROOMKEY_OIDC_ISSUER", "http://127.0.0.1:1"),
        ("ROOMKEY_OIDC_AUDIENCE", "api://roomkey"),
    ];
    let azure = [
        ("ROOMKEY_CALLER_AUTH", "easy-auth"),
        ("WEBSITE_INSTANCE_ID", "i"),
        ("WEBSITE_AUTH_ENABLED", "true"),
    ];
    for settings in [
        vec![],
        [&livekit[..], &oidc].concat(),
        [&livekit[..], &azure].concat(),
    ] {
        let host = start_with(mode, &settings).await;
        for route in ROUTES {
            for header in HEADERS {
                for method in ["GET", "HEAD", "POST", "OPTIONS"] {
                    let request =
                        format!("{method} {route} HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
                    let answer = Client::send(host.address, request.as_bytes())
                        .await
                        .answer()
                        .await
                        .unwrap();
                    let is_ours = answer
                        .headers
                        .iter()
                        .any(|line| line.to_lowercase().starts_with("x-request-id: "));
                    // A NUL in a header is nothing that the host passes on.
                    let is_expected = is_ours && answer.status() != "500"
                        || header.contains('\0') && answer.status() == "400";
                    assert!(is_expected, "{request} {answer:?}");
                }
            }
        }
        assert_alive(&host);
    }
}

in_both_modes! {
    every_recorded_request_gets_its_answer_and_none_ends_the_process
    no_hostile_body_ends_the_process
    no_hostile_header_ends_the_process_on_any_route
}
