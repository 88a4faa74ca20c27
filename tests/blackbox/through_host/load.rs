//! Clients that ask without a pause, check every answer, and count what is lost.

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::room;
use crate::host::journal::DEADLINE;
use crate::process::client;

/// Far more than any test needs. A client that comes so far runs without end.
const MOST_REQUESTS: usize = 50_000;

/// What became of all requests so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub served: usize,
    /// Answered with the host's own 500.
    pub failed: usize,
    /// Not answered, or not to the end.
    pub broken: usize,
}

pub struct Load {
    clients: JoinSet<()>,
    tally: watch::Sender<Tally>,
    enough: watch::Sender<bool>,
}

impl Load {
    pub fn start(url: &str, clients: usize) -> Self {
        let (tally, enough) = (
            watch::Sender::new(Tally::default()),
            watch::Sender::new(false),
        );
        let mut load = Self {
            clients: JoinSet::new(),
            tally,
            enough,
        };
        for number in 0..clients {
            let (url, tally, enough) = (
                format!("{url}/api/token"),
                load.tally.clone(),
                load.enough.subscribe(),
            );
            load.clients.spawn(async move {
                let http = client();
                for request in 0..MOST_REQUESTS {
                    if *enough.borrow() {
                        return;
                    }
                    let count = ask(&http, &url, &format!("room-{number}-{request}")).await;
                    tally.send_modify(count);
                }
                panic!("client {number} was never told that it is enough");
            });
        }
        load
    }

    /// Waits until so many more requests have been served than by now.
    pub async fn serves(&self, more: usize) {
        let wanted = self.tally.borrow().served + more;
        let served = timeout(
            DEADLINE,
            self.tally
                .subscribe()
                .wait_for(|tally| tally.served >= wanted),
        )
        .await
        .is_ok();
        assert!(
            served,
            "requests are no longer served: {:?}",
            *self.tally.borrow()
        );
    }

    /// Ends all clients. A wrong answer that any of them got fails the test here.
    pub async fn stop(mut self) -> Tally {
        self.enough.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        *self.tally.borrow()
    }
}

/// Asks for a room of its own, so that another request's answer would be noticed.
async fn ask(http: &reqwest::Client, url: &str, room_name: &str) -> fn(&mut Tally) {
    let lost: fn(&mut Tally) = |tally| tally.broken += 1;
    let body = format!(r#"{{"roomName":"{room_name}"}}"#);
    let Ok(answer) = http
        .post(url)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
    else {
        return lost;
    };
    let (status, id) = (
        answer.status().as_u16(),
        answer.headers().contains_key("x-request-id"),
    );
    let Ok(text) = answer.text().await else {
        return lost;
    };
    match (status, id, text.as_str()) {
        (200, true, text) => {
            let json: Value = serde_json::from_str(text).unwrap();
            let token = json.get("token").and_then(Value::as_str).unwrap();
            assert_eq!(
                (
                    json.get("roomName").and_then(Value::as_str),
                    room(token).as_str()
                ),
                (Some(room_name), room_name)
            );
            |tally| tally.served += 1
        }
        (500, false, "") => |tally| tally.failed += 1,
        _ => panic!("a wrong answer to {room_name}: {status} {text}"),
    }
}
