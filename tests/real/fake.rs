//! The start and the control of a fake that runs as a separate program.
//! `peers/js/on_command.mjs` is its counterpart.

use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::peers::tool;
use crate::process::start_script;
use crate::signed_in::client;

/// A started fake that stops with the test.
pub struct Fake {
    child: Child,
    controls: String,
}

impl Fake {
    /// Starts one of the peers' scripts in JavaScript and reads the given number of lines that it
    /// prints before the URL of its controls.
    pub fn start<const LINES: usize>(script: &str, arguments: &[&str]) -> (Self, [String; LINES]) {
        let mut command = Command::new("node");
        command
            .arg(tool("tests/real/peers/js").join(script))
            .args(arguments);
        Self::started(&mut command)
    }

    /// As [`Fake::start`], for a script in Python.
    pub fn start_python<const LINES: usize>(script: &str) -> (Self, [String; LINES]) {
        let mut command = Command::new(tool("target/tools/venv/bin/python"));
        command.arg(tool("tests/real/peers/python").join(script));
        Self::started(&mut command)
    }

    fn started<const LINES: usize>(command: &mut Command) -> (Self, [String; LINES]) {
        let (child, mut said) = start_script(command, LINES + 1);
        let controls = said.pop().unwrap();
        let said = said.try_into().unwrap();
        (Self { child, controls }, said)
    }

    /// Returns the URL of its controls.
    pub fn controls(&self) -> &str {
        &self.controls
    }

    /// Calls a control and returns its response.
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

    /// Returns its counters.
    pub async fn counts(&self) -> Value {
        self.control("counts", &json!({})).await
    }

    /// Returns the last request that it got.
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
