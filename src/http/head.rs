//! The checks of a request head before routing: its `Host`, and the memory that a head with many
//! fields takes.

use http::request::Parts;
use tokio::sync::SemaphorePermit;

use super::edge::Edge;
use super::error::ApiError;
use super::host;

/// Most header fields of a head that needs no permit. Browsers send about 20, and Azure's front
/// ends add as many.
const USUAL_FIELDS: usize = 48;

/// Checks a head. A head with many fields takes about 40 KB once it is parsed, so it needs a permit
/// of [`Edge::many_fields`], to be held as long as the request lives. Attacker-controlled.
///
/// # Errors
/// 400 or 421 for the `Host`, 503 if too many such heads are held.
pub fn check<'e>(
    head: &Parts,
    edge: &'e Edge,
    loopback_only: bool,
) -> Result<Option<SemaphorePermit<'e>>, ApiError> {
    host::check(head, loopback_only)?;
    if head.headers.len() <= USUAL_FIELDS {
        return Ok(None);
    }
    match edge.many_fields.try_acquire() {
        Ok(permit) => Ok(Some(permit)),
        Err(_) => Err(ApiError::Overloaded),
    }
}
