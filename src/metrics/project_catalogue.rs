//! The metrics of project keys, their store and their sessions.

use super::metric::{Metric, MetricKind};

pub(super) const STORE_AVAILABLE: Metric = Metric {
    name: "roomkey_store_available",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "0 or 1",
    help: "Whether the last read and the last write of the store of project keys succeeded.",
    what_to_do: "0: routes of projects answer 503. The log line `the store is not available` \
                 has the cause; nothing is lost, and it recovers without a restart.",
};
pub(super) const STORE_CALLS: Metric = Metric {
    name: "roomkey_store_calls_total",
    kind: MetricKind::Counter,
    labels: &["operation", "outcome"],
    unit: "calls",
    help: "Calls to the store of project keys, by operation and outcome.",
    what_to_do: "`full`, `read_only`, `no_access`, `missing`: look at the disk and the file's \
                 owner. `locked`, `busy`, `late`: the disk is slow, or too many processes \
                 share the file. `corrupt`: restore a backup.",
};
pub(super) const STORE_DURATION: Metric = Metric {
    name: "roomkey_store_duration_seconds",
    kind: MetricKind::Histogram,
    labels: &["operation"],
    unit: "seconds",
    help: "Time that calls to the store of project keys take, by operation.",
    what_to_do: "It rises: the disk is slow. At 3 s a call is given up.",
};
pub(super) const AUDIT_RECORDS: Metric = Metric {
    name: "roomkey_audit_records_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    unit: "records",
    help: "Records of the audit log that were written, or could not be.",
    what_to_do: "`failed` rises: a change whose record cannot be written is not made; see \
                 `roomkey_store_calls_total` for the cause.",
};
pub(super) const SESSIONS: Metric = Metric {
    name: "roomkey_sessions_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    unit: "sessions",
    help: "Sessions of projects that were opened (`created`) or ended (`ended`), or the error's code.",
    what_to_do: "`upstream_credentials_rejected`: the key of a project is refused; the audit \
                    log names it. `record_corrupt`, `secret_unavailable`: see \
                    `roomkey_vault_opens_total`.",
};
pub(super) const VAULT_OPENS: Metric = Metric {
    name: "roomkey_vault_opens_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    unit: "keys",
    help: "Project keys that were opened for a session, or why not.",
    what_to_do: "`kek_missing`: configure the version that `GET /api/health/ready` names. \
                    `corrupt`: the record was changed, or a version holds another key; restore \
                    it, or save the project's key again.",
};
pub(super) const KEYS_ROTATED: Metric = Metric {
    name: "roomkey_keys_rotated_total",
    kind: MetricKind::Counter,
    labels: &[],
    unit: "keys",
    help: "Project keys that calls for all projects resealed.",
    what_to_do: "Only while an operator rotates all keys.",
};
pub(super) const ROTATION_REMAINING: Metric = Metric {
    name: "roomkey_rotation_remaining",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "keys",
    help: "Project keys that the last call for all projects left under a lower version.",
    what_to_do: "Above 0: send the same call again. It stays: those keys do not open; the \
                    audit log names them.",
};
