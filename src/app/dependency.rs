//! The status of something that is fetched from outside.

use std::time::SystemTime;

use crate::domain::settings::secrets::DependencyState;

/// The status of one secret, token or key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyStatus {
    /// The name in readiness and metrics. For a secret, the name of its setting in lower case with
    /// `-`.
    pub name: &'static str,
    /// The availability.
    pub state: DependencyState,
    /// When it was last fetched.
    pub fetched_at: Option<SystemTime>,
    /// Some tokens cannot be issued without it, so readiness waits for it.
    pub is_needed: bool,
}
