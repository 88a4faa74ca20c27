//! The OpenAPI description of every route. The tests hold each answer and the route table against
//! it.

use http::StatusCode;

use super::reply::{self, Reply};

/// The document, as it stands in `docs/openapi.json`.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// Serves the document.
pub(super) fn document() -> Reply {
    reply::with_static_body(StatusCode::OK, "application/json", DOCUMENT)
}
