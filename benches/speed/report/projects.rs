//! What the report says about sessions of projects.

use std::fmt::Write;

use super::{Report, median, thousands};
use crate::projects::{PAGE, PROJECTS, Projects, SESSIONS};
use crate::realtime::UPSTREAM_TAKES;

/// What a session may add to the p50 of the upstream, in ms.
const SESSION_TARGET_MS: f64 = 2.0;
/// What the first token may take over a store, in ms.
const START_TARGET_MS: f64 = 20.0;

impl Report {
    fn of_projects(&self, of: fn(&Projects) -> f64) -> f64 {
        median(self.projects.iter().map(of).collect())
    }

    pub(super) fn projects_table(&self) -> String {
        let mut table = "| | p50, ms |\n|---|---|\n".to_owned();
        let mut row = |what: &str, of: fn(&Projects) -> f64| {
            writeln!(table, "| {what} | {:.2} |", self.of_projects(of)).unwrap();
        };
        row("the upstream, called directly", |round| round.bare_ms);
        row("open a session", |round| round.session_ms);
        row("save a key", |round| round.save_ms);
        row(&format!("list {PAGE} keys"), |round| round.list_ms);
        row(&format!("rotate all {} keys", projects()), |round| {
            round.rotate_ms
        });
        let start = self.of_projects(|round| round.first_token_ms);
        let resident = self.of_projects(|round| round.resident_mb);
        writeln!(
            table,
            "\nWith the store of {} keys the first LiveKit token comes {start:.1} ms after the start; \
             resident after all of it: {resident:.1} MB.",
            projects()
        )
        .unwrap();
        table
    }

    /// Each target, what was measured, and whether that reaches it.
    pub(super) fn projects_targets(&self) -> [(String, String, bool); 2] {
        let added = self.of_projects(Projects::added_ms);
        let start = self.of_projects(|round| round.first_token_ms);
        [
            (
                format!("a session takes under {SESSION_TARGET_MS:.0} ms more at the p50"),
                format!("{added:.2} ms"),
                added < SESSION_TARGET_MS,
            ),
            (
                format!(
                    "under {START_TARGET_MS:.0} ms to the first LiveKit token with a store of {} keys",
                    projects()
                ),
                format!("{start:.1} ms"),
                start < START_TARGET_MS,
            ),
        ]
    }

    pub(super) fn projects_method() -> String {
        format!(
            "- Project keys are in a SQLite file in the folder for temporary files, which is on this machine's disk or in its memory. One \
             client sends one request after the other: {} saves, {SESSIONS} sessions of as many projects at an upstream that takes {} ms, \
             and the listings. A session is three commits to the store, each of which waits for the disk.\n",
            projects(),
            UPSTREAM_TAKES.as_millis(),
        )
    }
}

fn projects() -> String {
    thousands(PROJECTS.try_into().unwrap())
}
