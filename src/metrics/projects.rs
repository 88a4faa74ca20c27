//! Metrics of project keys and their store. No project is named in a label.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, Registry};

use super::collectors::{NO_LABELS, counters, gauges, histograms};
use super::project_catalogue::{
    AUDIT_RECORDS, KEYS_ROTATED, ROTATION_REMAINING, SESSIONS, STORE_CALLS, STORE_DURATION,
    VAULT_OPENS,
};

/// Counts what happens to project keys and their store. Clones count together.
#[derive(Clone)]
pub struct ProjectMetrics {
    calls: IntCounterVec,
    duration: HistogramVec,
    audit_records: IntCounterVec,
    keys_rotated: IntCounterVec,
    rotation_remaining: GaugeVec,
    sessions: IntCounterVec,
    vault_opens: IntCounterVec,
}

impl ProjectMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            calls: counters(registry, &STORE_CALLS),
            duration: histograms(registry, &STORE_DURATION),
            audit_records: counters(registry, &AUDIT_RECORDS),
            keys_rotated: counters(registry, &KEYS_ROTATED),
            rotation_remaining: gauges(registry, &ROTATION_REMAINING),
            sessions: counters(registry, &SESSIONS),
            vault_opens: counters(registry, &VAULT_OPENS),
        }
    }

    /// Starts the counters at 0 whose first increment must show as a rise.
    pub fn start_at_zero(&self) {
        for outcome in ["written", "failed"] {
            self.audit_records.with_label_values(&[outcome]);
        }
    }

    /// Counts a call to the store; `outcome` is `ok` or the cause of its failure.
    pub fn store_call(&self, operation: &'static str, outcome: &'static str, duration: Duration) {
        self.calls.with_label_values(&[operation, outcome]).inc();
        self.duration
            .with_label_values(&[operation])
            .observe(duration.as_secs_f64());
    }

    /// Counts a session; `outcome` is `created`, `ended` or an error's code.
    pub fn session(&self, outcome: &'static str) {
        self.sessions.with_label_values(&[outcome]).inc();
    }

    /// Counts a key that was opened, or was not.
    pub fn vault_open(&self, outcome: &'static str) {
        self.vault_opens.with_label_values(&[outcome]).inc();
    }

    /// Counts what one call for all projects resealed, and shows what it left.
    pub fn rotated(&self, rotated: u64, remaining: u64) {
        self.keys_rotated
            .with_label_values(NO_LABELS)
            .inc_by(rotated);
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        self.rotation_remaining
            .with_label_values(NO_LABELS)
            .set(remaining.into());
    }

    /// Counts a record of the audit log that was written, or could not be.
    pub fn audit_record(&self, is_written: bool) {
        let outcome = if is_written { "written" } else { "failed" };
        self.audit_records.with_label_values(&[outcome]).inc();
    }
}
