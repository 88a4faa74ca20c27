//! The house holds: who may call whom, who may name what, and how large a file may grow.
//! `ARCHITECTURE.md` says why.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Each room, and the rooms of ours that it may name.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "app",
            "clock",
            "config",
            "domain",
            "entropy",
            "http",
            "process",
            "telemetry",
        ],
    ),
    (
        "lib",
        &[
            "app",
            "clock",
            "config",
            "domain",
            "entropy",
            "http",
            "metrics",
            "process",
            "store",
            "telemetry",
            "upstream",
        ],
    ),
    (
        "app",
        &[
            "clock", "config", "domain", "entropy", "metrics", "store", "upstream",
        ],
    ),
    (
        "http",
        &["app", "clock", "domain", "entropy", "metrics", "telemetry"],
    ),
    ("telemetry", &["clock", "domain"]),
    ("process", &["config"]),
    ("metrics", &[]),
    ("config", &["domain"]),
    ("store", &["domain"]),
    ("upstream", &["clock", "domain", "entropy"]),
    ("domain", &[]),
    ("clock", &[]),
    ("entropy", &[]),
];

/// What only some rooms may name.
const HOMES: &[(&str, &[&str])] = &[
    (r"\bwarp\b", &["http"]),
    (r"\bhyper(_util)?::", &["http"]),
    (
        r"\bhttp::(Method|HeaderMap|StatusCode|Response|header)\b",
        &["http"],
    ),
    (r"\breqwest\b", &["upstream"]),
    (
        r"\bazure_(core|identity|security_keyvault_secrets)\b",
        &["upstream"],
    ),
    (r"\brusqlite\b", &["store"]),
    (r"\bjsonwebtoken\b", &["domain"]),
    (r"\bprometheus\b", &["metrics"]),
    (r"\bredis::(aio|Client)\b|\bquick_cache\b", &["store"]),
    (
        r"\bexpose_secret\(",
        &["config", "domain", "store", "upstream"],
    ),
    (r"\benv::(var|vars)", &["config"]),
    (r"\bSystemTime::now|\bInstant::now", &["clock"]),
    (r"\brand::", &["entropy"]),
    (r"\b(println|eprintln|print|eprint|dbg)!", &[]),
];

/// Past this many code lines a file wants to be two.
const MAX_CODE_LINES: usize = 350;

struct File {
    path: PathBuf,
    room: String,
    /// Without comments and without the tests at its foot.
    code: String,
}

fn files() -> Vec<File> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![src.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&src).unwrap().to_owned();
                let room = relative
                    .iter()
                    .next()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .trim_end_matches(".rs")
                    .to_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                let without_tests = text.split("#[cfg(test)]").next().unwrap();
                let code = without_tests
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect::<Vec<_>>()
                    .join("\n");
                files.push(File {
                    path: relative,
                    room,
                    code,
                });
            }
        }
    }
    assert!(files.len() > 20, "the files were not found");
    files.retain(|file| !file.path.ends_with("tests.rs"));
    files
}

/// The rooms that a file names, by `crate::`, or in the program by `roomkey::`.
fn named_rooms(file: &File) -> BTreeSet<String> {
    let path = if file.room == "main" {
        r"\broomkey::(\w+)"
    } else {
        r"\bcrate::(\w+)"
    };
    let path = Regex::new(path).unwrap();
    path.captures_iter(&file.code)
        .map(|found| found.get(1).unwrap().as_str().to_owned())
        .collect()
}

#[test]
fn architecture_rooms_name_only_the_rooms_that_they_may() {
    for file in files() {
        let (_, allowed) = ROOMS
            .iter()
            .find(|(room, _)| *room == file.room)
            .unwrap_or_else(|| panic!("{} is a new room: say what it may name", file.room));
        for named in named_rooms(&file) {
            assert!(
                named == file.room || allowed.contains(&named.as_str()),
                "{} names {named}",
                file.path.display()
            );
        }
    }
}

#[test]
fn architecture_each_thing_has_its_home() {
    for (pattern, homes) in HOMES {
        let pattern = Regex::new(pattern).unwrap();
        let mut found_at_home = homes.is_empty();
        for file in files() {
            let at_home = homes.contains(&file.room.as_str());
            let found = pattern.is_match(&file.code);
            assert!(at_home || !found, "{} names {pattern}", file.path.display());
            found_at_home |= at_home && found;
        }
        assert!(
            found_at_home,
            "{pattern} is found nowhere: the rule checks nothing"
        );
    }
}

#[test]
fn architecture_paths_are_written_so_that_they_can_be_checked() {
    let grouped = Regex::new(r"\b(crate|roomkey)::\{|\buse (crate|roomkey);").unwrap();
    for file in files() {
        // From a room's own file `super` leads out of the room, from a file inside it only
        // `super::super` does.
        let leads_out = if file.path.components().count() == 1 {
            "super::"
        } else {
            "super::super::"
        };
        assert!(
            !grouped.is_match(&file.code),
            "{} groups rooms in one `use`",
            file.path.display()
        );
        assert!(
            !file.code.contains(leads_out),
            "{} names a room by {leads_out}",
            file.path.display()
        );
    }
}

#[test]
fn architecture_files_are_small_and_named_for_what_they_hold() {
    for file in files() {
        let lines = file
            .code
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        assert!(
            lines <= MAX_CODE_LINES,
            "{} has {lines} code lines",
            file.path.display()
        );
        let name = file.path.file_stem().unwrap().to_str().unwrap();
        assert!(
            ![
                "mod", "utils", "util", "helpers", "common", "manager", "misc"
            ]
            .contains(&name),
            "{}",
            file.path.display()
        );
    }
}

#[test]
fn architecture_every_file_says_first_what_lives_in_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in files() {
        let text = std::fs::read_to_string(src.join(&file.path)).unwrap();
        assert!(text.starts_with("//! "), "{}", file.path.display());
    }
}
