//! A Realtime upstream, as small as can be, that takes as long as it is told; on the core of
//! whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use roomkey::clock::{Clock, SystemClock};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;

pub const DEPLOYMENT: &str = "voice-deployment";
pub const API_KEY: &str = "a-key-for-benchmarks-only-0123456789";
/// In seconds; longer than any run.
const LIFETIME: u64 = 7_200;
/// Connections that may wait to be accepted: the default would keep some of those who come at once
/// waiting for a second.
const BACKLOG: u32 = 4_096;

/// A running upstream; it ends with the program.
pub struct Upstream {
    pub address: SocketAddr,
    connections: Arc<AtomicU64>,
    delay_ms: Arc<AtomicU64>,
}

impl Upstream {
    /// Serves from a thread of its own.
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            socket.listen(BACKLOG).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let (connections, delay_ms) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (counted, delayed) = (Arc::clone(&connections), Arc::clone(&delay_ms));
        thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    counted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(serve(stream, Arc::clone(&delayed)));
                }
            });
        });
        Self {
            address,
            connections,
            delay_ms,
        }
    }

    /// `http://…`, as the setting has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes so long for an answer from now on.
    pub fn take(&self, delay: Duration) {
        self.delay_ms
            .store(delay.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The request for a mint as it travels: what a server has to send.
    pub fn request(&self) -> Vec<u8> {
        let body = json!({
            "expires_after": { "anchor": "created_at", "seconds": 60 },
            "session": { "type": "realtime", "model": DEPLOYMENT, "audio": { "output": { "voice": "marin" } } },
        });
        let (body, host) = (body.to_string(), self.address);
        let head = format!(
            "POST /openai/v1/realtime/client_secrets HTTP/1.1\r\nHost: {host}\r\napi-key: {API_KEY}\r\n"
        );
        format!(
            "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// Answers one request after the other. A client that goes away is no concern of the upstream's.
async fn serve(mut stream: TcpStream, delay_ms: Arc<AtomicU64>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let now = SystemClock.now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let mut received = Vec::with_capacity(4096);
    for number in 0_u64.. {
        received.clear();
        while !is_whole(&received) {
            if stream.read_buf(&mut received).await.ok()? == 0 {
                return None;
            }
        }
        tokio::time::sleep(Duration::from_millis(delay_ms.load(Ordering::Relaxed))).await;
        let body = json!({
            "value": format!("ek_{number:032x}"), "expires_at": now + LIFETIME,
            "session": { "id": format!("sess_{number:024x}"), "object": "realtime.session", "model": DEPLOYMENT },
        });
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
    None
}

/// Whether a head has arrived, and as much after it as it says.
fn is_whole(received: &[u8]) -> bool {
    let Some(head) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    received.len() >= head + 4 + length
}
