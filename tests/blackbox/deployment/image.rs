//! The container image, `dist/roomkey-image.tar`: its configuration, its content, and that it
//! serves from its own root.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde_json::{Value, json};

use super::{path, succeeds, text};
use crate::package::unpacked;
use crate::process::{Roomkey, client};

/// Bytes, unpacked.
const LIMIT: u64 = 20_000_000;

/// The archive, taken apart.
struct Image {
    config: Value,
    tags: Value,
    /// Every file with its mode, owner and size.
    files: BTreeMap<String, (String, String, u64)>,
    folder: tempfile::TempDir,
}

fn image() -> Image {
    let archive = path("dist/roomkey-image.tar");
    assert!(
        archive.exists(),
        "dist/roomkey-image.tar is missing: `make image` builds it, and `make test` does that first"
    );
    let folder = tempfile::tempdir().unwrap();
    succeeds(
        Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(folder.path()),
    );
    let read = |name: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(folder.path().join(name)).unwrap()).unwrap()
    };
    let manifest = read("manifest.json");
    let (config, layers) = (
        read(manifest[0]["Config"].as_str().unwrap()),
        manifest[0]["Layers"].as_array().unwrap(),
    );
    let [layer] = layers.as_slice() else {
        panic!("one layer, and not {}", layers.len())
    };
    let layer = folder.path().join(layer.as_str().unwrap());
    let listing = succeeds(
        Command::new("tar")
            .args(["--numeric-owner", "-tvf"])
            .arg(&layer),
    );
    let files = listing
        .lines()
        .filter(|line| !line.starts_with('d'))
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let name = words[5]
                .trim_start_matches("./")
                .trim_start_matches('/')
                .to_owned();
            (
                name,
                (
                    words[0].to_owned(),
                    words[1].to_owned(),
                    words[2].parse().unwrap(),
                ),
            )
        });
    let files = files.collect();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    succeeds(
        Command::new("tar")
            .arg("-xf")
            .arg(&layer)
            .arg("-C")
            .arg(&root),
    );
    Image {
        config,
        tags: manifest[0]["RepoTags"].clone(),
        files,
        folder,
    }
}

#[test]
fn image_holds_the_program_its_c_library_certificates_and_nothing_else() {
    let image = image();
    let expected = [
        ("app/LICENSE-APACHE", "-rw-r--r--"),
        ("app/LICENSE-MIT", "-rw-r--r--"),
        ("app/host.json", "-rw-r--r--"),
        ("app/roomkey", "-rwxr-xr-x"),
        ("etc/passwd", "-rw-r--r--"),
        ("etc/ssl/certs/ca-certificates.crt", "-rw-r--r--"),
        ("lib/x86_64-linux-gnu/libc.so.6", "-rwxr-xr-x"),
        ("lib/x86_64-linux-gnu/libdl.so.2", "-rwxr-xr-x"),
        ("lib/x86_64-linux-gnu/libm.so.6", "-rwxr-xr-x"),
        ("lib/x86_64-linux-gnu/libpthread.so.0", "-rwxr-xr-x"),
        ("lib64/ld-linux-x86-64.so.2", "-rwxr-xr-x"),
        ("usr/share/doc/ca-certificates/copyright", "-rw-r--r--"),
        ("usr/share/doc/libc6/copyright", "-rw-r--r--"),
    ];
    let found: Vec<_> = image
        .files
        .iter()
        .map(|(name, (mode, ..))| (name.as_str(), mode.as_str()))
        .collect();
    assert_eq!(found, expected);
    // All of it is root's, and the program is not root: it can change nothing.
    assert!(
        image.files.values().all(|(_, owner, _)| owner == "0/0"),
        "{:?}",
        image.files
    );
    assert!(image.files.values().map(|(.., size)| size).sum::<u64>() < LIMIT);
    let packaged = std::fs::read(path("dist/roomkey/handler")).unwrap();
    assert!(
        packaged == std::fs::read(image.folder.path().join("root/app/roomkey")).unwrap(),
        "another program than the package's"
    );
    let certificates = std::fs::read_to_string(
        image
            .folder
            .path()
            .join("root/etc/ssl/certs/ca-certificates.crt"),
    )
    .unwrap();
    assert!(certificates.matches("-----BEGIN CERTIFICATE-----").count() > 100);
}

#[test]
fn image_runs_as_nobody_in_particular_and_the_dockerfile_makes_the_same() {
    let image = image();
    let (config, version) = (&image.config["config"], env!("CARGO_PKG_VERSION"));
    // As `docker images` shows it: roomkey and the version.
    assert_eq!(
        image.tags,
        json!([format!("docker.io/library/roomkey:{version}")])
    );
    assert_eq!(
        (&image.config["architecture"], &image.config["os"]),
        (&json!("amd64"), &json!("linux"))
    );
    let expected = json!({
        "User": "65532:65532", "WorkingDir": "/app", "Entrypoint": ["/app/roomkey"], "StopSignal": "SIGTERM", "ExposedPorts": { "7071/tcp": {} },
        "Env": ["ROOMKEY_BIND=0.0.0.0", "ROOMKEY_LOG_FORMAT=json"],
        "Labels": {
            "org.opencontainers.image.licenses": "MIT OR Apache-2.0", "org.opencontainers.image.title": "roomkey",
            "org.opencontainers.image.version": version,
        },
    });
    assert_eq!(config, &expected);

    let lines = text("Dockerfile");
    let lines: Vec<_> = lines
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let instruction = |name: &str| {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (instruction("FROM"), instruction("COPY")),
        (vec!["scratch"], vec!["dist/image/root/ /"])
    );
    assert_eq!(
        (instruction("USER"), instruction("WORKDIR")),
        (vec!["65532:65532"], vec!["/app"])
    );
    assert_eq!(
        (instruction("ENTRYPOINT"), instruction("EXPOSE")),
        (vec![r#"["/app/roomkey"]"#], vec!["7071/tcp"])
    );
    assert_eq!(
        (instruction("STOPSIGNAL"), instruction("ARG")),
        (vec!["SIGTERM"], vec![format!("VERSION={version}").as_str()])
    );
    assert_eq!(
        instruction("ENV"),
        ["ROOMKEY_BIND=0.0.0.0", "ROOMKEY_LOG_FORMAT=json"]
    );
    let label = Regex::new(r#"([\w.]+)="([^"]*)""#).unwrap();
    let labels: BTreeMap<_, _> = instruction("LABEL")
        .iter()
        .flat_map(|line| label.captures_iter(line))
        .map(|found| (found[1].to_owned(), found[2].replace("$VERSION", version)))
        .collect();
    assert_eq!(json!(labels), expected["Labels"]);
    let known = [
        "FROM",
        "COPY",
        "USER",
        "WORKDIR",
        "ENTRYPOINT",
        "EXPOSE",
        "STOPSIGNAL",
        "ARG",
        "ENV",
        "LABEL",
    ];
    assert!(
        lines
            .iter()
            .all(|line| known.contains(&line.split(' ').next().unwrap())),
        "{lines:?}"
    );
}

#[test]
fn image_is_named_by_its_version_wherever_it_is_used_and_starts_with_the_settings_of_the_compose_file()
 {
    let version = env!("CARGO_PKG_VERSION");
    let (compose, guide) = (text("compose.yaml"), text("docs/self-hosting.md"));
    assert!(compose.contains(&format!("    image: roomkey:{version}\n")));
    let named = Regex::new(r"roomkey:(\d[\w.-]*)").unwrap();
    let versions: Vec<_> = named
        .captures_iter(&guide)
        .map(|found| found[1].to_owned())
        .collect();
    assert!(
        !versions.is_empty() && versions.iter().all(|named| named == version),
        "docs/self-hosting.md: {versions:?}"
    );

    let service = compose.split("\n  roomkey:\n").nth(1).unwrap();
    assert!(service.contains("      test: [CMD, /app/roomkey, --health]\n"));
    let (_, environment) = service.split_once("    environment:\n").unwrap();
    let pairs = environment
        .lines()
        .map_while(|line| line.strip_prefix("      "))
        .map(|line| line.split_once(": ").unwrap());
    let settings: Vec<_> = pairs.chain([("ROOMKEY_BIND", "0.0.0.0")]).collect();
    assert!(settings.len() > 5, "{settings:?}");
    let app = unpacked();
    let checked = crate::process::run(&app.handler(), app.folder(), &settings, &["--check"]);
    assert!(checked.status.success(), "{checked:?}");
}

/// The program in a namespace of its own, in which the user of the image is the only one.
fn at_root(root: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-user=65532",
            "--map-group=65532",
            "--wd=/app",
        ])
        .arg(format!("--root={}", root.display()))
        .arg("/app/roomkey")
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    command
}

#[tokio::test]
async fn image_serves_a_token_from_its_own_root_and_stops_when_told() {
    let image = image();
    let root = image.folder.path().join("root");
    let mut command = at_root(&root);
    for setting in image.config["config"]["Env"].as_array().unwrap() {
        let (name, value) = setting.as_str().unwrap().split_once('=').unwrap();
        command.env(name, value);
    }
    // Loopback alone, since this is no container with a network of its own.
    command.envs([
        ("ROOMKEY_BIND", "127.0.0.1"),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "0"),
    ]);
    command.envs([
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", "APIimage"),
    ]);
    command.envs([
        (
            "LIVEKIT_API_SECRET",
            "a-throw-away-secret-of-32-bytes-or-more",
        ),
        ("ROOMKEY_CALLER_AUTH", "anonymous"),
    ]);
    let roomkey = Roomkey::started(&mut command);
    let status = std::fs::read_to_string(format!("/proc/{}/status", roomkey.id())).unwrap();
    let powers = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap()
        .trim();
    assert_eq!(powers, "0000000000000000", "it needs no capability");
    let port = roomkey.address().port().to_string();
    let mut health = at_root(&root);
    health.arg("--health").envs([("ROOMKEY_BIND", "127.0.0.1")]);
    let asked = health
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", &port)
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let answer = client()
        .post(format!("{}/api/token", roomkey.url))
        .json(&json!({ "roomName": "r" }))
        .send()
        .await
        .unwrap();
    let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
    assert_eq!(
        (status.as_u16(), &body["serverUrl"]),
        (200, &json!("wss://livekit.example.com")),
        "{body}"
    );
    let ended = roomkey.stop("TERM");
    assert!(ended.status.success(), "{ended:?}");
    assert!(
        ended.stdout.contains("http://localhost:4200"),
        "it reads the image's host.json: {}",
        ended.stdout
    );
}
