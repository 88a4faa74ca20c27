//! The body of a client's request, from which each mode takes what it sends on, and the client's
//! presence.

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use super::dot_net::Failure;
use super::headers::Headers;
use super::stream::{Framing, Reader};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A request's body, as far as it has not been read.
pub struct Source<'a> {
    reader: Option<&'a mut Reader>,
    writer: Option<&'a mut OwnedWriteHalf>,
    framing: Framing,
    was_read: bool,
    watches: bool,
}

impl<'a> Source<'a> {
    pub fn new(reader: &'a mut Reader, framing: Framing) -> Self {
        Self {
            reader: Some(reader),
            writer: None,
            framing,
            was_read: false,
            watches: false,
        }
    }

    /// No body, and nobody who could go away.
    pub fn none() -> Self {
        Self {
            reader: None,
            writer: None,
            framing: Framing::NONE,
            was_read: false,
            watches: false,
        }
    }

    /// For a client that waits for `100 Continue`, which is written where the body is first read.
    pub fn announced_by(mut self, writer: &'a mut OwnedWriteHalf) -> Self {
        self.writer = Some(writer);
        self
    }

    /// Makes the client's end an end of the request.
    pub fn watch_client(&mut self) {
        self.watches = true;
    }

    pub fn is_over(&self) -> bool {
        self.framing.is_over()
    }

    /// Whether some of the body was taken, so that it cannot be sent once more.
    pub fn was_read(&self) -> bool {
        self.was_read
    }

    /// Waits, if the client is watched, until it is gone.
    pub async fn client_gone(&mut self) {
        match &mut self.reader {
            Some(reader) if self.watches => reader.closed().await,
            _ => std::future::pending().await,
        }
    }

    /// Sends the whole body, framed as the headers of the copy say.
    pub async fn feed(
        &mut self,
        headers: &Headers,
        to: &mut OwnedWriteHalf,
    ) -> Result<(), Failure> {
        let is_chunked = headers.contains("transfer-encoding");
        while let Some(piece) = self.piece().await? {
            let sent = if is_chunked {
                to.write_all(&chunk(&piece)).await
            } else {
                to.write_all(&piece).await
            };
            sent.map_err(|_| Failure::Broken)?;
        }
        if is_chunked {
            to.write_all(b"0\r\n\r\n")
                .await
                .map_err(|_| Failure::Broken)?;
        }
        Ok(())
    }

    /// What is still unread; `None` if the client was never told to send it.
    pub fn rest(&self) -> Option<Framing> {
        (self.writer.is_none() || self.is_over()).then_some(self.framing)
    }

    async fn piece(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        if self.is_over() {
            return Ok(None);
        }
        self.was_read = true;
        if let Some(writer) = self.writer.take() {
            writer
                .write_all(CONTINUE)
                .await
                .map_err(|_| Failure::ClientGone)?;
        }
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        reader
            .piece(&mut self.framing)
            .await
            .map_err(|_| Failure::Broken)
    }
}

/// Bytes as one chunk.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}
