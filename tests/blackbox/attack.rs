//! The packaged program under attack, with the bounds that are in force. Each attack says what it sent and what it measured.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use roomkey::clock::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::package::{App, unpacked};
use crate::process::Roomkey;

const GET: &[u8] = b"GET /api/health HTTP/1.1\r\nhost: x\r\n\r\n";
const EXPECTING: &[u8] =
    b"POST /api/token HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n";
const BODY: &[u8] = br#"{"roomName":"r"}"#;

/// Not captured, so that a passing run shows it.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn start(app: &App) -> Roomkey {
    // As many files as the attacks need; a usual limit is lower than the bound on connections.
    rlimit::increase_nofile_limit(16_384).unwrap();
    app.start_as_host(&[])
}

async fn connect(roomkey: &Roomkey) -> TcpStream {
    TcpStream::connect(roomkey.url.trim_start_matches("http://")).await.unwrap()
}

/// What the server sends until it closes, and how long that took.
async fn until_closed(mut stream: TcpStream) -> (String, Duration) {
    let began = Stopwatch::start();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    (String::from_utf8(answer).unwrap(), began.elapsed())
}

/// Sends one request on an open connection and reads its answer's head and body.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 2_048];
    while !answer.ends_with(b"}") {
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(chunk.get(..read).unwrap());
    }
    String::from_utf8(answer).unwrap()
}

/// A request whose body the server waits for, as its "100 Continue" proves.
async fn in_flight(roomkey: &Roomkey) -> TcpStream {
    let mut stream = connect(roomkey).await;
    stream.write_all(EXPECTING).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    stream
}

fn resident_kilobytes(roomkey: &Roomkey) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", roomkey.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends good requests, one after another, until `until` is over; returns their times, sorted.
async fn good_requests(roomkey: &Roomkey, until: impl Future<Output = ()>) -> Vec<Duration> {
    let mut stream = connect(roomkey).await;
    let mut times = Vec::new();
    let asking = async {
        loop {
            let began = Stopwatch::start();
            let head = b"POST /api/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n";
            let answer = exchange(&mut stream, &[head, BODY].concat()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            times.push(began.elapsed());
        }
    };
    tokio::select! {
        () = asking => {}
        () = until => {}
    }
    times.sort();
    times
}

fn p99(times: &[Duration]) -> Duration {
    *times.get(times.len() * 99 / 100).unwrap()
}

#[tokio::test]
async fn fault_48_slowloris_of_1_000_connections_at_1_header_byte_a_second() {
    let app = unpacked();
    let roomkey = start(&app);
    let mut attackers = Vec::new();
    for _ in 0..1_000 {
        let mut stream = connect(&roomkey).await;
        stream.write_all(b"GET /api/health HTTP/1.1\r\nx-slow: ").await.unwrap();
        attackers.push(tokio::spawn(async move {
            let began = Stopwatch::start();
            let mut sent = 0_usize;
            let mut byte = [0];
            // The pause between the bytes is the attack; it ends when the server closes.
            while timeout(Duration::from_secs(1), stream.read(&mut byte)).await.is_err() {
                sent += usize::from(stream.write_all(b"x").await.is_ok());
            }
            (began.elapsed(), sent)
        }));
    }
    let resident = resident_kilobytes(&roomkey);
    let (mut shortest, mut longest, mut bytes) = (Duration::MAX, Duration::ZERO, 0);
    let times = good_requests(&roomkey, async {
        for attacker in attackers {
            let (closed_after, sent) = attacker.await.unwrap();
            (shortest, longest, bytes) = (shortest.min(closed_after), longest.max(closed_after), bytes + sent);
        }
    })
    .await;
    report(&format!(
        "fault 48, slow heads: 1,000 connections, {bytes} bytes one by one, closed after {shortest:.1?} to {longest:.1?}; {} good requests meanwhile, p99 {:?}; {resident} kB resident",
        times.len(),
        p99(&times),
    ));
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    assert!(p99(&times) < Duration::from_millis(500), "{:?}", p99(&times));
}

#[tokio::test]
async fn fault_48_half_a_head_is_closed_at_5_s_and_half_a_body_gets_408_at_10_s() {
    let app = unpacked();
    let roomkey = start(&app);
    let (mut head, mut body) = (connect(&roomkey).await, connect(&roomkey).await);
    head.write_all(b"GET /api/health HT").await.unwrap();
    body.write_all(b"POST /api/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"room")
        .await
        .unwrap();
    let ((nothing, head_time), (answer, body_time)) = tokio::join!(until_closed(head), until_closed(body));
    report(&format!("fault 48, halves: the head was closed after {head_time:.2?}, the body after {body_time:.2?}"));
    assert_eq!(nothing, "");
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
    assert!((Duration::from_millis(4_900)..Duration::from_secs(7)).contains(&head_time), "{head_time:?}");
    assert!((Duration::from_millis(9_900)..Duration::from_secs(13)).contains(&body_time), "{body_time:?}");
}

#[tokio::test]
async fn fault_48_an_idle_pooled_connection_stays_open_for_more_than_60_s_and_less_than_80() {
    let app = unpacked();
    let roomkey = start(&app);
    let mut stream = connect(&roomkey).await;
    exchange(&mut stream, GET).await;
    let (rest, idle) = until_closed(stream).await;
    report(&format!("fault 48, idle: closed after {idle:.1?}"));
    assert_eq!(rest, "");
    assert!((Duration::from_secs(70)..Duration::from_secs(80)).contains(&idle), "{idle:?}");
}

#[tokio::test]
async fn fault_49_overload_of_10_times_what_fits_is_shed_while_accepted_requests_keep_their_times() {
    const FITS: usize = 2_048;
    let app = unpacked();
    let roomkey = start(&app);
    let began = Stopwatch::start();
    let mut accepted = Vec::new();
    for _ in 0..FITS {
        accepted.push(in_flight(&roomkey).await);
    }
    let before = resident_kilobytes(&roomkey);
    let shedding = Stopwatch::start();
    let mut crowd = Vec::new();
    for _ in 0..64 {
        let mut stream = connect(&roomkey).await;
        crowd.push(tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            for _ in 0..10 * FITS / 64 {
                let one = Stopwatch::start();
                let answer = exchange(&mut stream, GET).await;
                assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
                slowest = slowest.max(one.elapsed());
            }
            slowest
        }));
    }
    let mut slowest = Duration::ZERO;
    for one in crowd {
        slowest = slowest.max(one.await.unwrap());
    }
    let shed_in = shedding.elapsed();
    let after = resident_kilobytes(&roomkey);
    let mut served = 0;
    for stream in &mut accepted {
        served += usize::from(exchange(stream, BODY).await.starts_with("HTTP/1.1 200 "));
    }
    report(&format!(
        "fault 49, overload: {FITS} in flight, {} more shed in {shed_in:.1?}, the slowest within {slowest:.1?}; {served} of {FITS} accepted were served within {:.1?}; {before} kB resident before and {after} kB after",
        10 * FITS,
        began.elapsed(),
    ));
    assert_eq!(served, FITS);
    assert!(after < before + before / 10 + 2_048, "{before} kB grew to {after} kB");
}

#[tokio::test]
async fn file_descriptors_that_run_out_cost_nobody_but_the_newcomers() {
    let app = unpacked();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec ./handler"]).current_dir(app.folder()).env_clear().env("FUNCTIONS_CUSTOMHANDLER_PORT", "0");
    let roomkey = Roomkey::started(&mut command);
    let mut seated = connect(&roomkey).await;
    exchange(&mut seated, GET).await;
    // The kernel still accepts these on the program's behalf.
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(connect(&roomkey).await);
    }
    for _ in 0..50 {
        assert!(exchange(&mut seated, GET).await.starts_with("HTTP/1.1 200 "));
    }
    drop(crowd);
    let mut newcomer = connect(&roomkey).await;
    assert!(exchange(&mut newcomer, GET).await.starts_with("HTTP/1.1 200 "));
    let ended = roomkey.stop("TERM");
    assert!(ended.status.success() && ended.stderr.contains("a connection could not be accepted"), "{}", ended.stderr);
    report("file descriptors: 64 of them, 100 connections more than fit, 52 good requests");
}

#[tokio::test]
async fn fault_50_sigterm_with_100_in_flight_serves_them_all_and_exits_0() {
    let app = unpacked();
    let mut roomkey = start(&app);
    let mut flying = Vec::new();
    for _ in 0..100 {
        flying.push(in_flight(&roomkey).await);
    }
    roomkey.signal("TERM");
    roomkey.wait_for("stopping");
    let mut probe = connect(&roomkey).await;
    let ready = exchange(&mut probe, b"GET /api/health/ready HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains(r#""status":"stopping""#), "{ready}");
    drop(probe);
    let mut served = 0;
    for stream in &mut flying {
        served += usize::from(exchange(stream, BODY).await.starts_with("HTTP/1.1 200 "));
    }
    let ended = roomkey.ended();
    report(&format!("fault 50, SIGTERM: {served} of 100 requests in flight were served"));
    assert_eq!((served, ended.status.code()), (100, Some(0)));
    assert!(!ended.stderr.contains("cut off"), "{}", ended.stderr);
}

#[tokio::test]
async fn fault_50_what_does_not_finish_is_cut_after_8_s_and_a_second_sigterm_ends_at_once() {
    let app = unpacked();
    let (mut patient, mut hasty) = (start(&app), start(&app));
    let _stuck = (in_flight(&patient).await, in_flight(&hasty).await);
    let began = Stopwatch::start();
    for roomkey in [&mut patient, &mut hasty] {
        roomkey.signal("TERM");
        roomkey.wait_for("stopping");
    }
    hasty.signal("TERM");
    assert_eq!(hasty.ended().status.code(), Some(0));
    let hasty_time = began.elapsed();
    let ended = patient.ended();
    report(&format!("fault 50, stop: with a second signal after {hasty_time:.1?}, without after {:.1?}", began.elapsed()));
    assert!(hasty_time < Duration::from_secs(4), "{hasty_time:?}");
    assert!((Duration::from_millis(7_500)..Duration::from_secs(10)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(ended.status.success() && ended.stderr.contains("cut off"), "{ended:?}");
}
