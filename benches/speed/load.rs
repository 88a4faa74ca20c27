//! Sends the request: one at a time per connection, the next as soon as the answer is there.
//!
//! Written for little CPU: one thread, raw bytes, one `write` and one `read` a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roomkey::clock::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::exchange;

pub const CONNECTIONS: usize = 32;

/// When a load ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Requests(u64),
}

/// Connections to one server, kept open between loads.
pub struct Clients {
    runtime: Runtime,
    connections: Vec<TcpStream>,
}

/// How long each request took, in nanoseconds, sorted; and all of them together.
pub struct Times {
    sorted: Vec<u32>,
    elapsed: Duration,
}

impl Clients {
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let connections = (0..CONNECTIONS).map(|_| runtime.block_on(connect(address))).collect();
        Self { runtime, connections }
    }

    /// Sends requests on all connections until the end is reached; a request that is under way then still counts.
    pub fn run(&mut self, until: Until) -> Times {
        let left = Arc::new(AtomicU64::new(match until {
            Until::Elapsed(_) => u64::MAX,
            Until::Requests(count) => count,
        }));
        let stopwatch = Stopwatch::start();
        let mut tasks = JoinSet::new();
        for stream in self.connections.drain(..) {
            let left = Arc::clone(&left);
            tasks.spawn_on(drive(stream, stopwatch, until, left), self.runtime.handle());
        }
        let done = self.runtime.block_on(tasks.join_all());
        let elapsed = stopwatch.elapsed();
        let mut sorted = Vec::new();
        for (stream, times) in done {
            self.connections.push(stream);
            sorted.extend(times);
        }
        sorted.sort_unstable();
        Times { sorted, elapsed }
    }

    /// Sends some requests on each connection, one after the other, and hands each answer's body to a check.
    pub fn verify(&mut self, requests: usize, check: fn(&[u8]) -> Result<(), String>) {
        let (request, mut answer) = (exchange::request(), Vec::with_capacity(4096));
        for stream in &mut self.connections {
            for _ in 0..requests {
                let body = self.runtime.block_on(ask(stream, &request, &mut answer)).unwrap();
                check(&answer[body..]).unwrap();
            }
        }
    }
}

impl Times {
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.count() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time within which so many per cent of the requests were answered, in ms.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        f64::from(self.sorted[(self.count() * percent).div_ceil(100) - 1]) / 1e6
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn drive(mut stream: TcpStream, stopwatch: Stopwatch, until: Until, left: Arc<AtomicU64>) -> (TcpStream, Vec<u32>) {
    let (request, mut answer, mut times) = (exchange::request(), Vec::with_capacity(4096), Vec::with_capacity(1 << 16));
    let mut sent_at = stopwatch.elapsed();
    while may_go_on(until, sent_at, &left) {
        ask(&mut stream, &request, &mut answer).await.unwrap();
        let answered_at = stopwatch.elapsed();
        times.push(u32::try_from(answered_at.saturating_sub(sent_at).as_nanos()).unwrap_or(u32::MAX));
        sent_at = answered_at;
    }
    (stream, times)
}

fn may_go_on(until: Until, elapsed: Duration, left: &AtomicU64) -> bool {
    match until {
        Until::Elapsed(limit) => elapsed < limit,
        Until::Requests(_) => left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok(),
    }
}

/// Sends the request and reads the whole answer; says where its body begins.
async fn ask(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> Result<usize, String> {
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(request).await.map_err(failed)?;
    answer.clear();
    loop {
        if stream.read_buf(answer).await.map_err(failed)? == 0 {
            return Err("the server closed the connection".to_owned());
        }
        match exchange::extent(answer)? {
            Some((body, end)) if answer.len() == end => return Ok(body),
            Some((_, end)) if answer.len() > end => return Err("more than one answer".to_owned()),
            _ => {}
        }
    }
}
