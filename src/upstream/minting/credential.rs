//! The credential of an upstream: an API key or an Entra token. Either is fetched in the background
//! and may change at any moment.

use std::sync::Arc;
use std::time::SystemTime;

use reqwest::RequestBuilder;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::upstream::entra::BearerToken;
use crate::upstream::refresher::Refresher;
use crate::upstream::slot::Slot;

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The credential that authenticates roomkey to an upstream.
pub enum Credential {
    /// A long-lived key, sent in the header `api-key`.
    ApiKey(Arc<Slot<SecretString>>),
    /// A long-lived key, sent as a bearer token.
    BearerKey(Arc<Slot<SecretString>>),
    /// An Entra token, obtained with a managed identity.
    Entra(Arc<Slot<BearerToken>>),
}

/// The header that carries a credential.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CredentialHeader {
    name: HeaderName,
    value: HeaderValue,
}

impl CredentialHeader {
    /// Adds the credential to a request for JSON.
    pub(super) fn add_to(&self, request: RequestBuilder) -> RequestBuilder {
        request
            .header(&self.name, &self.value)
            .header(ACCEPT, "application/json")
    }
}

impl Credential {
    /// Returns the name of the kind of credential for diagnostics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApiKey(_) | Self::BearerKey(_) => "api-key",
            Self::Entra(_) => "entra-token",
        }
    }

    /// Returns the header, and waits for a fetch if the credential is missing or has expired.
    /// Returns `None` if it then still is.
    pub(super) async fn header(&self, now: SystemTime) -> Option<CredentialHeader> {
        let current = self.current_header(now);
        let Some(refresher) = self.refresher().filter(|_| current.is_none()) else {
            return current;
        };
        if self.is_missing() {
            refresher.wait_for_first_fetch().await;
        } else {
            // It has expired: timers do not run while the machine is suspended.
            let _ = refresher.refresh().await;
        }
        self.current_header(now)
    }

    /// Requests a newer credential for the next mint.
    pub(super) fn request_refresh(&self) {
        if let Some(refresher) = self.refresher() {
            refresher.request_refresh();
        }
    }

    /// Returns the header of another credential than the refused one, if its source has one. This
    /// causes at most one fetch in 30 s.
    pub(super) async fn newer_header(
        &self,
        refused: &CredentialHeader,
        now: SystemTime,
    ) -> Option<CredentialHeader> {
        let newer = || self.current_header(now).filter(|header| header != refused);
        if let Some(header) = newer() {
            return Some(header);
        }
        self.refresher()?.refresh().await.ok()?;
        newer()
    }

    fn current_header(&self, now: SystemTime) -> Option<CredentialHeader> {
        let (name, value) = match self {
            Self::ApiKey(slot) => (API_KEY, sensitive(slot.value()?.expose_secret())?),
            Self::BearerKey(slot) => (AUTHORIZATION, bearer(&*slot.value()?)?),
            Self::Entra(slot) => {
                let bearer_token = slot.value().filter(|bearer| bearer.expires_on > now)?;
                (AUTHORIZATION, bearer(&bearer_token.token)?)
            }
        };
        Some(CredentialHeader { name, value })
    }

    fn is_missing(&self) -> bool {
        match self {
            Self::ApiKey(slot) | Self::BearerKey(slot) => slot.value().is_none(),
            Self::Entra(slot) => slot.value().is_none(),
        }
    }

    /// Returns the refresher. There is none for a key from the settings, which only a restart
    /// replaces.
    fn refresher(&self) -> Option<&Refresher> {
        match self {
            Self::ApiKey(slot) | Self::BearerKey(slot) => slot.refresher(),
            Self::Entra(slot) => slot.refresher(),
        }
    }
}

fn bearer(token: &SecretString) -> Option<HeaderValue> {
    const SCHEME: &str = "Bearer ";
    // With full capacity, because a string that grows leaves copies in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(
        SCHEME.len() + token.expose_secret().len(),
    ));
    text.push_str(SCHEME);
    text.push_str(token.expose_secret());
    sensitive(&text)
}

/// Makes a header value that libraries do not print.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[tokio::test]
    async fn each_provider_gets_its_header_and_debug_does_not_show_it() {
        let key = || Arc::new(Slot::holding("canary-key".into()));
        let token = BearerToken {
            token: "canary-token".into(),
            expires_on: UNIX_EPOCH + Duration::from_mins(1),
        };
        let entra = Credential::Entra(Arc::new(Slot::holding(token)));
        for (credential, name, value) in [
            (Credential::ApiKey(key()), "api-key", "canary-key"),
            (
                Credential::BearerKey(key()),
                "authorization",
                "Bearer canary-key",
            ),
            (entra, "authorization", "Bearer canary-token"),
        ] {
            let header = credential.header(UNIX_EPOCH).await.unwrap();
            assert_eq!(
                (header.name.as_str(), header.value.as_bytes()),
                (name, value.as_bytes())
            );
            assert!(!format!("{header:?}").contains("canary"));
        }
    }

    #[tokio::test]
    async fn a_missing_expired_or_malformed_credential_has_no_header() {
        let expired = BearerToken {
            token: "t".into(),
            expires_on: UNIX_EPOCH,
        };
        for credential in [
            Credential::ApiKey(Arc::default()),
            Credential::Entra(Arc::default()),
            Credential::Entra(Arc::new(Slot::holding(expired))),
            Credential::ApiKey(Arc::new(Slot::holding("a\nb".into()))),
        ] {
            assert!(credential.header(UNIX_EPOCH).await.is_none());
        }
    }
}
