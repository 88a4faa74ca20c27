//! What opens an upstream: a key, or a token of Entra ID. Both are fetched in the background and
//! may change at any moment.

use std::sync::Arc;
use std::time::SystemTime;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::domain::requests::provider::Provider;
use crate::upstream::entra::BearerToken;
use crate::upstream::refresher::Refresher;
use crate::upstream::slot::Slot;

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// What opens an upstream.
pub enum Credential {
    /// A long-lived key.
    ApiKey(Arc<Slot<SecretString>>),
    /// A token by managed identity.
    Entra(Arc<Slot<BearerToken>>),
}

/// The header that carries a credential.
pub(super) type CredentialHeader = (HeaderName, HeaderValue);

impl Credential {
    /// Returns the word of diagnostics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "api-key",
            Self::Entra(_) => "entra-token",
        }
    }

    /// Returns the header that carries it, and waits where its first fetch has not finished yet.
    /// `None` where it is not there or has expired.
    pub(super) async fn header(
        &self,
        provider: Provider,
        now: SystemTime,
    ) -> Option<CredentialHeader> {
        let present = self.present_header(provider, now);
        let Some(refresher) = self.refresher().filter(|_| present.is_none()) else {
            return present;
        };
        if self.is_missing() {
            refresher.first_fetch().await;
        } else {
            // It has expired: the clock of timers stands still while a machine is frozen.
            let _ = refresher.refresh().await;
        }
        self.present_header(provider, now)
    }

    /// Requests another credential for the next mint.
    pub(super) fn request_another(&self) {
        if let Some(refresher) = self.refresher() {
            refresher.request();
        }
    }

    /// Returns the header of another credential than the one that was refused, where the source of
    /// the credential has one. At most one fetch in 30 s is caused by this.
    pub(super) async fn replacement(
        &self,
        refused: &CredentialHeader,
        provider: Provider,
        now: SystemTime,
    ) -> Option<CredentialHeader> {
        let other = || {
            self.present_header(provider, now)
                .filter(|header| header != refused)
        };
        if let Some(replaced_meanwhile) = other() {
            return Some(replaced_meanwhile);
        }
        self.refresher()?.refresh().await.ok()?;
        other()
    }

    fn present_header(&self, provider: Provider, now: SystemTime) -> Option<CredentialHeader> {
        match self {
            Self::ApiKey(slot) if provider == Provider::AzureOpenAi => {
                Some((API_KEY, sensitive(slot.value()?.expose_secret())?))
            }
            Self::ApiKey(slot) => Some((AUTHORIZATION, bearer(&*slot.value()?)?)),
            Self::Entra(slot) => {
                let bearer_token = slot.value().filter(|bearer| bearer.expires_on > now)?;
                Some((AUTHORIZATION, bearer(&bearer_token.token)?))
            }
        }
    }

    fn is_missing(&self) -> bool {
        match self {
            Self::ApiKey(slot) => slot.value().is_none(),
            Self::Entra(slot) => slot.value().is_none(),
        }
    }

    /// Returns what can bring another credential: nothing where the operator has given the key with
    /// the settings, for then only a restart brings another.
    fn refresher(&self) -> Option<&Refresher> {
        match self {
            Self::ApiKey(slot) => slot.refresher(),
            Self::Entra(slot) => slot.refresher(),
        }
    }
}

fn bearer(token: &SecretString) -> Option<HeaderValue> {
    const SCHEME: &str = "Bearer ";
    // Room for all of it, since a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(
        SCHEME.len() + token.expose_secret().len(),
    ));
    text.push_str(SCHEME);
    text.push_str(token.expose_secret());
    sensitive(&text)
}

/// Marked, so that no library prints it.
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
    async fn each_vendor_gets_its_header_and_no_debug_shows_it() {
        let key = || Credential::ApiKey(Arc::new(Slot::holding("canary-key".into())));
        let token = BearerToken {
            token: "canary-token".into(),
            expires_on: UNIX_EPOCH + Duration::from_mins(1),
        };
        let entra = Credential::Entra(Arc::new(Slot::holding(token)));
        for (credential, provider, name, value) in [
            (&key(), Provider::AzureOpenAi, "api-key", "canary-key"),
            (
                &key(),
                Provider::OpenAi,
                "authorization",
                "Bearer canary-key",
            ),
            (
                &entra,
                Provider::AzureOpenAi,
                "authorization",
                "Bearer canary-token",
            ),
        ] {
            let header = credential.header(provider, UNIX_EPOCH).await.unwrap();
            assert_eq!(
                (header.0.as_str(), header.1.as_bytes()),
                (name, value.as_bytes())
            );
            assert!(!format!("{header:?}").contains("canary"));
        }
    }

    #[tokio::test]
    async fn what_is_missing_or_expired_or_no_header_is_no_credential() {
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
            assert!(
                credential
                    .header(Provider::AzureOpenAi, UNIX_EPOCH)
                    .await
                    .is_none()
            );
        }
    }
}
