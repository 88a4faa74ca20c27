//! A series of hostile requests of one kind. Each must be answered with a problem document without
//! the secret, and the next valid request must succeed.

use std::io::Write;

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::harness::{API_SECRET, Answer, TestApp, spawn_app};
use crate::wire::{connect, until_closed};

/// One kind of attack. It prints at its end how many requests it sent.
pub struct Attack {
    name: &'static str,
    pub app: TestApp,
    sent: usize,
}

impl Attack {
    /// Starts an instance for this attack only.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            app: spawn_app(),
            sent: 0,
        }
    }

    /// Sends a body and expects an error.
    pub async fn refused(
        &mut self,
        path: &str,
        headers: &[(&str, &[u8])],
        body: &[u8],
        code: &str,
    ) -> Answer {
        let answer = self.app.send(Method::POST, path, headers, Some(body)).await;
        assert_eq!(
            answer.code(),
            code,
            "{path} {:.60}",
            String::from_utf8_lossy(body)
        );
        self.survived(&answer.text).await;
        answer
    }

    /// Sends raw bytes and returns the status of the first response, or 0 for none.
    pub async fn raw(&mut self, request: &[u8]) -> (u16, String) {
        let mut stream = connect(self.app.address).await;
        // The server may close before it has read everything.
        let _ = stream.write_all(request).await;
        let answer = until_closed(&mut stream).await;
        self.survived(&answer).await;
        (
            answer
                .get(9..12)
                .map_or(0, |status| status.parse().unwrap()),
            answer,
        )
    }

    /// Checks that no response contains the secret and that the next valid request succeeds.
    pub async fn survived(&mut self, answer: &str) {
        self.sent += 1;
        assert!(!answer.contains(API_SECRET));
        let good = self.app.post("/api/token", r#"{"roomName":"r"}"#).await;
        assert_eq!(good.status, StatusCode::OK);
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        assert!(!self.app.log().contains(API_SECRET) || std::thread::panicking());
        // Not captured, so that a passing run shows it.
        let _ = writeln!(std::io::stderr(), "{}: {} requests", self.name, self.sent);
    }
}
