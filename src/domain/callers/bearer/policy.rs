//! The tokens that are accepted, and the caller that an accepted one identifies.

use std::time::SystemTime;

use super::issuer::Issuer;
use crate::domain::callers::caller::{Caller, CallerRules};

/// The issuer, tenants and audiences whose tokens are accepted, and the meaning of their claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPolicy {
    /// The accepted issuer.
    pub issuer: Issuer,
    /// The accepted tenants (`tid`, in lower case). If empty, the issuer alone decides.
    pub tenants: Vec<String>,
    /// The accepted audiences, of which `aud` must contain one.
    pub audiences: Vec<String>,
    /// The claims that determine identity, rooms, scopes and roles.
    pub rules: CallerRules,
}

/// A caller whom a verified token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCaller {
    /// The caller.
    pub caller: Caller,
    /// The last moment at which the token is accepted, including leeway. A cache must drop the
    /// caller after it.
    pub good_until: SystemTime,
}
