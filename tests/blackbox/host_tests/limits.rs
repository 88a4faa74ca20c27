//! What the host's server refuses by its size. None of it reaches a handler.

use super::handler::{Handler, host, ok};
use super::message::Client;
use crate::host::Mode;
use crate::host::timing::Timing;

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_without_the_headers_of_the_app() {
    let fields = |count: usize| {
        (1..count)
            .map(|number| format!("X-{number}: v\r\n"))
            .collect::<Vec<_>>()
            .concat()
    };
    let request =
        |path: &str, fields: &str| format!("GET /api/{path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let handler = Handler::new(|_| ok());
        let host = host(mode, &handler, Timing::MEASURED, &[]).await;
        for (request, status) in [
            (request("token", &fields(100)), "200"),
            (request("token", &fields(101)), "431"),
            (
                request("token", &format!("X: {}\r\n", "v".repeat(32_000))),
                "200",
            ),
            (
                request("token", &format!("X: {}\r\n", "v".repeat(33_000))),
                "431",
            ),
            (request(&"p".repeat(8_100), ""), "200"),
            (request(&"p".repeat(8_200), ""), "414"),
        ] {
            let mut client = Client::send(host.address, request.as_bytes()).await;
            let answer = client.answer().await.unwrap();
            assert_eq!(answer.status(), status, "{mode:?} {}", request.len());
            let of_the_app = answer
                .headers
                .iter()
                .any(|header| header.starts_with("X-Content-Type-Options"));
            assert_eq!(of_the_app, status == "200", "{answer:?}");
            if status != "200" {
                client.closed().await;
            }
        }
        assert_eq!(handler.arrivals().len(), 3, "{mode:?}");
    }
}
