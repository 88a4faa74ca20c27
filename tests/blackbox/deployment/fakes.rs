//! The fakes and servers that stand in for Azure, OpenAI, an identity provider and Redis. The
//! fakes' own tests and those of the vendors' SDKs against them are in `tests/real/`.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roomkey::clock::Stopwatch;
use serde_json::{Value, json};

use super::path;
use crate::process::{client, start_script};
use crate::reserved_port::ReservedPort;

/// The identity header that the fake of the identity endpoint serves.
pub const IDENTITY_HEADER: &str = "identity-header-of-the-fake-azure";

/// The API key that the fake of OpenAI takes.
pub const OPENAI_KEY: &str = "realtime-key-of-the-fake";

/// A program that ends with the test, and the port on which it listens, if it is one of ours.
pub struct Program(Child, Option<ReservedPort>);

/// A fake, a program that is told what to do by requests.
pub struct Fake {
    _program: Program,
    controls: String,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::null()).spawn();
        let child = started.unwrap_or_else(|error| {
            panic!("{command:?}: {error}; `make tools` says what the tests need")
        });
        Self(child, None)
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Fake {
    /// Starts a script and reads the lines that it says before the URL of its controls.
    pub fn start<const LINES: usize>(script: &str, arguments: &[&str]) -> (Self, [String; LINES]) {
        let mut command = Command::new("node");
        command
            .arg(path("tests/real/peers/js").join(script))
            .args(arguments);
        Self::started(command)
    }

    /// Starts a collector of OpenTelemetry that keeps what it gets, and returns its URL.
    pub fn collector() -> (Self, String) {
        let mut command = Command::new(path("target/tools/venv/bin/python"));
        command.arg(path("tests/real/peers/python/otlp_sink.py"));
        let (fake, [url]) = Self::started(command);
        (fake, url)
    }

    fn started<const LINES: usize>(mut command: Command) -> (Self, [String; LINES]) {
        command.stderr(Stdio::null());
        let (child, mut said) = start_script(&mut command, LINES + 1);
        let controls = said.pop().unwrap();
        (
            Self {
                _program: Program(child, None),
                controls,
            },
            said.try_into().unwrap(),
        )
    }

    /// Calls a control and returns its answer.
    pub async fn control(&self, control: &str, parameters: Value) -> Value {
        let answer = client()
            .post(format!("{}/{control}", self.controls))
            .json(&parameters)
            .send()
            .await
            .unwrap();
        let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{control}: {body}");
        body
    }

    /// Writes a secret into the fake vault.
    pub async fn set(&self, name: &str, value: &str) {
        self.control("set", json!({ "name": name, "value": value }))
            .await;
    }
}

/// Starts a server on a port that is reserved for it. `command` is given the port.
pub fn on_a_reserved_port(command: impl FnOnce(u16) -> Command) -> (Program, u16) {
    let port = ReservedPort::new();
    let number = port.address.port();
    let mut command = command(number);
    let mut program = Program::start(&mut command);
    let began = Stopwatch::start();
    while TcpStream::connect(port.address).is_err() {
        assert!(program.runs(), "{command:?} ended before it listened");
        assert!(
            began.elapsed() < Duration::from_mins(2),
            "{command:?} does not listen"
        );
    }
    program.1 = Some(port);
    (program, number)
}

/// Starts an Azurite, Microsoft's emulator of Azure Blob Storage, for the identity and the
/// certificate of the fake Azure in a folder. Returns the address of a new container in it.
pub async fn container(folder: &Path, identity: &str) -> (Program, String) {
    const HOST: &str = "devstoreaccount1.blob.localhost";
    let (program, port) = on_a_reserved_port(|port| {
        let mut command = Command::new("node");
        command
            .arg(path(
                "tests/real/peers/azurite/node_modules/azurite/dist/src/blob/main.js",
            ))
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
            .args(["--inMemoryPersistence", "--oauth", "basic", "--cert"])
            .arg(folder.join("vault.pem"))
            .arg("--key")
            .arg(folder.join("vault.key"))
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .stdout(Stdio::null());
        command
    });
    let token = client()
        .get(format!(
            "{identity}?api-version=2019-08-01&resource=https://storage.azure.com"
        ))
        .header("x-identity-header", IDENTITY_HEADER)
        .send()
        .await
        .unwrap();
    let token = token.json::<Value>().await.unwrap();
    let authority = std::fs::read(folder.join("authority.pem")).unwrap();
    let address = format!("https://{HOST}:{port}/projects");
    let created = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .resolve(HOST, ([127, 0, 0, 1], port).into())
        .build()
        .unwrap()
        .put(format!("{address}?restype=container"))
        .bearer_auth(token["access_token"].as_str().unwrap())
        .header("x-ms-version", "2025-11-05")
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    (program, address)
}

/// Starts a Redis that keeps nothing on disk.
pub fn redis() -> (Program, String) {
    let (program, port) = on_a_reserved_port(|port| {
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null());
        command
    });
    (program, format!("redis://127.0.0.1:{port}/"))
}
