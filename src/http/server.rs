//! Connections: accept, serve, drain.

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

use super::connection::{Connection, PacedStream};
use super::dispatch;
use super::edge::{ConnectionLimits, Edge};
use crate::app::App;

/// A pause after a failed accept: the usual cause is that file descriptors have run out, and asking
/// at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Files for all connections, those that are refused included, and some to spare.
const FILES: u64 = 8_192;

/// The largest head in bytes, and the size to which one connection's buffer may grow. The Functions
/// host lets 32 KiB through and adds headers of its own.
const MAX_HEAD_BYTES: usize = 36 * 1024;

/// The same for the number of header fields, of which the host lets 100 through.
const MAX_HEAD_FIELDS: usize = 128;

/// Bytes of answers that the kernel holds for a client that does not take them; the largest answer
/// fits. Left alone it would hold up to 4 MB for each connection, and as many answers would be made
/// for nobody.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves until `stop` is ready. Then readiness says no and requests in flight finish, for at most
/// the drain's time; new ones are served meanwhile, so that nobody is turned away before the word
/// of the stop has spread.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    bounds: ConnectionLimits,
    stop: impl Future<Output = ()>,
) {
    let edge = Arc::new(Edge::new(bounds));
    tokio::select! {
        () = serve_and_drain(listener, app, &edge, stop) => {}
        never = write_summaries(&edge) => match never {}
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
    if timeout(edge.bounds.drain, drain).await.is_err() {
        tracing::warn!("requests still in flight were cut off");
    }
}

/// Writes the summaries of requests without lines of their own. The last one is written when the
/// edge is dropped.
async fn write_summaries(edge: &Edge) -> Never {
    loop {
        sleep(edge.bounds.summary).await;
        edge.unlogged.write_summary();
    }
}

/// Binds an address for [`serve`], with as many file descriptors as the system gives: the usual
/// limit is below the bound on connections.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    // Where it gives no more, connections past the limit wait in the system's queue.
    let _ = rlimit::increase_nofile_limit(FILES);
    let listener = std::net::TcpListener::bind(address)?;
    // Connections have it from here. Failing leaves what the system would have given.
    let _ = sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What an endless loop returns.
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
    let limits = Arc::clone(&edge);
    let (permit, is_refused) = match limits.connections.try_acquire() {
        Ok(permit) => (permit, false),
        Err(_) => match limits.refusals.try_acquire() {
            Ok(permit) => (permit, true),
            Err(_) => return,
        },
    };
    // Answers are small and written at once; waiting for more would only delay them. Failing is
    // harmless.
    let _ = stream.set_nodelay(true);
    let connection = Arc::new(Connection::new(app, edge, peer, is_refused));
    let served = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let filter = warp::service(dispatch::filter(&served, head));
        TowerToHyperService::new(filter).call(Request::new(body))
    });
    let stream = TokioIo::new(PacedStream::new(stream, connection));
    let serving = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEAD_FIELDS)
        .serve_connection(stream, service);
    // It ends with an error when its client breaks the protocol, is too slow or goes away: not ours
    // to report.
    let _ = watcher.watch(serving).await;
    drop(permit);
}
