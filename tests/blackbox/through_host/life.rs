//! The handler's life under the host: start, output, restart, replacement, sudden death.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use http::StatusCode;
use roomkey::clock::Stopwatch;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::load::Load;
use super::{Answer, post, start};
use crate::attack::report;
use crate::host::journal::Level;
use crate::host::{Host, Mode};
use crate::package::unpacked;
use crate::wire;

/// The id of the newest process, once so many have been ready.
async fn started(host: &Host, count: usize) -> u32 {
    host.journal
        .until(|entries| entries.starts.len() == count)
        .await;
    host.journal.read(|entries| *entries.starts.last().unwrap())
}

/// Ends a process from outside, as the kernel does when memory runs out. The host learns of it by
/// its end.
fn kill(process: u32) {
    assert!(
        Command::new("kill")
            .args(["-s", "KILL", &process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

async fn serves(host: &Host) -> bool {
    Answer::of(post(host, "/api/token", r#"{"roomName":"r"}"#))
        .await
        .status
        == StatusCode::OK
}

/// Makes a shell script the handler, for what roomkey itself never does.
fn script(folder: &Path, text: &str, initialization_timeout: &str) {
    let path = folder.join("host.json");
    let mut host: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let handler = host
        .get_mut("customHandler")
        .and_then(Value::as_object_mut)
        .unwrap();
    handler.insert(
        "description".into(),
        json!({ "defaultExecutablePath": "/bin/sh", "arguments": ["script"] }),
    );
    handler.insert(
        "initializationTimeout".into(),
        json!(initialization_timeout),
    );
    std::fs::write(path, host.to_string()).unwrap();
    std::fs::write(folder.join("script"), text).unwrap();
}

async fn the_handler_is_ready_within_the_hosts_limit(mode: Mode) {
    let app = unpacked();
    let root = app.folder().to_owned();
    let limit = crate::host::app_folder::AppFolder::read(&root, mode).initialization_timeout;
    let began = Stopwatch::start();
    let host = Host::start(app, mode, &[("FUNCTIONS_WORKER_RUNTIME", "custom")]).await;
    let process = started(&host, 1).await;
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());

    // It runs where the host starts it, with what the host sets and nothing else. Only root may
    // look: its environment holds secrets.
    let cwd = match std::fs::read_link(format!("/proc/{process}/cwd")) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return,
        cwd => cwd.unwrap(),
    };
    assert_eq!(cwd, root.canonicalize().unwrap());
    let environment = std::fs::read_to_string(format!("/proc/{process}/environ")).unwrap();
    let names: BTreeSet<_> = environment
        .split_terminator('\0')
        .map(|pair| pair.split_once('=').unwrap().0)
        .collect();
    // Besides what it sets for its own allocator.
    let names: BTreeSet<_> = names
        .into_iter()
        .filter(|name| *name != "MALLOC_MMAP_THRESHOLD_")
        .collect();
    let expected = [
        "FUNCTIONS_APP_ROOT_PATH",
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "FUNCTIONS_CUSTOMHANDLER_WORKER_ID",
        "FUNCTIONS_HTTPWORKER_ID",
        "FUNCTIONS_HTTPWORKER_PORT",
        "FUNCTIONS_WORKER_RUNTIME",
    ];
    assert_eq!(names, expected.into());
}

async fn a_wrong_setting_stops_the_host_at_the_third_exit_and_the_log_names_it(mode: Mode) {
    let host = Host::start(unpacked(), mode, &[("ROOMKEY_MAX_TOKEN_SECONDS", "1")]).await;
    host.journal.until(|entries| entries.stopped).await;
    host.journal.read(|entries| {
        assert_eq!((entries.starts.len(), entries.exits.len()), (0, 3));
        for exit in &entries.exits {
            assert!(
                exit.contains("handler exited with code 1 (0x1): ROOMKEY_MAX_TOKEN_SECONDS: "),
                "{exit}"
            );
        }
        assert!(
            entries
                .lines
                .iter()
                .all(|(level, line)| *level == Level::Error
                    && line.starts_with("ROOMKEY_MAX_TOKEN_SECONDS: ")),
            "{entries:?}"
        );
    });
    // A host that gave up listens no more.
    host.until_refused(host.address).await;
}

async fn a_good_run_logs_information_one_warning_and_no_error(mode: Mode) {
    let host = start(mode).await;
    for (path, body) in [
        ("/api/token", r#"{"roomName":"r"}"#),
        ("/api/token", "{"),
        ("/api/nothing", ""),
    ] {
        assert!(host.ping().await);
        let answer = Answer::of(post(&host, path, body)).await;
        let id = answer.header("x-request-id").unwrap();
        let is_access_line =
            |(level, line): &(Level, String)| *level == Level::Information && line.contains(id);
        host.journal
            .until(|entries| entries.lines.iter().any(is_access_line))
            .await;
    }
    host.journal
        .until(|entries| {
            entries
                .lines
                .iter()
                .any(|(level, _)| *level == Level::Warning)
        })
        .await;
    host.journal.read(|entries| {
        let at = |wanted| {
            entries
                .lines
                .iter()
                .filter(move |(level, _)| *level == wanted)
                .map(|(_, line)| line.as_str())
        };
        assert_eq!(at(Level::Error).count(), 0, "{entries:?}");
        let warnings: Vec<_> = at(Level::Warning).collect();
        assert!(
            matches!(warnings.as_slice(), [only] if only.contains("dev mode")),
            "{warnings:?}"
        );
        // Neither the readiness probe nor the pings leave a line.
        assert_eq!(
            at(Level::Information)
                .filter(|line| line.contains("duration_us"))
                .count(),
            3,
            "{entries:?}"
        );
    });
}

async fn after_a_sigkill_a_new_process_serves(mode: Mode) {
    let host = start(mode).await;
    assert!(serves(&host).await);
    let first = started(&host, 1).await;
    kill(first);
    let second = started(&host, 2).await;
    assert!(first != second && serves(&host).await);
    host.journal.read(|entries| {
        assert!(
            entries.exits.len() == 1 && entries.exits[0].contains("exited with code 137"),
            "{entries:?}"
        );
    });
}

async fn a_new_process_takes_over_from_the_old_one_and_no_request_fails(mode: Mode) {
    let host = start(mode).await;
    let load = Load::start(&host.url, 8);
    for _ in 0..3 {
        load.serves(100).await;
        host.replace().await;
    }
    load.serves(100).await;
    let tally = load.stop().await;
    report(&format!(
        "{mode:?}: {} requests served, none lost, while three processes took over",
        tally.served
    ));
    assert_eq!((tally.failed, tally.broken), (0, 0));
    host.journal.read(|entries| {
        assert_eq!((entries.starts.len(), entries.exits.len()), (4, 0));
        let alive = |process: &u32| Path::new(&format!("/proc/{process}")).exists();
        assert_eq!(
            entries.starts.iter().map(alive).collect::<Vec<_>>(),
            [false, false, false, true]
        );
    });
}

async fn a_request_under_way_is_answered_although_a_new_process_serves_already(mode: Mode) {
    let host = start(mode).await;
    let mut slow = wire::connect(host.address).await;
    slow.write_all(wire::POST_HEAD).await.unwrap();
    host.journal
        .until(|entries| entries.invocations.len() == 1)
        .await;
    let answered = async {
        started(&host, 2).await;
        for _ in 0..10 {
            assert!(serves(&host).await);
        }
        wire::exchange(&mut slow, wire::POST_BODY).await
    };
    let (answer, ()) = tokio::join!(answered, host.replace());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

async fn under_load_a_sigkill_loses_requests_but_makes_no_answer_wrong(mode: Mode) {
    let host = start(mode).await;
    let load = Load::start(&host.url, 8);
    for kills in 1..=2 {
        load.serves(100).await;
        kill(started(&host, kills).await);
        started(&host, kills + 1).await;
    }
    load.serves(100).await;
    let tally = load.stop().await;
    report(&format!(
        "{mode:?}: {} requests served; two SIGKILLs lost {} (500) and {} (broken off)",
        tally.served, tally.failed, tally.broken
    ));
    assert!(host.journal.read(|entries| {
        entries
            .exits
            .iter()
            .all(|exit| exit.contains("exited with code 137"))
    }));
}

in_both_modes! {
    the_handler_is_ready_within_the_hosts_limit
    a_wrong_setting_stops_the_host_at_the_third_exit_and_the_log_names_it
    a_good_run_logs_information_one_warning_and_no_error
    after_a_sigkill_a_new_process_serves
    a_new_process_takes_over_from_the_old_one_and_no_request_fails
    a_request_under_way_is_answered_although_a_new_process_serves_already
    under_load_a_sigkill_loses_requests_but_makes_no_answer_wrong
}

#[tokio::test]
async fn exit_code_200_is_a_restart_that_the_host_does_not_count_and_0_is_none() {
    let app = unpacked();
    let script_text = "echo run >>runs\n[ $(wc -l <runs) -gt 4 ] || exit 200\nexec ./handler\n";
    script(app.folder(), script_text, "00:00:30");
    let host = Host::start(app, Mode::Proxying, &[]).await;
    assert!(serves(&host).await);
    host.journal
        .read(|entries| assert!(entries.exits.is_empty() && !entries.stopped, "{entries:?}"));
    // A signal at which the program ends well is one of the operator's, and nothing that a host
    // sends.
    let process = started(&host, 1).await;
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &process.to_string()])
            .status()
            .unwrap()
            .success()
    );
    host.journal
        .until(|entries| entries.ends.last() == Some(&0))
        .await;
    assert!(!serves(&host).await);
    host.journal.read(|entries| {
        assert!(
            entries.exits.is_empty() && entries.starts.len() == 1,
            "{entries:?}"
        );
    });
}

#[tokio::test]
async fn a_handler_that_never_listens_is_killed_at_the_limit_and_given_up() {
    let app = unpacked();
    script(app.folder(), "exec sleep 600\n", "00:00:01");
    let host = Host::start(app, Mode::Proxying, &[]).await;
    host.journal.until(|entries| entries.stopped).await;
    host.journal.read(|entries| {
        assert_eq!((entries.starts.len(), entries.exits.len()), (0, 3));
        assert!(
            entries
                .exits
                .iter()
                .all(|exit| exit == "Initializing HttpWorker timed out."),
            "{entries:?}"
        );
    });
}
