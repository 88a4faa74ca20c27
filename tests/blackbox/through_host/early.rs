//! Answers that the program gives before it has read the body, which a client, and the host, may
//! send to its end before they read.

use std::time::Duration;

use roomkey::clock::Stopwatch;

use super::{start, start_with};
use crate::host::{Host, Mode};
use crate::host_tests::message::Client;

const MEGABYTE: usize = 1_000_000;

/// How often each request is sent: what depends on the order of packets fails now and then only.
const TIMES: usize = 5;

/// For how long the program reads on, from the beginning of a request.
const READS_ON: Duration = Duration::from_secs(10);

/// How a client sends its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    AtOnce,
    InPieces,
    Chunked,
}

fn head(line: &str, content_type: &str, framing: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: voice.example.com\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n"
    )
}

/// Status and code of the answer to a request with a body of so many bytes. A busy machine may need
/// longer to send it than the time for which the program reads on; then it is sent again.
async fn refusal(
    host: &Host,
    line: &str,
    content_type: &str,
    size: usize,
    sending: Sending,
) -> (String, String) {
    for _ in 0..5 {
        let began = Stopwatch::start();
        let (status, code) = refusal_once(host, line, content_type, size, sending).await;
        if !code.is_empty() || began.elapsed() < READS_ON {
            return (status, code);
        }
    }
    panic!("no body of {size} bytes was sent within {READS_ON:?}");
}

async fn refusal_once(
    host: &Host,
    line: &str,
    content_type: &str,
    size: usize,
    sending: Sending,
) -> (String, String) {
    let framing = match sending {
        Sending::Chunked => "Transfer-Encoding: chunked".to_owned(),
        Sending::AtOnce | Sending::InPieces => format!("Content-Length: {size}"),
    };
    let mut client =
        Client::send(host.address, head(line, content_type, &framing).as_bytes()).await;
    let piece = if sending == Sending::AtOnce {
        size
    } else {
        50_000
    };
    for _ in 0..size / piece {
        let data = vec![b'x'; piece];
        if sending == Sending::Chunked {
            client.write(format!("{piece:x}\r\n").as_bytes()).await;
            client.write(&data).await;
            client.write(b"\r\n").await;
        } else {
            client.write(&data).await;
        }
        tokio::task::yield_now().await;
    }
    if sending == Sending::Chunked {
        client.write(b"0\r\n\r\n").await;
    }
    let answer = client.answer().await.unwrap_or_default();
    (answer.status().to_owned(), answer.code())
}

async fn a_body_that_is_too_large_gets_its_413_however_large_it_is(mode: Mode) {
    let host = start(mode).await;
    for sending in [Sending::AtOnce, Sending::InPieces, Sending::Chunked] {
        if (mode, sending) == (Mode::Forwarding, Sending::Chunked) {
            // The host answers these itself.
            continue;
        }
        for size in [MEGABYTE / 10, MEGABYTE, 3 * MEGABYTE, 8 * MEGABYTE] {
            for _ in 0..TIMES {
                let (status, code) =
                    refusal(&host, "POST /api/token", "application/json", size, sending).await;
                assert_eq!(
                    (status.as_str(), code.as_str()),
                    ("413", "payload_too_large"),
                    "{size} bytes {sending:?}"
                );
            }
        }
    }
}

async fn each_early_refusal_reaches_a_client_that_sends_three_megabytes(mode: Mode) {
    let settings = [
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", "APIkey"),
        ("LIVEKIT_API_SECRET", "a-secret-of-more-than-32-characters"),
        ("ROOMKEY_CALLER_AUTH", "oidc"),
        ("ROOMKEY_OIDC_ISSUER", "http://127.0.0.1:1"),
        ("ROOMKEY_OIDC_AUDIENCE", "api://roomkey"),
    ];
    let (open, closed) = (start(mode).await, start_with(mode, &settings).await);
    for (host, line, content_type, expected) in [
        (
            &open,
            "POST /api/nothing",
            "application/json",
            ("404", "not_found"),
        ),
        (
            &open,
            "PUT /api/token",
            "application/json",
            ("405", "method_not_allowed"),
        ),
        (
            &open,
            "POST /api/token",
            "text/plain",
            ("415", "unsupported_media_type"),
        ),
        (
            &closed,
            "POST /api/token",
            "application/json",
            ("401", "unauthenticated"),
        ),
    ] {
        for _ in 0..TIMES {
            let (status, code) =
                refusal(host, line, content_type, 3 * MEGABYTE, Sending::AtOnce).await;
            assert_eq!((status.as_str(), code.as_str()), expected, "{line}");
        }
    }
}

async fn a_client_that_waits_for_100_continue_gets_its_413_and_sends_nothing(mode: Mode) {
    let host = start(mode).await;
    for _ in 0..TIMES {
        let framing = format!("Content-Length: {}\r\nExpect: 100-continue", 3 * MEGABYTE);
        let mut client = Client::send(
            host.address,
            head("POST /api/token", "application/json", &framing).as_bytes(),
        )
        .await;
        let answer = client.answer().await.unwrap();
        assert_eq!(
            (answer.status(), answer.code().as_str()),
            ("413", "payload_too_large"),
            "{answer:?}"
        );
    }
}

in_both_modes! {
    a_body_that_is_too_large_gets_its_413_however_large_it_is
    each_early_refusal_reaches_a_client_that_sends_three_megabytes
    a_client_that_waits_for_100_continue_gets_its_413_and_sends_nothing
}
