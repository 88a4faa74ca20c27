//! Tokens of Entra ID for this process itself: by managed identity in Azure, by the developer's own sign-in elsewhere.
//!
//! Source: <https://learn.microsoft.com/azure/app-service/overview-managed-identity>. The library's error texts may carry URLs and
//! answers; they are dropped here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use reqwest::Client;
use secrecy::SecretString;
use tokio::sync::Notify;

use super::client;
use super::slot::Slot;
use crate::clock::{Clock, Stopwatch};
use crate::domain::azure::Identity;
use crate::domain::backoff::{self, Rhythm};
use crate::domain::secrets::State;
use crate::entropy::Entropy;

/// A token is there within this time. Off Azure the metadata address may not answer at all, and `az` takes seconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// The name under which an operator sees the token in readiness, log lines and metrics.
pub const NAME: &str = "azure-openai-token";

/// What opens an upstream until it expires.
#[derive(Debug)]
pub struct Bearer {
    /// For the header `Authorization`.
    pub token: SecretString,
    /// From then on it opens nothing.
    pub expires_on: SystemTime,
}

/// Why there is no token. The word is for the log; what the other side said is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoToken {
    /// The HTTP client could not be set up, or the platform's kind of identity is not one that the library knows.
    Client,
    /// The identity endpoint answered, with a refusal: no such identity, or it may not have this scope.
    Refused,
    /// No answer in time.
    Timeout,
    /// No identity here, no connection, or an answer that is none.
    Failed,
}

impl NoToken {
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

impl From<Error> for NoToken {
    /// The library wraps what the endpoint answered.
    fn from(error: Error) -> Self {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = next {
            if let Some(ErrorKind::HttpResponse { .. }) = error.downcast_ref::<Error>().map(Error::kind) {
                return Self::Refused;
            }
            next = error.source();
        }
        Self::Failed
    }
}

/// Asks for tokens; cheap to clone, and all clones share what they got.
#[derive(Debug, Clone)]
pub struct Credential(Arc<dyn TokenCredential>);

impl Credential {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`NoToken::Client`] where the platform's kind of identity is not one that the library knows.
    pub fn new(identity: &Identity, client: &Client) -> Result<Self, NoToken> {
        let inner: Arc<dyn TokenCredential> = match identity {
            Identity::Developer => DeveloperToolsCredential::new(None).map_err(|_| NoToken::Client)?,
            Identity::Managed(client_id) => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.map(|id| UserAssignedId::ClientId(id.hyphenated().to_string())),
                client_options: client_options(client),
            }))
            .map_err(|_| NoToken::Client)?,
        };
        Ok(Self(inner))
    }

    /// For the vault's client library.
    pub(super) fn for_library(&self) -> Arc<dyn TokenCredential> {
        Arc::new(Detached(Arc::clone(&self.0)))
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

/// Where tokens can be had. One is Entra ID, one a test's.
pub trait Authority: Send {
    /// Asks for a token.
    fn ask(&mut self) -> impl Future<Output = Result<Bearer, NoToken>> + Send;
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
        Self { identity, scope, client: None }
    }
}

impl Authority for Entra {
    async fn ask(&mut self) -> Result<Bearer, NoToken> {
        if self.client.is_none() {
            self.client = client::build(client::builder().timeout(DEADLINE)).await;
        }
        // With a credential of its own: one that is kept answers from its memory until five minutes before the end.
        let Credential(credential) = Credential::new(&self.identity, self.client.as_ref().ok_or(NoToken::Client)?)?;
        let asked = tokio::time::timeout(DEADLINE, credential.get_token(&[&self.scope], None)).await;
        let AccessToken { token, expires_on } = asked.map_err(|_elapsed| NoToken::Timeout)??;
        Ok(Bearer { token: token.secret().into(), expires_on: expires_on.into() })
    }
}

/// A token that one task keeps good, and what operators may know of it.
#[derive(Default)]
pub struct Kept {
    /// The token that came last. Whoever reads it looks at `expires_on`.
    pub token: Arc<Slot<Bearer>>,
    /// For whoever hears that the token is not accepted: another is asked for at once, or 30 s after the last that was asked for so.
    pub wake: Arc<Notify>,
    asked: Mutex<Asked>,
}

#[derive(Clone, Copy, Default)]
struct Asked {
    brought_at: Option<SystemTime>,
    /// Why the last request brought nothing, if it did not.
    fails: Option<NoToken>,
}

impl Kept {
    /// Keeps it for as long as this is polled: spawn it once.
    ///
    /// A new one is asked for before four fifths of the old one's life have passed; until it comes, and while Entra ID cannot be
    /// reached, the old one stays.
    pub async fn run(&self, mut authority: impl Authority, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) {
        let since_start = Stopwatch::start();
        let (mut rhythm, mut failures) = (Rhythm::default(), 0_u32);
        loop {
            let answer = authority.ask().await;
            failures = if answer.is_ok() { 0 } else { failures.saturating_add(1) };
            self.note(answer, clock.now());
            let life = self.token.value().and_then(|held| held.expires_on.duration_since(clock.now()).ok());
            let [random] = entropy.bytes();
            rhythm.ask(since_start.elapsed(), pause(life.unwrap_or_default(), failures, random));
            while !rhythm.is_due(since_start.elapsed()) {
                if tokio::time::timeout(rhythm.pause(since_start.elapsed(), None), self.wake.notified()).await.is_ok() {
                    rhythm.ring(since_start.elapsed());
                }
            }
        }
    }

    /// Whether a token serves at this moment.
    #[must_use]
    pub fn state(&self, now: SystemTime) -> State {
        match (self.token.value().is_some_and(|held| held.expires_on > now), self.asked().fails) {
            (false, _) => State::Missing,
            (true, Some(_)) => State::Stale,
            (true, None) => State::Fresh,
        }
    }

    /// When the last one came.
    #[must_use]
    pub fn brought_at(&self) -> Option<SystemTime> {
        self.asked().brought_at
    }

    /// Said once, when tokens begin to fail, and again when the cause is another.
    fn note(&self, answer: Result<Bearer, NoToken>, now: SystemTime) {
        let before = *self.asked();
        let fails = answer.as_ref().err().copied();
        match fails {
            Some(no_token) if before.fails != fails => {
                let cause = no_token.as_str();
                tracing::warn!(
                    secret = NAME,
                    cause,
                    "Entra ID gives no token; one that is held serves until it expires, without any Azure OpenAI answers 503"
                );
            }
            None if before.fails.is_some() => tracing::info!(secret = NAME, "Entra ID gives tokens again"),
            _ => {}
        }
        let brought_at = if fails.is_none() { Some(now) } else { before.brought_at };
        if let Ok(bearer) = answer {
            self.token.put(bearer);
        }
        *self.asked() = Asked { brought_at, fails };
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to rest with a token that lives this long, or after so many failures in a row; a random byte for the jitter.
fn pause(life: Duration, failures: u32, random: u8) -> Duration {
    match failures {
        // Between 70 and 80 % of what is left.
        0 => (life * 7 / 10 + life / 10 * u32::from(random) / 255).max(backoff::FIRST_RETRY),
        _ => backoff::pause(failures, random),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use futures_util::FutureExt;

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

    fn good() -> Bearer {
        Bearer { token: "t".into(), expires_on: UNIX_EPOCH + HOUR }
    }

    /// Gives a token whenever it is asked, and counts.
    struct Generous<'a>(&'a std::sync::atomic::AtomicU32);

    impl Authority for Generous<'_> {
        async fn ask(&mut self) -> Result<Bearer, NoToken> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(good())
        }
    }

    #[test]
    fn a_token_is_replaced_in_good_time_and_a_failure_is_not_repeated_at_once() {
        let life = Duration::from_secs(1_000);
        assert_eq!((pause(life, 0, 0), pause(life, 0, 255)), (Duration::from_secs(700), Duration::from_secs(800)));
        assert_eq!(pause(Duration::ZERO, 0, 255), backoff::FIRST_RETRY, "one that is worth nothing must not cause a storm");
        for (failures, seconds) in [(1, 1), (2, 2), (5, 16), (7, 60), (60, 60)] {
            assert_eq!(pause(life, failures, 0), Duration::from_secs(seconds), "{failures}");
        }
    }

    #[tokio::test]
    async fn a_token_that_is_not_accepted_is_replaced_at_once_but_not_by_every_ring() {
        let (kept, asked) = (Kept::default(), std::sync::atomic::AtomicU32::new(0));
        let run = kept.run(Generous(&asked), Arc::new(Epoch), Arc::new(Zeros));
        tokio::pin!(run);
        let mut counts = Vec::new();
        for rings in [false, false, true, true, true] {
            if rings {
                kept.wake.notify_one();
            }
            assert!((&mut run).now_or_never().is_none());
            counts.push(asked.load(std::sync::atomic::Ordering::Relaxed));
        }
        assert_eq!(counts, [1, 1, 2, 2, 2]);
    }

    #[test]
    fn an_operator_sees_whether_there_is_a_token_and_since_when() {
        let kept = Kept::default();
        let seen = |seconds| (kept.state(UNIX_EPOCH + Duration::from_secs(seconds)).as_str(), kept.brought_at());
        assert_eq!(seen(0), ("missing", None));
        kept.note(Err(NoToken::Timeout), UNIX_EPOCH);
        assert_eq!(seen(0), ("missing", None));
        kept.note(Ok(good()), UNIX_EPOCH);
        assert_eq!(seen(0), ("fresh", Some(UNIX_EPOCH)));
        kept.note(Err(NoToken::Refused), UNIX_EPOCH + Duration::from_mins(1));
        assert_eq!(seen(3_599), ("stale", Some(UNIX_EPOCH)));
        assert_eq!(seen(3_600), ("missing", Some(UNIX_EPOCH)), "it has expired");
    }

    #[test]
    fn a_cause_is_said_once_until_it_is_another() {
        let (kept, log) = (Kept::default(), Log::default());
        log.of(|| {
            for answer in [Err(NoToken::Timeout), Err(NoToken::Timeout), Err(NoToken::Refused), Ok(good()), Ok(good())] {
                kept.note(answer, UNIX_EPOCH);
            }
        });
        let log = log.text();
        let words: Vec<_> = log.lines().map(|line| ["timeout", "refused", "again"].map(|word| line.contains(word))).collect();
        assert_eq!(words, [[true, false, false], [false, true, false], [false, false, true]], "{log}");
        assert!(log.lines().all(|line| line.contains(NAME)), "{log}");
    }

    #[test]
    fn a_cause_is_said_in_a_word_of_ours() {
        let status = 400_u16.into();
        let answered = Error::from(ErrorKind::HttpResponse { status, error_code: Some("canary".into()), raw_response: None });
        let wrapped = Error::with_error(ErrorKind::Credential, answered, "canary");
        let absent = Error::with_message(ErrorKind::Credential, "canary");
        for (cause, word) in
            [(wrapped.into(), "refused"), (absent.into(), "failed"), (NoToken::Client, "client"), (NoToken::Timeout, "timeout")]
        {
            assert_eq!(NoToken::as_str(cause), word);
        }
    }
}
