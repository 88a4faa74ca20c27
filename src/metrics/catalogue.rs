//! The table of all metrics: name, labels, unit, and what to do when a value changes.
//!
//! The collectors take their names and labels from this table, and the table in
//! `docs/operations.md` is generated from it.

use std::fmt::Write;

pub use super::metric::{Metric, MetricKind};
use super::project_catalogue::{
    AUDIT_RECORDS, KEYS_ROTATED, ROTATION_REMAINING, SESSIONS, STORE_AVAILABLE, STORE_CALLS,
    STORE_DURATION, VAULT_OPENS,
};

pub(super) const REQUESTS: Metric = Metric {
    name: "roomkey_requests_total",
    kind: MetricKind::Counter,
    labels: &["route", "status", "code"],
    unit: "requests",
    help: "Responses, by route, HTTP status and error code.",
    what_to_do: "Many 4xx of one code: a client is wrong; see docs/errors.md for the code. \
                 `internal`: a bug in roomkey; look for the ERROR lines. `overloaded`: add \
                 instances.",
};
pub(super) const REQUEST_DURATION: Metric = Metric {
    name: "roomkey_request_duration_seconds",
    kind: MetricKind::Histogram,
    labels: &["route"],
    unit: "seconds",
    help: "Time from a request's head to its response.",
    what_to_do: "Slow everywhere: too little CPU. Slow for signed-in callers only: the identity \
                 provider responds slowly; see `roomkey_oidc_key_fetches_total`. Slow with Redis \
                 only: the network to Redis.",
};
pub(super) const RATE_LIMITED: Metric = Metric {
    name: "roomkey_rate_limited_total",
    kind: MetricKind::Counter,
    labels: &["budget"],
    unit: "requests",
    help: "Requests beyond an exhausted budget. They are refused with 429; those beyond \
           `refused-bearer` with 401.",
    what_to_do: "Group the access lines by `caller`; the refused requests write none, but those \
                 before them do. One caller with a whole budget: a loop in a client, or abuse. \
                 Many callers: the limit is too low, or all come from one address; see \
                 ROOMKEY_TRUSTED_PROXIES.",
};
pub(super) const RATE_LIMIT_DEGRADED: Metric = Metric {
    name: "roomkey_rate_limit_degraded",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "0 or 1",
    help: "1 while Redis does not respond, or its address has not been read from Key Vault, and \
           each instance counts on its own.",
    what_to_do: "Check Redis: is it running, does it respond within 50 ms, has its address been \
                 read (roomkey_secret_state)? Until then limits are per instance. The value \
                 returns to 0 without a restart.",
};
pub(super) const TOKENS: Metric = Metric {
    name: "roomkey_tokens_total",
    kind: MetricKind::Counter,
    labels: &["provider", "outcome"],
    unit: "tokens",
    help: "Requested tokens, by provider and outcome (issued, refused).",
    what_to_do: "No more `issued`: callers get no tokens; look at `refused` and at the codes of \
                 roomkey_requests_total. Far more than users: somebody collects tokens; see the \
                 audit lines.",
};
pub(super) const AUTH_REJECTED: Metric = Metric {
    name: "roomkey_auth_rejected_total",
    kind: MetricKind::Counter,
    labels: &["reason"],
    unit: "requests",
    help: "Requests with refused credentials, by reason. The caller never learns the reason.",
    what_to_do: "Audience, issuer or tenant, from the first request on: a setting is wrong. \
                 Expired: clocks, or clients that do not refresh. Signature or unknown key: \
                 forgery, or a provider that replaced its keys.",
};
pub(super) const OIDC_KEYS_AGE: Metric = Metric {
    name: "roomkey_oidc_keys_age_seconds",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "seconds",
    help: "Age of the identity provider's signing keys; absent before the first fetch.",
    what_to_do: "Above 7200: the provider cannot be reached; see `failed` fetches. At 86400 the \
                 keys are dropped and every signed-in caller gets 503. Absent for minutes after a \
                 start: ROOMKEY_OIDC_ISSUER is wrong or cannot be reached.",
};
pub(super) const OIDC_KEYS_UNREADABLE: Metric = Metric {
    name: "roomkey_oidc_keys_unreadable",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "entries",
    help: "Entries of the identity provider's key set that were skipped because they are invalid \
           or weak; absent before the first fetch.",
    what_to_do: "Above 0: tokens signed by such a key are refused with the reason `key`. Ask the \
                 provider; RSA keys must have 2048 to 8192 bits. Keys for encryption and of \
                 unused types are not counted.",
};
pub(super) const OIDC_KEY_FETCHES: Metric = Metric {
    name: "roomkey_oidc_key_fetches_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    unit: "fetches",
    help: "Fetches of the identity provider's signing keys, by outcome (fetched, failed).",
    what_to_do: "`failed`: the provider, DNS, a proxy or a certificate. `fetched` once a minute: \
                 tokens name keys that the provider does not have; somebody is guessing, or \
                 tokens of another provider arrive.",
};
pub(super) const SECRET_STATE: Metric = Metric {
    name: "roomkey_secret_state",
    kind: MetricKind::Gauge,
    labels: &["secret", "state"],
    unit: "0 or 1",
    help: "1 for the current state (fresh, stale, missing) of each secret in Key Vault and of the \
           Entra token for Azure OpenAI, 0 for its other states.",
    what_to_do: "`stale`: the last good value is used, and a rotation does not arrive. `missing`: \
                 requests that need it get 503. The log line of the secret contains the cause; \
                 docs/operations.md explains it.",
};
pub(super) const SECRET_READS: Metric = Metric {
    name: "roomkey_secret_reads_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    unit: "reads",
    help: "Reads of Key Vault, by outcome (read, failed); a key and its secret are read as one.",
    what_to_do: "`failed`: roles, firewall, DNS or the vault itself; see roomkey_secret_state for \
                 the affected secrets. `read` every 30 s: an upstream, or Redis, refuses the \
                 newest key in the vault.",
};
pub(super) const MINTS: Metric = Metric {
    name: "roomkey_mints_total",
    kind: MetricKind::Counter,
    labels: &["provider", "outcome"],
    unit: "secrets",
    help: "Realtime client secrets and TURN credentials requested from a provider, by provider and \
           outcome (minted, abandoned, or an error code).",
    what_to_do: "`abandoned`: callers hang up, because the provider is slow or their network is \
                 bad. An error code: see docs/errors.md; `GET /api/diagnostics/realtime` tests \
                 the provider without minting. `minted` far above the number of users: somebody \
                 collects secrets; see the audit lines.",
};
pub(super) const TURN_CREDENTIALS: Metric = Metric {
    name: "roomkey_turn_credentials_total",
    kind: MetricKind::Counter,
    labels: &["provider", "outcome"],
    unit: "credentials",
    help: "Requests for TURN credentials, by provider (cloudflare, coturn) and outcome (issued, \
           refused).",
    what_to_do: "`refused`: roomkey_requests_total has the codes of the route; for Cloudflare \
                 also roomkey_mints_total. `issued` far above the number of calls: pages request \
                 credentials that they do not use, or somebody collects them; see the audit lines.",
};
pub(super) const UPSTREAM_DURATION: Metric = Metric {
    name: "roomkey_upstream_duration_seconds",
    kind: MetricKind::Histogram,
    labels: &["provider"],
    unit: "seconds",
    help: "Time that a provider took for one client secret or TURN credential, including a second \
           attempt.",
    what_to_do: "Near 3: the provider does not respond, and callers get `upstream_timeout`. The \
                 rest of a caller's waiting time is in roomkey_request_duration_seconds.",
};
pub(super) const BREAKER_STATE: Metric = Metric {
    name: "roomkey_breaker_state",
    kind: MetricKind::Gauge,
    labels: &["provider"],
    unit: "0 closed, 1 half-open, 2 open",
    help: "State of the circuit breaker of a Realtime provider or of Cloudflare TURN; the worst \
           state of its models.",
    what_to_do: "2: five mints in a row failed for one model, and for 30 s callers who request it \
                 get `upstream_unavailable` at once. A WARN line names the model. Check the \
                 provider's status page and the network. The breaker closes with the first \
                 successful response.",
};
pub(super) const PANICS: Metric = Metric {
    name: "roomkey_panics_total",
    kind: MetricKind::Counter,
    labels: &[],
    unit: "panics",
    help: "Requests that ended in a panic and got 500.",
    what_to_do: "Any value but 0 is a bug in roomkey: report file and line from the log line \"a \
                 panic\".",
};
pub(super) const LOG_LINES_DROPPED: Metric = Metric {
    name: "roomkey_log_lines_dropped_total",
    kind: MetricKind::Counter,
    labels: &["stream"],
    unit: "lines",
    help: "Log lines dropped because nobody read them in time, by stream (stdout, stderr).",
    what_to_do: "The reader of the program's output has stopped or is too slow: check the log \
                 agent or the Functions host. Requests are still served, but their access and \
                 audit lines are lost.",
};
pub(super) const TRACE_SPANS: Metric = Metric {
    name: "roomkey_trace_spans_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    unit: "spans",
    help: "Spans of sampled requests, by outcome (exported, failed, dropped); absent while traces \
           are off.",
    what_to_do: "`failed`: the collector does not take them; the log line `traces could not be \
                 exported` has the cause. `dropped`: more than 2048 spans waited, because the \
                 collector is slow or too many requests are sampled; lower \
                 OTEL_TRACES_SAMPLER_ARG. Requests are served as before.",
};
pub(super) const BUILD_INFO: Metric = Metric {
    name: "roomkey_build_info",
    kind: MetricKind::Gauge,
    labels: &["version"],
    unit: "always 1",
    help: "The running version.",
    what_to_do: "More than one version for longer than a deployment takes: an instance was not \
                 updated.",
};
pub(super) const START_TIME: Metric = Metric {
    name: "process_start_time_seconds",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "seconds since 1970",
    help: "Time at which the process started.",
    what_to_do: "Each change is a restart, which resets the counters in memory. Unplanned: see \
                 the platform's log.",
};
pub(super) const RESIDENT_MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "bytes",
    help: "Memory of the process; Linux only.",
    what_to_do: "It grows with the number of callers up to a limit. Above 200 MB: report it.",
};

/// All metrics, in the order of `docs/operations.md`.
pub const METRICS: &[&Metric] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &TOKENS,
    &RATE_LIMITED,
    &RATE_LIMIT_DEGRADED,
    &AUTH_REJECTED,
    &OIDC_KEYS_AGE,
    &OIDC_KEYS_UNREADABLE,
    &OIDC_KEY_FETCHES,
    &SECRET_STATE,
    &SECRET_READS,
    &MINTS,
    &TURN_CREDENTIALS,
    &UPSTREAM_DURATION,
    &BREAKER_STATE,
    &STORE_AVAILABLE,
    &STORE_CALLS,
    &STORE_DURATION,
    &AUDIT_RECORDS,
    &SESSIONS,
    &VAULT_OPENS,
    &KEYS_ROTATED,
    &ROTATION_REMAINING,
    &PANICS,
    &LOG_LINES_DROPPED,
    &TRACE_SPANS,
    &BUILD_INFO,
    &START_TIME,
    &RESIDENT_MEMORY,
];

/// Returns the table of `docs/operations.md`.
#[must_use]
pub fn table() -> String {
    let mut text =
        "| metric | type, unit | labels | meaning | what to do |\n|---|---|---|---|---|\n"
            .to_owned();
    for Metric {
        name,
        kind,
        labels,
        unit,
        help,
        what_to_do,
    } in METRICS
    {
        let kind = kind.as_str();
        let labels = if labels.is_empty() {
            "–".to_owned()
        } else {
            format!("`{}`", labels.join("`, `"))
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "| `{name}` | {kind}, {unit} | {labels} | {help} | {what_to_do} |"
        );
    }
    text
}
