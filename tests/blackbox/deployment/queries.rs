//! The Kusto queries of the alerts and the workbook in `ops/azure/`, over roomkey's log lines.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use regex::Regex;
use roomkey::http::error::ERROR_KINDS;
use serde_json::{Value, json};

use super::resources::TELEMETRY_MODE;
use super::snapshots::Snapshot;
use super::{json, path, text};

/// Returns every query with the name of its alert or tile.
fn queries() -> Vec<(String, String)> {
    let name = |value: &Value| value.as_str().unwrap().to_owned();
    let (alerts, workbook) = (
        json("ops/azure/alerts.json"),
        json("ops/azure/workbook.json"),
    );
    let alerts = alerts.as_array().unwrap().iter().map(|alert| {
        let lines: Vec<_> = alert["query"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap())
            .collect();
        (name(&alert["name"]), lines.join("\n"))
    });
    let tiles = workbook["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["type"] == 3);
    let queries: Vec<_> = alerts
        .chain(tiles.map(|tile| (name(&tile["name"]), name(&tile["content"]["query"]))))
        .collect();
    assert!(queries.len() > 15, "the queries were not found");
    queries
}

/// Returns the fields of log lines that the queries read.
pub fn fields() -> BTreeSet<String> {
    let field = Regex::new(r"\bline\.(\w+)").unwrap();
    queries()
        .iter()
        .flat_map(|(_, query)| {
            field
                .captures_iter(query)
                .map(|found| found[1].to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Returns the literals that the queries compare a field with.
fn literals(field: &str) -> BTreeSet<String> {
    let compared = Regex::new(&format!(
        r#"tostring\(line\.{field}\) (?:==|startswith|in) (\(?"[^")]*"(?:, "[^"]*")*)"#
    ))
    .unwrap();
    let literal = Regex::new(r#""([^"]*)""#).unwrap();
    let mut literals = BTreeSet::new();
    for (_, query) in queries() {
        for found in compared.captures_iter(&query) {
            literals.extend(
                literal
                    .captures_iter(&found[1])
                    .map(|found| found[1].to_owned()),
            );
        }
    }
    assert!(!literals.is_empty(), "no query compares {field}");
    literals
}

#[test]
fn queries_are_what_microsofts_own_parser_accepts() {
    let check = |queries: &Value| {
        let mut parser = Command::new("node");
        parser
            .arg(path("tests/blackbox/deployment/kusto/check.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut parser = parser
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; `make tools` says what the tests need"));
        parser
            .stdin
            .take()
            .unwrap()
            .write_all(queries.to_string().as_bytes())
            .unwrap();
        let output = parser.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "`make tools` installs the parser, and `make test` does that first"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(check(&json!(queries())), "");
    // The parser would see a fault in syntax, and a name that no table has.
    for wrong in [
        "traces | where timestamp > | count",
        "traces | where time > ago(1h)",
    ] {
        assert!(
            check(&json!([["wrong", wrong]])).starts_with("wrong: "),
            "{wrong}"
        );
    }
}

#[test]
fn queries_name_only_codes_causes_and_messages_that_roomkey_writes() {
    for code in literals("code") {
        // A prefix stands for all codes that begin with it.
        assert!(
            ERROR_KINDS
                .iter()
                .any(|kind| kind.code == code
                    || (code.ends_with('_') && kind.code.starts_with(&code))),
            "{code}"
        );
    }
    let guide = text("docs/operations.md");
    for cause in literals("cause") {
        assert!(
            guide.contains(&format!("| `{cause}`")) || guide.contains(&format!(", `{cause}`")),
            "{cause} is not in docs/operations.md"
        );
    }
    let sources = sources();
    for message in literals("message") {
        assert!(
            sources.contains(&format!("\"{message}")),
            "no line begins with {message:?}"
        );
    }
    for budget in literals("budget") {
        assert!(
            sources.contains(&format!("\"{budget}\"")),
            "there is no budget {budget}"
        );
    }
    for alert in json("ops/azure/alerts.json").as_array().unwrap() {
        let title = alert["title"].as_str().unwrap();
        assert!(
            guide.contains(&format!("| {title} |")),
            "docs/operations.md does not explain {title:?}"
        );
    }
    for field in fields() {
        let documented =
            ["message", "level"].contains(&field.as_str()) || guide.contains(&format!("`{field}`"));
        assert!(documented, "docs/operations.md does not explain {field}");
    }
}

/// Returns the text of all source files, one after the other.
fn sources() -> String {
    let (mut folders, mut text) = (vec![path("src")], String::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                folders.push(entry);
            } else {
                text.push_str(&std::fs::read_to_string(entry).unwrap());
            }
        }
    }
    text
}

#[test]
fn alerts_are_deployed_as_they_are_written_and_mail_whom_the_operator_names() {
    let alerts = json("ops/azure/alerts.json");
    for snapshot in Snapshot::all() {
        let rules: Vec<_> = snapshot
            .of_type("Microsoft.Insights/scheduledQueryRules")
            .collect();
        assert_eq!(
            rules.len(),
            alerts.as_array().unwrap().len(),
            "{}",
            snapshot.case
        );
        let mails = snapshot.of_type("Microsoft.Insights/actionGroups").count();
        assert_eq!(
            mails,
            usize::from(snapshot.case == "everything"),
            "{}",
            snapshot.case
        );
        // The host then exports records in which the queries find nothing: a rule that cannot fire
        // must not look as if it could.
        let is_enabled = !snapshot.app_settings().contains_key(TELEMETRY_MODE);
        for rule in rules {
            let name = rule["name"]
                .as_str()
                .unwrap()
                .strip_prefix("roomkey-")
                .unwrap();
            let alert = alerts
                .as_array()
                .unwrap()
                .iter()
                .find(|alert| alert["name"] == name)
                .unwrap();
            let properties = &rule["properties"];
            assert_eq!(
                (
                    &properties["severity"],
                    &properties["windowSize"],
                    &properties["evaluationFrequency"],
                    &properties["enabled"]
                ),
                (
                    &alert["severity"],
                    &alert["window"],
                    &alert["frequency"],
                    &json!(is_enabled)
                ),
                "{name}"
            );
            assert_eq!(
                properties["criteria"]["allOf"][0]["threshold"], alert["threshold"],
                "{name}"
            );
            assert_eq!(
                properties["actions"]["actionGroups"]
                    .as_array()
                    .unwrap()
                    .len(),
                mails,
                "{name}"
            );
        }
        let workbook: Value = serde_json::from_str(
            snapshot.only("Microsoft.Insights/workbooks")["properties"]["serializedData"]
                .as_str()
                .unwrap(),
        )
        .unwrap();
        assert_eq!(workbook, json("ops/azure/workbook.json"));
    }
}
