//! Asks a running service whether it is alive, for `roomkey --health`: the image has no shell and no
//! other program that could.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The time limit of each step: to connect, to write, and each time to read.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The beginning of a good response (RFC 9112 §4).
const ALIVE: &[u8; 12] = b"HTTP/1.1 204";

/// The service did not say that it is alive.
#[derive(Debug, thiserror::Error)]
pub enum HealthCheckError {
    /// It could not be reached, or did not respond in time.
    #[error("no answer ({})", .0.kind())]
    NoAnswer(#[from] io::Error),
    /// It responded with another status, or something else listens there.
    #[error("the answer is not that of a healthy roomkey")]
    NotAlive,
}

/// Requests `GET /`, which is neither logged nor counted, from the service that listens on this
/// machine at the address. `0.0.0.0` and `::` stand for every address, the loopback one included.
///
/// # Errors
/// [`HealthCheckError`], within a few seconds.
pub fn ask(address: SocketAddr) -> Result<(), HealthCheckError> {
    let address = SocketAddr::new(reachable(address.ip()), address.port());
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut status = [0; ALIVE.len()];
    stream.read_exact(&mut status)?;
    if status == *ALIVE {
        Ok(())
    } else {
        Err(HealthCheckError::NotAlive)
    }
}

fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves one response at a port of all addresses, and asks there.
    fn ask_for(response: &'static str) -> (Result<(), HealthCheckError>, String) {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(response.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let asked = ask(address);
        (asked, serving.join().unwrap())
    }

    #[test]
    fn only_a_204_is_alive() {
        let (asked, request) = ask_for("HTTP/1.1 204 No Content\r\n\r\n");
        assert!(asked.is_ok());
        assert!(request.starts_with("GET / HTTP/1.1\r\nhost: 127.0.0.1:"));
        for other in [
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            "SSH-2.0-dropbear\r\n",
        ] {
            let (asked, _) = ask_for(other);
            assert!(matches!(asked, Err(HealthCheckError::NotAlive)), "{other}");
        }
        let (asked, _) = ask_for("HTTP/1.1");
        assert!(matches!(asked, Err(HealthCheckError::NoAnswer(_))));
    }

    #[test]
    fn nobody_there_is_no_answer() {
        let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let error = ask(address).unwrap_err().to_string();
        assert_eq!(error, "no answer (connection refused)");
    }
}
