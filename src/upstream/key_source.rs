//! Fetches the keys of an identity provider: first the discovery document (`OpenID` Connect
//! Discovery 1.0 §4), then the key set that it names.
//!
//! Only the configured issuer decides where a request goes. Nothing that a caller sends reaches
//! this file.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use zeroize::Zeroizing;

use super::client;
use super::response_body::{ResponseBodyError, read_body};
use crate::domain::callers::bearer::Issuer;
use crate::domain::callers::key_set::{KeySet, MAX_DOCUMENT_BYTES};
use crate::domain::requests::json::{self, Json};

/// The time limit for each of the two documents.
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(2);
/// The time limit for the whole fetch, including the setup of the client and name resolution.
const DEADLINE: Duration = Duration::from_secs(5);

/// A reason why the keys could not be fetched. It repeats nothing that the provider sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum KeyFetchError {
    /// The HTTP client could not be set up.
    Client,
    /// No complete response arrived in time.
    Timeout,
    /// The connection could not be opened, its certificate is not trusted, or it broke.
    Network,
    /// The status is not 200; redirects are not followed.
    Status,
    /// A document is larger than 256 KiB.
    TooLarge,
    /// The discovery document does not belong to this issuer, or names an unsafe address.
    Discovery,
    /// The key set holds no usable key.
    KeySet,
}

impl KeyFetchError {
    /// Returns the value of the log field `cause`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Discovery => "discovery",
            Self::KeySet => "key_set",
        }
    }
}

impl From<reqwest::Error> for KeyFetchError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else {
            Self::Network
        }
    }
}

impl From<ResponseBodyError> for KeyFetchError {
    fn from(error: ResponseBodyError) -> Self {
        match error {
            ResponseBodyError::TooLarge => Self::TooLarge,
            ResponseBodyError::Incomplete(error) => error.into(),
        }
    }
}

/// Fetches the key set of one issuer.
pub(super) struct KeySource {
    issuer: Issuer,
    /// Built by the first fetch: reading the system's certificates takes 30 ms, which would delay
    /// the start.
    client: Option<Client>,
}

impl KeySource {
    /// Creates a source that has sent nothing yet.
    pub(super) fn new(issuer: Issuer) -> Self {
        Self {
            issuer,
            client: None,
        }
    }

    /// Fetches both documents.
    ///
    /// # Errors
    /// [`KeyFetchError`], within 5 s.
    pub(super) async fn fetch(&mut self) -> Result<KeySet, KeyFetchError> {
        let fetch = async {
            let client = self.client().await?;
            self.fetch_documents(&client).await
        };
        tokio::time::timeout(DEADLINE, fetch)
            .await
            .map_err(|_elapsed| KeyFetchError::Timeout)?
    }

    async fn fetch_documents(&self, client: &Client) -> Result<KeySet, KeyFetchError> {
        let discovery = fetch_document(client, &self.issuer.discovery_url()).await?;
        let keys_url = self
            .key_set_url(&discovery)
            .ok_or(KeyFetchError::Discovery)?;
        let keys = fetch_document(client, &keys_url).await?;
        KeySet::parse(&keys).map_err(|_| KeyFetchError::KeySet)
    }

    /// Returns the `jwks_uri` of a discovery document, if the document belongs to this issuer.
    fn key_set_url(&self, discovery: &[u8]) -> Option<String> {
        let members = json::parse_members(discovery).ok()?;
        match (members.get("issuer")?, members.get("jwks_uri")?) {
            (Json::Text(issuer), Json::Text(keys_url))
                if *issuer == self.issuer.published() && self.issuer.may_have_keys_at(keys_url) =>
            {
                Some(keys_url.clone().into_owned())
            }
            _ => None,
        }
    }

    async fn client(&mut self) -> Result<Client, KeyFetchError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        // The next fetch is an hour away, so no connection is kept.
        let builder = client::builder()
            .timeout(DOCUMENT_DEADLINE)
            .pool_max_idle_per_host(0);
        let client = client::build(builder).await.ok_or(KeyFetchError::Client)?;
        Ok(self.client.insert(client).clone())
    }
}

async fn fetch_document(client: &Client, url: &str) -> Result<Zeroizing<Vec<u8>>, KeyFetchError> {
    let response = client
        .get(url)
        .header("Accept", "application/json")
        .send()
        .await?;
    if response.status() != StatusCode::OK {
        return Err(KeyFetchError::Status);
    }
    let mut document = read_body(response, MAX_DOCUMENT_BYTES).await?;
    // Some servers send a byte order mark, which readers may ignore (RFC 8259 §8.1).
    if document.starts_with(b"\xef\xbb\xbf") {
        document.drain(..3);
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_documented_for_operators() {
        let page = include_str!("../../docs/operations.md");
        for error in [
            KeyFetchError::Client,
            KeyFetchError::Timeout,
            KeyFetchError::Network,
            KeyFetchError::Status,
            KeyFetchError::TooLarge,
            KeyFetchError::Discovery,
            KeyFetchError::KeySet,
        ] {
            assert!(
                page.contains(&format!("| `{}` |", error.as_str())),
                "{error:?}"
            );
        }
    }
}
