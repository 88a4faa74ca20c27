//! Tokens of Entra ID for this process itself: by managed identity in Azure, by the developer's own sign-in elsewhere.
//!
//! Source: <https://learn.microsoft.com/azure/app-service/overview-managed-identity>. The library's error texts may carry URLs and
//! answers; they are dropped here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use reqwest::Client;
use secrecy::SecretString;

use super::client;
use super::slot::Slot;
use crate::clock::Clock;
use crate::domain::azure::Identity;
use crate::entropy::Entropy;

/// A token is there within this time. Off Azure the metadata address may not answer at all, and `az` takes seconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time after the first failure; it doubles with each that follows.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest time between two tries.
const LAST_RETRY: Duration = Duration::from_mins(1);

/// What opens an upstream until it expires.
#[derive(Debug)]
pub struct Bearer {
    /// For the header `Authorization`.
    pub token: SecretString,
    /// From then on it opens nothing.
    pub expires_on: SystemTime,
}

/// Why there is no token. What the other side said is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoToken;

/// Asks for tokens; cheap to clone, and all clones share what they got.
#[derive(Debug, Clone)]
pub struct Credential(Arc<dyn TokenCredential>);

impl Credential {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`NoToken`] where the platform's kind of identity is not one that the library knows.
    pub fn new(identity: &Identity, client: &Client) -> Result<Self, NoToken> {
        let inner: Arc<dyn TokenCredential> = match identity {
            Identity::Developer => DeveloperToolsCredential::new(None).map_err(|_| NoToken)?,
            Identity::Managed(client_id) => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.map(|id| UserAssignedId::ClientId(id.hyphenated().to_string())),
                client_options: client_options(client),
            }))
            .map_err(|_| NoToken)?,
        };
        Ok(Self(Arc::new(Detached(inner))))
    }

    /// For the vault's client library.
    pub(super) fn for_library(&self) -> Arc<dyn TokenCredential> {
        Arc::clone(&self.0)
    }
}

/// Our own client, and no second try: whoever asks has a rhythm of its own, and the library would wait as long as the other side
/// likes.
pub(super) fn client_options(client: &Client) -> ClientOptions {
    ClientOptions { transport: Some(Transport::new(Arc::new(client.clone()))), retry: RetryOptions::none(), ..ClientOptions::default() }
}

/// Asks in a task of its own, so that who stops waiting does not stop the asking: a slow token is there for the next one.
#[derive(Debug)]
struct Detached(Arc<dyn TokenCredential>);

#[async_trait]
impl TokenCredential for Detached {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let inner = Arc::clone(&self.0);
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let asking = tokio::spawn(async move {
            let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
            tokio::time::timeout(DEADLINE, inner.get_token(&scopes, None)).await
        });
        match asking.await {
            Ok(Ok(Ok(token))) => Ok(token),
            _ => Err(Error::with_message(ErrorKind::Credential, "no token")),
        }
    }
}

/// Keeps a token for one scope in a slot for as long as it is polled: spawn it once.
///
/// A new one is asked for before four fifths of the old one's life have passed; until it comes, and while Entra ID cannot be
/// reached, the old one stays. Whoever reads the slot looks at `expires_on`.
pub async fn keep(identity: Identity, scope: String, slot: Arc<Slot<Bearer>>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) {
    let mut client = None;
    let mut failures = 0;
    loop {
        if client.is_none() {
            client = client::build(client::builder().timeout(DEADLINE)).await;
        }
        if let Ok(bearer) = ask(&identity, client.as_ref(), &scope).await {
            if failures > 0 {
                tracing::info!("Entra ID gives tokens again");
            }
            failures = 0;
            slot.put(bearer);
        } else {
            if failures == 0 {
                tracing::warn!("Entra ID gives no token for the upstream; one that is held serves until it expires");
            }
            failures += 1;
        }
        let life = slot.value().and_then(|held| held.expires_on.duration_since(clock.now()).ok());
        let [random] = entropy.bytes();
        tokio::time::sleep(pause(life.unwrap_or_default(), failures, random)).await;
    }
}

/// With a credential of its own: one that is kept answers from its memory until five minutes before the end.
async fn ask(identity: &Identity, client: Option<&Client>, scope: &str) -> Result<Bearer, NoToken> {
    let credential = Credential::new(identity, client.ok_or(NoToken)?)?;
    let AccessToken { token, expires_on } = credential.0.get_token(&[scope], None).await.map_err(|_| NoToken)?;
    Ok(Bearer { token: token.secret().into(), expires_on: expires_on.into() })
}

/// How long to rest with a token that lives this long, or after so many failures in a row; a random byte for the jitter.
fn pause(life: Duration, failures: u32, random: u8) -> Duration {
    match failures.checked_sub(1) {
        // Between 70 and 80 % of what is left.
        None => (life * 7 / 10 + life / 10 * u32::from(random) / 255).max(FIRST_RETRY),
        Some(doublings) => FIRST_RETRY.saturating_mul(2_u32.saturating_pow(doublings)).min(LAST_RETRY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_in_good_time_and_a_failure_is_not_repeated_at_once() {
        let life = Duration::from_secs(1_000);
        assert_eq!((pause(life, 0, 0), pause(life, 0, 255)), (Duration::from_secs(700), Duration::from_secs(800)));
        assert_eq!(pause(Duration::ZERO, 0, 255), FIRST_RETRY, "one that is worth nothing must not cause a storm");
        for (failures, seconds) in [(1, 1), (2, 2), (5, 16), (7, 60), (60, 60)] {
            assert_eq!(pause(life, failures, 9), Duration::from_secs(seconds), "{failures}");
        }
    }
}
