//! A clean stop.

use std::time::Duration;

use roomkey::clock::Stopwatch;

use crate::attack::{report, start};
use crate::package::unpacked;
use crate::wire::{POST_BODY, POST_HEAD, connect, exchange, in_flight};

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
    let ready = exchange(&mut probe, b"GET /api/health/ready HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains(r#""status":"stopping""#), "{ready}");
    drop(probe);
    let mut served = 0;
    for stream in &mut flying {
        served += usize::from(exchange(stream, POST_BODY).await.starts_with("HTTP/1.1 200 "));
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
    let _stuck = (in_flight(patient.address()).await, in_flight(hasty.address()).await);
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
                assert!(exchange(&mut client, &[POST_HEAD, POST_BODY].concat()).await.starts_with("HTTP/1.1 200 "));
            }
        });
    }
    clients.join_all().await;
    let ended = roomkey.stop("TERM");
    let lines = ended.stdout.lines().filter(|line| line.contains(r#""route":"/api/token""#));
    let ids: std::collections::HashSet<_> = lines.map(|line| line.split_once(r#""request_id":""#).unwrap().1[..36].to_owned()).collect();
    assert_eq!((ids.len(), ended.status.code()), (16 * 500, Some(0)));
}
