//! Is it alive, and can it serve?

use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
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

/// Everything that a token needs is there. Signing needs nothing from outside, so there is no dependency to wait for.
pub fn ready() -> Result<Reply, ApiError> {
    reply::json(StatusCode::OK, &Ready { status: "ready", dependencies: [] })
}
