//! An answer that is given before the body was read reaches a client that sends the whole body
//! first.

use std::net::SocketAddr;
use std::time::Duration;

use roomkey::clock::Stopwatch;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::attack::{GOOD_BOUND, good_requests, p99, report, resident_kilobytes};
use crate::package::{App, unpacked};
use crate::undisturbed::undisturbed;
use crate::wire::{connect, exchange, until_closed};

/// How a body is sent.
#[derive(Debug, Clone, Copy)]
enum Way {
    AtOnce,
    InPieces,
    OverThreeSeconds,
    Chunked,
}

const WAYS: [Way; 4] = [
    Way::AtOnce,
    Way::InPieces,
    Way::OverThreeSeconds,
    Way::Chunked,
];
const SIZES: [usize; 4] = [100_000, 1_000_000, 3_000_000, 8_000_000];
const TIMES: usize = 5;
const ADMIN_KEY: &str = "canary-admin-key-of-32-characters";

/// Status and beginning of a head whose request is answered with it before the body is read.
const EARLY: [(u16, &str); 6] = [
    (
        404,
        "POST /nowhere HTTP/1.1\r\ncontent-type: application/json\r\n",
    ),
    (
        405,
        "PUT /api/token HTTP/1.1\r\ncontent-type: application/json\r\n",
    ),
    (
        401,
        "POST /api/diagnostics/realtime HTTP/1.1\r\ncontent-type: application/json\r\n",
    ),
    (
        429,
        "POST /api/diagnostics/realtime HTTP/1.1\r\nx-admin-api-key: wrong\r\n",
    ),
    (
        415,
        "POST /api/token HTTP/1.1\r\ncontent-type: text/plain\r\n",
    ),
    (
        413,
        "POST /api/token HTTP/1.1\r\ncontent-type: application/json\r\n",
    ),
];

/// For how long the program reads on, from the beginning of a request.
const READS_ON: Duration = Duration::from_secs(10);

/// Sends a request with [`arrives_once`], and again where a busy machine needed longer to send it
/// than the time for which the program reads on.
async fn arrives(address: SocketAddr, status: u16, head: &str, size: usize, way: Way) -> bool {
    for _ in 0..5 {
        let began = Stopwatch::start();
        if arrives_once(address, status, head, size, way).await {
            return true;
        }
        if began.elapsed() < READS_ON {
            return false;
        }
    }
    false
}

/// Sends all of a request, then reads. Returns whether the answer with the status came.
async fn arrives_once(address: SocketAddr, status: u16, head: &str, size: usize, way: Way) -> bool {
    let mut stream = connect(address).await;
    let length = match way {
        Way::Chunked => "transfer-encoding: chunked".to_owned(),
        Way::AtOnce | Way::InPieces | Way::OverThreeSeconds => format!("content-length: {size}"),
    };
    stream
        .write_all(format!("{head}host: x\r\n{length}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let pieces = match way {
        Way::AtOnce => 1,
        Way::InPieces | Way::Chunked => size.div_ceil(16_384),
        Way::OverThreeSeconds => 30,
    };
    let piece = vec![b' '; size.div_ceil(pieces)];
    let mut pace = interval(Duration::from_millis(100));
    for _ in 0..pieces {
        if matches!(way, Way::OverThreeSeconds) {
            pace.tick().await;
        }
        let framed = match way {
            Way::Chunked => [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat(),
            Way::AtOnce | Way::InPieces | Way::OverThreeSeconds => piece.clone(),
        };
        if stream.write_all(&framed).await.is_err() {
            return false;
        }
    }
    if matches!(way, Way::Chunked) && stream.write_all(b"0\r\n\r\n").await.is_err() {
        return false;
    }
    until_closed(&mut stream)
        .await
        .starts_with(&format!("HTTP/1.1 {status} "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_reaches_a_client_that_sends_the_whole_body_first() {
    let app = unpacked();
    let roomkey = app.start_as_host(&[
        ("ROOMKEY_ADMIN_KEYS", ADMIN_KEY),
        ("ROOMKEY_CALLER_AUTH", "anonymous"),
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", "APIkey"),
        (
            "LIVEKIT_API_SECRET",
            "a-secret-of-at-least-32-bytes-or-more",
        ),
    ]);
    let address = roomkey.address();
    let mut wrong = connect(address).await;
    for _ in 0..10 {
        exchange(
            &mut wrong,
            b"GET /api/metrics HTTP/1.1\r\nhost: x\r\nx-admin-api-key: wrong\r\n\r\n",
        )
        .await;
    }
    let mut failed = Vec::new();
    let mut most = 0;
    let times = good_requests(&roomkey, async {
        for (status, head) in EARLY {
            let mut senders = JoinSet::new();
            for (size, way) in SIZES
                .into_iter()
                .flat_map(|size| WAYS.map(|way| (size, way)))
            {
                for _ in 0..TIMES {
                    senders.spawn(async move {
                        (size, way, arrives(address, status, head, size, way).await)
                    });
                }
            }
            while let Some(sent) = senders.join_next().await {
                let (size, way, arrived) = sent.unwrap();
                most = most.max(resident_kilobytes(&roomkey));
                if !arrived {
                    failed.push((status, size, way));
                }
            }
        }
    })
    .await;
    let sent = EARLY.len() * SIZES.len() * WAYS.len() * TIMES;
    report(&format!(
        "early answers: {} of {sent} arrived; {most} kB resident at most; {} good requests meanwhile, p99 {:.1?}",
        sent - failed.len(),
        times.len(),
        p99(&times),
    ));
    assert!(failed.is_empty(), "{failed:?}");
    assert!(
        p99(&times) < Duration::from_millis(500),
        "{:?}",
        p99(&times)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_without_an_end_is_cut_off_and_hurts_nobody() {
    let app = unpacked();
    let longest = undisturbed(async || longest_of_senders_without_an_end(&app).await).await;
    assert!(longest >= Duration::from_secs(9), "{longest:?}");
}

/// Returns after which time the last sender was cut off, or nothing if it or the good requests took
/// too long.
async fn longest_of_senders_without_an_end(app: &App) -> Option<Duration> {
    let roomkey = app.start_as_host(&[]);
    let address = roomkey.address();
    let mut senders = JoinSet::new();
    // Some send as fast as they can, the others so little that the time is over first.
    for slow in (0..32).map(|sender| sender % 2 == 1) {
        senders.spawn(async move {
            let mut stream = connect(address).await;
            let began = Stopwatch::start();
            stream
                .write_all(
                    b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
                )
                .await
                .unwrap();
            let chunk = [b"4000\r\n", &[b' '; 0x4000][..], b"\r\n"].concat();
            let mut pace = interval(Duration::from_millis(100));
            loop {
                if slow {
                    pace.tick().await;
                }
                if stream.write_all(&chunk).await.is_err() {
                    return began.elapsed();
                }
            }
        });
    }
    let mut longest = Duration::ZERO;
    let times = good_requests(&roomkey, async {
        while let Some(cut_off) = senders.join_next().await {
            longest = longest.max(cut_off.unwrap());
        }
    })
    .await;
    report(&format!(
        "senders without an end: 32, the last cut off after {longest:.1?}; {} good requests meanwhile, p99 {:.1?}",
        times.len(),
        p99(&times)
    ));
    (longest < Duration::from_secs(13) && p99(&times) < GOOD_BOUND).then_some(longest)
}

/// The longest time of an answer that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_client_that_waits_to_go_on_gets_an_early_answer_at_once_and_a_close() {
    let app = unpacked();
    for (head, status) in [
        ("POST /api/token", 413),
        ("POST /nowhere", 404),
        ("PUT /api/token", 405),
    ] {
        let head = format!(
            "{head} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 3000000\r\n\r\n"
        );
        let answer = undisturbed(async || {
            let roomkey = app.start_as_host(&[]);
            let mut stream = connect(roomkey.address()).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            let answer = timeout(AT_ONCE, until_closed(&mut stream)).await;
            answer.ok()
        })
        .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} "))
                && answer.contains("connection: close"),
            "{answer}"
        );
    }
}
