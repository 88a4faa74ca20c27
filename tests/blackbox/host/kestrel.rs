//! What the host's own server (Kestrel) makes of a client's bytes, and how it writes an answer.

use std::io::{Error, ErrorKind, Result};
use std::net::IpAddr;

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use super::dot_net;
use super::headers::{Headers, is_token};
use super::path;
use super::source::chunk;
use super::stream::{Framing, Reader};

const MAX_REQUEST_LINE: usize = 8 * 1024;
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// What the server says in place of the time.
pub const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

/// Methods that .NET knows, whatever letters a client writes them in.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
];

/// A request that the server accepted.
pub struct Request {
    pub method: String,
    /// Unescaped, with its dot segments followed.
    pub path: String,
    /// As it came.
    pub query: Option<String>,
    pub headers: Headers,
    pub framing: Framing,
    pub peer: IpAddr,
    keep_alive: bool,
}

/// An answer of the host.
pub struct Answer {
    pub status: u16,
    reason: String,
    pub headers: Headers,
    body: Body,
}

enum Body {
    Whole(Vec<u8>),
    Streamed(Box<dot_net::Answer>),
}

impl Request {
    /// Reads the next request: the inner error is the status of a refusal. `None` where the client
    /// closed.
    pub async fn read(
        reader: &mut Reader,
        peer: IpAddr,
    ) -> Result<Option<std::result::Result<Self, u16>>> {
        let head = reader.head(MAX_REQUEST_LINE + MAX_HEADER_BYTES).await?;
        Ok(head.map(|head| Self::parse(&head, peer)))
    }

    fn parse(head: &[u8], peer: IpAddr) -> std::result::Result<Self, u16> {
        let end = head
            .windows(2)
            .position(|window| window == b"\r\n")
            .filter(|end| *end <= MAX_REQUEST_LINE)
            .ok_or(414_u16)?;
        let (line, lines) = (&head[..end], &head[end + 2..]);
        let line = std::str::from_utf8(line)
            .ok()
            .filter(|line| line.is_ascii())
            .ok_or(400_u16)?;
        let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(400);
        };
        if lines.len() > MAX_HEADER_BYTES
            || lines.split(|byte| *byte == b'\n').count() > MAX_HEADERS + 2
        {
            return Err(431);
        }
        let is_folded = lines
            .windows(2)
            .any(|window| window == b"\n " || window == b"\n\t");
        let is_text = std::str::from_utf8(lines).is_ok();
        let headers = Headers::parse(lines)
            .filter(|_| is_text && !is_folded && is_token(method))
            .ok_or(400_u16)?;
        let is_current = version == "HTTP/1.1";
        if !is_current && version != "HTTP/1.0" || !is_host_good(&headers, is_current) {
            return Err(400);
        }
        let (path, query) = target_of(method, target)?;
        let method = METHODS
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(method))
            .unwrap_or(method)
            .to_owned();
        let keep_alive = is_current && !headers.lists("connection", "close");
        let mut request = Self {
            method,
            path,
            query,
            headers,
            framing: Framing::NONE,
            peer,
            keep_alive,
        };
        request.frame()?;
        request.keep_known_connection_options();
        Ok(request)
    }

    /// Where the body ends. A length beside chunks is put away under another name.
    fn frame(&mut self) -> std::result::Result<(), u16> {
        let lengths: Vec<_> = self
            .headers
            .all("content-length")
            .map(<[u8]>::to_vec)
            .collect();
        if self.headers.contains("transfer-encoding") {
            let coding = self
                .headers
                .all("transfer-encoding")
                .last()
                .unwrap_or_default();
            let is_chunked = coding
                .rsplit(|byte| *byte == b',')
                .next()
                .is_some_and(|last| last.trim_ascii() == b"chunked");
            self.framing = is_chunked.then_some(Framing::CHUNKED).ok_or(400_u16)?;
            for length in lengths {
                self.headers.append("X-Content-Length", length);
                self.keep_alive = false;
            }
            self.headers.remove("content-length");
            return Ok(());
        }
        let lengths: Vec<Option<u64>> = lengths
            .iter()
            .map(|length| std::str::from_utf8(length).ok()?.parse().ok())
            .collect();
        self.framing = match lengths[..] {
            [] => Framing::NONE,
            [Some(length)] => Framing::Length(length),
            _ => return Err(400),
        };
        Ok(())
    }

    fn keep_known_connection_options(&mut self) {
        let known = ["keep-alive", "close", "upgrade"]
            .into_iter()
            .filter(|option| self.headers.lists("connection", option));
        let known: Vec<_> = known.collect();
        let sent = self
            .headers
            .text("connection")
            .unwrap_or_default()
            .to_owned();
        let kept: Vec<_> = sent
            .split(',')
            .map(str::trim)
            .filter(|part| known.contains(&part.to_ascii_lowercase().as_str()))
            .collect();
        if !kept.is_empty() {
            self.headers.set("Connection", kept.join(", "));
        }
    }

    /// The announced length of a body that is not empty.
    pub fn content_length(&self) -> Option<u64> {
        if let Framing::Length(length @ 1..) = self.framing {
            Some(length)
        } else {
            None
        }
    }

    pub fn is_chunked(&self) -> bool {
        self.framing == Framing::CHUNKED
    }

    /// Whether .NET's client announces the length of a body that is empty.
    pub fn must_have_length(&self) -> bool {
        !["GET", "HEAD", "DELETE", "OPTIONS", "CONNECT"].contains(&self.method.as_str())
    }

    pub fn has_host(&self) -> bool {
        self.headers
            .text("host")
            .is_some_and(|host| !host.is_empty())
    }
}

impl Answer {
    /// An answer of the host itself, without a body.
    pub fn own(status: u16) -> Self {
        Self::whole(status, "", Headers::default(), Vec::new())
    }

    pub fn whole(status: u16, reason: &str, headers: Headers, body: Vec<u8>) -> Self {
        Self {
            status,
            reason: reason.to_owned(),
            headers,
            body: Body::Whole(body),
        }
    }

    /// An answer that goes on while it arrives.
    pub fn streamed(answer: dot_net::Answer) -> Self {
        let (reason, headers) = (answer.reason.clone(), answer.headers.clone());
        Self {
            status: answer.status,
            reason,
            headers,
            body: Body::Streamed(Box::new(answer)),
        }
    }

    /// The refusal of what is no request: the app never sees it, so its headers are not on it.
    pub async fn refuse(status: u16, writer: &mut OwnedWriteHalf) -> Result<()> {
        let mut refusal = Self::own(status);
        refusal.headers.append("Content-Length", "0");
        refusal.headers.append("Connection", "close");
        writer.write_all(&refusal.head()).await
    }

    /// Writes all of it; whether the connection may stay open.
    pub async fn write(
        mut self,
        request: &Request,
        reader: &mut Reader,
        writer: &mut OwnedWriteHalf,
    ) -> Result<bool> {
        let has_body = request.method != "HEAD" && ![204, 304].contains(&self.status);
        if self.status == 204 {
            self.headers.remove("content-length");
        }
        let has_length = self.headers.contains("content-length");
        match &self.body {
            Body::Whole(body) if !has_length && self.status != 204 && request.method != "HEAD" => {
                self.headers
                    .append("Content-Length", body.len().to_string());
            }
            Body::Streamed(_) if !has_length && has_body => {
                self.headers.append("Transfer-Encoding", "chunked");
            }
            _ => {}
        }
        let is_open_to = |headers: &Headers| {
            !headers.contains("connection") || headers.lists("connection", "keep-alive")
        };
        let keep_alive = request.keep_alive && is_open_to(&self.headers);
        if !keep_alive {
            self.headers.set("Connection", "close");
        }
        writer.write_all(&self.head()).await?;
        match self.body {
            Body::Streamed(mut answer) if !has_body => {
                // Gives the connection to the handler back.
                let _ = answer.piece().await;
                Ok(keep_alive)
            }
            Body::Whole(_) if !has_body => Ok(keep_alive),
            Body::Whole(body) => {
                writer.write_all(&body).await?;
                let announced = self
                    .headers
                    .text("content-length")
                    .and_then(|length| length.parse().ok());
                Ok(keep_alive && announced == Some(body.len()))
            }
            Body::Streamed(answer) => stream(*answer, has_length, reader, writer)
                .await
                .map(|()| keep_alive),
        }
    }

    fn head(&self) -> Vec<u8> {
        let known = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason());
        let reason = if self.reason.is_empty() {
            known.unwrap_or_default()
        } else {
            &self.reason
        };
        let mut headers = self.headers.clone();
        for (name, value) in [("Date", DATE), ("Server", "Kestrel")] {
            if !headers.contains(name) {
                headers.append(name, value);
            }
        }
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status).into_bytes();
        headers.write_to(&mut head);
        head
    }
}

/// Hands a body on until it ends or the client is gone; an answer that breaks off breaks off at the
/// client, too.
async fn stream(
    mut answer: dot_net::Answer,
    has_length: bool,
    reader: &mut Reader,
    writer: &mut OwnedWriteHalf,
) -> Result<()> {
    loop {
        let piece = tokio::select! {
            piece = answer.piece() => piece.map_err(|_| Error::from(ErrorKind::UnexpectedEof))?,
            () = reader.closed() => return Err(ErrorKind::ConnectionAborted.into()),
        };
        match piece {
            Some(piece) if has_length => writer.write_all(&piece).await?,
            Some(piece) => writer.write_all(&chunk(&piece)).await?,
            None if has_length => return Ok(()),
            None => return writer.write_all(b"0\r\n\r\n").await,
        }
    }
}

fn is_host_good(headers: &Headers, must_be_there: bool) -> bool {
    let is_allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~[]:!$&'()*+,;=".contains(byte);
    let hosts: Vec<_> = headers.all("host").collect();
    let is_one = hosts.len() == 1 || hosts.is_empty() && !must_be_there;
    is_one && hosts.iter().all(|host| host.iter().all(is_allowed))
}

/// The path and the query of a request's target. Another server's address is refused, as is what no
/// target may hold.
fn target_of(method: &str, target: &str) -> std::result::Result<(String, Option<String>), u16> {
    if method == "OPTIONS" && target == "*" {
        return Ok((target.to_owned(), None));
    }
    let (raw, query) = target
        .split_once('?')
        .map_or((target, None), |(raw, query)| (raw, Some(query.to_owned())));
    let path = path::read(raw)
        .filter(|_| raw.starts_with('/') && !target.contains('#'))
        .ok_or(400_u16)?;
    Ok((path, query))
}
