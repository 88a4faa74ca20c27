//! A port for a server that is told where to listen and cannot inherit a socket.
//!
//! A socket that is bound to the port and does not listen reserves it. No program that asks for any
//! free port is given this one, and connections to it are refused. A server that is told the number
//! can listen on it, since servers set `SO_REUSEADDR`.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of the loopback address that is reserved until this is dropped, also while the server on
/// it is stopped or restarted.
pub struct ReservedPort {
    pub address: SocketAddr,
    _socket: TcpSocket,
}

impl ReservedPort {
    /// Reserves a port that nobody uses.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            _socket: socket,
        }
    }
}

#[test]
fn a_reserved_port_refuses_connections_until_its_server_listens() {
    let port = ReservedPort::new();
    let connect = || std::net::TcpStream::connect(port.address);
    let refused = connect().map_err(|error| error.kind()).unwrap_err();
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    let _server = std::net::TcpListener::bind(port.address).unwrap();
    assert!(connect().is_ok());
}
