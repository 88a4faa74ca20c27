//! The architecture rules: the dependencies between modules and between the files of one, the crates
//! that only some modules may name, and the size of files. `ARCHITECTURE.md` gives the reasons.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

/// Each top-level module, and the other ones that it may name.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "app",
            "clock",
            "config",
            "domain",
            "entropy",
            "http",
            "platform",
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
            "platform",
            "store",
            "telemetry",
            "traces",
            "upstream",
        ],
    ),
    (
        "app",
        &[
            "clock",
            "config",
            "domain",
            "entropy",
            "metrics",
            "platform",
            "store",
            "telemetry",
            "traces",
            "upstream",
        ],
    ),
    (
        "http",
        &[
            "app",
            "clock",
            "domain",
            "entropy",
            "metrics",
            "telemetry",
            "traces",
        ],
    ),
    ("telemetry", &["clock", "domain"]),
    ("traces", &["domain", "entropy"]),
    ("platform", &[]),
    ("metrics", &[]),
    ("config", &["domain", "platform"]),
    ("store", &["domain", "platform"]),
    (
        "upstream",
        &["clock", "domain", "entropy", "metrics", "traces"],
    ),
    ("domain", &[]),
    ("clock", &[]),
    ("entropy", &[]),
];

/// Patterns that may occur only in some modules.
const HOMES: &[(&str, &[&str])] = &[
    (r"\bwarp\b", &["http"]),
    (r"\bhyper(_util)?::", &["http"]),
    (
        r"\bhttp::(Method|HeaderMap|StatusCode|Response|header)\b",
        &["http"],
    ),
    (r"\breqwest\b", &["upstream"]),
    (
        r"\bazure_(identity|security_keyvault_secrets)\b",
        &["upstream"],
    ),
    (r"\bazure_core\b", &["store", "upstream"]),
    (r"\bazure_storage_blob\b", &["store"]),
    (r"\brusqlite\b", &["store"]),
    (r"\bjsonwebtoken\b", &["domain"]),
    (r"\bprometheus\b", &["metrics"]),
    (r"\bopentelemetry\b", &["traces"]),
    (r"\bopentelemetry_sdk\b", &["traces", "upstream"]),
    (r"\bopentelemetry_proto\b|\bprost\b", &["upstream"]),
    (r"\bredis::(aio|Client)\b|\bquick_cache\b", &["store"]),
    (
        r"\bexpose_secret\(",
        &["config", "domain", "store", "upstream"],
    ),
    (r"\benv::(var|vars)", &["config"]),
    (r"\bSystemTime::now|\bInstant::now", &["clock"]),
    (r"\brand::", &["entropy"]),
    (
        r"\bos::(unix|windows)\b|\bsignal::(unix|windows)\b|\blibc\b|\bcfg(_attr)?!?\((unix|windows|target_)",
        &["platform"],
    ),
    (r"\b(println|eprintln|print|eprint|dbg)!", &[]),
];

/// Most code lines of one file; a longer one is split.
const MAX_CODE_LINES: usize = 300;

struct File {
    path: PathBuf,
    /// The top-level module.
    module: String,
    /// The text without comments and without the unit tests.
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
                let module = relative
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
                    module,
                    code,
                });
            }
        }
    }
    assert!(files.len() > 20, "the files were not found");
    files.retain(|file| !file.path.ends_with("tests.rs"));
    files
}

/// Returns the top-level modules that a file names: by `crate::`, or in the program by `roomkey::`.
fn named_modules(file: &File) -> BTreeSet<String> {
    let path = if file.module == "main" {
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
fn architecture_modules_name_only_the_modules_that_they_may() {
    for file in files() {
        let (_, allowed) = DEPENDENCIES
            .iter()
            .find(|(module, _)| *module == file.module)
            .unwrap_or_else(|| panic!("{} is new: list what it may name", file.module));
        for named in named_modules(&file) {
            assert!(
                named == file.module || allowed.contains(&named.as_str()),
                "{} names {named}",
                file.path.display()
            );
        }
    }
}

#[test]
fn architecture_no_module_re_exports_another() {
    let re_export = Regex::new(r"\bpub(\([^)]*\))? use crate::(\w+)").unwrap();
    for file in files() {
        for found in re_export.captures_iter(&file.code) {
            assert_eq!(
                found.get(2).unwrap().as_str(),
                file.module,
                "{} re-exports it",
                file.path.display()
            );
        }
    }
}

/// Returns the paths of a use tree such as `a::{b, c::{d, e}}`, and the text behind it.
fn use_tree(text: &str) -> (Vec<String>, &str) {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut paths = Vec::new();
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n']);
            if let Some(behind) = rest.strip_prefix('}') {
                return (paths, behind);
            }
            let (branch, behind) = use_tree(rest);
            assert!(behind.len() < rest.len(), "not a use tree: {rest:.40}");
            paths.extend(branch);
            rest = behind;
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match rest.strip_prefix("::") {
        // A turbofish ends the path.
        Some(behind) if !behind.starts_with('<') => {
            let (branches, behind) = use_tree(behind);
            let paths = branches.iter().map(|path| format!("{name}::{path}"));
            (paths.collect(), behind)
        }
        _ => (vec![name.to_owned()], rest),
    }
}

/// Returns the module path of a file, such as `http::guard::admission`.
fn module_path(file: &File) -> String {
    let path = file.path.with_extension("");
    let names: Vec<_> = path.iter().map(|name| name.to_str().unwrap()).collect();
    names.join("::")
}

/// Returns the modules of the same top-level module that a file names: by `crate::`, `super::` or
/// `self::`, or a child by its name alone.
fn named_siblings(file: &File, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let own = module_path(file);
    let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut paths = Vec::new();
    for found in Regex::new(r"\b(crate|super|self)::")
        .unwrap()
        .find_iter(&file.code)
    {
        let base = match found.as_str() {
            "crate::" => String::new(),
            "super::" => format!("{parent}::"),
            _ => format!("{own}::"),
        };
        let (branches, _) = use_tree(&file.code[found.end()..]);
        paths.extend(branches.iter().map(|branch| format!("{base}{branch}")));
    }
    for child in modules {
        if let Some(name) = child.strip_prefix(&format!("{own}::"))
            && Regex::new(&format!(r"(^|[^:\w]){name}::"))
                .unwrap()
                .is_match(&file.code)
        {
            paths.push(child.clone());
        }
    }
    let module_of = |path: &str| {
        let mut path = path;
        loop {
            if modules.contains(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let is_inside =
        |named: &String| *named != own && named.split("::").next() == Some(file.module.as_str());
    paths
        .iter()
        .filter_map(|path| module_of(path))
        .filter(is_inside)
        .collect()
}

#[test]
fn architecture_files_of_one_module_depend_on_each_other_in_no_circle() {
    let files = files();
    let modules: BTreeSet<_> = files.iter().map(module_path).collect();
    let mut edges: BTreeMap<_, _> = files
        .iter()
        .map(|file| (module_path(file), named_siblings(file, &modules)))
        .collect();
    let count = edges.values().map(BTreeSet::len).sum::<usize>();
    assert!(count > 100, "only {count} edges were found");
    // What depends on nothing that is left is in no circle.
    while let Some(leaf) = edges
        .iter()
        .find(|(_, named)| named.is_empty())
        .map(|(module, _)| module.clone())
    {
        edges.remove(&leaf);
        for named in edges.values_mut() {
            named.remove(&leaf);
        }
    }
    assert!(
        edges.is_empty(),
        "in a circle or leading to one: {edges:#?}"
    );
}

#[test]
fn architecture_each_thing_has_its_home() {
    for (pattern, homes) in HOMES {
        let pattern = Regex::new(pattern).unwrap();
        let mut found_at_home = homes.is_empty();
        for file in files() {
            let at_home = homes.contains(&file.module.as_str());
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
        // From the file of a top-level module `super` leads out of it, from a file inside only
        // `super::super` does.
        let leads_out = if file.path.components().count() == 1 {
            "super::"
        } else {
            "super::super::"
        };
        assert!(
            !grouped.is_match(&file.code),
            "{} groups modules in one `use`",
            file.path.display()
        );
        assert!(
            !file.code.contains(leads_out),
            "{} names a module by {leads_out}",
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
