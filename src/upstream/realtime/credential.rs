//! What opens an upstream: a key, or a token of Entra ID. Both are brought by somebody else and may change at any moment.

use std::sync::Arc;
use std::time::SystemTime;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::domain::provider::Provider;
use crate::upstream::entra::Bearer;
use crate::upstream::slot::Slot;

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// What opens an upstream.
pub enum Credential {
    /// A long-lived key, and whom to ring when it is not accepted: nobody where the operator has given it with the settings, for
    /// then only a restart brings another.
    ApiKey(Arc<Slot<SecretString>>, Option<Arc<Notify>>),
    /// A token by managed identity, and whom to ring when it is not accepted.
    Entra(Arc<Slot<Bearer>>, Arc<Notify>),
}

impl Credential {
    /// The word of diagnostics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApiKey(..) => "api-key",
            Self::Entra(..) => "entra-token",
        }
    }

    /// The upstream does not accept it: whoever can bring another is told.
    pub(super) fn refused(&self) {
        match self {
            Self::ApiKey(_, Some(wake)) | Self::Entra(_, wake) => wake.notify_one(),
            Self::ApiKey(_, None) => {}
        }
    }

    /// The header that shows it, if it is there and good.
    pub(super) fn header(&self, provider: Provider, now: SystemTime) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::ApiKey(slot, _) if provider == Provider::AzureOpenAi => Some((API_KEY, sensitive(slot.value()?.expose_secret())?)),
            Self::ApiKey(slot, _) => Some((AUTHORIZATION, bearer(&*slot.value()?)?)),
            Self::Entra(slot, _) => {
                let bearer_token = slot.value().filter(|bearer| bearer.expires_on > now)?;
                Some((AUTHORIZATION, bearer(&bearer_token.token)?))
            }
        }
    }
}

fn bearer(token: &SecretString) -> Option<HeaderValue> {
    const SCHEME: &str = "Bearer ";
    // Room for all of it, since a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(SCHEME.len() + token.expose_secret().len()));
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

    #[test]
    fn each_vendor_gets_its_header_and_no_debug_shows_it() {
        let key = || Credential::ApiKey(Arc::new(Slot::holding("canary-key".into())), None);
        let token = Bearer { token: "canary-token".into(), expires_on: UNIX_EPOCH + Duration::from_mins(1) };
        let entra = Credential::Entra(Arc::new(Slot::holding(token)), Arc::default());
        for (credential, provider, name, value) in [
            (&key(), Provider::AzureOpenAi, "api-key", "canary-key"),
            (&key(), Provider::OpenAi, "authorization", "Bearer canary-key"),
            (&entra, Provider::AzureOpenAi, "authorization", "Bearer canary-token"),
        ] {
            let header = credential.header(provider, UNIX_EPOCH).unwrap();
            assert_eq!((header.0.as_str(), header.1.as_bytes()), (name, value.as_bytes()));
            assert!(!format!("{header:?}").contains("canary"));
        }
    }

    #[test]
    fn what_is_missing_or_expired_or_no_header_is_no_credential() {
        let expired = Bearer { token: "t".into(), expires_on: UNIX_EPOCH };
        for credential in [
            Credential::ApiKey(Arc::default(), None),
            Credential::Entra(Arc::default(), Arc::default()),
            Credential::Entra(Arc::new(Slot::holding(expired)), Arc::default()),
            Credential::ApiKey(Arc::new(Slot::holding("a\nb".into())), None),
        ] {
            assert!(credential.header(Provider::AzureOpenAi, UNIX_EPOCH).is_none());
        }
    }
}
