//! What is in the zip, and that it serves under the Functions host's environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::attack::{report, resident_kilobytes};
use crate::process::{Roomkey, client};

/// The package, unpacked.
pub struct App {
    folder: tempfile::TempDir,
}

/// Unpacks the zip into an empty folder.
pub fn unpacked() -> App {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("unzip")
        .arg("-q")
        .arg(zip())
        .current_dir(&folder)
        .status()
        .unwrap();
    assert!(done.success());
    App { folder }
}

fn zip() -> PathBuf {
    let zip = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/roomkey.zip");
    assert!(
        zip.exists(),
        "dist/roomkey.zip is missing: `make package` builds it, and `make test` does that first"
    );
    zip
}

impl App {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn handler(&self) -> PathBuf {
        self.folder().join("handler")
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.folder().join(name)).unwrap()).unwrap()
    }

    /// Starts the handler with what the Functions host sets (any free port stands for the one that
    /// it picks).
    pub fn start_as_host(&self, settings: &[(&str, &str)]) -> Roomkey {
        let root = self.folder().to_str().unwrap();
        let host = [
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "0"),
            ("FUNCTIONS_HTTPWORKER_PORT", "0"),
            (
                "FUNCTIONS_CUSTOMHANDLER_WORKER_ID",
                "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            ),
            (
                "FUNCTIONS_HTTPWORKER_ID",
                "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            ),
            ("FUNCTIONS_APP_ROOT_PATH", root),
            ("FUNCTIONS_WORKER_RUNTIME", "custom"),
            // One address asks more often here than any caller may.
            ("ROOMKEY_RATE_LIMIT", "off"),
        ];
        Roomkey::start(&self.handler(), self.folder(), &[&host, settings].concat())
    }
}

async fn post(url: &str, body: &Value) -> reqwest::Response {
    client()
        .post(format!("{url}/api/token"))
        .json(body)
        .send()
        .await
        .unwrap()
}

#[test]
fn packaged_zip_holds_what_azure_needs_and_nothing_else() {
    let listed = Command::new("unzip").arg("-Z").arg(zip()).output().unwrap();
    let listing = String::from_utf8(listed.stdout).unwrap();
    let entries: Vec<_> = listing
        .lines()
        .filter(|line| line.starts_with('-'))
        .map(|line| (line.get(..10).unwrap(), line.rsplit(' ').next().unwrap()))
        .collect();
    let expected = [
        ("-rwxr-xr-x", "handler"),
        ("-rw-r--r--", "host.json"),
        ("-rw-r--r--", "token/function.json"),
        ("-rw-r--r--", "web/function.json"),
    ];
    assert_eq!(entries, expected, "{listing}");
    assert!(std::fs::metadata(zip()).unwrap().len() <= 10_000_000);
}

/// The files that `func azure functionapp publish` would send from the project's own folder, after
/// a build there. Its rules are those of gitignore, of which `.funcignore` uses two forms.
fn published() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(root.join(".funcignore")).unwrap();
    let mut rules = rules
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(
        rules.next(),
        Some("/*"),
        "nothing of the folder is published unless a later rule says so"
    );
    let mut published = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for rule in rules {
        let name = rule
            .strip_prefix("!/")
            .filter(|name| !name.contains(['/', '*', '?', '[', '!', ' ']));
        let name = name.unwrap_or_else(|| panic!("{rule} is a rule of another form"));
        let path = root.join(name);
        if path.is_dir() {
            folders.push(path);
        } else {
            // The handler is where a build puts it.
            assert!(
                name == "handler" || path.exists(),
                "{rule} is for a file that is not there"
            );
            published.push(name.to_owned());
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                published.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    published.sort();
    published
}

#[test]
fn packaged_zip_is_what_funcignore_lets_core_tools_publish() {
    let listed = Command::new("unzip")
        .arg("-Z1")
        .arg(zip())
        .output()
        .unwrap();
    let packaged: Vec<_> = std::str::from_utf8(&listed.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(published(), packaged);
}

#[test]
fn packaged_zip_is_configured_as_a_custom_handler_that_sees_every_request() {
    let app = unpacked();
    let host = app.json("host.json");
    let handler = &host["customHandler"];
    assert_eq!(handler["description"]["defaultExecutablePath"], "handler");
    assert_eq!(
        (
            &handler["enableForwardingHttpRequest"],
            &handler["enableProxyingHttpRequest"]
        ),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        host["logging"]["logLevel"]["Host.Function.Console"],
        "Information"
    );
    assert_eq!(
        host["cors"],
        json!({ "allowedOrigins": ["http://localhost:4200"], "supportCredentials": false })
    );
    for (function, route) in [("token", "token"), ("web", "{*path}")] {
        let bindings = app.json(&format!("{function}/function.json"))["bindings"]
            .as_array()
            .unwrap()
            .clone();
        assert_eq!(
            bindings.len(),
            2,
            "the host forwards only functions with one HTTP trigger and one HTTP output"
        );
        assert_eq!(
            (
                &bindings[0]["type"],
                &bindings[0]["authLevel"],
                &bindings[1]["type"]
            ),
            (&json!("httpTrigger"), &json!("anonymous"), &json!("http"))
        );
        assert_eq!(bindings[0]["route"], route);
        assert!(
            bindings[0]["methods"]
                .as_array()
                .unwrap()
                .contains(&json!("options")),
            "{function}"
        );
    }
}

#[tokio::test]
async fn packaged_zip_alone_serves_a_token_under_the_hosts_environment() {
    let app = unpacked();
    let roomkey = app.start_as_host(&[]);
    let ready = client()
        .get(format!("{}/", roomkey.url))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 204);
    let invocation = "0a1b2c3d-0000-4000-8000-000000000001";
    let answer = client()
        .post(format!("{}/api/token", roomkey.url))
        .header("x-azure-functions-invocationid", invocation)
        .json(&json!({ "roomName": "hello" }))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            answer.status(),
            answer.headers()["x-request-id"].to_str().unwrap()
        ),
        (reqwest::StatusCode::OK, invocation)
    );
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["token"].as_str().unwrap().split('.').count(), 3);

    // What the host would show: the access line as information, with the invocation's id.
    let ended = roomkey.stop("TERM");
    assert!(ended.status.success());
    let line = ended
        .stdout
        .lines()
        .find(|line| line.contains(r#""route":"/api/token""#))
        .unwrap();
    assert!(
        line.contains(invocation) && !line.contains("hello"),
        "{line}"
    );
}

#[tokio::test]
async fn packaged_zip_cors_follows_host_json_with_no_other_edit() {
    let app = unpacked();
    let allowed = async |origin: &str| {
        let roomkey = app.start_as_host(&[]);
        let answer = client()
            .get(format!("{}/api/health", roomkey.url))
            .header("origin", origin)
            .send()
            .await
            .unwrap();
        answer
            .headers()
            .get("access-control-allow-origin")
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let (before, after) = ("http://localhost:4200", "https://voice.example.com");
    assert_eq!(
        (allowed(before).await.as_deref(), allowed(after).await),
        (Some(before), None)
    );
    let path = app.folder().join("host.json");
    let edited = std::fs::read_to_string(&path)
        .unwrap()
        .replace(before, after);
    std::fs::write(&path, edited).unwrap();
    assert_eq!(
        (allowed(before).await, allowed(after).await.as_deref()),
        (None, Some(after))
    );
}

/// One of several starts: the kernel maps some pages of the program around those that are used, up
/// to a megabyte more in one start than in another.
#[tokio::test]
async fn packaged_zip_stays_under_ten_megabytes_resident() {
    let mut resident = Vec::new();
    while resident.last().is_none_or(|kilobytes| *kilobytes >= 10_000) {
        assert!(resident.len() < 8, "{resident:?} kB");
        resident.push(resident_after_200_tokens().await);
    }
    report(&format!("resident after 200 tokens: {resident:?} kB"));
}

async fn resident_after_200_tokens() -> u64 {
    let app = unpacked();
    // Each worker has memory of its own, and there is one for each processor: here as many as
    // Azure's small plans have.
    let roomkey = app.start_as_host(&[("TOKIO_WORKER_THREADS", "2")]);
    for _ in 0..200 {
        assert_eq!(
            post(&roomkey.url, &json!({ "roomName": "hello" }))
                .await
                .status(),
            200
        );
    }
    resident_kilobytes(&roomkey)
}
