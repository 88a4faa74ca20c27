//! What .NET's HTTP client, through which both modes reach the handler, does to any request.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, timeout};

use super::headers::Headers;
use super::source::Source;
use super::stream::{Framing, Reader};
use super::timing::{SENDS, Timing};

/// The client reads heads of up to 64 KiB.
const MAX_HEAD: usize = 64 * 1024;

/// A body of this many bytes is sent although the handler has refused it instead of asking for it.
const SMALL: u64 = 1_024;

/// A pool of kept-alive connections to the handler.
pub struct Client {
    address: SocketAddr,
    timing: Timing,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

struct Connection {
    reader: Reader,
    writer: OwnedWriteHalf,
}

/// A request as it goes out, but for its body.
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Headers,
}

/// An answer whose head has arrived.
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
    connection: Option<Connection>,
    framing: Framing,
    is_reusable: bool,
    client: Arc<Client>,
}

/// Status, reason and headers.
type Head = (u16, String, Headers);

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request cannot be written: a header is not ASCII.
    Unwritable,
    /// Nothing listens.
    Refused,
    /// The connection ended before the first byte of an answer.
    Closed,
    /// The request's body or the answer broke off, or the answer is not HTTP.
    Broken,
    /// The client of the host is gone.
    ClientGone,
}

impl Client {
    pub fn new(address: SocketAddr, timing: Timing) -> Arc<Self> {
        Arc::new(Self {
            address,
            timing,
            idle: Mutex::default(),
        })
    }

    /// Sends a request until an answer begins. One without a body is sent again if its connection
    /// closes before that.
    pub async fn send(
        self: &Arc<Self>,
        request: &Request,
        source: &mut Source<'_>,
    ) -> Result<Answer, Failure> {
        let has_body = !source.is_over();
        let mut sends = 1;
        loop {
            match self.send_once(request, source).await {
                Err(Failure::Closed) if !has_body && sends < SENDS => sends += 1,
                result => return result,
            }
        }
    }

    async fn send_once(
        self: &Arc<Self>,
        request: &Request,
        source: &mut Source<'_>,
    ) -> Result<Answer, Failure> {
        if !request.headers.is_ascii() {
            return Err(Failure::Unwritable);
        }
        let Connection {
            mut reader,
            mut writer,
        } = self.connection().await?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
        request.headers.write_to(&mut head);
        writer.write_all(&head).await.map_err(|_| Failure::Closed)?;
        let waits = !source.is_over() && request.headers.lists("expect", "100-continue");
        let early = match waits.then(|| timeout(self.timing.continue_wait, next_head(&mut reader)))
        {
            Some(head) => head.await.ok().transpose()?.filter(is_final),
            None => None,
        };
        let is_refused = early
            .as_ref()
            .is_some_and(|(status, ..)| *status >= 300 && is_large(&request.headers));
        let (status, reason, headers) = match early {
            // Nothing is sent of a large body that the handler does not want.
            Some(head) if is_refused => head,
            Some(head) => source
                .feed(&request.headers, &mut writer)
                .await
                .map(|()| head)?,
            None => exchange(&request.headers, source, &mut reader, &mut writer).await?,
        };
        let framing = framing(&request.method, status, &headers);
        let connection = Some(Connection { reader, writer });
        Ok(Answer {
            status,
            reason,
            headers,
            connection,
            framing,
            is_reusable: !is_refused,
            client: Arc::clone(self),
        })
    }

    /// A pooled connection that is still open, else a new one.
    async fn connection(&self) -> Result<Connection, Failure> {
        while let Some((connection, since)) = self.pooled() {
            if since.elapsed() < self.timing.idle && connection.reader.is_quiet() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|_| Failure::Refused)?;
        stream.set_nodelay(true).map_err(|_| Failure::Refused)?;
        let (reader, writer) = stream.into_split();
        Ok(Connection {
            reader: Reader::new(reader),
            writer,
        })
    }

    fn pooled(&self) -> Option<(Connection, Instant)> {
        self.idle.lock().unwrap().pop()
    }
}

impl Answer {
    /// The next bytes of the body, `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(connection) = &mut self.connection else {
            return Ok(None);
        };
        let piece = connection
            .reader
            .piece(&mut self.framing)
            .await
            .map_err(|_| Failure::Broken)?;
        if self.is_reusable && self.framing.is_over() && !self.headers.lists("connection", "close")
        {
            let unused = self
                .connection
                .take()
                .map(|connection| (connection, Instant::now()));
            self.client.idle.lock().unwrap().extend(unused);
        }
        Ok(piece)
    }

    pub async fn whole(&mut self) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            whole.extend(piece);
        }
        Ok(whole)
    }
}

/// Sends the body and reads the answer's head, at the same time.
async fn exchange(
    headers: &Headers,
    source: &mut Source<'_>,
    reader: &mut Reader,
    writer: &mut OwnedWriteHalf,
) -> Result<Head, Failure> {
    let mut read = Box::pin(final_head(reader));
    let mut feed = Box::pin(source.feed(headers, writer));
    let early = tokio::select! {
        done = &mut feed => {
            done?;
            None
        }
        head = &mut read => Some(head?),
    };
    // Whatever an early answer says, .NET's client sends the rest of the body before it goes on.
    if let Some(head) = early {
        return feed.await.map(|()| head);
    }
    drop(feed);
    tokio::select! {
        head = read => head,
        () = source.client_gone() => Err(Failure::ClientGone),
    }
}

/// Reads the next head that is more than an announcement such as `103 Early Hints`.
async fn final_head(reader: &mut Reader) -> Result<Head, Failure> {
    loop {
        let head = next_head(reader).await?;
        if is_final(&head) {
            return Ok(head);
        }
    }
}

async fn next_head(reader: &mut Reader) -> Result<Head, Failure> {
    match reader.head(MAX_HEAD).await {
        Ok(Some(head)) => parse(&head).ok_or(Failure::Broken),
        Ok(None) => Err(Failure::Closed),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Failure::Closed),
        Err(_) => Err(Failure::Broken),
    }
}

fn is_large(headers: &Headers) -> bool {
    headers
        .text("content-length")
        .and_then(|length| length.parse::<u64>().ok())
        .is_none_or(|length| length > SMALL)
}

fn is_final((status, _, _): &Head) -> bool {
    !(100..200).contains(status)
}

fn parse(head: &[u8]) -> Option<Head> {
    let end = head.windows(2).position(|window| window == b"\r\n")?;
    let line = std::str::from_utf8(head.get(..end)?).ok()?;
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or(line.strip_prefix("HTTP/1.0 "))?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let headers = Headers::parse(head.get(end + 2..)?)?;
    Some((
        status.parse().ok().filter(|_| status.len() == 3)?,
        reason.to_owned(),
        headers,
    ))
}

fn framing(method: &str, status: u16, headers: &Headers) -> Framing {
    if method == "HEAD" || [204, 304].contains(&status) {
        return Framing::NONE;
    }
    if headers.lists("transfer-encoding", "chunked") {
        return Framing::CHUNKED;
    }
    headers
        .text("content-length")
        .and_then(|length| length.parse().ok())
        .map_or(Framing::UntilClosed, Framing::Length)
}
