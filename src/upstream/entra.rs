//! Tokens of Entra ID for this process itself: by managed identity in Azure, by the developer's own
//! sign-in elsewhere.
//!
//! Source: <https://learn.microsoft.com/azure/app-service/overview-managed-identity>. The library's
//! error texts may carry URLs and answers; they are dropped here.

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

/// A token is there within this time. Off Azure the metadata address may not answer at all, and
/// `az` takes seconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// The name under which an operator sees the token in readiness, log lines and metrics.
pub const NAME: &str = "azure-openai-token";

/// What opens an upstream until it expires.
#[derive(Debug)]
pub struct BearerToken {
    /// For the header `Authorization`.
    pub token: SecretString,
    /// From then on it opens nothing.
    pub expires_on: SystemTime,
}

/// Why there is no token. The word is for the log; what the other side said is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntraTokenError {
    /// The HTTP client could not be set up, or the platform's kind of identity is not one that the
    /// library knows.
    Client,
    /// The identity endpoint answered, with a refusal: no such identity, or it may not have this
    /// scope.
    Refused,
    /// No answer in time.
    Timeout,
    /// No identity here, no connection, or an answer that is none.
    Failed,
}

impl EntraTokenError {
    /// One fixed word.
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
    /// The library wraps what the endpoint answered.
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

/// Asks for tokens; cheap to clone, and all clones share what they got.
#[derive(Debug, Clone)]
pub struct EntraCredential(Arc<dyn TokenCredential>);

impl EntraCredential {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`EntraTokenError::Client`] where the platform's kind of identity is not one that the library knows.
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

    /// Begins to fetch a token that will be asked for soon, in a task of the Tokio runtime that
    /// this is called in. A failure shows when the token is asked for.
    pub(super) fn prefetch(&self, scope: String) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(DEADLINE, inner.get_token(&[&scope], None)).await;
        });
    }

    /// For the vault's client library.
    pub(super) fn for_library(&self) -> Arc<dyn TokenCredential> {
        Arc::new(Detached(Arc::clone(&self.0)))
    }
}

/// Our own client, and no second try: whoever asks has a rhythm of its own, and the library would
/// wait as long as the other side likes.
pub(super) fn client_options(client: &Client) -> ClientOptions {
    ClientOptions {
        transport: Some(Transport::new(Arc::new(client.clone()))),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    }
}

/// Asks in a task of its own, so that who stops waiting does not stop the asking: a slow token is
/// there for the next one.
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

/// Where tokens can be had. One is Entra ID, one a test's.
pub trait Authority: Send {
    /// Asks for a token.
    fn ask(&mut self) -> impl Future<Output = Result<BearerToken, EntraTokenError>> + Send;
}

/// Entra ID, asked for one scope.
pub struct Entra {
    identity: Identity,
    scope: String,
    client: Option<Client>,
}

impl Entra {
    /// Asks nothing yet.
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
    async fn ask(&mut self) -> Result<BearerToken, EntraTokenError> {
        if self.client.is_none() {
            self.client = client::build(client::builder().timeout(DEADLINE)).await;
        }
        // With a credential of its own: one that is kept answers from its memory until five minutes
        // before the end.
        let EntraCredential(credential) = EntraCredential::new(
            &self.identity,
            self.client.as_ref().ok_or(EntraTokenError::Client)?,
        )?;
        let asked =
            tokio::time::timeout(DEADLINE, credential.get_token(&[&self.scope], None)).await;
        let AccessToken { token, expires_on } =
            asked.map_err(|_elapsed| EntraTokenError::Timeout)??;
        Ok(BearerToken {
            token: token.secret().into(),
            expires_on: expires_on.into(),
        })
    }
}

/// The time between two tokens that requests ask for: an upstream may refuse the newest one too.
const COOLDOWN: Duration = Duration::from_secs(30);

/// The Entra token that opens an upstream, and what operators may know of it.
pub struct EntraToken {
    /// The token that came last. A reader checks `expires_on`.
    pub token: Arc<Slot<BearerToken>>,
    refresher: Arc<Refresher>,
}

impl EntraToken {
    /// Begins to fetch tokens, in a task of the Tokio runtime that this is called in.
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

    /// Returns whether a token serves at this moment.
    #[must_use]
    pub fn state(&self, now: SystemTime) -> DependencyState {
        let serves = self.token.value().is_some_and(|held| held.expires_on > now);
        match (serves, self.refresher.status().is_failing) {
            (false, _) => DependencyState::Missing,
            (true, true) => DependencyState::Stale,
            (true, false) => DependencyState::Fresh,
        }
    }

    /// Returns when the last token came.
    #[must_use]
    pub fn fetched_at(&self) -> Option<SystemTime> {
        self.refresher.status().fetched_at
    }
}

/// Fetches the next token when four fifths of the life of the present one have passed. Until the
/// next one comes, and while Entra ID cannot be reached, the present one stays.
struct TokenSource<A> {
    authority: A,
    token: Arc<Slot<BearerToken>>,
    clock: Arc<dyn Clock>,
}

impl<A: Authority> RefreshSource for TokenSource<A> {
    type Error = EntraTokenError;

    async fn fetch(&mut self) -> Result<Duration, EntraTokenError> {
        let bearer = self.authority.ask().await?;
        let life = bearer
            .expires_on
            .duration_since(self.clock.now())
            .unwrap_or_default();
        self.token.put(bearer);
        Ok(life / 5 * 4)
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

    use super::*;
    use crate::upstream::log::Log;

    const HOUR: Duration = Duration::from_hours(1);

    struct Epoch;

    impl Clock for Epoch {
        fn now(&self) -> SystemTime {
            UNIX_EPOCH
        }
    }

    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    /// Answers in turn, and then never again.
    struct Scripted(std::vec::IntoIter<Result<BearerToken, EntraTokenError>>);

    impl Authority for Scripted {
        async fn ask(&mut self) -> Result<BearerToken, EntraTokenError> {
            match self.0.next() {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    fn token_that_lives(life: Duration) -> BearerToken {
        BearerToken {
            token: "t".into(),
            expires_on: UNIX_EPOCH + life,
        }
    }

    fn fetched_from(answers: Vec<Result<BearerToken, EntraTokenError>>) -> EntraToken {
        let clock: Arc<dyn Clock> = Arc::new(Epoch);
        let entropy: Arc<dyn Entropy> = Arc::new(Zeros);
        EntraToken::fetched_from(Scripted(answers.into_iter()), &clock, &entropy)
    }

    fn source(answers: Vec<Result<BearerToken, EntraTokenError>>) -> TokenSource<Scripted> {
        let authority = Scripted(answers.into_iter());
        TokenSource {
            authority,
            token: Arc::new(Slot::empty()),
            clock: Arc::new(Epoch),
        }
    }

    #[tokio::test]
    async fn the_next_token_is_fetched_after_four_fifths_of_the_life_of_the_present_one() {
        let life = Duration::from_secs(1_000);
        let mut source = source(vec![
            Ok(token_that_lives(life)),
            Ok(token_that_lives(Duration::ZERO)),
        ]);
        assert_eq!(source.fetch().await, Ok(Duration::from_secs(800)));
        assert_eq!(source.fetch().await, Ok(Duration::ZERO));
    }

    #[tokio::test]
    async fn the_first_token_is_waited_for_and_a_refused_one_is_replaced() {
        let answers = vec![Ok(token_that_lives(HOUR)), Ok(token_that_lives(2 * HOUR))];
        let entra = fetched_from(answers);
        let expires_on = |bearer: Option<Arc<BearerToken>>| bearer.map(|bearer| bearer.expires_on);
        assert_eq!(
            expires_on(entra.token.fetched_value().await),
            Some(UNIX_EPOCH + HOUR)
        );
        assert!(entra.token.refresher().unwrap().refresh().await.is_ok());
        assert_eq!(expires_on(entra.token.value()), Some(UNIX_EPOCH + 2 * HOUR));
        assert_eq!(
            entra.token.refresher().unwrap().request(),
            None,
            "at most one in 30 s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_sees_whether_there_is_a_token_and_since_when() {
        let entra = fetched_from(vec![
            Err(EntraTokenError::Timeout),
            Ok(token_that_lives(HOUR)),
            Err(EntraTokenError::Refused),
        ]);
        let seen = |seconds| {
            (
                entra
                    .state(UNIX_EPOCH + Duration::from_secs(seconds))
                    .as_str(),
                entra.fetched_at(),
            )
        };
        assert_eq!(seen(0), ("missing", None));
        assert!(
            entra.token.fetched_value().await.is_none(),
            "a failed first fetch is answered at once"
        );
        assert_eq!(seen(0), ("missing", None));
        assert!(entra.token.refresher().unwrap().refresh().await.is_ok());
        assert_eq!(seen(0), ("fresh", Some(UNIX_EPOCH)));
        let refresher = entra.token.refresher().unwrap();
        while !refresher.status().is_failing {
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        assert_eq!(seen(3_599), ("stale", Some(UNIX_EPOCH)));
        assert_eq!(seen(3_600), ("missing", Some(UNIX_EPOCH)), "it has expired");
    }

    #[test]
    fn causes_are_logged_as_words_of_ours_under_the_name_of_the_token() {
        let (source, log) = (source(Vec::new()), Log::default());
        log.of(|| {
            source.log_failure(EntraTokenError::Timeout);
            source.log_recovery();
        });
        let log = log.text();
        assert!(log.contains("timeout") && log.contains("again"), "{log}");
        assert!(log.lines().all(|line| line.contains(NAME)), "{log}");
    }

    #[test]
    fn a_cause_is_said_in_a_word_of_ours() {
        let status = 400_u16.into();
        let answered = Error::from(ErrorKind::HttpResponse {
            status,
            error_code: Some("canary".into()),
            raw_response: None,
        });
        let wrapped = Error::with_error(ErrorKind::Credential, answered, "canary");
        let absent = Error::with_message(ErrorKind::Credential, "canary");
        for (cause, word) in [
            (wrapped.into(), "refused"),
            (absent.into(), "failed"),
            (EntraTokenError::Client, "client"),
            (EntraTokenError::Timeout, "timeout"),
        ] {
            assert_eq!(EntraTokenError::as_str(cause), word);
        }
    }
}
