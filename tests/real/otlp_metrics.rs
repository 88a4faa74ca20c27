//! Metrics as a collector gets them, decoded by OpenTelemetry's own package.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::collector::{Collector, HEADER, PATIENCE, assert_nothing_personal, mint_for_a_caller};
use crate::fake_realtime::FakeRealtime;
use crate::peers;
use crate::process::{Ended, Roomkey};
use crate::signed_in::{ADMIN_KEY, client};
use crate::undisturbed::undisturbed;

/// Values of a time series, by its name and labels as Prometheus writes them.
type Samples = BTreeMap<String, f64>;

async fn scrape(roomkey: &Roomkey) -> Samples {
    let url = format!("{}/api/metrics", roomkey.url);
    let answer = client().get(url).bearer_auth(ADMIN_KEY).send().await;
    let text = answer.unwrap().text().await.unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The metrics of one export by name.
fn metrics(export: &Value) -> BTreeMap<&str, &Value> {
    let metrics = export["parts"][0]["metrics"].as_array().unwrap();
    metrics
        .iter()
        .map(|metric| (metric["name"].as_str().unwrap(), metric))
        .collect()
}

/// The values of an export as a scrape writes them, with the counts of histograms.
fn samples(export: &Value) -> Samples {
    let mut samples = Samples::new();
    for (name, metric) in metrics(export) {
        for point in metric["points"].as_array().unwrap() {
            let labels: Vec<_> = point["attributes"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| format!(r#"{name}="{}""#, value.as_str().unwrap()))
                .collect();
            let labels = match labels.join(",") {
                none if none.is_empty() => none,
                labels => format!("{{{labels}}}"),
            };
            let count = point["count"].as_f64();
            let (suffix, value) = match count {
                Some(count) => ("_count", count),
                None => ("", point["value"].as_f64().unwrap()),
            };
            samples.insert(format!("{name}{suffix}{labels}"), value);
        }
    }
    samples
}

/// What a collector and a scrape got of the same roomkey.
struct Exported {
    metrics: Vec<Value>,
    spans: Vec<Value>,
    scraped: Samples,
    ended: Ended,
    secret: String,
}

/// Lets a caller mint, scrapes and stops. The last export has a second only.
async fn export_at_a_stop() -> Exported {
    undisturbed(async || {
        let (collector, fake) = (Collector::start(), FakeRealtime::start());
        let (roomkey, answer) = mint_for_a_caller(&collector, &fake).await;
        let scraped = scrape(&roomkey).await;
        let ended = roomkey.stop("TERM");
        assert!(ended.status.success(), "{ended:?}");
        let exported = Exported {
            metrics: collector.metric_exports().await,
            spans: collector.exports().await,
            scraped,
            ended,
            secret: answer.body["token"].as_str().unwrap().to_owned(),
        };
        let is_late = exported.ended.stderr.contains("were not exported");
        // One is due at the start, when nothing has been counted, and one at the stop.
        (exported.metrics.len() == 2 && !is_late).then_some(exported)
    })
    .await
}

#[tokio::test]
async fn an_export_has_every_value_of_a_scrape_and_nothing_of_a_caller() {
    let exported = export_at_a_stop().await;
    let [first, export] = &exported.metrics[..] else {
        panic!("{:?}", exported.metrics)
    };
    let issued = r#"roomkey_tokens_total{outcome="issued",provider="openai"}"#;
    let issued = [first, export].map(|export| samples(export)[issued].to_bits());
    assert_eq!(
        issued,
        [0.0_f64, 1.0].map(f64::to_bits),
        "it shows as a rise"
    );
    assert_eq!(export["path"], "/v1/metrics");
    assert_eq!(export["headers"]["content-type"], "application/x-protobuf");
    assert_eq!(export["headers"]["api-key"], HEADER);
    assert_eq!(
        export["parts"][0]["resource"], exported.spans[0]["parts"][0]["resource"],
        "traces and metrics are of one instance"
    );

    // The scrape itself is counted after its answer, and the rest changes with time.
    let changes = |series: &str| {
        series.contains("/api/metrics") || series.contains("spans_total") || series.contains("mem")
    };
    let is_listed = |series: &String| {
        !series.contains("_bucket") && !series.contains("_sum") && !changes(series)
    };
    let listed = |samples: Samples| -> Samples {
        let samples = samples.into_iter();
        samples.filter(|(series, _)| is_listed(series)).collect()
    };
    let scraped = listed(exported.scraped);
    assert!(scraped.len() > 20, "{scraped:?}");
    assert_eq!(listed(samples(export)), scraped);
    assert_nothing_personal(&exported.metrics, &exported.ended, &[&exported.secret]);
}

#[tokio::test]
async fn each_type_of_metric_has_its_form_and_unit() {
    let exported = export_at_a_stop().await;
    let metrics = metrics(exported.metrics.last().unwrap());

    let tokens = metrics["roomkey_tokens_total"];
    assert_eq!(
        [&tokens["kind"], &tokens["temporality"], &tokens["unit"]],
        [&json!("sum"), &json!("cumulative"), &json!("")]
    );
    assert_eq!(tokens["is_monotonic"], true);
    let first = &tokens["points"][0];
    assert!(first["start"].as_u64() < first["time"].as_u64(), "{first}");

    let memory = metrics["process_resident_memory_bytes"];
    assert_eq!(
        [&memory["kind"], &memory["unit"]],
        [&json!("gauge"), &json!("By")]
    );

    let duration = metrics["roomkey_upstream_duration_seconds"];
    assert_eq!(
        [
            &duration["kind"],
            &duration["temporality"],
            &duration["unit"]
        ],
        [&json!("histogram"), &json!("cumulative"), &json!("s")]
    );
    let point = &duration["points"][0];
    let (bounds, buckets) = (
        point["bounds"].as_array().unwrap(),
        point["buckets"].as_array().unwrap(),
    );
    assert_eq!(buckets.len(), bounds.len() + 1);
    let counted: u64 = buckets.iter().filter_map(Value::as_u64).sum();
    assert_eq!((counted, point["count"].as_u64()), (1, Some(1)));
    // The only value lies in the bucket that holds the sum.
    let sum = point["sum"].as_f64().unwrap();
    let expected = bounds
        .iter()
        .position(|bound| sum <= bound.as_f64().unwrap());
    let bucket = buckets.iter().position(|count| count == 1);
    assert_eq!(bucket, Some(expected.unwrap_or(bounds.len())), "{point}");
}

#[tokio::test]
async fn metrics_are_exported_at_each_interval_and_without_traces() {
    let collector = Collector::start();
    let settings = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    let roomkey = peers::roomkey(&[&collector.settings()[..], &settings].concat());
    let two = async {
        loop {
            let exports = collector.metric_exports().await;
            if let [first, second, ..] = &exports[..] {
                break [first.clone(), second.clone()];
            }
        }
    };
    let [first, second] = timeout(PATIENCE, two).await.unwrap();
    let times = |export: &Value| {
        let point = metrics(export)["roomkey_build_info"]["points"][0].clone();
        (
            point["start"].as_u64().unwrap(),
            point["time"].as_u64().unwrap(),
        )
    };
    assert_eq!(times(&first).0, times(&second).0, "of the same start");
    assert!(times(&second).1 - times(&first).1 > 500_000_000);
    roomkey.stop("TERM");
    assert_eq!(collector.exports().await.len(), 0);
}

#[tokio::test]
async fn values_that_a_collector_rejects_again_and_again_are_logged_once() {
    let collector = Collector::start();
    collector.behave(json!({ "rejected": 2 })).await;
    let settings = [("OTEL_METRIC_EXPORT_INTERVAL", "1000")];
    let roomkey = peers::roomkey(&[&collector.settings()[..], &settings].concat());
    let answered = async { while collector.metric_exports().await.len() < 3 {} };
    timeout(PATIENCE, answered).await.unwrap();
    let ended = roomkey.stop("TERM");
    let line = r#""message":"the collector rejected values of metrics","rejected":2"#;
    assert_eq!(ended.stderr.matches(line).count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn no_metrics_are_sent_where_their_export_is_off() {
    let collector = Collector::start();
    let off = [("OTEL_METRICS_EXPORTER", "none")];
    let roomkey = peers::roomkey(&[&collector.settings()[..], &off].concat());
    let body = json!({ "roomName": "r" });
    peers::token(&roomkey, "/api/token", &body).await;
    collector.until_received(4).await;
    roomkey.stop("TERM");
    assert_eq!(collector.metric_exports().await.len(), 0);
}
