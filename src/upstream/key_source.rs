//! Fetches an identity provider's keys: the discovery document (`OpenID` Connect Discovery 1.0 §4),
//! then the key set it names.
//!
//! Only the operator's issuer decides where a request goes; nothing that a caller sends reaches
//! this file.

use std::time::Duration;

use reqwest::{Client, StatusCode};

use super::client;
use crate::domain::callers::bearer::Issuer;
use crate::domain::callers::key_set::{KeySet, MAX_DOCUMENT_BYTES};
use crate::domain::requests::json::{self, Json};

/// Each of the two documents arrives within this time, or the fetch has failed.
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(2);
/// The whole fetch, the set-up of the client and a slow resolver included, ends within this time.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why there are no new keys. The word is for the log; what the other side said is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchError {
    /// The HTTP client could not be set up.
    Client,
    /// No answer in time.
    Timeout,
    /// No connection, no trust in the certificate, or it broke off.
    Network,
    /// Another status than 200, a redirect included.
    Status,
    /// A document of more than 256 KiB.
    TooLarge,
    /// The discovery document is not one of this issuer's, or names an unsafe address.
    Discovery,
    /// The key set holds no key that can be used.
    KeySet,
}

impl FetchError {
    /// One fixed word.
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

/// One issuer's keys at their source.
pub(super) struct KeySource {
    issuer: Issuer,
    /// Made with the first fetch: reading the system's certificates takes 30 ms, which a start has
    /// no time for.
    client: Option<Client>,
}

impl KeySource {
    /// Asks nothing yet.
    pub(super) fn new(issuer: Issuer) -> Self {
        Self {
            issuer,
            client: None,
        }
    }

    /// Fetches both documents.
    ///
    /// # Errors
    /// [`FetchError`], within 5 s.
    pub(super) async fn fetch(&mut self) -> Result<KeySet, FetchError> {
        let fetching = async {
            let client = self.client().await?;
            self.documents(&client).await
        };
        tokio::time::timeout(DEADLINE, fetching)
            .await
            .map_err(|_| FetchError::Timeout)?
    }

    async fn documents(&self, client: &Client) -> Result<KeySet, FetchError> {
        let discovery = document(client, &self.issuer.discovery_url()).await?;
        let keys_at = self.keys_at(&discovery).ok_or(FetchError::Discovery)?;
        let keys = document(client, &keys_at).await?;
        KeySet::parse(&keys).map_err(|_| FetchError::KeySet)
    }

    /// The `jwks_uri` of a discovery document that speaks for our issuer.
    fn keys_at(&self, discovery: &[u8]) -> Option<String> {
        let members = json::parse_members(discovery).ok()?;
        match (members.get("issuer")?, members.get("jwks_uri")?) {
            (Json::Text(issuer), Json::Text(keys_at))
                if *issuer == self.issuer.published() && self.issuer.may_have_keys_at(keys_at) =>
            {
                Some(keys_at.clone().into_owned())
            }
            _ => None,
        }
    }

    async fn client(&mut self) -> Result<Client, FetchError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        // No connection is kept for an hour.
        let builder = client::builder()
            .timeout(DOCUMENT_DEADLINE)
            .pool_max_idle_per_host(0);
        let client = client::build(builder).await.ok_or(FetchError::Client)?;
        Ok(self.client.insert(client).clone())
    }
}

/// Reads a document as it arrives and stops past the limit.
async fn document(client: &Client, url: &str) -> Result<Vec<u8>, FetchError> {
    let failed = |error: reqwest::Error| {
        if error.is_timeout() {
            FetchError::Timeout
        } else {
            FetchError::Network
        }
    };
    let mut response = client
        .get(url)
        .header("Accept", "application/json")
        .send()
        .await
        .map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status);
    }
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if document.len() + chunk.len() > MAX_DOCUMENT_BYTES {
            return Err(FetchError::TooLarge);
        }
        document.extend_from_slice(&chunk);
    }
    // Some servers put a byte order mark first (RFC 8259 §8.1 lets readers pass over it).
    if document.starts_with(b"\xef\xbb\xbf") {
        document.drain(..3);
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_explained_to_operators() {
        let page = include_str!("../../docs/operations.md");
        for error in [
            FetchError::Client,
            FetchError::Timeout,
            FetchError::Network,
            FetchError::Status,
            FetchError::TooLarge,
            FetchError::Discovery,
            FetchError::KeySet,
        ] {
            assert!(
                page.contains(&format!("| `{}` |", error.as_str())),
                "{error:?}"
            );
        }
    }
}
