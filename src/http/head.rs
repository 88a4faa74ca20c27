//! What is looked at in a head before the route table is asked: its `Host`, and whether there is
//! room for a head of many fields.

use std::sync::Arc;

use http::Request;

use super::edge::Edge;
use super::error::ApiError;
use super::host::{self, HostFault};

/// Header fields that no bound of its own holds. Browsers send about 20, and Azure's front ends add
/// as many.
const USUAL_FIELDS: usize = 48;

/// Why a request is refused for its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadRefusal {
    /// Its `Host`.
    Host(HostFault),
    /// It has many fields, and so have too many others at this moment.
    Crowded,
}

/// Checks a head, and notes a refusal in the request's extensions. A head of many fields takes some
/// 40 KB once it is parsed, so it holds one of a bounded number of places for as long as the
/// request lives. Attacker-controlled.
pub fn check<B>(request: &mut Request<B>, edge: &Edge, loopback_only: bool) {
    let mut refusal = host::check(request, loopback_only).map(HeadRefusal::Host);
    if request.headers().len() > USUAL_FIELDS {
        match Arc::clone(&edge.many_fields).try_acquire_owned() {
            Ok(place) => drop(request.extensions_mut().insert(Arc::new(place))),
            Err(_) => refusal = refusal.or(Some(HeadRefusal::Crowded)),
        }
    }
    if let Some(refusal) = refusal {
        request.extensions_mut().insert(refusal);
    }
}

impl From<HeadRefusal> for ApiError {
    fn from(refusal: HeadRefusal) -> Self {
        match refusal {
            HeadRefusal::Host(fault) => fault.into(),
            HeadRefusal::Crowded => Self::Overloaded,
        }
    }
}
