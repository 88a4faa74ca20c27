//! The OpenAPI document of every route. The tests validate each response and the route table with
//! it.

use http::StatusCode;

use super::error::ApiError;
use super::reply::{self, Reply};
use super::request::Request;
use crate::app::App;

/// The document `docs/openapi.json`.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// Returns the document.
pub(super) async fn document(_: &App, _: Request<'_>) -> Result<Reply, ApiError> {
    Ok(reply::with_static_body(
        StatusCode::OK,
        "application/json",
        DOCUMENT,
    ))
}
