//! The tests' fake of Azure, told to take its time over every secret and token.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

/// The identity header that the fake serves.
const IDENTITY_HEADER: &str = "identity-header-of-the-fake-azure";

pub struct Vault {
    child: Child,
    url: String,
    identity: String,
    authority: String,
    _folder: tempfile::TempDir,
}

impl Vault {
    /// Starts one that holds secrets and takes so long for each, and so long for a token.
    pub fn start(
        secrets: &[(&str, &str)],
        vault_takes: Duration,
        identity_takes: Duration,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("node");
        command
            .arg("tests/real/peers/js/fake_azure.mjs")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let (url, identity, authority, controls) = (line(), line(), line(), line());
        for (name, value) in secrets {
            control(
                &controls,
                "set",
                &json!({ "name": name, "value": value }).to_string(),
            );
        }
        for (part, takes) in [("vault", vault_takes), ("identity", identity_takes)] {
            control(
                &controls,
                part,
                &json!({ "delayMs": u64::try_from(takes.as_millis()).unwrap() }).to_string(),
            );
        }
        Self {
            child,
            url,
            identity,
            authority,
            _folder: folder,
        }
    }

    /// The settings by which roomkey reads it.
    pub fn settings(&self) -> [(&'static str, &str); 4] {
        [
            ("KEY_VAULT_URL", &self.url),
            ("IDENTITY_ENDPOINT", &self.identity),
            ("IDENTITY_HEADER", IDENTITY_HEADER),
            ("SSL_CERT_FILE", &self.authority),
        ]
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn control(url: &str, name: &str, body: &str) {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "POST /{name} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
