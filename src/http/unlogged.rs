//! Counts requests that leave no lines of their own, because a used-up budget refused them.
//!
//! Whoever has used up a budget can go on asking for nothing. Two log lines for each such request
//! would let that caller fill the operator's log, so one summary line per budget and minute stands
//! for them all. The metrics count each of them as any other.

use std::sync::{Mutex, PoisonError};

use crate::telemetry;

/// Requests by budget since the last summary. What is left is written when this is dropped, so that
/// a stop loses none.
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

    /// Writes one line per budget that refused a request since the last time.
    pub fn write_summary(&self) {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (budget, requests) in counts {
            telemetry::unlogged_refusals(budget, requests);
        }
    }
}

impl Drop for UnloggedRefusals {
    fn drop(&mut self) {
        self.write_summary();
    }
}
