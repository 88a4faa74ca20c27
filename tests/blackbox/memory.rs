//! Memory stays bounded whatever clients do that send and do not read, and comes back when they are
//! gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roomkey::clock::Stopwatch;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::attack::{report, resident_kilobytes, start};
use crate::package::unpacked;
use crate::wire::{POST_BODY, POST_HEAD, exchange};

const CONNECTIONS: usize = 4_000;

/// Time from the last connection on: shorter than the 5 s after which half a head is cut off.
const ATTACK: Duration = Duration::from_secs(4);

/// Longer than the memory of closed connections takes to come back.
const PATIENCE: Duration = Duration::from_secs(30);

/// In kB as the kernel counts, which are KiB.
const MOST_DURING: u64 = 150_000_000 / 1_024;
const MOST_AFTER: u64 = 100_000_000 / 1_024;

/// What clients send and then leave unread, by name.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let post = |more: &str, length: usize| {
        format!("POST /api/token HTTP/1.1\r\nhost: x\r\n{more}content-type: application/json\r\ncontent-length: {length}\r\n\r\n")
            .into_bytes()
    };
    let long = format!("x-long: {}\r\n", "y".repeat(35 * 1_024));
    let fields = (0..120)
        .map(|number| format!("x{number}: \r\n"))
        .collect::<Vec<_>>()
        .concat();
    let many_fields =
        format!("GET /api/openapi.json HTTP/1.1\r\nhost: x\r\n{fields}\r\n").into_bytes();
    let token = [post("", 16), br#"{"roomName":"r"}"#.to_vec()].concat();
    vec![
        (
            "20 pipelined GET /api/openapi.json",
            b"GET /api/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20),
        ),
        ("2,000 pipelined tokens", token.repeat(2_000)),
        (
            "8,000 pipelined GET /",
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(8_000),
        ),
        ("pipelined requests of 120 fields", many_fields.repeat(20)),
        (
            "heads of 36 KiB without an end",
            format!("GET /api/health HTTP/1.1\r\nhost: x\r\n{long}").into_bytes(),
        ),
        (
            "bodies of 16 KiB without an end",
            [post("", 16_384), vec![b' '; 16_383]].concat(),
        ),
        ("both", [post(&long, 16_384), vec![b' '; 16_383]].concat()),
    ]
}

/// A client whose own receive buffer holds next to nothing.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends as much as the server takes, and reads nothing.
async fn send(mut stream: TcpStream, bytes: Arc<[u8]>) -> TcpStream {
    let _ = stream.write_all(&bytes).await;
    stream
}

/// Sends good requests, one after another, until `until` is over. Returns the times of those that
/// were served, sorted, and how many were refused since as many as can be served at once were being
/// served.
async fn honest_requests(
    address: SocketAddr,
    until: impl Future<Output = ()>,
) -> (Vec<Duration>, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut times, mut shed) = (Vec::new(), 0);
    let asking = async {
        loop {
            let began = Stopwatch::start();
            let answer = exchange(&mut stream, &[POST_HEAD, POST_BODY].concat()).await;
            if answer.starts_with("HTTP/1.1 200 ") {
                times.push(began.elapsed());
            } else {
                assert!(
                    answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"overloaded\""),
                    "{answer}"
                );
                shed += 1;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = until => {}
    }
    times.sort();
    (times, shed)
}

/// One attack: the most memory during it, and what is left when its clients are gone.
async fn attacked(name: &str, bytes: Vec<u8>) -> (u64, u64) {
    let app = unpacked();
    let roomkey = start(&app);
    let before = resident_kilobytes(&roomkey);
    let (mut most, mut after) = (0, u64::MAX);
    let bytes = Arc::from(bytes);
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        senders.spawn(send(connect(roomkey.address()).await, Arc::clone(&bytes)));
    }
    let mut ticks = interval(Duration::from_millis(50));
    let (times, shed) = honest_requests(roomkey.address(), async {
        let attack = Stopwatch::start();
        let mut unread = Vec::new();
        while attack.elapsed() < ATTACK {
            ticks.tick().await;
            unread.extend(std::iter::from_fn(|| senders.try_join_next()));
            most = most.max(resident_kilobytes(&roomkey));
        }
        senders.shutdown().await;
        drop(unread);
        let recovery = Stopwatch::start();
        while after > MOST_AFTER && recovery.elapsed() < PATIENCE {
            ticks.tick().await;
            after = resident_kilobytes(&roomkey);
        }
    })
    .await;
    report(&format!(
        "memory, {name}: {CONNECTIONS} connections, {before} kB before, {most} kB at most, {after} kB after; an honest client meanwhile: {} requests served, p99 {:.1?}, and {shed} shed",
        times.len(),
        times
            .get(times.len() * 99 / 100)
            .copied()
            .unwrap_or_default(),
    ));
    (most, after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_send_and_do_not_read_take_a_bounded_part_of_memory_and_give_it_back() {
    for (name, bytes) in attacks() {
        let (most, after) = attacked(name, bytes).await;
        assert!(most < MOST_DURING, "{name}: {most} kB");
        assert!(after < MOST_AFTER, "{name}: {after} kB");
    }
}
