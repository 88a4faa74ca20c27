//! Connections: accept, serve, drain.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::dispatch;
use crate::app::App;

/// How long requests in flight may take to finish after a stop was asked for. Orchestrators kill after 10 s.
const DRAIN: Duration = Duration::from_secs(8);

/// A pause after a failed accept: the usual cause is that file descriptors have run out, and asking at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is ready, then lets requests in flight finish, for at most 8 s.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) {
    let filter = TowerToHyperService::new(warp::service(dispatch::filter(app)));
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        // `CONNECT host:port` has no path, and warp panics where it looks for one; this one leads nowhere.
        if request.uri().path_and_query().is_none() {
            *request.uri_mut() = Uri::from_static("*");
        }
        filter.call(request)
    });
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                // Answers are small and written at once; waiting for more would only delay them. Failing is harmless.
                let _ = stream.set_nodelay(true);
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
                // A connection ends with an error when its client breaks the protocol or goes away: not ours to report.
                tokio::spawn(connections.watch(connection));
            }
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN, connections.shutdown()).await.is_err() {
        tracing::warn!("requests still in flight were cut off");
    }
}

/// Binds an address for [`serve`].
///
/// # Errors
/// What the system says.
pub fn bind(address: std::net::SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
