//! Sends traces to an OpenTelemetry collector: OTLP over HTTP, in protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! A batch is sent once and lost if that fails: traces are not worth a second attempt that holds up
//! a stop. The library's own exporter is not used, because it reads the environment by itself,
//! repeats requests, and needs a client of its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderName, InvalidHeaderValue};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::client;
use super::response_body::read_body;
use super::slot::Slot;
use crate::domain::settings::otlp::{self, CollectorUrl};
use crate::traces::SpanCounts;

/// The time limit of one batch.
const DEADLINE: Duration = Duration::from_secs(3);
/// Most bytes of an answer, which says how many spans were refused.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Exports batches of spans. The library calls it on a thread of its own, and the requests run in
/// the Tokio runtime.
pub struct CollectorExporter {
    collector: Arc<Collector>,
    runtime: Handle,
    resource: ResourceAttributesWithSchema,
    counts: Arc<SpanCounts>,
}

/// The collector and the connection to it.
struct Collector {
    url: CollectorUrl,
    headers: Option<Arc<Slot<SecretString>>>,
    client: OnceCell<Client>,
    is_failing: AtomicBool,
}

/// An error that loses a batch.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("client")]
    Client,
    #[error("stopped")]
    Stopped(#[from] tokio::task::JoinError),
    #[error("headers")]
    Headers,
    #[error("headers")]
    HeaderName(#[from] InvalidHeaderName),
    #[error("headers")]
    HeaderValue(#[from] InvalidHeaderValue),
    #[error("no_answer")]
    NoAnswer(#[from] reqwest::Error),
    #[error("refused_credentials")]
    RefusedCredentials,
    #[error("no_such_path")]
    NoSuchPath,
    #[error("refused")]
    Refused,
}

impl CollectorExporter {
    /// Creates an exporter that has not sent anything yet. It must be called inside a Tokio
    /// runtime.
    #[must_use]
    pub fn new(
        url: CollectorUrl,
        headers: Option<Arc<Slot<SecretString>>>,
        counts: Arc<SpanCounts>,
    ) -> Self {
        Self {
            collector: Arc::new(Collector {
                url,
                headers,
                client: OnceCell::new(),
                is_failing: AtomicBool::new(false),
            }),
            runtime: Handle::current(),
            resource: ResourceAttributesWithSchema::default(),
            counts,
        }
    }
}

impl SpanExporter for CollectorExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let (collector, body) = (Arc::clone(&self.collector), request.encode_to_vec());
        let sending = self
            .runtime
            .spawn(async move { collector.send(body).await });
        let sent = sending.await.unwrap_or_else(|stopped| Err(stopped.into()));
        let failed = match &sent {
            Ok(refused) => *refused,
            Err(_) => spans,
        };
        self.counts.count_batch(spans, failed);
        sent.map(drop)
            .map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl fmt::Debug for CollectorExporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CollectorExporter")
    }
}

impl Collector {
    /// Sends one batch. Returns the number of spans that the collector refused.
    async fn send(&self, body: Vec<u8>) -> Result<usize, ExportError> {
        let sent = self.try_send(body).await;
        let is_failing = sent.is_err();
        let was_failing = self.is_failing.swap(is_failing, Ordering::Relaxed);
        match &sent {
            Err(cause) if !was_failing => tracing::warn!(%cause, "traces could not be exported"),
            Ok(_) if was_failing => tracing::info!("traces are exported again"),
            Ok(_) | Err(_) => {}
        }
        sent
    }

    async fn try_send(&self, body: Vec<u8>) -> Result<usize, ExportError> {
        let set_up = async || client::build(client::builder().timeout(DEADLINE)).await;
        let client = self
            .client
            .get_or_try_init(async || set_up().await.ok_or(ExportError::Client))
            .await?;
        let request = client
            .post(self.url.as_str())
            .headers(self.headers().await?)
            .header("Content-Type", "application/x-protobuf")
            .body(body);
        let response = request.send().await?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ExportError::RefusedCredentials);
            }
            StatusCode::NOT_FOUND => return Err(ExportError::NoSuchPath),
            _ => return Err(ExportError::Refused),
        }
        Ok(refused_spans(response).await)
    }

    /// Returns the configured headers, which may be in Key Vault.
    async fn headers(&self) -> Result<HeaderMap, ExportError> {
        let Some(headers) = &self.headers else {
            return Ok(HeaderMap::new());
        };
        let value = headers.fetched_value().await.ok_or(ExportError::Headers)?;
        let Ok(pairs) = otlp::key_values(value.expose_secret()) else {
            return Err(ExportError::Headers);
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let mut value = HeaderValue::try_from(value)?;
            value.set_sensitive(true);
            headers.insert(HeaderName::try_from(name)?, value);
        }
        Ok(headers)
    }
}

/// Returns how many spans of an accepted batch were refused. An answer that cannot be read refuses
/// none.
async fn refused_spans(response: reqwest::Response) -> usize {
    let Ok(body) = read_body(response, MAX_ANSWER_BYTES).await else {
        return 0;
    };
    ExportTraceServiceResponse::decode(body.as_slice())
        .ok()
        .and_then(|answer| answer.partial_success)
        .map_or(0, |partial| {
            usize::try_from(partial.rejected_spans).unwrap_or(0)
        })
}
