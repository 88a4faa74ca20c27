//! HTTP messages in a form in which two can be compared: the order of header lines and the bounds
//! of chunks do not count.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::host::headers::Headers;
use crate::host::stream::{Framing, Reader};

/// A request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub line: String,
    /// In the order of the alphabet.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn new(head: &[u8], body: Vec<u8>) -> Self {
        // One character a byte, as the recording has it.
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text
            .trim_end_matches("\r\n")
            .split("\r\n")
            .map(str::to_owned);
        let line = lines.next().unwrap_or_default();
        let mut headers: Vec<_> = lines.collect();
        headers.sort_unstable();
        Self {
            line,
            headers,
            body,
        }
    }

    /// Puts a name in place of a value that differs each time.
    pub fn named(mut self, value: &str, name: &str) -> Self {
        for header in &mut self.headers {
            *header = header.replace(value, name);
        }
        self.headers.sort_unstable();
        self
    }

    /// The status of an answer.
    pub fn status(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The code of a refusal of ours; empty in an answer that is not ours.
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Reads recorded messages; each is a request, or an answer to a request of the given method.
pub fn recorded(mut text: &[u8], method: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
        let (head, rest) = text.split_at(end + 4);
        let (body, behind) = match framing(head, method) {
            Framing::Chunked(_) => unchunked(rest),
            Framing::Length(length) => {
                let (body, behind) =
                    rest.split_at(usize::try_from(length).unwrap().min(rest.len()));
                (body.to_vec(), behind)
            }
            Framing::UntilClosed => (rest.to_vec(), &rest[rest.len()..]),
        };
        messages.push(Message::new(head, body));
        text = behind;
    }
    messages
}

/// A client's connection to the host.
pub struct Client {
    reader: Reader,
    writer: OwnedWriteHalf,
    method: String,
}

impl Client {
    /// Opens a connection and sends the first request.
    pub async fn send(address: SocketAddr, request: &[u8]) -> Self {
        let (reader, writer) = TcpStream::connect(address).await.unwrap().into_split();
        let method = request
            .split(|byte| *byte == b' ')
            .next()
            .map(String::from_utf8_lossy)
            .unwrap_or_default()
            .into_owned();
        let mut client = Self {
            reader: Reader::new(reader),
            writer,
            method,
        };
        client.write(request).await;
        client
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // Fails where the host has closed, which its answer says.
        let _ = self.writer.write_all(bytes).await;
    }

    /// The next answer, as far as it comes; `None` where the host closes without one.
    pub async fn answer(&mut self) -> Option<Message> {
        let head = self.reader.head(1 << 20).await.ok().flatten()?;
        let (mut framing, mut body) = (framing(&head, &self.method), Vec::new());
        while let Ok(Some(piece)) = self.reader.piece(&mut framing).await {
            body.extend(piece);
        }
        Some(Message::new(&head, body))
    }

    /// Waits until the host closes.
    pub async fn closed(&mut self) {
        self.reader.closed().await;
    }
}

fn framing(head: &[u8], method: &str) -> Framing {
    let text = String::from_utf8_lossy(head);
    let line = text.lines().next().unwrap_or_default();
    let headers = Headers::parse(&head[line.len() + 2..]).unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").unwrap_or_default();
    let has_no_body = method == "HEAD" && !status.is_empty()
        || ["1", "204", "304"]
            .iter()
            .any(|none| status.starts_with(none));
    match headers
        .text("content-length")
        .and_then(|length| length.parse().ok())
    {
        _ if has_no_body => Framing::NONE,
        _ if headers.lists("transfer-encoding", "chunked") => Framing::CHUNKED,
        Some(length) => Framing::Length(length),
        None => Framing::NONE,
    }
}

/// The data of chunks, and what stands behind the last one.
fn unchunked(mut text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut data = Vec::new();
    while let Some(end) = text.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&text[..end]).unwrap(), 16).unwrap();
        data.extend(&text[end + 2..end + 2 + size]);
        text = &text[end + size + 4..];
        if size == 0 {
            break;
        }
    }
    (data, text)
}
