//! Processes that are killed while they write, at each step and at any moment, and eight of them
//! that write to one file.
//!
//! The processes are this test program again, told on stdin what to do. They say `done` behind each
//! change that was acknowledged.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{Guard, file, over};
use crate::domain::vault::changes::Precondition;
use crate::store::projects::project_store::{
    Expected, SCRIPT, apply, keys_over, project, save, try_save, verified,
};
use crate::store::sqlite::{SqliteStore, steps};
use crate::store::store_error::{KeyStoreError, StoreError, StoreOutage};

/// The process that is killed. Does nothing when it is run by hand.
#[tokio::test]
#[ignore = "a process of the other tests"]
async fn child() {
    let mut orders = std::io::stdin().lock().lines();
    let Some(Ok(path)) = orders.next() else {
        return;
    };
    let order = orders.next().unwrap().unwrap();
    let (order, number) = order.split_once(' ').unwrap();
    let number: usize = number.parse().unwrap();
    let store = SqliteStore::new(Path::new(&path)).unwrap();
    let keys = keys_over(std::sync::Arc::new(store));
    match order {
        "script" => {
            steps::arm(number);
            for change in SCRIPT {
                apply(&keys, change).await.unwrap();
                say("done");
            }
            for step in steps::passed() {
                say(&format!("step {step}"));
            }
        }
        "loop" => {
            for number in 1.. {
                let any = Precondition::AnyKey;
                try_save(&keys, &project("a"), number, &any).await.unwrap();
                say("done");
            }
        }
        _ => {
            let any = Precondition::AnyKey;
            let mut left = 20;
            while left > 0 {
                match try_save(&keys, &project("a"), number, &any).await {
                    Ok(_) => left -= 1,
                    // Nothing was stored; the others were faster each time.
                    Err(KeyStoreError::Store(
                        StoreError::LostRace | StoreError::Unavailable(StoreOutage::Locked),
                    )) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            say("done");
        }
    }
    say("end");
}

/// Says a line, which the test program's own lines are told apart from.
fn say(word: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\nsays: {word}").unwrap();
    stdout.flush().unwrap();
}

struct Process {
    child: Child,
    _orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(path: &Path, order: &str) -> Self {
        let name = "store::sqlite::tests::killed::child";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut orders = child.stdin.take().unwrap();
        writeln!(orders, "{}\n{order}", path.display()).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            _orders: orders,
            lines,
        }
    }

    /// Returns its next line, or `None` once the process is dead.
    fn says(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.unwrap();
            if let Some(word) = line.strip_prefix("says: ") {
                return Some(word.to_owned());
            }
        }
    }

    /// Returns all lines until the process is dead.
    fn says_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.says()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn count(says: &[String], word: &str) -> usize {
    says.iter().filter(|said| *said == word).count()
}

/// A store in another life, and what it holds.
async fn restarted(folder: tempfile::TempDir) -> (Guard, Expected) {
    let guard = over(folder);
    let found = Expected::found(&guard.keys).await;
    (guard, found)
}

#[tokio::test]
async fn a_process_killed_at_any_step_leaves_each_change_whole_or_undone() {
    let mut kills = 0;
    let steps = loop {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(&file(folder.path()), &format!("script {}", kills + 1));
        let says = process.says_all();
        let done = count(&says, "done");
        let (guard, found) = restarted(folder).await;
        if says.last().is_some_and(|last| last == "end") {
            assert_eq!(found, Expected::after(&SCRIPT));
            break says.len() - done - 1;
        }
        kills += 1;
        let acknowledged = Expected::after(&SCRIPT[..done]);
        let next = Expected::after(&SCRIPT[..=done]);
        assert!(
            found == acknowledged || found == next,
            "killed at step {kills}: {found:?} is neither {acknowledged:?} nor {next:?}"
        );
        // It serves as if nothing had happened.
        save(&guard.keys, &project("c"), 9).await;
        assert_eq!(verified(&guard.keys).await, found.records + 1);
    };
    // Each step was one process's last; the least that the script above goes through.
    assert_eq!(kills, steps);
    assert!(kills >= 40, "{kills}");
}

#[tokio::test]
async fn a_process_killed_at_any_moment_loses_nothing_that_was_acknowledged() {
    for kill_after in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let guard = over(folder);
        save(&guard.keys, &project("a"), 0).await;
        let mut process = Process::start(&guard.path(), "loop 0");
        for _ in 0..kill_after {
            assert_eq!(process.says().as_deref(), Some("done"));
        }
        process.child.kill().unwrap();
        let more = process.says_all();
        let acknowledged = kill_after + count(&more, "done");
        let found = Expected::found(&guard.keys).await;
        let number = found.a.unwrap();
        assert!(
            number == acknowledged || number == acknowledged + 1,
            "{number} of {acknowledged}"
        );
        assert_eq!(found.records, number as u64 + 1);
        // A second life of the file, once nobody has it open.
        let guard = guard.reopened();
        assert_eq!(Expected::found(&guard.keys).await, found);
    }
}

#[tokio::test]
async fn eight_processes_that_write_to_one_file_lose_no_update() {
    let folder = tempfile::tempdir().unwrap();
    let guard = over(folder);
    save(&guard.keys, &project("a"), 0).await;
    let mut writers: Vec<_> = (1..=8)
        .map(|number| Process::start(&guard.path(), &format!("race {number}")))
        .collect();
    for writer in &mut writers {
        assert_eq!(writer.says_all(), ["done", "end"]);
    }
    let id = project("a");
    let stored = guard.keys.store().read_project(&id).await.unwrap().unwrap();
    let versions = stored.record.versions;
    assert_eq!((versions.secret, versions.record), (161, 161));
    assert_eq!(verified(&guard.keys).await, 161);
    assert!((1..=8).contains(&Expected::found(&guard.keys).await.a.unwrap()));
}
