//! The OpenAPI description of every route. The tests hold each answer and the route table against
//! it.

use http::StatusCode;

use super::error::ApiError;
use super::reply::{self, Reply};
use super::request::Request;
use crate::app::App;

/// The document, as it stands in `docs/openapi.json`.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// Serves the document.
pub(super) async fn document(_: &App, _: Request<'_>) -> Result<Reply, ApiError> {
    Ok(reply::with_static_body(
        StatusCode::OK,
        "application/json",
        DOCUMENT,
    ))
}
