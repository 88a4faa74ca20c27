//! The server: it accepts connections, serves them, and drains them at a stop.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, LimitedStream};
use super::dispatch;
use super::edge::{ConnectionLimits, Edge};
use crate::app::App;

/// The pause after a failed accept: the usual cause is a lack of file descriptors, and another
/// attempt at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// File descriptors for all connections, including those that are refused, and a reserve.
const FILES: u64 = 8_192;

/// Longest head in bytes, and the limit of one connection's buffer. The Functions host accepts
/// 32 KiB and adds headers of its own.
const MAX_HEAD_BYTES: usize = 36 * 1024;

/// Most header fields of one head. The Functions host accepts 100.
const MAX_HEAD_FIELDS: usize = 128;

/// Bytes of responses that the kernel buffers for a client that does not read them; the largest
/// response fits. The default is up to 4 MB for each connection, which would hold many responses
/// that no client reads.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves until `stop` is ready. Then readiness reports the stop and requests in flight finish
/// within the time of the drain. New requests are served meanwhile, because their senders may not
/// know of the stop yet.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    limits: ConnectionLimits,
    stop: impl Future<Output = ()>,
) {
    let edge = Arc::new(Edge::new(limits));
    tokio::select! {
        () = serve_and_drain(listener, app, &edge, stop) => {}
        never = log_summaries(&edge) => match never {}
    }
}

async fn serve_and_drain(
    listener: TcpListener,
    app: Arc<App>,
    edge: &Arc<Edge>,
    stop: impl Future<Output = ()>,
) {
    let (early, late) = (GracefulShutdown::new(), GracefulShutdown::new());
    tokio::select! {
        never = accept_all(&listener, &app, edge, &early) => match never {},
        () = stop => edge.stop(),
    }
    let drain = async {
        tokio::select! {
            never = accept_all(&listener, &app, edge, &late) => match never {},
            () = early.shutdown() => {}
        }
        drop(listener);
        late.shutdown().await;
    };
    if timeout(edge.limits.drain, drain).await.is_err() {
        tracing::warn!("requests still in flight were cut off");
    }
}

/// Logs the summaries of requests that are not logged on their own. The last one is logged when the
/// edge is dropped.
async fn log_summaries(edge: &Edge) -> Never {
    loop {
        sleep(edge.limits.summary).await;
        edge.unlogged.log_summary();
    }
}

/// Binds an address for [`serve`] and raises the limit of file descriptors, which is usually below
/// the limit of connections.
///
/// # Errors
/// The error of the system.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    // If that fails, connections past the limit wait in the system's queue.
    let _ = rlimit::increase_nofile_limit(FILES);
    let listener = std::net::TcpListener::bind(address)?;
    // Connections inherit it. If that fails, the default of the system stays.
    let _ = sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The type that an endless loop returns.
enum Never {}

async fn accept_all(
    listener: &TcpListener,
    app: &Arc<App>,
    edge: &Arc<Edge>,
    connections: &GracefulShutdown,
) -> Never {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve_connection(
                    stream,
                    peer.ip(),
                    Arc::clone(app),
                    Arc::clone(edge),
                    connections.watcher(),
                ));
            }
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: IpAddr,
    app: Arc<App>,
    edge: Arc<Edge>,
    watcher: Watcher,
) {
    let permits = Arc::clone(&edge);
    let (permit, is_refused) = match permits.connections.try_acquire() {
        Ok(permit) => (permit, false),
        Err(_) => match permits.refusals.try_acquire() {
            Ok(permit) => (permit, true),
            Err(_) => return,
        },
    };
    // Responses are small and written at once; waiting for more would only delay them. A failure
    // is harmless.
    let _ = stream.set_nodelay(true);
    let connection = Arc::new(Connection::new(app, edge, peer, is_refused));
    let served = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let filter = warp::service(dispatch::filter(&served, head));
        TowerToHyperService::new(filter).call(Request::new(body))
    });
    let stream = TokioIo::new(LimitedStream::new(stream, connection));
    let serving = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEAD_FIELDS)
        .serve_connection(stream, service);
    // It ends with an error if the client breaks the protocol, is too slow or hangs up, which is
    // not logged.
    let _ = watcher.watch(serving).await;
    drop(permit);
}
