//! The connection to a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prost::{DecodeError, Message};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderName, InvalidHeaderValue};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;
use url::Url;

use crate::domain::settings::otlp::{self, CollectorUrl, Signal};
use crate::upstream::client;
use crate::upstream::response_body::read_body;
use crate::upstream::slot::Slot;

/// The time limit of one request.
const DEADLINE: Duration = Duration::from_secs(3);
/// Most bytes of an answer, which says how much was refused.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A collector and the client that all exports to it share.
pub struct Collector {
    url: CollectorUrl,
    headers: Option<Arc<Slot<SecretString>>>,
    client: OnceCell<Client>,
}

/// The endpoint of a collector for one signal.
pub(super) struct SignalEndpoint {
    collector: Arc<Collector>,
    signal: Signal,
    url: Url,
    is_failing: AtomicBool,
}

/// An error that loses a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
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

impl Collector {
    /// Creates a collector that has not been called yet.
    #[must_use]
    pub fn new(url: CollectorUrl, headers: Option<Arc<Slot<SecretString>>>) -> Arc<Self> {
        Arc::new(Self {
            url,
            headers,
            client: OnceCell::new(),
        })
    }

    async fn client(&self) -> Result<&Client, ExportError> {
        let set_up = async || client::build(client::builder().timeout(DEADLINE)).await;
        self.client
            .get_or_try_init(async || set_up().await.ok_or(ExportError::Client))
            .await
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

impl SignalEndpoint {
    pub(super) fn new(collector: Arc<Collector>, signal: Signal) -> Self {
        Self {
            url: collector.url.endpoint(signal),
            collector,
            signal,
            is_failing: AtomicBool::new(false),
        }
    }

    /// Sends one request and returns the answer. Logs the first failure in a row, and the first
    /// success after it.
    pub(super) async fn send<Answer: Message + Default>(
        &self,
        request: &impl Message,
    ) -> Result<Answer, ExportError> {
        let sent = self.try_send(request).await;
        let is_failing = sent.is_err();
        let was_failing = self.is_failing.swap(is_failing, Ordering::Relaxed);
        let signal = self.signal;
        match &sent {
            Err(cause) if !was_failing => tracing::warn!(%cause, "{signal} could not be exported"),
            Ok(_) if was_failing => tracing::info!("{signal} are exported again"),
            Ok(_) | Err(_) => {}
        }
        sent
    }

    async fn try_send<Answer: Message + Default>(
        &self,
        request: &impl Message,
    ) -> Result<Answer, ExportError> {
        let request = self
            .collector
            .client()
            .await?
            .post(self.url.clone())
            .headers(self.collector.headers().await?)
            .header("Content-Type", "application/x-protobuf")
            .body(request.encode_to_vec());
        let response = request.send().await?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ExportError::RefusedCredentials);
            }
            StatusCode::NOT_FOUND => return Err(ExportError::NoSuchPath),
            _ => return Err(ExportError::Refused),
        }
        Ok(read_answer(response).await.unwrap_or_default())
    }
}

/// Reads the answer to an accepted request. One that cannot be read is taken for an empty one, which
/// refuses nothing.
async fn read_answer<Answer: Message + Default>(response: reqwest::Response) -> Option<Answer> {
    let body = read_body(response, MAX_ANSWER_BYTES).await.ok()?;
    let decoded: Result<Answer, DecodeError> = Answer::decode(body.as_slice());
    decoded.ok()
}
