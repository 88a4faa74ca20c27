//! The limits of projects: requests, sessions at once, and sessions a day.

use std::time::{Duration, SystemTime};

use super::error::ApiError;
use super::guard;
use super::record::Record;
use crate::app::App;
use crate::app::projects::SlotError;
use crate::domain::limits::rate_limit::{Budget, Decision};
use crate::domain::vault::project_id::ProjectId;

/// The purpose of the hash of a project id. Counters store the hash, not the id.
const PURPOSE: &str = "project";

/// Charges one session to the project's budget, which its callers share.
///
/// # Errors
/// 429 past the budget, 503 while the key that hashes is missing.
pub async fn charge(
    app: &App,
    record: &mut Record,
    project_id: &ProjectId,
    now: SystemTime,
) -> Result<(), ApiError> {
    let Some(budget) = app.budgets.projects else {
        return Ok(());
    };
    let hash_key = app.secrets.hash_key.fetched_value().await;
    let hash_key = hash_key.ok_or(ApiError::SecretUnavailable)?;
    let project = hash_key.hash(PURPOSE, project_id.as_str().as_bytes());
    guard::charge(app, record, budget, project, now).await
}

/// Returns the error of a session that has no slot: 429 where all slots of the project are taken,
/// or its sessions of the day are used up.
pub fn no_slot(app: &App, record: &mut Record, error: SlotError, now: SystemTime) -> ApiError {
    match error {
        SlotError::Full(wait) => {
            refuse(app, record, app.budgets.project_slots, wait, now);
            ApiError::ConcurrencyLimited
        }
        SlotError::DayUsedUp(wait) => {
            refuse(app, record, app.budgets.project_days, wait, now);
            ApiError::RateLimited
        }
        SlotError::Project(error) => error.into(),
    }
}

fn refuse(app: &App, record: &mut Record, budget: Budget, wait: Duration, now: SystemTime) {
    let decision = Decision {
        allowed: false,
        limit: budget.limit.count(),
        remaining: 0,
        retry_after: wait,
        reset_after: wait,
    };
    record.limit = Some((budget, decision, now));
    record.unlogged_budget = Some(budget.name);
    app.metrics.rate_limited(budget.name);
}
