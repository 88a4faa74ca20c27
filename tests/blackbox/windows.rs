//! The package for Windows, run by Wine. `make test-windows` builds it and runs these tests, which
//! `make test` leaves out: Wine and the second build take too long for every run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Roomkey, client};

/// The origin that the package's `host.json` allows.
const ORIGIN: &str = "http://localhost:4200";

/// The package for Windows, unpacked.
struct WindowsApp {
    folder: TempDir,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Unpacks the zip into an empty folder.
fn unpacked() -> WindowsApp {
    let zip = root().join("dist/roomkey-windows.zip");
    assert!(
        zip.exists(),
        "dist/roomkey-windows.zip is missing: `make test-windows` builds it first"
    );
    let folder = tempfile::tempdir().unwrap();
    let mut unzip = Command::new("unzip");
    unzip.arg("-q").arg(zip).current_dir(&folder);
    assert!(unzip.status().unwrap().success());
    WindowsApp { folder }
}

/// Returns a path as programs under Wine see it.
fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.to_str().unwrap().replace('/', "\\"))
}

impl WindowsApp {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a command that runs the program with nothing in its environment but what Wine needs
    /// and the given settings.
    fn command(&self, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new("wine");
        command
            .arg(self.path("handler.exe"))
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("WINEPREFIX", root().join("target/wine"))
            .env("WINEDEBUG", "-all")
            // What comes last in the search for a library.
            .env("WINEPATH", windows_path(&root().join("target/tools/wine")))
            // Neither .NET nor a browser is needed, and Wine would ask for them.
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", "0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null());
        command
    }

    fn start(&self, settings: &[(&str, &str)]) -> Roomkey {
        Roomkey::started(&mut self.command(settings))
    }

    /// Runs the program with arguments to its end. Returns its exit code, stdout and stderr.
    fn run(&self, settings: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(settings).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

#[test]
#[ignore = "needs Wine and the package for Windows: make test-windows"]
fn windows_zip_holds_the_program_and_a_host_json_that_names_it() {
    let app = unpacked();
    let mut files: Vec<_> = ["", "token", "web"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(app.path(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.strip_prefix(&app.folder).unwrap().to_owned())
        .collect();
    files.sort();
    let expected = [
        "handler.exe",
        "host.json",
        "token/function.json",
        "web/function.json",
    ];
    assert_eq!(files, expected.map(PathBuf::from));
    let json = |path: PathBuf| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let mut on_linux = json(root().join("host.json"));
    on_linux["customHandler"]["description"]["defaultExecutablePath"] = json!("handler.exe");
    assert_eq!(json(app.path("host.json")), on_linux);
}

#[test]
#[ignore = "needs Wine and the package for Windows: make test-windows"]
fn windows_check_reads_host_json_from_a_windows_path_and_names_wrong_settings() {
    let app = unpacked();
    let folder = windows_path(app.folder.path());
    let (code, stdout, stderr) = app.run(&[("FUNCTIONS_APP_ROOT_PATH", &folder)], &["--check"]);
    assert_eq!(
        (code, stdout.contains(ORIGIN)),
        (Some(0), true),
        "{stdout}{stderr}"
    );
    let (code, stdout, stderr) = app.run(&[("LIVEKIT_URL", "canary")], &["--check"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(
        stderr.contains("LIVEKIT_URL") && !stderr.contains("canary"),
        "{stderr}"
    );
}

#[tokio::test]
#[ignore = "needs Wine and the package for Windows: make test-windows"]
async fn windows_program_serves_a_token_and_a_preflight_and_stops_with_ctrl_c() {
    let app = unpacked();
    let roomkey = app.start(&[]);
    let url = format!("{}/api/token", roomkey.url);
    let preflight = client()
        .request(Method::OPTIONS, &url)
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], ORIGIN);
    let answer = client()
        .post(&url)
        .json(&json!({ "roomName": "hello" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["token"].as_str().unwrap().split('.').count(), 3);
    // Wine turns this signal into Ctrl+C.
    let ended = roomkey.stop("INT");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("stopping"), "{ended:?}");
}

/// Returns the admin key of dev mode, which the start prints.
fn admin_key(roomkey: &mut Roomkey) -> String {
    let line = roomkey.wait_for("X-Admin-API-Key: ");
    let (_, key) = line.split_once("X-Admin-API-Key: ").unwrap();
    key.trim_end_matches(['\r', '\n', '}', '"']).to_owned()
}

#[tokio::test]
#[ignore = "needs Wine and the package for Windows: make test-windows"]
async fn windows_store_keeps_a_project_key_over_a_restart() {
    let app = unpacked();
    let mut roomkey = app.start(&[]);
    let key = admin_key(&mut roomkey);
    let saved = client()
        .post(format!("{}/api/projects/key", roomkey.url))
        .header("x-admin-api-key", key)
        .json(&json!({ "project_id": "customer-42", "openai_key": "sk-demo-of-customer-42-0123456789" }))
        .send()
        .await
        .unwrap();
    assert_eq!(saved.status(), 201);
    assert_eq!(roomkey.stop("INT").status.code(), Some(0));

    let mut roomkey = app.start(&[]);
    let key = admin_key(&mut roomkey);
    let listed = client()
        .get(format!("{}/api/projects", roomkey.url))
        .header("x-admin-api-key", key)
        .send()
        .await
        .unwrap();
    let listed: Value = listed.json().await.unwrap();
    assert_eq!(listed["projects"][0]["project_id"], "customer-42");
    assert_eq!(roomkey.stop("INT").status.code(), Some(0));
}
