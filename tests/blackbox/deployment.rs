//! What an operator deploys: the resources of `infra/` with the settings that they give the app,
//! the alerts and dashboards of `ops/`, the container image and the workflows.

mod dashboard;
mod dashboard_data;
mod fakes;
mod image;
mod prometheus;
mod queries;
mod resources;
mod secrets;
mod served;
mod snapshots;
mod workflows;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Returns the path of a file of the project.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the text of a file of the project.
fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the content of a JSON file of the project.
fn json(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the path of an installed tool.
fn tool(name: &str) -> PathBuf {
    let tool = path("target/tools/bin").join(name);
    assert!(
        tool.exists(),
        "{name} is missing: `make tools` installs it, and `make test` does that first"
    );
    tool
}

/// Runs a command to its end and returns all that it wrote. Fails unless it succeeds.
fn succeeds(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let written = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    assert!(status.success(), "{command:?}: {status}\n{written}");
    written
}

/// Calls `visit` with every text in a JSON value, and with the path to it.
fn each_text(value: &Value, at: &str, visit: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => visit(at, text),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| each_text(item, &format!("{at}/{index}"), visit)),
        Value::Object(members) => members
            .iter()
            .for_each(|(name, member)| each_text(member, &format!("{at}/{name}"), visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
