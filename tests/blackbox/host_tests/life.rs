//! What follows when the handler's process ends, hangs or is replaced.

use std::time::Duration;

use roomkey::clock::Stopwatch;
use tokio::net::TcpStream;

use super::handler::{Arrival, Before, Handler, Reaction, host, ok};
use super::message::Client;
use crate::attack::report;
use crate::host::timing::Timing;
use crate::host::{Host, Mode};

/// A `functionTimeout` that no answered request reaches on a busy machine, with a short grace, and
/// tries and restarts without pauses.
const FUNCTION_TIMEOUT: &str = "00:00:03";
const TIMING: Timing = Timing {
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
    restart_pause: Duration::ZERO,
    timeout_grace: Duration::from_millis(50),
    ..Timing::MEASURED
};

/// Ends or waits where the path says so.
fn by_path(arrival: &Arrival) -> Reaction {
    let line = arrival.line();
    let path = line.split(' ').nth(1).unwrap();
    match path.strip_prefix("/api/").unwrap() {
        "slow" if arrival.process == 1 => Reaction::Wait,
        "held" => Reaction::OkWhenReleased,
        "print" => Reaction::Print,
        exit => exit
            .strip_prefix("exit/")
            .map_or_else(ok, |code| Reaction::Exit(code.parse().unwrap())),
    }
}

async fn ask(host: &Host, path: &str) -> String {
    send(host, path)
        .await
        .answer()
        .await
        .unwrap()
        .status()
        .to_owned()
}

/// With a body, so that it is not sent again.
async fn end(host: &Host, path: &str) -> String {
    let request = format!("POST /api/{path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    Client::send(host.address, request.as_bytes())
        .await
        .answer()
        .await
        .unwrap()
        .status()
        .to_owned()
}

async fn send(host: &Host, path: &str) -> Client {
    Client::send(
        host.address,
        format!("GET /api/{path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
    )
    .await
}

#[tokio::test]
async fn one_get_that_ends_the_process_stops_the_whole_app_in_proxying() {
    let handler = Handler::new(by_path);
    let host = host(Mode::Proxying, &handler, Timing::MEASURED, &[]).await;
    host.journal
        .until(|entries| entries.starts.len() == 1)
        .await;
    let began = Stopwatch::start();
    let _client = send(&host, "exit/101").await;
    host.journal.until(|entries| entries.stopped).await;
    report(&format!(
        "one GET ended three processes and with them the app in {:.0?}",
        began.elapsed()
    ));
    assert_eq!(
        handler
            .arrivals()
            .iter()
            .map(|(_, process)| *process)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    host.journal.read(|entries| {
        assert!(
            entries.exits.len() == 3 && entries.exits[2].contains("exited with code 101"),
            "{entries:?}"
        );
    });
    host.until_refused(host.address).await;
}

#[tokio::test]
async fn one_get_that_ends_the_process_costs_one_process_in_forwarding() {
    let handler = Handler::new(by_path);
    let host = host(Mode::Forwarding, &handler, Timing::MEASURED, &[]).await;
    assert_eq!(ask(&host, "exit/101").await, "500");
    host.journal
        .until(|entries| entries.starts.len() == 2)
        .await;
    assert_eq!(ask(&host, "token").await, "200");
    host.journal
        .read(|entries| assert!(entries.exits.len() == 1 && !entries.stopped, "{entries:?}"));
}

#[tokio::test]
async fn after_exit_code_0_the_handler_stays_dead_and_after_200_another_one_serves() {
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let handler = Handler::new(by_path);
        let host = host(mode, &handler, TIMING, &[]).await;
        for starts in 1..=4 {
            host.journal
                .until(|entries| entries.starts.len() == starts)
                .await;
            assert_eq!(
                end(&host, if starts == 4 { "exit/0" } else { "exit/200" }).await,
                "500",
                "{mode:?}"
            );
        }
        for _ in 0..3 {
            assert_eq!(ask(&host, "token").await, "500", "{mode:?}");
        }
        host.journal.read(|entries| {
            assert!(
                entries.exits.is_empty() && !entries.stopped && entries.tasks == 4,
                "{mode:?} {entries:?}"
            );
        });
    }
}

#[tokio::test]
async fn the_port_stays_the_same_over_restarts() {
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let handler = Handler::new(by_path);
        let host = host(
            mode,
            &handler,
            TIMING,
            &[("/functionTimeout", FUNCTION_TIMEOUT.into())],
        )
        .await;
        for (path, starts) in [("slow", 1), ("exit/200", 2), ("exit/1", 3)] {
            assert_eq!(end(&host, path).await, "500", "{mode:?}");
            host.journal
                .until(|entries| entries.starts.len() > starts)
                .await;
        }
        let ports = handler.seen.borrow().ports.clone();
        assert!(
            ports.len() == 4 && ports.iter().all(|port| *port == ports[0]),
            "{mode:?} {ports:?}"
        );
    }
}

#[tokio::test]
async fn at_the_function_timeout_the_client_gets_500_and_the_process_is_replaced() {
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let handler = Handler::new(by_path);
        // Timeout and grace are long enough for two more requests to be sent before the process is
        // killed, and for one to be tried until the next process listens.
        let timing = Timing {
            timeout_grace: Duration::from_secs(3),
            ..Timing::MEASURED
        };
        let host = host(
            mode,
            &handler,
            timing,
            &[("/functionTimeout", FUNCTION_TIMEOUT.into())],
        )
        .await;
        let began = Stopwatch::start();
        let mut slow = send(&host, "slow").await;
        host.journal.until(|entries| entries.timeouts == 1).await;
        // These are under way when the process is killed, and their own time is not over.
        let body = b"POST /api/slow HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
        let mut with_body = Client::send(host.address, body).await;
        let mut without_body = send(&host, "slow").await;
        handler.until(|seen| seen.arrivals.len() == 3).await;
        assert_eq!(slow.answer().await.unwrap().status(), "500", "{mode:?}");
        assert!(
            began.elapsed() >= Duration::from_secs(6),
            "{mode:?}: after the timeout and the grace"
        );
        host.journal
            .until(|entries| entries.starts.len() == 2)
            .await;
        assert_eq!(
            with_body.answer().await.unwrap().status(),
            "500",
            "{mode:?}"
        );
        if mode == Mode::Proxying {
            assert_eq!(
                without_body.answer().await.unwrap().status(),
                "200",
                "it was sent again, to the new process"
            );
        }
        assert_eq!(ask(&host, "token").await, "200");
        host.journal.read(|entries| {
            assert!(
                entries.exits.is_empty(),
                "the host ended it itself: {entries:?}"
            );
        });
    }
}

#[tokio::test]
async fn requests_that_wait_for_a_slow_start_count_towards_the_function_timeout() {
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let handler = Handler::new(by_path).with_start(|process| {
            if process == 1 {
                Before::Hang
            } else {
                Before::Nothing
            }
        });
        let host = host(
            mode,
            &handler,
            TIMING,
            &[("/functionTimeout", FUNCTION_TIMEOUT.into())],
        )
        .await;
        assert_eq!(ask(&host, "token").await, "500", "{mode:?}");
        host.journal
            .until(|entries| entries.starts.len() == 1)
            .await;
        assert_eq!(ask(&host, "token").await, "200", "{mode:?}");
        host.journal.read(|entries| {
            assert_eq!((entries.tasks, entries.exits.len()), (2, 0), "{entries:?}");
        });
    }
}

#[tokio::test]
async fn a_request_that_comes_before_the_handler_is_ready_waits_and_is_served() {
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let handler = Handler::new(by_path).with_start(|_| Before::UntilReleased);
        let host = host(mode, &handler, TIMING, &[]).await;
        let mut early = send(&host, "token").await;
        host.journal
            .until(|entries| entries.invocations.len() == 1)
            .await;
        assert!(handler.arrivals().is_empty());
        handler.release();
        assert_eq!(early.answer().await.unwrap().status(), "200", "{mode:?}");
    }
}

#[tokio::test]
async fn a_changed_host_json_starts_a_second_process_and_what_is_in_flight_ends_at_the_first() {
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let handler = Handler::new(by_path);
        let host = host(mode, &handler, TIMING, &[]).await;
        let mut held = send(&host, "held").await;
        handler.until(|seen| seen.arrivals.len() == 1).await;
        let before = host.handler();
        host.change_host_json();
        handler.until(|seen| seen.ports.len() == 2).await;
        assert_eq!(ask(&host, "token").await, "200");
        assert_ne!(host.handler(), before, "another port");
        handler.release();
        assert_eq!(held.answer().await.unwrap().status(), "200", "{mode:?}");
        assert_eq!(
            handler
                .arrivals()
                .iter()
                .map(|(_, process)| *process)
                .collect::<Vec<_>>(),
            [1, 2],
            "{mode:?}"
        );
        // The old process stays until some handler has written a line.
        assert!(
            TcpStream::connect(before).await.is_ok()
                && host.journal.read(|entries| entries.retired == 0)
        );
        assert_eq!(ask(&host, "print").await, "200");
        host.journal.until(|entries| entries.retired == 1).await;
        host.until_refused(before).await;
        host.journal.read(|entries| {
            assert!(
                entries.exits.is_empty() && entries.starts.len() == 2,
                "{entries:?}"
            );
        });
    }
}
