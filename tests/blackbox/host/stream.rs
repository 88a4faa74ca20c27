//! Heads and bodies read from a connection, piece by piece as they arrive.

use std::io::{Error, ErrorKind, Result};

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// What is kept of a sender that nobody reads at the moment.
const MOST_AHEAD: usize = 64 * 1024;

/// The reading half of a connection.
pub struct Reader {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// With the last chunk and the trailers.
    Chunked(Chunk),
    /// With the connection.
    UntilClosed,
}

/// What comes next of a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    Size,
    Data(usize),
    DataEnd,
    Trailer,
    Done,
}

impl Framing {
    pub const NONE: Self = Self::Length(0);
    pub const CHUNKED: Self = Self::Chunked(Chunk::Size);

    /// Whether nothing of the body is left.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }
}

impl Reader {
    pub fn new(half: OwnedReadHalf) -> Self {
        Self {
            half,
            buffer: Vec::new(),
        }
    }

    /// The next head with its blank line, or as much as came when it grew past a limit. `None` at
    /// an end before the first byte.
    pub async fn head(&mut self, limit: usize) -> Result<Option<Vec<u8>>> {
        loop {
            let end = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n");
            if let Some(end) = end
                .map(|start| start + 4)
                .or((self.buffer.len() > limit).then_some(self.buffer.len()))
            {
                return Ok(Some(self.take(end)));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The next bytes of a body, `None` at its end.
    pub async fn piece(&mut self, framing: &mut Framing) -> Result<Option<Vec<u8>>> {
        loop {
            match framing {
                Framing::Length(0) => return Ok(None),
                Framing::Length(left) if !self.buffer.is_empty() => {
                    let piece = self.take(
                        usize::try_from(*left)
                            .map_or(self.buffer.len(), |left| left.min(self.buffer.len())),
                    );
                    *left -= piece.len() as u64;
                    return Ok(Some(piece));
                }
                Framing::Chunked(chunk) => {
                    let data = self.chunks(chunk)?;
                    if !data.is_empty() || *chunk == Chunk::Done {
                        return Ok(Some(data).filter(|data| !data.is_empty()));
                    }
                }
                Framing::UntilClosed if !self.buffer.is_empty() => {
                    return Ok(Some(self.take(self.buffer.len())));
                }
                Framing::Length(_) | Framing::UntilClosed => {}
            }
            if !self.fill().await? {
                return if *framing == Framing::UntilClosed {
                    Ok(None)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads the rest of a body and throws it away; false if it breaks off.
    pub async fn drain(&mut self, mut framing: Framing) -> bool {
        while let Ok(Some(_)) = self.piece(&mut framing).await {}
        framing.is_over()
    }

    /// The data of all chunks that have arrived.
    fn chunks(&mut self, chunk: &mut Chunk) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            if let Chunk::Data(left) = chunk {
                let part = self.take((*left).min(self.buffer.len()));
                *left -= part.len();
                data.extend(part);
                if *left > 0 {
                    return Ok(data);
                }
                *chunk = Chunk::DataEnd;
            }
            if *chunk == Chunk::Done {
                return Ok(data);
            }
            let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") else {
                return Ok(data);
            };
            let line = self.take(end + 2);
            *chunk = match chunk {
                Chunk::Size => match size(&line).ok_or(Error::from(ErrorKind::InvalidData))? {
                    0 => Chunk::Trailer,
                    size => Chunk::Data(size),
                },
                Chunk::Trailer if line == b"\r\n" => Chunk::Done,
                Chunk::Trailer => Chunk::Trailer,
                _ => Chunk::Size,
            };
        }
    }

    /// Waits for the sender's end. What arrives before is kept.
    pub async fn closed(&mut self) {
        while self.buffer.len() < MOST_AHEAD {
            if !matches!(self.fill().await, Ok(true)) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Whether the sender is still there and has said nothing.
    pub fn is_quiet(&self) -> bool {
        self.buffer.is_empty()
            && self
                .half
                .try_read(&mut [0])
                .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    async fn fill(&mut self) -> Result<bool> {
        Ok(self.half.read_buf(&mut self.buffer).await? > 0)
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }
}

/// The size that a chunk begins with; extensions are overlooked.
fn size(line: &[u8]) -> Option<usize> {
    let line = std::str::from_utf8(line).ok()?;
    usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()
}
