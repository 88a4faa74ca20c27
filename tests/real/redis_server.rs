//! A Redis server that a test may stop, kill and restart.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Connection, FromRedisValue};
use roomkey::clock::Stopwatch;

use crate::reserved_port::ReservedPort;

/// A Redis server for this test only. It listens on a loopback address, stores nothing on disk and
/// stops with the test.
pub struct RedisServer {
    child: Child,
    port: ReservedPort,
    settings: Vec<String>,
    folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server on a free port and waits until it serves.
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server with TLS only and a certificate of this test's own authority:
    /// [`RedisServer::authority`].
    pub fn start_with_tls() -> Self {
        Self::start_with(|folder| {
            make_certificates(folder);
            let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
            let words = [
                "--port",
                "0",
                "--tls-auth-clients",
                "no",
                "--tls-cert-file",
                &file("server.pem"),
            ];
            let files = [
                "--tls-key-file",
                &file("server.key"),
                "--tls-ca-cert-file",
                &file("authority.pem"),
            ];
            words.into_iter().chain(files).map(str::to_owned).collect()
        })
    }

    /// Starts a server of a cluster that serves no key yet. The second port is that of the cluster
    /// bus.
    pub fn start_in_cluster() -> (Self, ReservedPort) {
        let bus = ReservedPort::new();
        let words = format!(
            "--cluster-enabled yes --cluster-port {} --cluster-node-timeout 60000",
            bus.address.port()
        );
        (
            Self::start_with(|_| words.split(' ').map(str::to_owned).collect()),
            bus,
        )
    }

    /// Returns the authority that a client of [`RedisServer::start_with_tls`] must trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    fn start_with(settings: impl Fn(&Path) -> Vec<String>) -> Self {
        let port = ReservedPort::new();
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let child = spawn(&port, &settings, folder.path());
        let mut server = Self {
            child,
            port,
            settings,
            folder,
        };
        server.comes_up();
        server
    }

    /// Returns its address as an operator writes it: `redis://…`.
    pub fn url(&self) -> String {
        format!(
            "{}://{}/",
            if has_tls(&self.settings) {
                "rediss"
            } else {
                "redis"
            },
            self.port.address
        )
    }

    /// Returns its socket address, for another server of its cluster.
    pub fn port(&self) -> u16 {
        self.port.address.port()
    }

    /// Kills the server, which loses its data.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts the server, empty, on the same port.
    pub fn restart(&mut self) {
        self.child = spawn(&self.port, &self.settings, self.folder.path());
        self.comes_up();
    }

    /// Sends a signal that stops or continues the process. A stopped server hangs, and its
    /// connections stay open.
    pub fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args(["-s", signal, &self.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Sends a command to the server.
    pub fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let mut words = command.iter();
        let mut ask = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            ask.arg(*word);
        });
        ask.query(&mut self.connection()).unwrap()
    }

    /// Opens a connection to the server.
    pub fn connection(&self) -> Connection {
        redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .unwrap()
    }

    fn comes_up(&mut self) {
        let began = Stopwatch::start();
        while TcpStream::connect(self.port.address).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "redis-server ended before it answered");
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "redis-server does not answer"
            );
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_tls(settings: &[String]) -> bool {
    settings.iter().any(|word| word.starts_with("--tls"))
}

fn spawn(port: &ReservedPort, settings: &[String], folder: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args([
        if has_tls(settings) {
            "--tls-port"
        } else {
            "--port"
        },
        &port.address.port().to_string(),
    ]);
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--loglevel",
            "warning",
            "--dir",
        ])
        .arg(folder);
    command
        .args(settings)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}; `make tools` installs it"))
}

/// Generates an authority and a server certificate for 127.0.0.1.
fn make_certificates(folder: &Path) {
    std::fs::write(
        folder.join("server.ext"),
        "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n",
    )
    .unwrap();
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for command in [
        format!(
            "req -x509 {new_key} -keyout authority.key -out authority.pem -days 2 \
             -subj /CN=authority"
        ),
        format!("req {new_key} -keyout server.key -out server.csr -subj /CN=server"),
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
         -extfile server.ext -out server.pem"
            .to_owned(),
    ] {
        let output = Command::new("openssl")
            .args(command.split(' '))
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
