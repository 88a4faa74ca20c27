//! Every metric as an operator reads about it: name, labels, unit, and what to do when it moves.
//!
//! `docs/operations.md` has its table from [`METRICS`], and the collectors have their names and
//! labels from the same lines.

use std::fmt::Write;

/// One metric as an operator reads about it.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How its value moves.
    pub kind: MetricKind,
    /// The labels, in the order in which values are handed in.
    pub labels: &'static [&'static str],
    /// What a value counts or measures.
    pub unit: &'static str,
    /// What it says; also the `HELP` line.
    pub help: &'static str,
    /// What to do when it moves.
    pub when_it_moves: &'static str,
}

/// How a value moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only upwards, from zero at each start.
    Counter,
    /// Both ways.
    Gauge,
    /// Counts by upper bound, with their sum.
    Histogram,
}

impl MetricKind {
    /// The word of the `TYPE` line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

pub(super) const REQUESTS: Metric = Metric {
    name: "roomkey_requests_total",
    kind: MetricKind::Counter,
    labels: &["route", "status", "code"],
    unit: "requests",
    help: "Answers, by route, HTTP status and error code.",
    when_it_moves: "Much 4xx of one code: a client is wrong, see docs/errors.md for the code. `internal`: a fault of ours, find the ERROR \
                    lines. `overloaded`: add instances.",
};
pub(super) const REQUEST_DURATION: Metric = Metric {
    name: "roomkey_request_duration_seconds",
    kind: MetricKind::Histogram,
    labels: &["route"],
    unit: "seconds",
    help: "Time from a request's head to its answer.",
    when_it_moves: "Slow everywhere: too little CPU. Slow for signed-in callers only: the identity provider answers slowly; see \
                    `roomkey_oidc_key_fetches_total`. Slow with Redis only: the way to Redis.",
};
pub(super) const RATE_LIMITED: Metric = Metric {
    name: "roomkey_rate_limited_total",
    kind: MetricKind::Counter,
    labels: &["budget"],
    unit: "requests",
    help: "Requests past a budget that was used up: refused with 429; those past `refused-bearer` with 401 as before.",
    when_it_moves: "Group the access lines by `caller`; the refused requests write none, but those before them do. One caller with a whole \
                    budget: a loop in a client, or abuse. Many: the limit is too low, or all come from one address, see \
                    ROOMKEY_TRUSTED_PROXIES.",
};
pub(super) const RATE_LIMIT_DEGRADED: Metric = Metric {
    name: "roomkey_rate_limit_degraded",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "0 or 1",
    help: "1 while Redis does not answer, or its address has not come from Key Vault, and each instance counts for itself.",
    when_it_moves: "Look after Redis: is it up, can it be reached within 50 ms, is its address there (roomkey_secret_state)? Until then the limits hold for each instance by itself. It \
                    goes back to 0 without a restart.",
};
pub(super) const TOKENS: Metric = Metric {
    name: "roomkey_tokens_total",
    kind: MetricKind::Counter,
    labels: &["provider", "outcome"],
    unit: "tokens",
    help: "Tokens asked for, by provider and outcome (issued, refused).",
    when_it_moves: "No more `issued`: callers cannot get in; look at `refused` and the codes of roomkey_requests_total. Far more than people: \
                    somebody collects tokens; see the audit lines.",
};
pub(super) const AUTH_REJECTED: Metric = Metric {
    name: "roomkey_auth_rejected_total",
    kind: MetricKind::Counter,
    labels: &["reason"],
    unit: "requests",
    help: "Requests with credentials that were not accepted, by reason. The caller never learns the reason.",
    when_it_moves: "One reason that concerns audience, issuer or tenant, from the first request on: a setting is wrong. Expired: clocks, or \
                    clients that do not refresh. Signature or unknown key: forgery, or a provider that changed its keys.",
};
pub(super) const OIDC_KEYS_AGE: Metric = Metric {
    name: "roomkey_oidc_keys_age_seconds",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "seconds",
    help: "Age of the identity provider's signing keys; absent before the first fetch.",
    when_it_moves: "Above 7200: the provider cannot be reached, see `failed` fetches. At 86400 the keys are dropped and every signed-in \
                    caller gets 503. Absent for minutes after a start: ROOMKEY_OIDC_ISSUER is wrong or not reachable.",
};
pub(super) const OIDC_KEYS_UNREADABLE: Metric = Metric {
    name: "roomkey_oidc_keys_unreadable",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "entries",
    help: "Entries of the identity provider's key set that are broken or weak and were skipped; absent before the first fetch.",
    when_it_moves: "Above 0: tokens signed by such a key are refused as `key`. Ask the provider; RSA keys have 2048 to 8192 bits. Keys for \
                    encryption and of kinds that are not used here do not count.",
};
pub(super) const OIDC_KEY_FETCHES: Metric = Metric {
    name: "roomkey_oidc_key_fetches_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    unit: "fetches",
    help: "Fetches of the identity provider's signing keys, by outcome (fetched, failed).",
    when_it_moves: "`failed`: the provider, DNS, a proxy or a certificate. `fetched` once a minute: tokens name keys that the provider does \
                    not have; somebody tries, or tokens of another provider arrive.",
};
pub(super) const SECRET_STATE: Metric = Metric {
    name: "roomkey_secret_state",
    kind: MetricKind::Gauge,
    labels: &["secret", "state"],
    unit: "always 1",
    help: "The state of each secret in Key Vault and of the Entra token for Azure OpenAI (fresh, stale, missing): one line for each.",
    when_it_moves: "`stale`: the last good value serves; a rotation does not arrive. `missing`: what cannot do without it answers 503. The log line of \
                    the secret names the cause; docs/operations.md what to do about it.",
};
pub(super) const SECRET_READS: Metric = Metric {
    name: "roomkey_secret_reads_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    unit: "reads",
    help: "Reads of Key Vault, by outcome (read, failed); a key and its secret are read as one.",
    when_it_moves: "`failed`: roles, firewall, DNS or the vault itself; see roomkey_secret_state for what is hurt. `read` every 30 s: an \
                    upstream, or Redis, refuses a key that is the newest in the vault.",
};
pub(super) const MINTS: Metric = Metric {
    name: "roomkey_mints_total",
    kind: MetricKind::Counter,
    labels: &["provider", "outcome"],
    unit: "secrets",
    help: "Realtime client secrets asked for at an upstream, by provider and outcome (minted, abandoned, or an error code).",
    when_it_moves: "`abandoned`: callers hang up, since the upstream is slow or their network bad. A code beside `minted`: docs/errors.md says what to do; `GET /api/diagnostics/realtime` asks the upstream without minting. \
                    `minted` far above the number of people: somebody collects secrets; see the audit lines.",
};
pub(super) const UPSTREAM_DURATION: Metric = Metric {
    name: "roomkey_upstream_duration_seconds",
    kind: MetricKind::Histogram,
    labels: &["provider"],
    unit: "seconds",
    help: "Time that a Realtime provider took for one secret, a second try included.",
    when_it_moves: "Near 3: the provider hangs, and callers get `upstream_timeout`. Everything else that a caller waits for is in \
                    roomkey_request_duration_seconds.",
};
pub(super) const BREAKER_STATE: Metric = Metric {
    name: "roomkey_breaker_state",
    kind: MetricKind::Gauge,
    labels: &["provider"],
    unit: "0 closed, 1 half-open, 2 open",
    help: "Whether a Realtime provider is asked; the worst state of its models.",
    when_it_moves: "2: five mints in a row failed for one model, and for 30 s callers who ask for it get `upstream_unavailable` at once. A WARN \
                    line names the model. Look at the provider's status page and at the network. It closes with the first answer.",
};
pub(super) const PANICS: Metric = Metric {
    name: "roomkey_panics_total",
    kind: MetricKind::Counter,
    labels: &[],
    unit: "panics",
    help: "Requests that ended in a panic and were answered with 500.",
    when_it_moves: "A fault of ours at any value but 0: report file and line of the log line \"a panic\".",
};
pub(super) const LOG_LINES_DROPPED: Metric = Metric {
    name: "roomkey_log_lines_dropped_total",
    kind: MetricKind::Counter,
    labels: &["stream"],
    unit: "lines",
    help: "Log lines dropped because nobody read them in time, by stream (stdout, stderr).",
    when_it_moves: "Whatever reads the program's output has stopped or is too slow: look at the log agent or the Functions host. Requests \
                    are served all the same, but their access and audit lines are lost.",
};
pub(super) const BUILD_INFO: Metric = Metric {
    name: "roomkey_build_info",
    kind: MetricKind::Gauge,
    labels: &["version"],
    unit: "always 1",
    help: "The running version.",
    when_it_moves: "More than one version for longer than a deployment takes: an instance was left behind.",
};
pub(super) const START_TIME: Metric = Metric {
    name: "process_start_time_seconds",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "seconds since 1970",
    help: "When the process started.",
    when_it_moves: "Each change is a restart, which empties the counters in memory. Unplanned: the platform's log says why.",
};
pub(super) const RESIDENT_MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: MetricKind::Gauge,
    labels: &[],
    unit: "bytes",
    help: "Memory that the process holds; Linux only.",
    when_it_moves: "It grows with the number of callers to a bound and stays there. Past 200 MB: report it.",
};

/// All metrics, in the order in which an operator wants them.
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
    &UPSTREAM_DURATION,
    &BREAKER_STATE,
    &PANICS,
    &LOG_LINES_DROPPED,
    &BUILD_INFO,
    &START_TIME,
    &RESIDENT_MEMORY,
];

/// The table of `docs/operations.md`.
#[must_use]
pub fn table() -> String {
    let mut text =
        "| metric | kind, unit | labels | what it says | when it moves |\n|---|---|---|---|---|\n"
            .to_owned();
    for Metric {
        name,
        kind,
        labels,
        unit,
        help,
        when_it_moves,
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
            "| `{name}` | {kind}, {unit} | {labels} | {help} | {when_it_moves} |"
        );
    }
    text
}
