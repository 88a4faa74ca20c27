//! Requests that the handler does not answer: how often the host sends them again, and who is told
//! that a client is gone.

use std::time::Duration;

use super::handler::{Handler, Reaction, host, ok};
use super::message::Client;
use crate::host::Mode;
use crate::host::timing::Timing;

/// Tries without pauses.
const HASTY: Timing = Timing {
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
    ..Timing::MEASURED
};

const GET: &[u8] = b"GET /api/token HTTP/1.1\r\nHost: h\r\n\r\n";
const DELETE: &[u8] = b"DELETE /api/token HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &[u8] = b"POST /api/token HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";
const CHUNKED: &[u8] = b"POST /api/token HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";

#[tokio::test]
async fn a_request_without_a_body_is_sent_4_times_and_that_in_each_of_the_10_tries_of_proxying() {
    for (mode, request, times) in [
        (Mode::Forwarding, GET, 4),
        (Mode::Forwarding, DELETE, 4),
        (Mode::Forwarding, POST, 1),
        (Mode::Proxying, GET, 40),
        (Mode::Proxying, DELETE, 40),
        (Mode::Proxying, POST, 1),
        (Mode::Proxying, CHUNKED, 1),
    ] {
        let handler = Handler::new(|_| Reaction::Close);
        let host = host(mode, &handler, HASTY, &[]).await;
        let answer = Client::send(host.address, request)
            .await
            .answer()
            .await
            .unwrap();
        assert_eq!((answer.status(), answer.body.len()), ("500", 0), "{mode:?}");
        assert_eq!(
            handler.arrivals().len(),
            times,
            "{mode:?} {}",
            String::from_utf8_lossy(request)
        );
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_at_the_handler_in_proxying() {
    let handler = Handler::new(|_| Reaction::Wait);
    let host = host(Mode::Proxying, &handler, Timing::MEASURED, &[]).await;
    for (gone, request) in [GET, POST].into_iter().enumerate() {
        let client = Client::send(host.address, request).await;
        handler.until(|seen| seen.arrivals.len() == gone + 1).await;
        drop(client);
        handler.until(|seen| seen.closed == gone + 1).await;
    }
    assert_eq!(handler.arrivals().len(), 2, "nothing is sent again");
}

#[tokio::test]
async fn a_client_that_goes_away_during_the_answer_ends_it_at_the_handler_in_proxying() {
    let endless = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe rest never comes";
    let handler = Handler::new(|_| Reaction::BytesAndWait(endless.to_vec()));
    let host = host(Mode::Proxying, &handler, Timing::MEASURED, &[]).await;
    let client = Client::send(host.address, GET).await;
    handler.until(|seen| seen.arrivals.len() == 1).await;
    drop(client);
    handler.until(|seen| seen.closed == 1).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_noticed_by_the_handler_in_forwarding() {
    let handler = Handler::new(|arrival| {
        if arrival.line().contains("/api/slow") {
            Reaction::Wait
        } else {
            ok()
        }
    });
    // Longer than it takes to see that nothing is noticed.
    let changes = [("/functionTimeout", "00:00:03".into())];
    let timing = Timing {
        timeout_grace: Duration::from_millis(1),
        ..Timing::MEASURED
    };
    let host = host(Mode::Forwarding, &handler, timing, &changes).await;
    let client = Client::send(host.address, b"GET /api/slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    handler.until(|seen| seen.arrivals.len() == 1).await;
    drop(client);
    let answer = Client::send(host.address, GET)
        .await
        .answer()
        .await
        .unwrap();
    assert_eq!(answer.status(), "200");
    assert_eq!(handler.seen.borrow().closed, 0);
    // The invocation goes on, so that its timeout replaces the process although nobody waits.
    host.journal
        .until(|entries| entries.starts.len() == 2)
        .await;
}
