//! The workflows in `.github/workflows/`, which call what a developer calls.

use std::process::Command;

use regex::Regex;

use super::{path, succeeds, text, tool};

fn workflows() -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(path(".github/workflows"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn workflows_are_what_actionlint_accepts() {
    succeeds(
        Command::new(tool("actionlint"))
            .args(["-shellcheck=", "-pyflakes="])
            .args(workflows()),
    );
}

#[test]
fn workflows_call_targets_that_exist_with_actions_of_a_fixed_commit_and_few_rights() {
    let makefile = text("Makefile");
    let target = Regex::new(r"\bmake ([a-z-]+)").unwrap();
    let action = Regex::new(r"uses: [\w./-]+@([0-9a-f]{40} # v[0-9.]+)?").unwrap();
    for workflow in workflows() {
        let yaml = std::fs::read_to_string(&workflow).unwrap();
        let mut called = 0;
        for found in target.captures_iter(&yaml) {
            assert!(
                makefile.contains(&format!("\n{}:", &found[1])),
                "{}: make {}",
                workflow.display(),
                &found[1]
            );
            called += 1;
        }
        assert_ne!(called, 0, "{} builds nothing", workflow.display());
        for found in action.captures_iter(&yaml) {
            assert!(
                found.get(1).is_some(),
                "{}: {} can change",
                workflow.display(),
                &found[0]
            );
        }
        assert!(
            yaml.contains("permissions:\n  contents: read\n"),
            "{}",
            workflow.display()
        );
    }
}
