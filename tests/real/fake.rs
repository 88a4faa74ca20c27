//! A fake that runs as a program of its own: how it is started, and told what to do.
//! `peers/js/on_command.mjs` is its other half.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::peers::tool;
use crate::signed_in::client;

/// A started fake. It ends with the test.
pub struct Fake {
    child: Child,
    controls: String,
}

impl Fake {
    /// Starts a script of the peers' and reads so many lines that it says before the URL of its
    /// controls.
    pub fn start<const LINES: usize>(script: &str, arguments: &[&str]) -> (Self, [String; LINES]) {
        let mut child = Command::new("node")
            .arg(tool("tests/real/peers/js").join(script))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; `make tools` says what the tests need"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || {
            lines
                .next()
                .unwrap_or_else(|| panic!("{script} ended before it served"))
                .unwrap()
        };
        let said = std::array::from_fn(|_| line());
        let controls = line();
        (Self { child, controls }, said)
    }

    /// The URL of its controls.
    pub fn controls(&self) -> &str {
        &self.controls
    }

    /// Calls a control and returns its answer.
    pub async fn control(&self, control: &str, parameters: &Value) -> Value {
        let answer = client()
            .post(format!("{}/{control}", self.controls))
            .json(parameters)
            .send()
            .await
            .unwrap();
        let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{control}: {body}");
        body
    }

    /// What it has counted so far.
    pub async fn counts(&self) -> Value {
        self.control("counts", &json!({})).await
    }

    /// What it was asked last.
    pub async fn last(&self) -> Value {
        self.control("last", &json!({})).await
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
