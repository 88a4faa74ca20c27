//! Counts requests, tokens and failures for the operator. [`catalogue`] describes every metric.
//!
//! Label values are constants of the code, never text of a client, so their number is bounded and
//! none is personal. The output is Prometheus' text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

pub mod catalogue;
mod collectors;
mod metric;
mod project_catalogue;
pub mod projects;
pub mod snapshot;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, Registry, TextEncoder};

use self::catalogue::{
    AUTH_REJECTED, BREAKER_STATE, BUILD_INFO, LOG_LINES_DROPPED, MINTS, OIDC_KEY_FETCHES,
    OIDC_KEYS_AGE, OIDC_KEYS_UNREADABLE, PANICS, RATE_LIMIT_DEGRADED, RATE_LIMITED,
    REQUEST_DURATION, REQUESTS, RESIDENT_MEMORY, SECRET_READS, SECRET_STATE, START_TIME, TOKENS,
    TRACE_SPANS, TURN_CREDENTIALS, UPSTREAM_DURATION,
};
use self::collectors::{NO_LABELS, counters, gauges, histograms};
use self::project_catalogue::STORE_AVAILABLE;
use self::projects::ProjectMetrics;
use self::snapshot::MetricSnapshot;

/// The media type of the text that [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The states of a secret, one of which is the current one.
const SECRET_STATES: [&str; 3] = ["fresh", "stale", "missing"];

/// The label values that are known at start. Their counters start at 0, so that the first increment
/// shows as a rise.
#[derive(Debug, Clone, Default)]
pub struct LabelValues {
    /// The names of all budgets.
    pub budgets: Vec<&'static str>,
    /// The reasons for which credentials are refused.
    pub reasons: Vec<&'static str>,
    /// The configured providers.
    pub providers: Vec<&'static str>,
    /// The configured providers that mint.
    pub upstreams: Vec<&'static str>,
    /// The configured provider of TURN servers.
    pub turn: Option<&'static str>,
}

/// Values that other services keep and a scrape reads.
#[derive(Debug, Clone, Default)]
pub struct ScrapeInputs {
    /// Redis does not respond, or its address has not been read yet, so limits are per instance.
    pub rate_limit_degraded: bool,
    /// The identity provider's keys. `None` means that no provider is configured.
    pub oidc_keys: Option<OidcKeys>,
    /// The name and state of each secret in Key Vault.
    pub secrets: Vec<(&'static str, &'static str)>,
    /// The number of successful and of failed reads of Key Vault.
    pub secret_reads: (u64, u64),
    /// The breaker of each Realtime provider and of Cloudflare TURN: 0 closed, 1 half-open, 2 open.
    pub breakers: Vec<(&'static str, f64)>,
    /// True if the store responds. `None` without a store, or before its first call.
    pub is_store_available: Option<bool>,
    /// The number of log lines dropped since the start, by stream.
    pub log_lines_dropped: Vec<(&'static str, u64)>,
    /// The number of spans since the start, by outcome. Empty while traces are off.
    pub trace_spans: Vec<(&'static str, u64)>,
}

/// The state of the identity provider's keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct OidcKeys {
    /// The time since the last successful fetch. `None` before the first.
    pub age: Option<Duration>,
    /// The number of successful fetches since the start.
    pub fetched: u64,
    /// The number of failed fetches since the start.
    pub failed: u64,
    /// The number of entries of the key set that could not be read. `None` before the first fetch.
    pub unreadable: Option<usize>,
}

/// The metrics could not be rendered. No value that roomkey records causes this.
#[derive(Debug, thiserror::Error)]
#[error("the metrics could not be rendered")]
pub struct RenderError(#[from] prometheus::Error);

/// All metrics of this process.
pub struct Metrics {
    /// Those of project keys and their store.
    pub projects: ProjectMetrics,
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    rate_limited: IntCounterVec,
    tokens: IntCounterVec,
    auth_rejected: IntCounterVec,
    mints: IntCounterVec,
    turn_credentials: IntCounterVec,
    upstream_duration: HistogramVec,
    panics: IntCounterVec,
    scraped: Mutex<Scraped>,
}

/// Values that a scrape sets. They are under one lock, so that two scrapes at once do not count the
/// same fetch twice.
struct Scraped {
    degraded: GaugeVec,
    keys_age: GaugeVec,
    keys_unreadable: GaugeVec,
    key_fetches: IntCounterVec,
    secret_state: GaugeVec,
    secret_reads: IntCounterVec,
    breakers: GaugeVec,
    store_available: GaugeVec,
    lines_dropped: IntCounterVec,
    trace_spans: IntCounterVec,
    memory: GaugeVec,
}

impl Metrics {
    /// Registers all metrics.
    #[must_use]
    pub fn new(started_at: SystemTime, known: &LabelValues) -> Self {
        let registry = Registry::new();
        let metrics = Self {
            projects: ProjectMetrics::new(&registry),
            requests: counters(&registry, &REQUESTS),
            request_duration: histograms(&registry, &REQUEST_DURATION),
            rate_limited: counters(&registry, &RATE_LIMITED),
            tokens: counters(&registry, &TOKENS),
            auth_rejected: counters(&registry, &AUTH_REJECTED),
            mints: counters(&registry, &MINTS),
            turn_credentials: counters(&registry, &TURN_CREDENTIALS),
            upstream_duration: histograms(&registry, &UPSTREAM_DURATION),
            panics: counters(&registry, &PANICS),
            scraped: Mutex::new(Scraped::new(&registry)),
            registry,
        };
        metrics.start_at_zero(known);
        gauges(&metrics.registry, &BUILD_INFO)
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        let started_at = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauges(&metrics.registry, &START_TIME)
            .with_label_values(NO_LABELS)
            .set(started_at.as_secs_f64());
        metrics
    }

    fn start_at_zero(&self, known: &LabelValues) {
        for budget in &known.budgets {
            self.rate_limited.with_label_values(&[*budget]);
        }
        for reason in &known.reasons {
            self.auth_rejected.with_label_values(&[*reason]);
        }
        for provider in &known.providers {
            for outcome in ["issued", "refused"] {
                self.tokens.with_label_values(&[*provider, outcome]);
            }
        }
        for upstream in &known.upstreams {
            self.mints.with_label_values(&[*upstream, "minted"]);
        }
        if let Some(provider) = known.turn {
            for outcome in ["issued", "refused"] {
                self.turn_credentials
                    .with_label_values(&[provider, outcome]);
            }
        }
        self.panics.with_label_values(NO_LABELS);
    }

    /// Counts one response. `status` is the HTTP status in three digits.
    pub fn request(
        &self,
        route: &'static str,
        status: &str,
        code: Option<&'static str>,
        duration: Duration,
    ) {
        self.requests
            .with_label_values(&[route, status, code.unwrap_or("none")])
            .inc();
        self.request_duration
            .with_label_values(&[route])
            .observe(duration.as_secs_f64());
    }

    /// Counts a request that an exhausted budget refused.
    pub fn rate_limited(&self, budget: &'static str) {
        self.rate_limited.with_label_values(&[budget]).inc();
    }

    /// Counts a requested token. `outcome` is that of the audit event.
    pub fn token(&self, provider: &'static str, outcome: &'static str) {
        self.tokens.with_label_values(&[provider, outcome]).inc();
    }

    /// Counts a request for TURN credentials. `outcome` is that of the audit event.
    pub fn turn_credentials(&self, provider: &'static str, outcome: &'static str) {
        self.turn_credentials
            .with_label_values(&[provider, outcome])
            .inc();
    }

    /// Counts refused credentials.
    pub fn auth_rejected(&self, reason: &'static str) {
        self.auth_rejected.with_label_values(&[reason]).inc();
    }

    /// Counts a Realtime client secret or TURN credential that was requested from a provider.
    /// `outcome` is `minted`, `abandoned` or an error code. `duration` is set if a request was
    /// sent.
    pub fn mint(&self, provider: &'static str, outcome: &'static str, duration: Option<Duration>) {
        self.mints.with_label_values(&[provider, outcome]).inc();
        if let Some(duration) = duration {
            self.upstream_duration
                .with_label_values(&[provider])
                .observe(duration.as_secs_f64());
        }
    }

    /// Counts a panic that was caught.
    pub fn panicked(&self) {
        self.panics.with_label_values(NO_LABELS).inc();
    }

    /// Returns all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// [`RenderError`] means a bug in roomkey.
    pub fn render(&self, scrape: &ScrapeInputs) -> Result<String, RenderError> {
        Ok(TextEncoder::new().encode_to_string(&self.gather(scrape))?)
    }

    /// Returns all metrics that have a value.
    #[must_use]
    pub fn snapshot(&self, scrape: &ScrapeInputs) -> Vec<MetricSnapshot> {
        let families = self.gather(scrape);
        families.iter().filter_map(MetricSnapshot::read).collect()
    }

    fn gather(&self, scrape: &ScrapeInputs) -> Vec<MetricFamily> {
        let scraped = self.scraped.lock().unwrap_or_else(PoisonError::into_inner);
        scraped.set(scrape);
        self.registry.gather()
    }
}

impl Scraped {
    fn new(registry: &Registry) -> Self {
        Self {
            degraded: gauges(registry, &RATE_LIMIT_DEGRADED),
            keys_age: gauges(registry, &OIDC_KEYS_AGE),
            keys_unreadable: gauges(registry, &OIDC_KEYS_UNREADABLE),
            key_fetches: counters(registry, &OIDC_KEY_FETCHES),
            secret_state: gauges(registry, &SECRET_STATE),
            secret_reads: counters(registry, &SECRET_READS),
            breakers: gauges(registry, &BREAKER_STATE),
            store_available: gauges(registry, &STORE_AVAILABLE),
            lines_dropped: counters(registry, &LOG_LINES_DROPPED),
            trace_spans: counters(registry, &TRACE_SPANS),
            memory: gauges(registry, &RESIDENT_MEMORY),
        }
    }

    fn set(&self, scrape: &ScrapeInputs) {
        self.degraded
            .with_label_values(NO_LABELS)
            .set(f64::from(u8::from(scrape.rate_limit_degraded)));
        self.set_oidc_keys(scrape.oidc_keys.as_ref());
        self.set_secrets(scrape);
        let available = scrape.is_store_available.map(|is| f64::from(u8::from(is)));
        set_or_remove(&self.store_available, available);
        for (provider, state) in &scrape.breakers {
            self.breakers.with_label_values(&[*provider]).set(*state);
        }
        raise_to(
            &self.lines_dropped,
            scrape.log_lines_dropped.iter().copied(),
        );
        raise_to(&self.trace_spans, scrape.trace_spans.iter().copied());
        set_or_remove(&self.memory, resident_memory_bytes());
    }

    fn set_oidc_keys(&self, keys: Option<&OidcKeys>) {
        let age = keys.and_then(|keys| keys.age);
        let unreadable = keys.and_then(|keys| u32::try_from(keys.unreadable?).ok());
        set_or_remove(&self.keys_age, age.map(|age| age.as_secs_f64()));
        set_or_remove(&self.keys_unreadable, unreadable.map(f64::from));
        if let Some(keys) = keys {
            let totals = [("fetched", keys.fetched), ("failed", keys.failed)];
            raise_to(&self.key_fetches, totals);
        }
    }

    fn set_secrets(&self, scrape: &ScrapeInputs) {
        for (secret, current) in &scrape.secrets {
            for state in SECRET_STATES {
                self.secret_state
                    .with_label_values(&[*secret, state])
                    .set(f64::from(u8::from(state == *current)));
            }
        }
        if !scrape.secrets.is_empty() {
            let (read, failed) = scrape.secret_reads;
            raise_to(&self.secret_reads, [("read", read), ("failed", failed)]);
        }
    }
}

/// Raises counters to totals that are kept elsewhere.
fn raise_to<'a>(counters: &IntCounterVec, totals: impl IntoIterator<Item = (&'a str, u64)>) {
    for (label, total) in totals {
        let counter = counters.with_label_values(&[label]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }
}

/// Sets a gauge, or removes it if the value is unknown: 0 would look like a good value.
fn set_or_remove(gauges: &GaugeVec, value: Option<f64>) {
    match value {
        Some(value) => gauges.with_label_values(NO_LABELS).set(value),
        None => gauges.reset(),
    }
}

/// Reads the resident memory from `VmRSS` of proc(5), which is in kB.
fn resident_memory_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .trim()
        .strip_suffix(" kB")?;
    kilobytes
        .parse::<u32>()
        .ok()
        .map(|kilobytes| f64::from(kilobytes) * 1024.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;

    use super::catalogue::{METRICS, MetricKind};
    use super::snapshot::{Distribution, MetricValues};
    use super::*;

    const STARTED: Duration = Duration::from_millis(1_700_000_000_500);

    fn metrics() -> Metrics {
        Metrics::new(
            UNIX_EPOCH + STARTED,
            &LabelValues {
                budgets: vec!["token"],
                reasons: vec!["expired"],
                providers: vec!["livekit"],
                upstreams: vec!["openai"],
                turn: Some("coturn"),
            },
        )
    }

    /// Changes every metric once.
    fn busy() -> (Metrics, ScrapeInputs) {
        let metrics = metrics();
        metrics.request("/api/token", "200", None, Duration::from_micros(300));
        metrics.request(
            "/api/token",
            "429",
            Some("rate_limited"),
            Duration::from_micros(20),
        );
        metrics.rate_limited("token");
        metrics.token("livekit", "issued");
        metrics.auth_rejected("expired");
        metrics.mint("openai", "minted", Some(Duration::from_millis(90)));
        metrics.mint("openai", "upstream_unavailable", None);
        metrics.turn_credentials("coturn", "issued");
        metrics.panicked();
        metrics.projects.start_at_zero();
        metrics.projects.audit_record(true);
        metrics.projects.rotated(2, 1);
        metrics.projects.session("created");
        metrics.projects.vault_open("opened");
        metrics
            .projects
            .store_call("write", "ok", Duration::from_millis(1));
        let oidc_keys = Some(OidcKeys {
            age: Some(Duration::from_millis(1_500)),
            fetched: 2,
            failed: 1,
            unreadable: Some(3),
        });
        let secrets = vec![("livekit-api-key", "fresh"), ("openai-api-key", "missing")];
        let (breakers, log_lines_dropped) =
            (vec![("openai", 2.0)], vec![("stdout", 7), ("stderr", 0)]);
        (
            metrics,
            ScrapeInputs {
                rate_limit_degraded: true,
                oidc_keys,
                secrets,
                secret_reads: (5, 3),
                breakers,
                is_store_available: Some(true),
                log_lines_dropped,
                trace_spans: vec![("exported", 9), ("failed", 4), ("dropped", 2)],
            },
        )
    }

    /// Parses the samples by name and labels, and checks the grammar of every line.
    fn samples(text: &str) -> BTreeMap<String, f64> {
        let sample = regex::Regex::new(
            r#"^([a-z_]+)(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? ([0-9.e+-]+|\+Inf)$"#,
        )
        .unwrap();
        let (mut samples, mut family) = (BTreeMap::new(), String::new());
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let (word, rest) = comment.split_once(' ').unwrap();
                let (name, rest) = rest.split_once(' ').unwrap();
                match word {
                    "HELP" => name.clone_into(&mut family),
                    "TYPE" => assert!(
                        name == family && ["counter", "gauge", "histogram"].contains(&rest),
                        "{line}"
                    ),
                    _ => panic!("{line}"),
                }
                continue;
            }
            assert!(sample.is_match(line) && line.starts_with(&family), "{line}");
            let (key, value) = line.rsplit_once(' ').unwrap();
            assert!(
                samples
                    .insert(key.to_owned(), value.parse().unwrap())
                    .is_none(),
                "twice: {key}"
            );
        }
        samples
    }

    fn read((metrics, scrape): &(Metrics, ScrapeInputs)) -> BTreeMap<String, f64> {
        samples(&metrics.render(scrape).unwrap())
    }

    #[test]
    fn the_rendered_metrics_are_those_of_the_table() {
        let (metrics, scrape) = busy();
        let text = metrics.render(&scrape).unwrap();
        let types: BTreeSet<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(str::to_owned)
            .collect();
        let listed: BTreeSet<_> = METRICS
            .iter()
            .map(|metric| format!("{} {}", metric.name, metric.kind.as_str()))
            .collect();
        assert_eq!(types, listed);
        for metric in METRICS {
            let suffix = if metric.kind == MetricKind::Histogram {
                "_count"
            } else {
                ""
            };
            let start = format!("{}{suffix}", metric.name);
            let line = text
                .lines()
                .find(|line| {
                    line.strip_prefix(&start)
                        .is_some_and(|rest| rest.starts_with(['{', ' ']))
                })
                .unwrap();
            assert_eq!(line.matches("=\"").count(), metric.labels.len(), "{line}");
            assert!(
                metric
                    .labels
                    .iter()
                    .all(|label| line.contains(&format!("{label}=\""))),
                "{line}"
            );
            assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)));
        }
    }

    #[test]
    fn every_value_is_rendered_exactly() {
        let samples = read(&busy());
        for (key, value) in [
            (
                r#"roomkey_requests_total{code="none",route="/api/token",status="200"}"#,
                1.0,
            ),
            (
                r#"roomkey_requests_total{code="rate_limited",route="/api/token",status="429"}"#,
                1.0,
            ),
            (
                r#"roomkey_request_duration_seconds_bucket{route="/api/token",le="0.0001"}"#,
                1.0,
            ),
            (
                r#"roomkey_request_duration_seconds_bucket{route="/api/token",le="0.00025"}"#,
                1.0,
            ),
            (
                r#"roomkey_request_duration_seconds_bucket{route="/api/token",le="0.0005"}"#,
                2.0,
            ),
            (
                r#"roomkey_request_duration_seconds_bucket{route="/api/token",le="10"}"#,
                2.0,
            ),
            (
                r#"roomkey_request_duration_seconds_bucket{route="/api/token",le="+Inf"}"#,
                2.0,
            ),
            (
                r#"roomkey_request_duration_seconds_count{route="/api/token"}"#,
                2.0,
            ),
            (r#"roomkey_rate_limited_total{budget="token"}"#, 1.0),
            ("roomkey_rate_limit_degraded", 1.0),
            (
                r#"roomkey_tokens_total{outcome="issued",provider="livekit"}"#,
                1.0,
            ),
            (r#"roomkey_auth_rejected_total{reason="expired"}"#, 1.0),
            ("roomkey_oidc_keys_age_seconds", 1.5),
            (
                r#"roomkey_secret_state{secret="livekit-api-key",state="fresh"}"#,
                1.0,
            ),
            (
                r#"roomkey_secret_state{secret="openai-api-key",state="missing"}"#,
                1.0,
            ),
            (r#"roomkey_secret_reads_total{outcome="read"}"#, 5.0),
            (r#"roomkey_secret_reads_total{outcome="failed"}"#, 3.0),
            (r#"roomkey_oidc_key_fetches_total{outcome="fetched"}"#, 2.0),
            (r#"roomkey_oidc_key_fetches_total{outcome="failed"}"#, 1.0),
            (
                r#"roomkey_mints_total{outcome="minted",provider="openai"}"#,
                1.0,
            ),
            (
                r#"roomkey_mints_total{outcome="upstream_unavailable",provider="openai"}"#,
                1.0,
            ),
            (
                r#"roomkey_upstream_duration_seconds_bucket{provider="openai",le="0.1"}"#,
                1.0,
            ),
            (
                r#"roomkey_upstream_duration_seconds_count{provider="openai"}"#,
                1.0,
            ),
            (r#"roomkey_breaker_state{provider="openai"}"#, 2.0),
            ("roomkey_panics_total", 1.0),
            (r#"roomkey_log_lines_dropped_total{stream="stdout"}"#, 7.0),
            (r#"roomkey_trace_spans_total{outcome="exported"}"#, 9.0),
            (r#"roomkey_trace_spans_total{outcome="dropped"}"#, 2.0),
            (
                concat!(
                    r#"roomkey_build_info{version=""#,
                    env!("CARGO_PKG_VERSION"),
                    r#""}"#
                ),
                1.0,
            ),
            ("process_start_time_seconds", STARTED.as_secs_f64()),
        ] {
            assert_eq!(samples.get(key), Some(&value), "{key}");
        }
        assert!(samples["process_resident_memory_bytes"] > 1_000_000.0);
    }

    #[test]
    fn a_snapshot_has_every_metric_and_the_buckets_of_a_histogram_each_for_itself() {
        let (metrics, scrape) = busy();
        let snapshot = metrics.snapshot(&scrape);
        let names: BTreeSet<_> = snapshot.iter().map(|read| read.metric.name).collect();
        assert_eq!(names, METRICS.iter().map(|metric| metric.name).collect());
        let values = |name: &str| {
            let read = snapshot.iter().find(|read| read.metric.name == name);
            &read.unwrap().values
        };
        let has = |labels: &[(String, String)], label: &str| {
            labels.iter().any(|(_, value)| value == label)
        };
        let MetricValues::Counter(reads) = values("roomkey_secret_reads_total") else {
            panic!("no counter")
        };
        let read = reads.iter().find(|series| has(&series.labels, "read"));
        assert_eq!(read.unwrap().value.to_bits(), 5.0_f64.to_bits());
        let MetricValues::Gauge(breakers) = values("roomkey_breaker_state") else {
            panic!("no gauge")
        };
        assert_eq!(breakers[0].value.to_bits(), 2.0_f64.to_bits());
        // One request took 0.02 ms, the other one 0.3 ms.
        let MetricValues::Histogram(durations) = values("roomkey_request_duration_seconds") else {
            panic!("no histogram")
        };
        let Distribution {
            upper_bounds,
            bucket_counts,
            sum,
        } = &durations[0].value;
        assert_eq!(upper_bounds[..3], [0.0001, 0.00025, 0.0005]);
        assert_eq!(bucket_counts[..4], [1, 0, 1, 0]);
        assert_eq!(bucket_counts.len(), upper_bounds.len() + 1);
        assert!((sum - 0.000_32).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn a_fresh_server_reports_zero_only_for_known_label_values() {
        let metrics = metrics();
        let samples = samples(&metrics.render(&ScrapeInputs::default()).unwrap());
        for key in [
            r#"roomkey_rate_limited_total{budget="token"}"#,
            r#"roomkey_auth_rejected_total{reason="expired"}"#,
            r#"roomkey_tokens_total{outcome="issued",provider="livekit"}"#,
            r#"roomkey_tokens_total{outcome="refused",provider="livekit"}"#,
            r#"roomkey_mints_total{outcome="minted",provider="openai"}"#,
            "roomkey_panics_total",
            "roomkey_rate_limit_degraded",
        ] {
            assert_eq!(samples.get(key), Some(&0.0), "{key}");
        }
        assert!(
            !samples.keys().any(|key| key.contains("oidc")),
            "no provider, no keys, no age"
        );
        assert!(
            !samples.keys().any(|key| key.contains("secret")),
            "no vault, no secrets"
        );
    }

    #[test]
    fn a_secret_has_one_state_at_a_time() {
        let (metrics, scrape) = busy();
        metrics.render(&scrape).unwrap();
        let samples = read(&(
            metrics,
            ScrapeInputs {
                secrets: vec![("livekit-api-key", "stale"), ("openai-api-key", "missing")],
                ..scrape
            },
        ));
        let state = |secret: &str, state: &str| {
            samples[&format!(r#"roomkey_secret_state{{secret="{secret}",state="{state}"}}"#)]
        };
        let states = |secret| SECRET_STATES.map(|name| state(secret, name) > 0.0);
        assert_eq!(states("livekit-api-key"), [false, true, false]);
        assert_eq!(states("openai-api-key"), [false, false, true]);
    }

    #[test]
    fn fetches_are_counted_once_however_often_they_are_scraped() {
        let (metrics, scrape) = busy();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..100 {
                        metrics.render(&scrape).unwrap();
                    }
                });
            }
        });
        assert_eq!(
            read(&(metrics, scrape)).get(r#"roomkey_oidc_key_fetches_total{outcome="fetched"}"#),
            Some(&2.0)
        );
    }

    #[test]
    fn an_age_that_becomes_unknown_is_removed() {
        let (metrics, scrape) = busy();
        metrics.render(&scrape).unwrap();
        let lost = ScrapeInputs {
            oidc_keys: Some(OidcKeys {
                age: None,
                fetched: 2,
                failed: 9,
                unreadable: None,
            }),
            ..ScrapeInputs::default()
        };
        let samples = read(&(metrics, lost));
        assert_eq!(samples.get("roomkey_oidc_keys_age_seconds"), None);
        assert_eq!(
            samples[r#"roomkey_oidc_key_fetches_total{outcome="failed"}"#].to_bits(),
            9.0_f64.to_bits()
        );
        assert_eq!(samples["roomkey_rate_limit_degraded"].to_bits(), 0);
    }
}
