//! Start: faults all at once, what the start says, and the flags.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use roomkey::clock::Stopwatch;
use serde_json::Value;

use crate::package::unpacked;
use crate::process::{Roomkey, client, run};

#[test]
fn three_bad_settings_are_three_lines_with_names_only() {
    let app = unpacked();
    let settings = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "canary1"),
        ("LIVEKIT_URL", "canary2"),
        ("LIVEKIT_API_KEY", "APIkey"),
        ("LIVEKIT_API_SECRET", "canary3"),
        ("ROOMKEY_CALLER_AUTH", "anonymous"),
    ];
    for arguments in [&[][..], &["--check"]] {
        let began = Stopwatch::start();
        let ended = run(&app.handler(), app.folder(), &settings, arguments);
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""));
        let names: Vec<_> = ended
            .stderr
            .lines()
            .map(|line| line.split_once(": ").unwrap().0)
            .collect();
        assert_eq!(
            names,
            [
                "FUNCTIONS_CUSTOMHANDLER_PORT",
                "LIVEKIT_URL",
                "LIVEKIT_API_SECRET"
            ]
        );
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    }
}

#[test]
fn fault_38_a_secret_that_is_a_reference_empty_a_placeholder_or_too_short_stops_the_start() {
    let app = unpacked();
    for secret in [
        "@Microsoft.KeyVault(SecretUri=https://canary.example/s)",
        "",
        "changeme",
        "your-canary",
        "<canary>",
        "x",
        "canary-of-31-bytes-is-too-short",
    ] {
        let settings = [
            // The usual port may belong to a roomkey that a developer has started.
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "0"),
            ("LIVEKIT_URL", "canary"),
            ("LIVEKIT_API_KEY", "APIkey"),
            ("LIVEKIT_API_SECRET", secret),
            ("ROOMKEY_CALLER_AUTH", "anonymous"),
        ];
        let ended = run(&app.handler(), app.folder(), &settings, &[]);
        let names: Vec<_> = ended
            .stderr
            .lines()
            .map(|line| line.split_once(": ").unwrap().0)
            .collect();
        assert_eq!(
            (ended.status.code(), names),
            (Some(1), vec!["LIVEKIT_URL", "LIVEKIT_API_SECRET"])
        );
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    }
}

#[test]
fn a_port_in_use_is_a_fault_among_the_others() {
    let app = unpacked();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (settings, names) in [
        (
            &[("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str())][..],
            &["FUNCTIONS_CUSTOMHANDLER_PORT"][..],
        ),
        (
            &[
                ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
                ("ROOMKEY_LOG", "loud"),
            ],
            &["ROOMKEY_LOG", "FUNCTIONS_CUSTOMHANDLER_PORT"],
        ),
    ] {
        let ended = run(&app.handler(), app.folder(), settings, &[]);
        assert_eq!(ended.status.code(), Some(1));
        let named: Vec<_> = ended
            .stderr
            .lines()
            .map(|line| line.split_once(": ").unwrap().0)
            .collect();
        assert_eq!(named, names);
    }
}

#[test]
fn a_broken_host_json_refuses_to_start() {
    let app = unpacked();
    for text in [
        "{",
        r#"{"cors":{"allowedOrigins":["*"],"supportCredentials":true}}"#,
    ] {
        std::fs::write(app.folder().join("host.json"), text).unwrap();
        let ended = run(
            &app.handler(),
            app.folder(),
            &[("FUNCTIONS_CUSTOMHANDLER_PORT", "0")],
            &[],
        );
        assert_eq!(
            (ended.status.code(), ended.stderr.lines().count()),
            (Some(1), 1)
        );
        assert!(ended.stderr.starts_with("host.json: "), "{}", ended.stderr);
    }
}

#[test]
fn a_start_without_host_json_says_that_no_page_may_call() {
    let app = unpacked();
    std::fs::remove_file(app.folder().join("host.json")).unwrap();
    let ended = app
        .start_as_host(&[("ROOMKEY_LOG_FORMAT", "text")])
        .stop("TERM");
    assert!(
        ended
            .stdout
            .contains("Allowed origins: none (host.json does not exist)"),
        "{}",
        ended.stdout
    );
}

#[test]
fn dev_mode_says_so_and_the_printed_command_gets_a_token() {
    let app = unpacked();
    let mut roomkey = app.start_as_host(&[("ROOMKEY_LOG_FORMAT", "text")]);
    let url = roomkey.url.clone();
    let admin_line = roomkey.wait_for("Admin key");
    let admin_key = admin_line.trim_end().rsplit(' ').next().unwrap();
    for (key, status) in [
        (admin_key, "200"),
        ("an-admin-key-that-nobody-printed-anywhere", "401"),
    ] {
        let ask = format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' {url}/api/metrics -H 'X-Admin-API-Key: {key}'"
        );
        let status_of = Command::new("sh").args(["-c", &ask]).output().unwrap();
        assert_eq!(String::from_utf8(status_of.stdout).unwrap(), status);
    }
    let command = format!(
        "curl -sS {url}/api/token -H 'Content-Type: application/json' -d '{{\"roomName\":\"hello\"}}'"
    );
    let printed = Command::new("sh").args(["-c", &command]).output().unwrap();
    let answer: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(
        (answer["roomName"].as_str(), answer["serverUrl"].as_str()),
        (Some("hello"), Some("ws://localhost:7880"))
    );

    let ended = roomkey.stop("TERM");
    let lines: Vec<_> = ended.stdout.lines().take(6).collect();
    assert_eq!(
        lines,
        [
            format!("roomkey {} listens on {url}", env!("CARGO_PKG_VERSION")),
            "Allowed origins: http://localhost:4200 (host.json)".to_owned(),
            "Callers: anonymous: anyone who can reach the service".to_owned(),
            "Rate limits: off (ROOMKEY_RATE_LIMIT)".to_owned(),
            format!("Try it: {command}"),
            admin_line.trim_end().to_owned(),
        ]
    );
    assert_eq!(
        ended.stderr,
        "WARNING: dev mode. Anyone on this machine gets tokens for ws://localhost:7880, signed with LiveKit's public dev key.\n"
    );
}

#[test]
fn a_plain_copy_of_the_example_settings_starts_in_dev_mode() {
    let app = unpacked();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("local.settings.json.example");
    let example: Value = serde_json::from_str(&std::fs::read_to_string(example).unwrap()).unwrap();
    let values = example["Values"].as_object().unwrap();
    let settings: Vec<_> = values
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    assert!(
        example["Host"].get("CORS").is_none(),
        "Core Tools would answer preflights itself"
    );
    assert!(
        values.values().all(|value| value != ""),
        "Core Tools prints a warning for a variable that is empty"
    );
    let ended = app
        .start_as_host(&[&CORE_TOOLS[..], &settings].concat())
        .stop("TERM");
    assert!(ended.stderr.contains("dev mode"), "{}", ended.stderr);
}

#[test]
fn in_azure_nothing_starts_without_a_key_and_a_word_on_who_may_ask() {
    let app = unpacked();
    for markers in [
        &["WEBSITE_INSTANCE_ID"][..],
        &["LEGION_SERVICE_HOST"],
        &["CONTAINER_NAME", "WEBSITE_SITE_NAME"],
        &["CONTAINER_NAME", "FUNCTIONS_EXTENSION_VERSION"],
        &["CONTAINER_APP_NAME"],
        &["KUBERNETES_SERVICE_HOST"],
    ] {
        let settings: Vec<_> = markers
            .iter()
            .map(|marker| (*marker, "x"))
            .chain([("FUNCTIONS_CUSTOMHANDLER_PORT", "0")])
            .collect();
        let ended = run(&app.handler(), app.folder(), &settings, &[]);
        let names: Vec<_> = ended
            .stderr
            .lines()
            .map(|line| line.split_once(": ").unwrap().0)
            .collect();
        assert_eq!(
            (ended.status.code(), names),
            (Some(1), vec!["LIVEKIT_URL", "ROOMKEY_CALLER_AUTH"]),
            "{markers:?}"
        );
    }
    let ended = app
        .start_as_host(&[("CONTAINER_NAME", "a dev container")])
        .stop("TERM");
    assert!(ended.stderr.contains("dev mode"), "{}", ended.stderr);
}

/// What Core Tools adds to the environment of a handler that `func start` runs.
const CORE_TOOLS: [(&str, &str); 6] = [
    ("AZURE_FUNCTIONS_ENVIRONMENT", "Development"),
    ("FUNCTIONS_CORETOOLS_ENVIRONMENT", "true"),
    ("WEBSITE_HOSTNAME", "localhost:7071"),
    ("AzureWebJobsScriptRoot", "/home/me/app"),
    ("AzureFunctionsJobHost__SequentialRestart", "true"),
    ("FUNCTIONS_WORKER_RUNTIME", "custom"),
];

#[tokio::test]
async fn under_core_tools_it_starts_in_dev_mode_trusts_no_header_of_azures_and_says_the_same() {
    let app = unpacked();
    let mut said = Vec::new();
    for environment in [&CORE_TOOLS[..], &[]] {
        let roomkey =
            app.start_as_host(&[environment, &[("ROOMKEY_RATE_LIMIT", "1/24h")]].concat());
        for (client_ip, status) in [("203.0.113.1:1", 200), ("203.0.113.2:1", 429)] {
            // As Azure's front end would add them.
            let request = client()
                .post(format!("{}/api/token", roomkey.url))
                .header("client-ip", client_ip);
            let request = request
                .header("x-ms-client-principal-name", "alice")
                .header("x-ms-client-principal-id", "1");
            let answer = request
                .json(&serde_json::json!({ "roomName": "hello" }))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), status, "{environment:?}");
        }
        let url = roomkey.url.clone();
        let ended = roomkey.stop("TERM");
        assert!(
            ended.status.success() && ended.stderr.contains("WARNING: dev mode"),
            "{ended:?}"
        );
        // Each line without what differs from run to run: ids, times, hashes, the port and the
        // admin key.
        let lines = ended
            .stdout
            .lines()
            .chain(ended.stderr.lines())
            .map(|line| {
                let line: Value = serde_json::from_str(&line.replace(&url, "")).unwrap();
                let members = line.as_object().unwrap();
                let fixed = ["level", "status", "code", "route", "method"]
                    .map(|name| members.get(name).cloned());
                let message = members["message"]
                    .as_str()
                    .unwrap()
                    .split("X-Admin-API-Key: ")
                    .next()
                    .unwrap()
                    .to_owned();
                let fixed = (message, fixed);
                (members.keys().cloned().collect::<Vec<_>>(), fixed)
            });
        said.push(lines.collect::<Vec<_>>());
    }
    assert_eq!(said[0], said[1]);
    assert!(said[0].len() > 6, "{said:?}");
}

#[test]
fn a_route_prefix_that_the_host_takes_from_an_app_setting_must_be_ours_too() {
    let app = unpacked();
    let settings = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "0"),
        (
            "AzureFunctionsJobHost__extensions__http__routePrefix",
            "canary",
        ),
    ];
    let ended = run(&app.handler(), app.folder(), &settings, &[]);
    assert_eq!(
        (ended.status.code(), ended.stderr.lines().count()),
        (Some(1), 1)
    );
    assert!(
        ended
            .stderr
            .starts_with("AzureFunctionsJobHost__extensions__http__routePrefix: must be api"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("canary"));
}

#[test]
fn check_says_what_would_be_served_and_for_whom_without_listening() {
    let app = unpacked();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let settings = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", "APIcanary"),
        ("LIVEKIT_API_SECRET", "canary-secret-of-at-least-32-bytes"),
        ("ROOMKEY_CALLER_AUTH", "anonymous"),
    ];
    let ended = run(&app.handler(), app.folder(), &settings, &["--check"]);
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    for part in [
        "wss://livekit.example.com",
        "anonymous",
        "--allowed-origins http://localhost:4200",
    ] {
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("canary"));
}

#[test]
fn health_asks_the_roomkey_that_runs_with_the_same_settings() {
    let app = unpacked();
    let roomkey = Roomkey::start(
        &app.handler(),
        app.folder(),
        &[("FUNCTIONS_CUSTOMHANDLER_PORT", "0")],
    );
    let url = roomkey.url.clone();
    let port = roomkey.address().port().to_string();
    let ask = |bind, port: &str| {
        let settings = [
            ("ROOMKEY_BIND", bind),
            ("FUNCTIONS_CUSTOMHANDLER_PORT", port),
        ];
        let ended = run(&app.handler(), app.folder(), &settings, &["--health"]);
        (ended.status.code(), ended.stdout, ended.stderr)
    };
    let alive = |address| format!("roomkey at http://{address}:{port} is alive\n");
    for bind in ["127.0.0.1", "0.0.0.0"] {
        assert_eq!(ask(bind, &port), (Some(0), alive(bind), String::new()));
    }
    let (code, _, stderr) = ask("127.0.0.1", "canary");
    assert_eq!(code, Some(1));
    assert!(
        stderr.starts_with("FUNCTIONS_CUSTOMHANDLER_PORT: "),
        "{stderr}"
    );
    roomkey.stop("TERM");
    let refused = format!("roomkey at {url}: no answer (connection refused)\n");
    assert_eq!(ask("127.0.0.1", &port), (Some(1), String::new(), refused));
}

#[test]
fn help_and_version_are_short_and_unknown_arguments_are_refused() {
    let app = unpacked();
    let run = |argument| run(&app.handler(), app.folder(), &[], &[argument]);
    let help = run("--help");
    assert!(
        help.status.success()
            && help.stdout.contains("--check")
            && help.stdout.lines().count() < 20
    );
    assert_eq!(
        run("--version").stdout,
        format!("roomkey {}\n", env!("CARGO_PKG_VERSION"))
    );
    let unknown = run("--canary");
    assert_eq!(
        (unknown.status.code(), unknown.stdout.as_str()),
        (Some(2), "")
    );
    assert!(!unknown.stderr.contains("canary"));
}

#[tokio::test]
async fn the_levels_that_are_not_asked_for_are_not_written_save_the_lines_of_the_start() {
    let app = unpacked();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary-secret-of-at-least-32-bytes\n").unwrap();
    let own = [
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", "APIcanary"),
        ("LIVEKIT_API_SECRET_FILE", file.path().to_str().unwrap()),
        ("ROOMKEY_CALLER_AUTH", "anonymous"),
    ];
    for (level, access_lines) in [("info", 1), ("warn", 0)] {
        let roomkey = app.start_as_host(&[&own[..], &[("ROOMKEY_LOG", level)]].concat());
        client()
            .get(format!("{}/api/health", roomkey.url))
            .send()
            .await
            .unwrap();
        let ended = roomkey.stop("INT");
        assert!(
            ended.status.success() && ended.stderr.is_empty(),
            "{ended:?}"
        );
        let lines: Vec<Value> = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines
                .iter()
                .filter(|line| line["message"] == "request")
                .count(),
            access_lines
        );
        assert!(ended.stdout.contains("listens on") && ended.stdout.contains("Allowed origins"));
        assert!(!ended.stdout.contains("canary"));
    }
}

#[test]
fn dev_mode_is_said_on_stderr_whatever_the_level_and_the_format() {
    let app = unpacked();
    for format in ["json", "text"] {
        let ended = app
            .start_as_host(&[("ROOMKEY_LOG", "error"), ("ROOMKEY_LOG_FORMAT", format)])
            .stop("TERM");
        assert!(
            ended.stderr.contains("WARNING: dev mode"),
            "{format}: {}",
            ended.stderr
        );
    }
}

/// One of several starts, without the time that its first thread or the test's waited for a
/// processor: what else the machine does can only add to it. It hardly adds to the time that the
/// program ran, to which therefore most starts keep.
#[test]
fn the_first_token_comes_within_20_ms_of_the_start() {
    const BOUND: Duration = Duration::from_millis(20);
    let app = unpacked();
    let (mut times, mut processor_times) = (Vec::new(), Vec::new());
    while times.len() < 5 || (times.len() < 50 && !times.iter().any(|time| *time < BOUND)) {
        let (began, [_, waited]) = (
            Stopwatch::start(),
            scheduled(Path::new("/proc/thread-self")),
        );
        let roomkey = app.start_as_host(&[]);
        let mut stream = TcpStream::connect(roomkey.address()).unwrap();
        let request = b"POST /api/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"roomName\":\"r\"}";
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let took = began.elapsed();
        let [_, waited_since] = scheduled(Path::new("/proc/thread-self"));
        let process = Path::new("/proc").join(roomkey.id().to_string());
        let [_, waited_itself] = scheduled(&process);
        // They may have waited at the same time, so that only the longer one surely counts.
        times.push(took.saturating_sub(waited_itself.max(waited_since.saturating_sub(waited))));
        let threads = std::fs::read_dir(process.join("task")).unwrap();
        let ran = threads.map(|thread| scheduled(&thread.unwrap().path())[0]);
        processor_times.push(ran.sum::<Duration>());
    }
    times.sort();
    processor_times.sort();
    let [median, processor_median] = [&times, &processor_times].map(|times| times[times.len() / 2]);
    let _ = writeln!(
        std::io::stderr(),
        "start to first token, {} times: at best {:.1?}, mostly {median:.1?}, of the processors' time {processor_median:.1?}",
        times.len(),
        times[0],
    );
    assert!(times[0] < BOUND, "{times:?}");
    assert!(processor_median < BOUND, "{processor_times:?}");
}

/// Returns for how long a thread has run, and has waited for a processor: the first two numbers of
/// its `schedstat`, in nanoseconds.
fn scheduled(thread: &Path) -> [Duration; 2] {
    let text = std::fs::read_to_string(thread.join("schedstat")).unwrap();
    let mut numbers = text.split_whitespace();
    [(); 2].map(|()| Duration::from_nanos(numbers.next().unwrap().parse().unwrap()))
}
