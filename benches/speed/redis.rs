//! A Redis server on the core of whoever asks, so that roomkey keeps its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use roomkey::clock::Stopwatch;

use crate::server::free_address;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    /// Starts one that writes no file, and waits until it answers.
    pub fn start() -> Self {
        let address = free_address();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &address.port().to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}"));
        let redis = Self { child, address };
        let stopwatch = Stopwatch::start();
        while redis.scripts_run().is_none() {
            assert!(
                stopwatch.elapsed() < PATIENCE,
                "redis-server does not answer"
            );
            thread::sleep(Duration::from_millis(1));
        }
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// How many scripts it has run: what roomkey's limiter asks it to do, once a request.
    pub fn scripts_run(&self) -> Option<u64> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let calls = |line: &str| -> Option<u64> {
            let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            ["eval", "evalsha"]
                .contains(&command)
                .then(|| rest.split(',').next()?.parse().ok())?
        };
        answer
            .contains("# Commandstats")
            .then(|| answer.lines().filter_map(calls).sum())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
