//! Raw HTTP on a connection, for requests that a client library would never send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A good request without a body.
pub const GET: &[u8] = b"GET /api/health HTTP/1.1\r\nhost: x\r\n\r\n";
/// The head of a good request with a body.
pub const POST_HEAD: &[u8] = b"POST /api/token HTTP/1.1\r\nhost: x\r\n\
    content-type: application/json\r\ncontent-length: 16\r\n\r\n";
/// Its body.
pub const POST_BODY: &[u8] = br#"{"roomName":"r"}"#;

/// Opens a connection.
pub async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// What the server sends until it closes; a reset counts as a close.
pub async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Sends one request on an open connection and reads its answer, up to the end of its JSON.
pub async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    while !answer.ends_with(b"}") {
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(chunk.get(..read).unwrap());
    }
    String::from_utf8(answer).unwrap()
}

/// A request in flight: the server says "go on" only once the handler waits for the body,
/// [`POST_BODY`].
pub async fn in_flight(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address).await;
    let head = b"POST /api/token HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
            content-type: application/json\r\ncontent-length: 16\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}
