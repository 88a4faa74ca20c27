//! Tests of spans and their parents, with an exporter that keeps them.

use std::sync::atomic::{AtomicU8, Ordering};

use opentelemetry::trace::SpanContext as OtelContext;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanData;

use super::*;
use crate::domain::settings::trace_sampler::SampleRatio;

/// Keeps what it exports.
#[derive(Debug, Clone, Default)]
struct RecordingExporter {
    spans: Arc<Mutex<Vec<SpanData>>>,
    counts: Arc<SpanCounts>,
}

impl SpanExporter for RecordingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.counts.count_batch(batch.len(), 0);
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// Counts up, so that all ids differ.
#[derive(Default)]
struct CountingEntropy(AtomicU8);

impl Entropy for CountingEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
    }
}

fn traces(sampler: &str) -> (Traces, RecordingExporter) {
    let exporter = RecordingExporter::default();
    let sampler = TraceSampler::new(sampler, SampleRatio::ALL).unwrap();
    let counts = Arc::clone(&exporter.counts);
    let entropy = Arc::new(CountingEntropy(AtomicU8::new(1)));
    let attributes = vec![("service.name".to_owned(), "mine".to_owned())];
    let resource = resource::describe(attributes, &*entropy);
    let traces = Traces::new(exporter.clone(), counts, resource, sampler, entropy);
    (traces, exporter)
}

fn begin(traces: &Traces, parent: Option<TraceParent>) -> Option<Span> {
    traces.begin_request(Some("POST"), Some("/api/token"), Uuid::nil(), parent)
}

fn parent(flags: &str) -> TraceParent {
    let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    TraceParent::parse(value.as_bytes()).unwrap()
}

/// Stops the traces and returns each span's name, the name of its parent and the span, oldest end
/// first.
async fn exported(traces: Traces, exporter: &RecordingExporter) -> Vec<(String, String, SpanData)> {
    traces.stop(MAX_SHUTDOWN).await;
    let spans = exporter.spans.lock().unwrap().clone();
    let name_of = |id: SpanId| {
        let parent = spans.iter().find(|span| span.span_context.span_id() == id);
        parent.map_or_else(|| id.to_string(), |parent| parent.name.to_string())
    };
    spans
        .iter()
        .map(|span| {
            let parent = name_of(span.parent_span_id);
            (span.name.to_string(), parent, span.clone())
        })
        .collect()
}

#[tokio::test]
async fn a_request_that_is_not_sampled_creates_no_span() {
    let (traces, exporter) = traces("always_off");
    assert!(begin(&traces, Some(parent("01"))).is_none());
    assert!(start(Step::Guard).is_none(), "outside of every request");
    assert!(exported(traces, &exporter).await.is_empty());
}

#[tokio::test]
async fn spans_have_the_parents_that_were_open_when_they_began() {
    let (traces, exporter) = traces("always_on");
    let request = begin(&traces, None).unwrap();
    let steps = async {
        drop(start(Step::Guard));
        let mint = start(Step::Mint);
        let post = spawn(async { drop(start(Step::Post)) });
        post.await.unwrap();
        drop(mint);
        let vault = start(Step::Vault("open"));
        drop(start(Step::Store("read")));
        drop(vault);
    };
    request.trace().scope(steps).await;
    drop(request);
    let spans = exported(traces, &exporter).await;
    let parents: Vec<_> = spans
        .iter()
        .map(|(name, parent, _)| (name.as_str(), parent.as_str()))
        .collect();
    assert_eq!(
        parents,
        [
            ("guard", "POST /api/token"),
            ("POST", "mint"),
            ("mint", "POST /api/token"),
            ("store", "vault"),
            ("vault", "POST /api/token"),
            ("POST /api/token", "0000000000000000"),
        ]
    );
    let trace_ids = spans
        .iter()
        .map(|(_, _, span)| span.span_context.trace_id());
    let trace_ids: std::collections::BTreeSet<_> = trace_ids.map(|id| id.to_string()).collect();
    assert_eq!(trace_ids.len(), 1);
}

#[tokio::test]
async fn steps_that_run_at_the_same_time_are_not_each_others_parents() {
    let (traces, exporter) = traces("always_on");
    let request = begin(&traces, None).unwrap();
    let mint = |name: &'static str| {
        in_branch(async move {
            let mut mint = start(Step::Mint).unwrap();
            mint.label("roomkey.provider", name);
            tokio::task::yield_now().await;
            let mut post = start(Step::Post).unwrap();
            post.label("roomkey.provider", name);
            tokio::task::yield_now().await;
        })
    };
    let steps = async {
        tokio::join!(mint("one"), mint("two"));
        drop(start(Step::Sign));
    };
    request.trace().scope(steps).await;
    drop(request);
    let spans = exported(traces, &exporter).await;
    let provider = |span: &SpanData| {
        let of = |one: &&KeyValue| one.key.as_str() == "roomkey.provider";
        span.attributes
            .iter()
            .find(of)
            .map(|one| one.value.to_string())
    };
    assert_eq!(spans.len(), 6);
    for (name, parent, span) in &spans {
        if name == "POST" {
            assert_eq!(parent, "mint");
            let by_id = |(_, _, other): &&(_, _, SpanData)| {
                other.span_context.span_id() == span.parent_span_id
            };
            let (_, _, mint) = spans.iter().find(by_id).unwrap();
            assert_eq!(provider(mint), provider(span));
        } else if name != "POST /api/token" {
            assert_eq!(parent, "POST /api/token", "{name}");
        }
    }
}

#[tokio::test]
async fn the_trace_of_a_sender_is_joined_whatever_its_flag_says() {
    let (traces, exporter) = traces("always_on");
    for flags in ["00", "01"] {
        drop(begin(&traces, Some(parent(flags))).unwrap());
    }
    let spans = exported(traces, &exporter).await;
    assert_eq!(spans.len(), 2);
    for (_, parent, span) in spans {
        assert_eq!(parent, "00f067aa0ba902b7");
        let context: OtelContext = span.span_context;
        let trace_id = context.trace_id().to_string();
        assert_eq!(trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(span.parent_span_is_remote && context.is_sampled());
    }
}

#[tokio::test]
async fn a_failed_step_says_why_and_a_finished_one_does_not() {
    let (traces, exporter) = traces("always_on");
    let mut request = begin(&traces, None).unwrap();
    request.http_status(200);
    request.label("roomkey.provider", "openai");
    let steps = async {
        let mut store = start(Step::Store("read")).unwrap();
        store.fail("busy");
    };
    request.trace().scope(steps).await;
    drop(request);
    let counts = traces.counts.outcomes();
    let spans = exported(traces, &exporter).await;
    assert_eq!(counts, [("exported", 0), ("failed", 0), ("dropped", 0)]);
    assert_eq!(exporter.counts.outcomes()[0], ("exported", 2));
    let described = |span: &SpanData| {
        let attributes = span.attributes.iter();
        let attributes = attributes.map(|one| format!("{}={}", one.key, one.value));
        (
            attributes.collect::<Vec<_>>().join(" "),
            span.status.clone(),
        )
    };
    let [(_, _, store), (_, _, request)] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(
        described(store),
        (
            "db.operation.name=read error.type=busy".to_owned(),
            Status::error("")
        )
    );
    let id = Uuid::nil();
    assert_eq!(
        described(request),
        (
            format!(
                "http.request.method=POST roomkey.request_id={id} http.route=/api/token \
                 http.response.status_code=200 roomkey.provider=openai"
            ),
            Status::Unset
        )
    );
}

#[tokio::test]
async fn a_request_without_a_route_or_with_a_rare_method_is_named_as_the_conventions_say() {
    let (traces, exporter) = traces("always_on");
    for (method, route) in [
        (Some("POST"), Some("/api/token")),
        (Some("GET"), None),
        (None, Some("/api/token")),
    ] {
        drop(traces.begin_request(method, route, Uuid::nil(), None));
    }
    let spans = exported(traces, &exporter).await;
    let value = |span: &SpanData, key: &str| {
        let found = span.attributes.iter().find(|pair| pair.key.as_str() == key);
        found.map(|pair| pair.value.to_string())
    };
    let named: Vec<_> = spans
        .iter()
        .map(|(name, _, span)| {
            let method = value(span, "http.request.method").unwrap();
            (name.as_str(), method, value(span, "http.route").is_some())
        })
        .collect();
    assert_eq!(
        named,
        [
            ("POST /api/token", "POST".to_owned(), true),
            ("GET", "GET".to_owned(), false),
            ("HTTP /api/token", "_OTHER".to_owned(), true),
        ]
    );
}
