//! The Redis server at one address: its connection, and how it is reached again after a failure.
//!
//! Once a call fails, the server is lost until a task has reached it again and has repeated a call
//! with the key that failed. Until then, calls with a local fallback are not made, and others get
//! the short time limit.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};

use super::deadlines::RedisDeadlines;
use super::failure::RedisFailure;
use super::script::{SCRIPT, ScriptCall, ScriptResult, invoke};

/// The pause between two attempts to reach Redis again. It doubles with each loss within
/// [`STEADY_TIME`] of the last one, so that an unstable Redis is not lost and found every second.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The maximum number of doublings of [`RETRY_PAUSE`], up to 64 s.
const MAX_DOUBLINGS: u32 = 6;
/// The time without a loss after which the pause is the shortest one again.
const STEADY_TIME: Duration = Duration::from_mins(1);

/// A function that is called when Redis refuses the credentials.
pub(super) type OnRefusedCredentials = Arc<dyn Fn() + Send + Sync>;

/// The URL is not one of a Redis server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL is not one of a Redis server")]
pub struct InvalidRedisUrl;

impl From<RedisError> for InvalidRedisUrl {
    /// Drops the cause, which may quote the URL and the password in it.
    fn from(_: RedisError) -> Self {
        Self
    }
}

/// A Redis server.
pub(super) struct Server {
    url: SecretString,
    deadlines: RedisDeadlines,
    on_refused_credentials: Option<OnRefusedCredentials>,
    client: Client,
    script: Script,
    /// Replaced when a new connection is opened. Locked only to copy it.
    connection: Mutex<ConnectionManager>,
    /// True while the server is lost, so that no calls are made.
    is_lost: AtomicBool,
    /// The number of losses that followed each other within [`STEADY_TIME`].
    losses: AtomicU32,
    /// The key of the call that failed. In a cluster, one server may serve the probe but not this
    /// key.
    failed_key: Mutex<Option<String>>,
    /// True once another address has replaced this one, so that nothing is logged or requested any
    /// more.
    is_replaced: AtomicBool,
}

impl Server {
    /// Creates a server to which nothing has been sent yet.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`] if the URL is not of the form `redis://…` or `rediss://…`.
    pub(super) fn new(
        url: SecretString,
        deadlines: RedisDeadlines,
        on_refused_credentials: Option<OnRefusedCredentials>,
    ) -> Result<Self, InvalidRedisUrl> {
        let client = Client::open(url.expose_secret())?;
        let config = config(deadlines.connect);
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(Self {
            url,
            deadlines,
            on_refused_credentials,
            client,
            script: Script::new(SCRIPT),
            connection: Mutex::new(connection),
            is_lost: AtomicBool::new(false),
            losses: AtomicU32::new(0),
            failed_key: Mutex::new(None),
            is_replaced: AtomicBool::new(false),
        })
    }

    /// Returns whether the server has this URL.
    pub(super) fn has_url(&self, url: &SecretString) -> bool {
        self.url.expose_secret() == url.expose_secret()
    }

    /// Returns whether the server is lost, so that limits are per instance.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst)
    }

    /// Marks the server as lost until [`Server::connect_after_loss`] reaches it.
    pub(super) fn mark_lost(&self) {
        self.is_lost.store(true, Ordering::SeqCst);
    }

    /// Marks the server as replaced by another address. Returns whether it is lost.
    pub(super) fn replace(&self) -> bool {
        // In this order, and in the opposite one in `lose`: a loss that is logged there is never
        // missed here.
        self.is_replaced.store(true, Ordering::SeqCst);
        self.is_lost()
    }

    /// Makes one call, unless the server is lost. Returns `None` if there is no result.
    pub(super) async fn call(self: &Arc<Self>, call: ScriptCall) -> Option<ScriptResult> {
        if self.is_lost.load(Ordering::Relaxed) {
            return None;
        }
        match self.send(&call, self.connection()).await {
            Ok(result) => Some(result),
            Err(failure) => {
                self.lose(failure, Some(call.into_key()));
                None
            }
        }
    }

    /// Makes one call that nothing local replaces, also if the server is lost: it may have paused
    /// only, and then still runs what was sent to it, in the order of sending. What takes back a
    /// call that came too late must therefore be sent too.
    pub(super) async fn call_without_fallback<T: FromRedisValue>(
        self: &Arc<Self>,
        call: &ScriptInvocation<'_>,
        key: String,
    ) -> Result<T, RedisFailure> {
        let deadline = if self.is_lost() {
            self.deadlines.call
        } else {
            self.deadlines.patient_call
        };
        let result = self.within(deadline, invoke(call, self.connection())).await;
        if let Err(failure) = &result
            && !failure.may_concern_one_call()
        {
            self.lose(*failure, Some(key));
        }
        result
    }

    /// Connects before the first caller comes, so that no caller waits for it.
    pub(super) async fn connect_first(self: Arc<Self>) {
        let probe = ScriptCall::write_probe();
        let deadline = self.deadlines.connect + self.deadlines.call;
        let connected = self.send_within(deadline, &probe, self.connection());
        if let Err(failure) = connected.await {
            self.lose(failure, None);
        }
    }

    /// Connects to a new address while limits are per instance, and logs the failure if there is
    /// one.
    pub(super) async fn connect_after_loss(server: Weak<Self>) {
        let attempt = match server.upgrade() {
            Some(server) => server.reconnect().await,
            None => return,
        };
        if let Err(failure) = attempt {
            log_loss(failure);
            Self::recover(server).await;
        }
    }

    /// Logs a loss once and starts a task that tries to reach Redis again.
    fn lose(self: &Arc<Self>, failure: RedisFailure, key: Option<String>) {
        if !self.is_lost.swap(true, Ordering::SeqCst) && !self.is_replaced.load(Ordering::SeqCst) {
            log_loss(failure);
            *lock(&self.failed_key) = key;
            tokio::spawn(Self::recover(Arc::downgrade(self)));
        }
    }

    /// Tries until Redis responds in time again, or the server is dropped. Then resets the number
    /// of losses if Redis stays reachable.
    async fn recover(server: Weak<Self>) {
        let Some(losses) = server
            .upgrade()
            .map(|server| server.losses.fetch_add(1, Ordering::SeqCst))
        else {
            return;
        };
        let pause = RETRY_PAUSE * (1 << losses.min(MAX_DOUBLINGS));
        loop {
            sleep(pause).await;
            match server.upgrade() {
                Some(server) if server.reconnect().await.is_err() => {}
                Some(_) => break,
                None => return,
            }
        }
        sleep(STEADY_TIME).await;
        if let Some(server) = server.upgrade() {
            // Fails if Redis was lost again meanwhile: the task of that loss then does it.
            let _ =
                server
                    .losses
                    .compare_exchange(losses + 1, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Opens a new connection and checks that Redis responds in time; limits are then shared again.
    /// An old connection may wait for minutes on a network that drops packets.
    async fn reconnect(&self) -> Result<(), RedisFailure> {
        let config = config(self.deadlines.connect);
        let connect = ConnectionManager::new_with_config(self.client.clone(), config);
        let connection = timeout(self.deadlines.connect, connect)
            .await
            .map_err(|_elapsed| RedisFailure::Timeout)?
            .map_err(|error| self.classify(&error))?;
        self.send(&ScriptCall::write_probe(), connection.clone())
            .await?;
        let failed_key = lock(&self.failed_key).clone();
        if let Some(key) = failed_key {
            self.send(&ScriptCall::read_probe(key), connection.clone())
                .await?;
        }
        if !self.is_replaced.load(Ordering::SeqCst) {
            *lock(&self.connection) = connection;
            self.is_lost.store(false, Ordering::SeqCst);
            tracing::info!("Redis answers: all instances share their limits");
        }
        Ok(())
    }

    async fn send(
        &self,
        call: &ScriptCall,
        connection: ConnectionManager,
    ) -> Result<ScriptResult, RedisFailure> {
        self.send_within(self.deadlines.call, call, connection)
            .await
    }

    async fn send_within(
        &self,
        deadline: Duration,
        call: &ScriptCall,
        connection: ConnectionManager,
    ) -> Result<ScriptResult, RedisFailure> {
        self.within(deadline, call.send(&self.script, connection))
            .await
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, RedisFailure> {
        timeout(deadline, call)
            .await
            .map_err(|_elapsed| RedisFailure::Timeout)?
            .map_err(|error| self.classify(&error))
    }

    fn connection(&self) -> ConnectionManager {
        lock(&self.connection).clone()
    }

    /// Classifies an error, and has the address fetched again if Redis refuses the credentials.
    fn classify(&self, error: &RedisError) -> RedisFailure {
        let failure = RedisFailure::classify(error);
        if failure == RedisFailure::Credentials
            && !self.is_replaced.load(Ordering::SeqCst)
            && let Some(on_refused_credentials) = &self.on_refused_credentials
        {
            on_refused_credentials();
        }
        failure
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log_loss(failure: RedisFailure) {
    tracing::warn!(
        cause = failure.as_str(),
        "Redis does not answer: until it does, each instance limits on its own"
    );
}

/// Returns the options of a connection. The library does not retry, because requests have a time
/// limit of their own.
fn config(deadline: Duration) -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_connection_timeout(Some(deadline))
        .set_response_timeout(None)
        .set_number_of_retries(0)
}
