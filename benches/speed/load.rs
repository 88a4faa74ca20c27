//! Sends requests: one at a time per connection, the next as soon as the answer is there.
//!
//! Written for little CPU: one thread, raw bytes, one `write` and one `read` a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use roomkey::clock::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::exchange;

pub const CONNECTIONS: usize = 32;

/// What is sent, in turn, by whichever connection is free.
#[derive(Clone)]
pub struct Requests {
    list: Arc<[Vec<u8>]>,
    next: Arc<AtomicUsize>,
    is_endless: bool,
}

/// When a load ends; at the latest with the last request.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Requests(u64),
}

/// Connections to one server, kept open between loads.
pub struct Clients {
    runtime: Runtime,
    connections: Vec<TcpStream>,
    requests: Requests,
}

/// How long each request took, in nanoseconds, sorted; and all of them together.
pub struct Times {
    sorted: Vec<u32>,
    elapsed: Duration,
}

impl Requests {
    /// The same request for as long as it is wanted.
    pub fn same(request: Vec<u8>) -> Self {
        Self {
            list: [request].into(),
            next: Arc::default(),
            is_endless: true,
        }
    }

    /// Each request once.
    pub fn each_once(list: &Arc<[Vec<u8>]>) -> Self {
        Self {
            list: Arc::clone(list),
            next: Arc::default(),
            is_endless: false,
        }
    }

    fn next(&self) -> Option<&[u8]> {
        if self.is_endless {
            return self.list.first().map(Vec::as_slice);
        }
        self.list
            .get(self.next.fetch_add(1, Ordering::Relaxed))
            .map(Vec::as_slice)
    }
}

impl Clients {
    pub fn connect(address: SocketAddr, connections: usize, requests: Requests) -> Self {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let connections = (0..connections)
            .map(|_| runtime.block_on(connect(address)))
            .collect();
        Self {
            runtime,
            connections,
            requests,
        }
    }

    /// Sends requests on all connections until the end is reached; a request that is under way then
    /// still counts.
    pub fn run(&mut self, until: Until) -> Times {
        let left = Arc::new(AtomicU64::new(match until {
            Until::Elapsed(_) => u64::MAX,
            Until::Requests(count) => count,
        }));
        let stopwatch = Stopwatch::start();
        let mut tasks = JoinSet::new();
        for stream in self.connections.drain(..) {
            let left = Arc::clone(&left);
            tasks.spawn_on(
                drive(stream, self.requests.clone(), stopwatch, until, left),
                self.runtime.handle(),
            );
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

    /// Sends some requests on each connection, one after the other, and hands each answer's body to
    /// a check.
    pub fn verify(&mut self, requests: usize, check: fn(&[u8]) -> Result<(), String>) {
        let mut answer = Vec::with_capacity(4096);
        for stream in &mut self.connections {
            for _ in 0..requests {
                let request = self.requests.next().unwrap();
                let body = self
                    .runtime
                    .block_on(ask(stream, request, &mut answer))
                    .unwrap();
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

async fn drive(
    mut stream: TcpStream,
    requests: Requests,
    stopwatch: Stopwatch,
    until: Until,
    left: Arc<AtomicU64>,
) -> (TcpStream, Vec<u32>) {
    let (mut answer, mut times) = (Vec::with_capacity(4096), Vec::with_capacity(1 << 16));
    let mut sent_at = stopwatch.elapsed();
    while may_go_on(until, sent_at, &left) {
        let Some(request) = requests.next() else {
            break;
        };
        ask(&mut stream, request, &mut answer).await.unwrap();
        let answered_at = stopwatch.elapsed();
        times.push(
            u32::try_from(answered_at.saturating_sub(sent_at).as_nanos()).unwrap_or(u32::MAX),
        );
        sent_at = answered_at;
    }
    (stream, times)
}

fn may_go_on(until: Until, elapsed: Duration, left: &AtomicU64) -> bool {
    match until {
        Until::Elapsed(limit) => elapsed < limit,
        Until::Requests(_) => left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok(),
    }
}

/// Sends the request and reads the whole answer; says where its body begins.
async fn ask(
    stream: &mut TcpStream,
    request: &[u8],
    answer: &mut Vec<u8>,
) -> Result<usize, String> {
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
