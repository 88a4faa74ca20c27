//! A started coturn, and whether it lets a client in.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roomkey::clock::Stopwatch;
use serde_json::json;

use crate::peers::{script, tool};

/// The secret that the server shares with roomkey.
pub const TURN_SECRET: &str = "a-throw-away-turn-secret-of-32-bytes-or-more";
/// A second one, which it accepts too: so a secret is rotated.
pub const NEXT_TURN_SECRET: &str = "the-next-throw-away-turn-secret-of-32-bytes";

/// A TURN server of this test's own. It listens on a loopback address only and ends with the test.
pub struct TurnServer {
    child: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl TurnServer {
    /// Starts a server and waits until it listens.
    pub fn start() -> Self {
        // The server cannot be handed a socket, and a port that was free a moment ago may be taken
        // now: then another one.
        for _ in 0..5 {
            if let Some(server) = Self::try_start() {
                return server;
            }
        }
        panic!("turnserver ended five times before it listened");
    }

    fn try_start() -> Option<Self> {
        let port = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        // It needs no database. While one is created on a busy disk, it checks no credential.
        let settings = format!(
            "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nlistening-port={port}\n\
             realm=roomkey.test\nuse-auth-secret\nstatic-auth-secret={TURN_SECRET}\n\
             static-auth-secret={NEXT_TURN_SECRET}\nallow-loopback-peers\nno-tls\nno-dtls\n\
             no-cli\nno-multicast-peers\nrelay-threads=1\nlog-file=stdout\nsimple-log\n\
             userdb=/dev/null/none\npidfile={}\n",
            path("turnserver.pid"),
        );
        std::fs::write(path("turnserver.conf"), settings).unwrap();
        let child = Command::new(tool("target/tools/bin/turnserver"))
            .args(["-c", &path("turnserver.conf")])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            port,
            _folder: folder,
        };
        let began = Stopwatch::start();
        // The port is the server's as soon as nobody else can have it.
        while UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            if server.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "turnserver does not listen"
            );
        }
        Some(server)
    }

    /// The settings by which roomkey issues credentials for it.
    pub fn urls(&self) -> String {
        format!("turn:127.0.0.1:{}?transport=udp", self.port)
    }

    /// Sends a message through the server and back with a credential. Returns the error code of the
    /// server's refusal, if it refuses, or nothing if it does not answer in time, which was seen of a
    /// coturn that had just started: it says nothing about the credential.
    pub fn relay(&self, username: &str, credential: &str) -> Option<Result<(), u64>> {
        let case = json!({ "port": self.port, "username": username, "credential": credential });
        let answer = script(
            "target/tools/venv/bin/python3",
            &["tests/real/peers/python/turn_client.py"],
            &case.to_string(),
        );
        let is_relayed = answer["relayed"].as_bool()?;
        Some(if is_relayed {
            Ok(())
        } else {
            Err(answer["error"].as_u64().unwrap())
        })
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
