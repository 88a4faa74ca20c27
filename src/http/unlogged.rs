//! Counts the requests that are not logged on their own, because a used-up budget refused them.
//!
//! A caller who has used up a budget can send more requests for free. Two log lines for each would
//! let that caller fill the operator's log, so there is one summary line per budget and minute
//! instead. The metrics count each request.

use std::sync::{Mutex, PoisonError};

use crate::telemetry;

/// Requests by budget since the last summary. The rest is logged when this is dropped, so that a
/// stop loses none.
#[derive(Debug, Default)]
pub struct UnloggedRefusals(Mutex<Vec<(&'static str, u64)>>);

impl UnloggedRefusals {
    /// Counts one request.
    pub fn count(&self, budget: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|(name, _)| *name == budget) {
            Some((_, requests)) => *requests += 1,
            None => counts.push((budget, 1)),
        }
    }

    /// Logs one line per budget that refused requests since the last summary.
    pub fn log_summary(&self) {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (budget, requests) in counts {
            telemetry::unlogged_refusals(budget, requests);
        }
    }
}

impl Drop for UnloggedRefusals {
    fn drop(&mut self) {
        self.log_summary();
    }
}
