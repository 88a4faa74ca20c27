//! Heads as large as the host lets them through.

use super::start;
use crate::host::Mode;
use crate::host_tests::message::Client;

/// A good request whose head has so many fields, and in one of them so many bytes more.
fn request(fields: usize, more: usize) -> Vec<u8> {
    let known = "Host: h\r\nContent-Type: application/json\r\nContent-Length: 16\r\n";
    // Different names: the host makes one field of several that have the same.
    let other =
        (known.lines().count() + 1..fields).map(|number| format!("X-Field-{number}: v\r\n"));
    let other = other.collect::<Vec<_>>().concat();
    let head = format!(
        "POST /api/token HTTP/1.1\r\n{known}{other}X-More: {}\r\n\r\n",
        "m".repeat(more)
    );
    [head.as_bytes(), br#"{"roomName":"r"}"#].concat()
}

async fn a_client_with_as_many_header_fields_as_the_host_allows_is_served(mode: Mode) {
    let host = start(mode).await;
    for fields in [50, 95, 100] {
        let answer = Client::send(host.address, &request(fields, 0))
            .await
            .answer()
            .await
            .unwrap();
        assert_eq!(answer.status(), "200", "{fields} fields: {answer:?}");
    }
    let answer = Client::send(host.address, &request(101, 0))
        .await
        .answer()
        .await
        .unwrap();
    assert_eq!(
        (answer.status(), answer.code().as_str()),
        ("431", ""),
        "the host refuses it: {answer:?}"
    );
}

async fn a_client_with_as_many_header_bytes_as_the_host_allows_is_served(mode: Mode) {
    let host = start(mode).await;
    for more in [8_000, 32_500] {
        let answer = Client::send(host.address, &request(10, more))
            .await
            .answer()
            .await
            .unwrap();
        assert_eq!(answer.status(), "200", "{more} bytes: {answer:?}");
    }
    let answer = Client::send(host.address, &request(10, 33_000))
        .await
        .answer()
        .await
        .unwrap();
    assert_eq!(
        (answer.status(), answer.code().as_str()),
        ("431", ""),
        "the host refuses it: {answer:?}"
    );
}

in_both_modes! {
    a_client_with_as_many_header_fields_as_the_host_allows_is_served
    a_client_with_as_many_header_bytes_as_the_host_allows_is_served
}
