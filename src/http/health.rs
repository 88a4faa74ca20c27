//! Is it alive, and can it serve?

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;

use super::edge::Edge;
use super::error::{ApiError, RETRY_AFTER_SECONDS};
use super::reply::{self, Reply};

#[derive(Serialize)]
struct Alive {
    status: &'static str,
    message: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    dependencies: [(); 0],
}

/// The Functions host asks this every 25 ms until it gets any answer.
pub fn probe() -> Reply {
    reply::empty(StatusCode::NO_CONTENT)
}

/// The process serves.
pub fn alive() -> Result<Reply, ApiError> {
    reply::json(StatusCode::OK, &Alive { status: "healthy", message: "roomkey is alive.", version: env!("CARGO_PKG_VERSION") })
}

/// Everything that a token needs is there, until a stop is asked for. Signing needs nothing from outside, so there is no
/// dependency to wait for.
pub fn ready(edge: &Edge) -> Result<Reply, ApiError> {
    if !edge.is_stopping() {
        return reply::json(StatusCode::OK, &Ready { status: "ready", dependencies: [] });
    }
    let mut reply = reply::json(StatusCode::SERVICE_UNAVAILABLE, &Ready { status: "stopping", dependencies: [] })?;
    reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    Ok(reply)
}
