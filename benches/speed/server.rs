//! One running server: started on its core, asked for a first token, stopped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use roomkey::clock::Stopwatch;

use crate::exchange;
use crate::machine::{self, Cores};
use crate::peers::Peer;

/// A server that takes longer to its first answer does not work.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    child: Child,
    log: Option<JoinHandle<u64>>,
    pub address: SocketAddr,
    /// From before the process exists to the first answer that was checked.
    pub first_token: Duration,
    /// Requests that were refused before.
    pub refused: usize,
}

impl Server {
    /// Starts it. Its stdout is a pipe that a thread on the other core drains, as the Functions
    /// host would.
    pub fn start(peer: &Peer, cores: Cores) -> Self {
        Self::start_with(peer, &[], &exchange::request(), cores)
    }

    /// Starts it with further settings, of which an empty one takes another away, and asks for its
    /// first token with a request of one's own.
    pub fn start_with(
        peer: &Peer,
        settings: &[(&str, &str)],
        request: &[u8],
        cores: Cores,
    ) -> Self {
        let address = free_address();
        let mut command = peer.command(address.port());
        for (name, value) in settings {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        machine::stay_on(cores.server);
        let stopwatch = Stopwatch::start();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", peer.name));
        machine::stay_on(cores.load);
        let mut stdout = child.stdout.take().unwrap();
        let log = Some(thread::spawn(move || {
            std::io::copy(&mut stdout, &mut std::io::sink()).unwrap()
        }));
        let mut server = Self {
            child,
            log,
            address,
            first_token: Duration::ZERO,
            refused: 0,
        };
        let answer = server.first_answer(request, stopwatch);
        (peer.check)(&answer).unwrap_or_else(|fault| panic!("{} answers {fault}", peer.name));
        server.first_token = stopwatch.elapsed();
        server
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it and says how many bytes it logged.
    pub fn stop(mut self) -> u64 {
        self.end()
    }

    fn first_answer(&mut self, request: &[u8], stopwatch: Stopwatch) -> Vec<u8> {
        loop {
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                match ask(&mut stream, request).unwrap() {
                    Some(answer) => return answer,
                    None => self.refused += 1,
                }
            }
            assert!(stopwatch.elapsed() < PATIENCE, "it does not listen");
            assert!(self.child.try_wait().unwrap().is_none(), "it ended at once");
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn end(&mut self) -> u64 {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.take().map_or(0, |log| log.join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// The answer to a request; none while the server says that it cannot serve yet, as one that still
/// fetches keys does.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let failed = |error: std::io::Error| error.to_string();
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.write_all(request).map_err(failed)?;
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut some).map_err(failed)?;
        answer.extend(some.iter().take(read));
        if answer.starts_with(b"HTTP/1.1 503 ") {
            return Ok(None);
        }
        match exchange::extent(&answer)? {
            Some((body, end)) if end == answer.len() => return Ok(Some(answer.split_off(body))),
            _ if read == 0 => return Err("the server closed the connection".to_owned()),
            _ => {}
        }
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
