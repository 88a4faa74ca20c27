//! A clean stop.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use roomkey::clock::Stopwatch;
use tokio::io::AsyncWriteExt;

use crate::attack::{report, start};
use crate::package::{App, unpacked};
use crate::undisturbed::undisturbed;
use crate::wire::{POST_BODY, POST_HEAD, connect, exchange, in_flight, until_closed};

#[test]
fn both_signals_stop_it_with_exit_code_zero() {
    for signal in ["TERM", "INT"] {
        let ended = unpacked().start_as_host(&[]).stop(signal);
        assert_eq!(ended.status.code(), Some(0), "{signal}");
        assert!(ended.stdout.contains("stopping"), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn fault_50_sigterm_with_100_in_flight_serves_them_all_and_exits_0() {
    let app = unpacked();
    let mut roomkey = start(&app);
    let mut flying = Vec::new();
    for _ in 0..100 {
        flying.push(in_flight(roomkey.address()).await);
    }
    roomkey.signal("TERM");
    roomkey.wait_for("stopping");
    let mut probe = connect(roomkey.address()).await;
    let ready = exchange(
        &mut probe,
        b"GET /api/health/ready HTTP/1.1\r\nhost: x\r\n\r\n",
    )
    .await;
    assert!(
        ready.starts_with("HTTP/1.1 503 ") && ready.contains(r#""status":"stopping""#),
        "{ready}"
    );
    drop(probe);
    let mut served = 0;
    for stream in &mut flying {
        served += usize::from(
            exchange(stream, POST_BODY)
                .await
                .starts_with("HTTP/1.1 200 "),
        );
    }
    let ended = roomkey.ended();
    report(&format!(
        "fault 50, SIGTERM: {served} of 100 requests in flight were served"
    ));
    assert_eq!((served, ended.status.code()), (100, Some(0)));
    assert!(!ended.stderr.contains("cut off"), "{}", ended.stderr);
}

#[tokio::test]
async fn fault_50_what_does_not_finish_is_cut_after_8_s_and_a_second_sigterm_ends_at_once() {
    let app = unpacked();
    let (patient_time, ended) = undisturbed(async || {
        let (mut patient, mut hasty) = (start(&app), start(&app));
        let _stuck = (
            in_flight(patient.address()).await,
            in_flight(hasty.address()).await,
        );
        let began = Stopwatch::start();
        for roomkey in [&mut patient, &mut hasty] {
            roomkey.signal("TERM");
            roomkey.wait_for("stopping");
        }
        let hurried = Stopwatch::start();
        assert_eq!(hasty.stop("TERM").status.code(), Some(0));
        let hasty_time = hurried.elapsed();
        let ended = patient.ended();
        let patient_time = began.elapsed();
        report(&format!(
            "fault 50, stop: {hasty_time:.1?} after a second signal, without one after {patient_time:.1?}"
        ));
        // Orchestrators kill after 10 s.
        let in_time =
            hasty_time < Duration::from_secs(1) && patient_time < Duration::from_secs(10);
        in_time.then_some((patient_time, ended))
    })
    .await;
    assert!(patient_time >= Duration::from_secs(8), "{patient_time:?}");
    assert!(
        ended.status.success() && ended.stderr.contains("cut off"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn the_line_of_a_request_comes_without_waiting_for_another() {
    let app = unpacked();
    let mut roomkey = start(&app);
    let mut client = connect(roomkey.address()).await;
    for _ in 0..50 {
        let answer = exchange(&mut client, &[POST_HEAD, POST_BODY].concat()).await;
        let (_, id) = answer.split_once("x-request-id: ").unwrap();
        roomkey.wait_for(&id[..36]);
    }
}

#[tokio::test]
async fn every_request_under_load_has_one_line_when_it_has_stopped() {
    let app = unpacked();
    let roomkey = start(&app);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let address = roomkey.address();
        clients.spawn(async move {
            let mut client = connect(address).await;
            for _ in 0..500 {
                assert!(
                    exchange(&mut client, &[POST_HEAD, POST_BODY].concat())
                        .await
                        .starts_with("HTTP/1.1 200 ")
                );
            }
        });
    }
    clients.join_all().await;
    let ended = roomkey.stop("TERM");
    let lines = ended
        .stdout
        .lines()
        .filter(|line| line.contains(r#""route":"/api/token""#));
    let ids: std::collections::HashSet<_> = lines
        .map(|line| line.split_once(r#""request_id":""#).unwrap().1[..36].to_owned())
        .collect();
    assert_eq!((ids.len(), ended.status.code()), (16 * 500, Some(0)));
}

/// A command whose output goes into pipes that nobody reads.
fn unread(app: &App) -> std::process::Command {
    let mut command = std::process::Command::new(app.handler());
    let root = app.folder().to_str().unwrap();
    let settings = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "0"),
        ("FUNCTIONS_APP_ROOT_PATH", root),
        ("ROOMKEY_RATE_LIMIT", "off"),
    ];
    command
        .current_dir(root)
        .env_clear()
        .envs(settings)
        .env("ROOMKEY_ADMIN_KEYS", ADMIN_KEY);
    command
        .env("ROOMKEY_CALLER_AUTH", "anonymous")
        .env("LIVEKIT_URL", "wss://livekit.example.com");
    command.env("LIVEKIT_API_KEY", "APIkey").env(
        "LIVEKIT_API_SECRET",
        "a-secret-of-at-least-32-bytes-or-more",
    );
    command
        .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "w")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

const ADMIN_KEY: &str = "canary-admin-key-of-32-characters";

/// Longer than anything here takes; a reader that stops reading would delay it for ever.
const PATIENCE: Duration = Duration::from_mins(1);

/// More lines than a pipe of 64 KiB and the queue behind it hold, some 300 bytes each.
const MANY: usize = 16_000;

#[tokio::test]
async fn a_reader_of_log_lines_that_stops_reading_delays_no_request_and_no_stop() {
    let app = unpacked();
    undisturbed(async || serves_and_stops_unread(&app).await).await;
}

/// The longest time of a request and of a stop while nobody reads the log.
const UNREAD_BOUND: Duration = Duration::from_secs(5);

/// Returns nothing if a request or the stop took longer than they may.
async fn serves_and_stops_unread(app: &App) -> Option<()> {
    let mut child = unread(app).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("listens on ") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it did not start");
    }
    let (_, address) = line
        .trim_end_matches(['\n', '}', '"'])
        .split_once("listens on http://")
        .unwrap();
    let mut client = connect(address.parse().unwrap()).await;
    // From here on nobody reads.
    let mut served = 0;
    let mut slowest = Duration::ZERO;
    for _ in 0..MANY {
        let began = Stopwatch::start();
        let answered = tokio::time::timeout(
            PATIENCE,
            exchange(&mut client, &[POST_HEAD, POST_BODY].concat()),
        )
        .await;
        let Ok(answer) = answered else { break };
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        (served, slowest) = (served + 1, slowest.max(began.elapsed()));
    }
    let scrape = format!(
        "GET /api/metrics HTTP/1.1\r\nhost: x\r\nx-admin-api-key: {ADMIN_KEY}\r\nconnection: close\r\n\r\n"
    );
    client.write_all(scrape.as_bytes()).await.unwrap();
    let metrics = tokio::time::timeout(PATIENCE, until_closed(&mut client))
        .await
        .unwrap_or_default();
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"roomkey_log_lines_dropped_total{stream="stdout"} "#));
    let dropped: usize = dropped.map_or(0, |count| count.parse().unwrap());
    let stopping = Stopwatch::start();
    assert!(
        std::process::Command::new("kill")
            .args(["-s", "TERM", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let ended = tokio::task::spawn_blocking(move || {
        let mut stderr = child.stderr.take().unwrap();
        // It closes its pipes at its end only, and nobody has read stdout until then.
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        (child.wait().unwrap(), text)
    });
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    let stopped_after = stopping.elapsed();
    report(&format!(
        "unread log: {served} of {MANY} requests were served, the slowest within {slowest:.1?}; {dropped} lines were dropped; stopped after {stopped_after:.1?}"
    ));
    assert_eq!(served, MANY);
    assert!(dropped > 0, "{metrics}");
    let (status, stderr) = ended
        .unwrap_or_else(|_| panic!("it does not stop"))
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(
        stderr.contains(r#""stream":"stdout","dropped":"#),
        "{stderr}"
    );
    drop(stdout);
    (slowest < UNREAD_BOUND && stopped_after < UNREAD_BOUND).then_some(())
}

#[tokio::test]
async fn requests_refused_without_lines_of_their_own_are_summed_up_at_the_stop() {
    let app = unpacked();
    let roomkey = app.start_as_host(&[("ROOMKEY_RATE_LIMIT", "1/1h")]);
    let mut client = connect(roomkey.address()).await;
    let mut refused = 0;
    for _ in 0..8 {
        refused += usize::from(
            exchange(&mut client, &[POST_HEAD, POST_BODY].concat())
                .await
                .starts_with("HTTP/1.1 429 "),
        );
    }
    roomkey.signal("TERM");
    let ended = roomkey.stop("TERM");
    assert_eq!(refused, 7);
    assert!(
        ended.stdout.contains(r#""budget":"token","requests":7}"#)
            && !ended.stdout.contains("rate_limited"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_crash_leaves_no_core_dump_with_secrets() {
    let app = unpacked();
    let roomkey = app.start_as_host(&[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", roomkey.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().filter(|word| *word == "0").count(),
        2,
        "soft and hard: {core}"
    );
    // The files of a process that may not be dumped belong to root, and to nobody that a debugger
    // of its own user could be.
    let status = std::fs::read_to_string(format!("/proc/{}/status", roomkey.id())).unwrap();
    assert!(
        status.contains("\nVmRSS:"),
        "an operator still sees its memory: {status}"
    );
}

/// One of a few: a busy machine may delay the end, but hardly three times.
#[test]
fn a_handler_whose_host_is_gone_ends_within_5_s() {
    let app = unpacked();
    assert!((0..3).any(|_| life_without_host(&app) < Duration::from_secs(5)));
}

/// Returns how long a handler lives without its host.
fn life_without_host(app: &App) -> Duration {
    // A shell starts the handler, as the Functions host does, and is killed.
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "./handler & echo $!; wait"])
        .current_dir(app.folder())
        .env_clear();
    shell
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", "0")
        .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "w");
    let mut shell = shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(shell.stdout.take().unwrap());
    let (mut handler, mut line) = (String::new(), String::new());
    stdout.read_line(&mut handler).unwrap();
    while !line.contains("listens on ") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it did not start");
    }
    shell.kill().unwrap();
    shell.wait().unwrap();
    let gone = Stopwatch::start();
    // The handler's end of the pipe closes with it.
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(stdout.read_to_string(&mut String::new()).is_ok()));
    let has_ended = end.recv_timeout(PATIENCE).is_ok();
    if !has_ended {
        std::process::Command::new("kill")
            .args(["-s", "KILL", handler.trim()])
            .status()
            .unwrap();
    }
    let outlived = gone.elapsed();
    report(&format!(
        "the host is gone: the handler ended after {outlived:.1?}"
    ));
    assert!(has_ended, "it lives on after {outlived:?}");
    outlived
}
