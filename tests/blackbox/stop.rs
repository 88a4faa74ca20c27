//! A clean stop.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::package::unpacked;

#[test]
fn both_signals_stop_it_with_exit_code_zero() {
    for signal in ["TERM", "INT"] {
        let ended = unpacked().start_as_host(&[]).stop(signal);
        assert_eq!(ended.status.code(), Some(0), "{signal}");
        assert!(ended.stdout.contains("stopping"), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_stop() {
    let app = unpacked();
    let mut roomkey = app.start_as_host(&[]);
    let mut stream = TcpStream::connect(roomkey.url.trim_start_matches("http://")).await.unwrap();
    let head =
        b"POST /api/token HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n";
    stream.write_all(head).await.unwrap();
    // The server says "go on" only once the handler waits for the body, so the request is in flight now.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    roomkey.signal("TERM");
    roomkey.wait_for("stopping");
    stream.write_all(br#"{"roomName":"r"}"#).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(roomkey.ended().status.code(), Some(0));
}
