//! Fetches Entra ID tokens for this process: with a managed identity in Azure, with the developer's
//! own sign-in elsewhere.
//!
//! Source: <https://learn.microsoft.com/azure/app-service/overview-managed-identity>. The library's
//! errors may contain URLs and responses, so only an [`EntraTokenError`] leaves this file.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId,
};
use reqwest::Client;
use secrecy::SecretString;

use super::client;
use super::refresher::{RefreshSource, Refresher};
use super::slot::Slot;
use crate::clock::Clock;
use crate::domain::settings::azure::Identity;
use crate::domain::settings::secrets::DependencyState;
use crate::entropy::Entropy;

/// The time limit for a token. Outside Azure the metadata address may not respond at all, and `az`
/// takes seconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// The name of the token in the readiness response, log lines and metrics.
pub const NAME: &str = "azure-openai-token";

/// An access token and its expiry.
#[derive(Debug)]
pub struct BearerToken {
    /// The token for the header `Authorization`.
    pub token: SecretString,
    /// When it expires.
    pub expires_on: SystemTime,
}

/// A reason why no token was fetched. It repeats nothing that Entra ID sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum EntraTokenError {
    /// The HTTP client could not be set up, or the library does not support the platform's kind of
    /// identity.
    Client,
    /// The identity endpoint refused: the identity does not exist, or may not have this scope.
    Refused,
    /// No response arrived in time.
    Timeout,
    /// There is no identity, the connection failed, or the response is not usable.
    Failed,
}

impl EntraTokenError {
    /// Returns the value of the log field `cause`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
        }
    }
}

impl From<Error> for EntraTokenError {
    /// Looks for a response of the endpoint among the causes.
    fn from(error: Error) -> Self {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = next {
            if let Some(ErrorKind::HttpResponse { .. }) =
                error.downcast_ref::<Error>().map(Error::kind)
            {
                return Self::Refused;
            }
            next = error.source();
        }
        Self::Failed
    }
}

/// A credential of the Azure SDK. Clones share its cache of tokens.
#[derive(Debug, Clone)]
pub struct EntraCredential(Arc<dyn TokenCredential>);

impl EntraCredential {
    /// Creates a credential that has requested nothing yet.
    ///
    /// # Errors
    /// [`EntraTokenError::Client`] if the library does not support the platform's kind of identity.
    pub fn new(identity: &Identity, client: &Client) -> Result<Self, EntraTokenError> {
        let inner: Arc<dyn TokenCredential> = match identity {
            Identity::Developer => {
                DeveloperToolsCredential::new(None).map_err(|_| EntraTokenError::Client)?
            }
            Identity::Managed(client_id) => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id
                        .map(|id| UserAssignedId::ClientId(id.hyphenated().to_string())),
                    client_options: client_options(client),
                }))
                .map_err(|_| EntraTokenError::Client)?
            }
        };
        Ok(Self(inner))
    }

    /// Fetches a token into the cache of the credential, in a task of the current Tokio runtime. A
    /// failure shows when the token is requested.
    fn prefetch(&self, scope: String) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(DEADLINE, inner.get_token(&[&scope], None)).await;
        });
    }
}

/// Connects a client library of Azure to this process's identity and HTTP client.
pub struct LibraryAccess {
    /// The credential. Its tokens are fetched in tasks of their own.
    pub credential: Arc<dyn TokenCredential>,
    /// Our own HTTP client and no retries: the caller retries, and the library would wait for as
    /// long as the response asks.
    pub options: ClientOptions,
}

impl LibraryAccess {
    /// Sets up the client, and begins to fetch a token for a scope if the identity is a managed
    /// one. The client has no time limit: a token may take longer than the call for which it is
    /// needed, and both have a limit where they are awaited.
    ///
    /// # Errors
    /// [`EntraTokenError::Client`].
    pub async fn new(identity: &Identity, scope: String) -> Result<Self, EntraTokenError> {
        let client = client::build(client::builder())
            .await
            .ok_or(EntraTokenError::Client)?;
        let credential = EntraCredential::new(identity, &client)?;
        if let Identity::Managed(_) = identity {
            credential.prefetch(scope);
        }
        Ok(Self {
            credential: Arc::new(Detached(credential.0)),
            options: client_options(&client),
        })
    }
}

fn client_options(client: &Client) -> ClientOptions {
    ClientOptions {
        transport: Some(Transport::new(Arc::new(client.clone()))),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    }
}

/// A credential whose requests run to the end in a task, even if the caller stops waiting, so that
/// a slow token is cached for the next caller.
#[derive(Debug)]
struct Detached(Arc<dyn TokenCredential>);

#[async_trait]
impl TokenCredential for Detached {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let inner = Arc::clone(&self.0);
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let request = tokio::spawn(async move {
            let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
            tokio::time::timeout(DEADLINE, inner.get_token(&scopes, None)).await
        });
        match request.await {
            Ok(Ok(Ok(token))) => Ok(token),
            _ => Err(Error::with_message(ErrorKind::Credential, "no token")),
        }
    }
}

/// A source of tokens: Entra ID, or a fake in tests.
pub trait Authority: Send {
    /// Requests a token.
    fn request_token(
        &mut self,
    ) -> impl Future<Output = Result<BearerToken, EntraTokenError>> + Send;
}

/// Requests Entra ID tokens for one scope.
pub struct Entra {
    identity: Identity,
    scope: String,
    client: Option<Client>,
}

impl Entra {
    /// Creates an authority that has sent nothing yet.
    #[must_use]
    pub fn new(identity: Identity, scope: String) -> Self {
        Self {
            identity,
            scope,
            client: None,
        }
    }
}

impl Authority for Entra {
    async fn request_token(&mut self) -> Result<BearerToken, EntraTokenError> {
        if self.client.is_none() {
            self.client = client::build(client::builder().timeout(DEADLINE)).await;
        }
        // A new credential each time: the cache of an old one returns the same token until five
        // minutes before its expiry.
        let EntraCredential(credential) = EntraCredential::new(
            &self.identity,
            self.client.as_ref().ok_or(EntraTokenError::Client)?,
        )?;
        let response =
            tokio::time::timeout(DEADLINE, credential.get_token(&[&self.scope], None)).await;
        let AccessToken { token, expires_on } =
            response.map_err(|_elapsed| EntraTokenError::Timeout)??;
        Ok(BearerToken {
            token: token.secret().into(),
            expires_on: expires_on.into(),
        })
    }
}

/// The shortest time between two fetches that requests ask for: an upstream may refuse the newest
/// token too.
const COOLDOWN: Duration = Duration::from_secs(30);

/// Caches the Entra token for an upstream.
pub struct EntraTokenCache {
    /// The latest token. A reader checks `expires_on`.
    pub token: Arc<Slot<BearerToken>>,
    refresher: Arc<Refresher>,
}

impl EntraTokenCache {
    /// Creates a cache and begins to fetch tokens, in a task of the current Tokio runtime.
    #[must_use]
    pub fn fetched_from(
        authority: impl Authority + 'static,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        let refresher = Arc::new(Refresher::new(COOLDOWN));
        let token = Arc::new(Slot::fetched_by(Arc::clone(&refresher)));
        let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
        let source = TokenSource {
            authority,
            token: Arc::clone(&token),
            clock: Arc::clone(&clock),
        };
        let running = Arc::clone(&refresher);
        tokio::spawn(async move { running.run(source, &*clock, &*entropy).await });
        Self { token, refresher }
    }

    /// Returns whether a valid token is cached.
    #[must_use]
    pub fn state(&self, now: SystemTime) -> DependencyState {
        let is_valid = |token: Arc<BearerToken>| token.expires_on > now;
        let has_valid_token = self.token.value().is_some_and(is_valid);
        match (has_valid_token, self.refresher.status().is_failing) {
            (false, _) => DependencyState::Missing,
            (true, true) => DependencyState::Stale,
            (true, false) => DependencyState::Fresh,
        }
    }

    /// Returns when the latest token was fetched.
    #[must_use]
    pub fn fetched_at(&self) -> Option<SystemTime> {
        self.refresher.status().fetched_at
    }
}

/// Fetches a new token after four fifths of the lifetime of the current one. If that fails, the
/// current one stays in use until it expires.
struct TokenSource<A> {
    authority: A,
    token: Arc<Slot<BearerToken>>,
    clock: Arc<dyn Clock>,
}

impl<A: Authority> RefreshSource for TokenSource<A> {
    type Error = EntraTokenError;

    async fn fetch(&mut self) -> Result<Duration, EntraTokenError> {
        let bearer = self.authority.request_token().await?;
        let lifetime = bearer
            .expires_on
            .duration_since(self.clock.now())
            .unwrap_or_default();
        self.token.put(bearer);
        Ok(lifetime / 5 * 4)
    }

    fn log_failure(&self, error: EntraTokenError) {
        let cause = error.as_str();
        tracing::warn!(
            secret = NAME,
            cause,
            "Entra ID returns no token; the last one is used until it expires, \
             without a valid one Azure OpenAI requests return 503"
        );
    }

    fn log_recovery(&self) {
        tracing::info!(secret = NAME, "Entra ID returns tokens again");
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use tracing::Level;
    use tracing::subscriber::with_default;

    use super::*;
    use crate::clock::FixedClock;
    use crate::domain::settings::log_format::LogFormat;
    use crate::entropy::FixedEntropy;
    use crate::log_capture::LogCapture;
    use crate::telemetry::subscriber;

    const HOUR: Duration = Duration::from_hours(1);

    /// Returns the given results one after the other, and then never responds.
    struct Scripted(std::vec::IntoIter<Result<BearerToken, EntraTokenError>>);

    impl Authority for Scripted {
        async fn request_token(&mut self) -> Result<BearerToken, EntraTokenError> {
            match self.0.next() {
                Some(result) => result,
                None => std::future::pending().await,
            }
        }
    }

    fn token_valid_for(lifetime: Duration) -> BearerToken {
        BearerToken {
            token: "t".into(),
            expires_on: UNIX_EPOCH + lifetime,
        }
    }

    fn cache(results: Vec<Result<BearerToken, EntraTokenError>>) -> EntraTokenCache {
        let clock: Arc<dyn Clock> = Arc::new(FixedClock(UNIX_EPOCH));
        let entropy: Arc<dyn Entropy> = Arc::new(FixedEntropy(0));
        EntraTokenCache::fetched_from(Scripted(results.into_iter()), &clock, &entropy)
    }

    fn source(results: Vec<Result<BearerToken, EntraTokenError>>) -> TokenSource<Scripted> {
        let authority = Scripted(results.into_iter());
        TokenSource {
            authority,
            token: Arc::new(Slot::empty()),
            clock: Arc::new(FixedClock(UNIX_EPOCH)),
        }
    }

    #[tokio::test]
    async fn the_next_token_is_fetched_after_four_fifths_of_the_lifetime() {
        let lifetime = Duration::from_secs(1_000);
        let mut source = source(vec![
            Ok(token_valid_for(lifetime)),
            Ok(token_valid_for(Duration::ZERO)),
        ]);
        assert_eq!(source.fetch().await, Ok(Duration::from_secs(800)));
        assert_eq!(source.fetch().await, Ok(Duration::ZERO));
    }

    #[tokio::test]
    async fn readers_wait_for_the_first_token_and_a_refresh_replaces_a_refused_one() {
        let results = vec![Ok(token_valid_for(HOUR)), Ok(token_valid_for(2 * HOUR))];
        let entra = cache(results);
        let expires_on = |bearer: Option<Arc<BearerToken>>| bearer.map(|bearer| bearer.expires_on);
        assert_eq!(
            expires_on(entra.token.fetched_value().await),
            Some(UNIX_EPOCH + HOUR)
        );
        assert!(entra.token.refresher().unwrap().refresh().await.is_ok());
        assert_eq!(expires_on(entra.token.value()), Some(UNIX_EPOCH + 2 * HOUR));
        assert_eq!(
            entra.token.refresher().unwrap().request_refresh(),
            None,
            "at most one fetch in 30 s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_tells_whether_a_token_is_valid_and_when_it_was_fetched() {
        let entra = cache(vec![
            Err(EntraTokenError::Timeout),
            Ok(token_valid_for(HOUR)),
            Err(EntraTokenError::Refused),
        ]);
        let status = |seconds| {
            (
                entra
                    .state(UNIX_EPOCH + Duration::from_secs(seconds))
                    .as_str(),
                entra.fetched_at(),
            )
        };
        assert_eq!(status(0), ("missing", None));
        assert!(
            entra.token.fetched_value().await.is_none(),
            "readers do not wait after a failed first fetch"
        );
        assert_eq!(status(0), ("missing", None));
        assert!(entra.token.refresher().unwrap().refresh().await.is_ok());
        assert_eq!(status(0), ("fresh", Some(UNIX_EPOCH)));
        let refresher = entra.token.refresher().unwrap();
        while !refresher.status().is_failing {
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        assert_eq!(status(3_599), ("stale", Some(UNIX_EPOCH)));
        assert_eq!(
            status(3_600),
            ("missing", Some(UNIX_EPOCH)),
            "it has expired"
        );
    }

    #[test]
    fn log_lines_have_the_cause_and_the_name_of_the_token() {
        let (source, log) = (source(Vec::new()), LogCapture::default());
        let subscriber = subscriber(Level::INFO, LogFormat::Json, log.writer());
        with_default(subscriber, || {
            source.log_failure(EntraTokenError::Timeout);
            source.log_recovery();
        });
        let log = log.text();
        assert!(log.contains("timeout") && log.contains("again"), "{log}");
        assert!(log.lines().all(|line| line.contains(NAME)), "{log}");
    }

    #[test]
    fn each_error_of_the_library_has_its_cause() {
        let status = 400_u16.into();
        let response = Error::from(ErrorKind::HttpResponse {
            status,
            error_code: Some("canary".into()),
            raw_response: None,
        });
        let wrapped = Error::with_error(ErrorKind::Credential, response, "canary");
        let absent = Error::with_message(ErrorKind::Credential, "canary");
        for (error, cause) in [
            (wrapped.into(), "refused"),
            (absent.into(), "failed"),
            (EntraTokenError::Client, "client"),
            (EntraTokenError::Timeout, "timeout"),
        ] {
            assert_eq!(EntraTokenError::as_str(error), cause);
        }
    }
}
