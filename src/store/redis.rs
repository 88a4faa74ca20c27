//! Counters that several instances share through Redis, and a local stand-in for the time when it
//! does not answer.
//!
//! One request costs one exchange: a script that is atomic and takes the server's clock. An
//! exchange that fails, or lasts longer than 50 ms, is decided by the stand-in, which knows what
//! Redis said last of the callers of this instance. From then on nobody waits for Redis until a
//! task of ours has reached it again, and has asked again what failed. Never does a failure mean
//! "unlimited".

mod cause;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, RedisResult, Script};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};

use self::cause::RedisFailure;
use super::memory::Memory;
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Cost, Decision, Gcra};

/// The script, for tests that compare it with the rule.
pub const SCRIPT: &str = include_str!("gcra.lua");

/// How long a request waits for Redis; in one network an answer takes less than 1 ms.
const EXCHANGE: Duration = Duration::from_millis(50);
/// How long a connection may take to come up; TLS to another zone takes some 20 ms.
const CONNECTING: Duration = Duration::from_secs(1);
/// Pause between two attempts to reach Redis again. It doubles with each loss that follows the last
/// one within [`STEADY`], so that a Redis which answers now and then is not lost and found every
/// second.
const PAUSE: Duration = Duration::from_secs(1);
/// Most doublings of [`PAUSE`]: 64 s.
const MAX_DOUBLINGS: u32 = 6;
/// After this time without a loss the next one begins with the shortest pause again.
const STEADY: Duration = Duration::from_mins(1);
/// What an attempt asks: a budget of its own, full again at once, so that the script writes each
/// time.
const PROBE: Wanted<'_> = Wanted {
    key: "roomkey:probe",
    spacing_us: 1,
    capacity_us: 1_000,
    cost: Cost::One,
};

/// What an attempt asks beside it, of the key that failed: of so large a budget nothing is ever
/// taken or written.
const LOOK: Wanted<'_> = Wanted {
    key: "",
    spacing_us: 1,
    capacity_us: 1 << 52,
    cost: Cost::Nothing,
};

/// The address is not one of a Redis server.
#[derive(Debug, PartialEq, Eq)]
pub struct UnusableAddress;

/// Shared counters.
pub struct Redis {
    /// Empty until the address is known.
    server: ArcSwapOption<Server>,
    /// The address comes later than the first requests, so that it has to be said when limits are
    /// shared.
    is_awaited: bool,
    /// Stays when the address changes, so that nobody's budget is full again by that.
    stand_in: Memory,
    stood_in: AtomicU64,
}

struct Server {
    url: SecretString,
    /// Requests another address when the password is not accepted.
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
    client: Client,
    script: Script,
    /// Replaced by each connection that was made anew. Locked for a copy only.
    connection: Mutex<ConnectionManager>,
    degraded: AtomicBool,
    /// Losses that followed each other within [`STEADY`].
    losses: AtomicU32,
    /// The key of the request with which Redis was lost. Of a cluster, one server may serve the
    /// probe and not this one.
    failed_key: Mutex<Option<String>>,
    /// Another has taken its place, and nobody wants to hear of this one any more.
    replaced: AtomicBool,
}

/// What the script is asked; `gcra.lua` says what it means.
struct Wanted<'k> {
    key: &'k str,
    spacing_us: u64,
    capacity_us: u64,
    cost: Cost,
}

/// How far a budget is used, as the script says.
struct Answer {
    allowed: bool,
    used_us: u64,
}

impl Redis {
    /// Counters whose address is not known yet. Until [`Redis::connect`], each instance limits on
    /// its own.
    #[must_use]
    pub fn awaiting_address() -> Self {
        tracing::info!("limits are per instance until Key Vault gives the address of Redis");
        Self::without_address(true)
    }

    /// Shared counters. Begins to connect, in a task of the Tokio runtime that this is called in,
    /// and does not wait.
    ///
    /// # Errors
    /// [`UnusableAddress`], as [`Redis::connect`].
    pub fn new(url: SecretString) -> Result<Self, UnusableAddress> {
        let redis = Self::without_address(false);
        redis.connect(url, None)?;
        Ok(redis)
    }

    fn without_address(is_awaited: bool) -> Self {
        Self {
            server: ArcSwapOption::empty(),
            is_awaited,
            stand_in: Memory::new(),
            stood_in: AtomicU64::new(0),
        }
    }

    /// Begins to connect, in a task of the Tokio runtime that this is called in, and does not wait;
    /// no longer counts where it did before. `wake` is called when the password is not accepted.
    ///
    /// # Errors
    /// [`UnusableAddress`] when the URL is not of the form `redis://…` or `rediss://…`; then
    /// nothing changes.
    pub fn connect(
        &self,
        url: SecretString,
        wake: Option<Arc<dyn Fn() + Send + Sync>>,
    ) -> Result<(), UnusableAddress> {
        let before = self.server.load_full();
        if before
            .as_ref()
            .is_some_and(|before| before.url.expose_secret() == url.expose_secret())
        {
            return Ok(());
        }
        let server = Arc::new(Server::new(url, wake)?);
        let was_lost = before.map_or(self.is_awaited, |before| {
            before.replaced.store(true, Ordering::SeqCst);
            before.degraded.load(Ordering::SeqCst)
        });
        server.degraded.store(was_lost, Ordering::SeqCst);
        self.server.store(Some(Arc::clone(&server)));
        if was_lost {
            // It was said that limits are per instance, so it has to be said when they no longer
            // are.
            tokio::spawn(Server::succeed(Arc::downgrade(&server)));
        } else {
            tokio::spawn(Server::first_contact(server));
        }
        Ok(())
    }

    /// Decides and counts, in Redis or in its stead.
    pub async fn decide(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Decision {
        if let Some(decision) = self.ask(budget, caller, now, cost).await {
            return decision;
        }
        self.stood_in.fetch_add(1, Ordering::Relaxed);
        self.stand_in.decide(budget, caller, now, cost)
    }

    /// Decides and counts here, and where that admits in Redis too, if it answers.
    pub async fn decide_local_first(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Decision {
        let here = self.stand_in.decide(budget, caller, now, cost);
        if !here.allowed {
            return here;
        }
        if let Some(decision) = self.ask(budget, caller, now, cost).await {
            return decision;
        }
        self.stood_in.fetch_add(1, Ordering::Relaxed);
        here
    }

    /// Asks Redis, and lets the stand-in know what it says.
    async fn ask(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Option<Decision> {
        let answer = self.server.load_full()?.ask(budget, caller, cost).await?;
        let decision = Gcra::from(budget.limit).decision(answer.allowed, answer.used_us);
        self.stand_in
            .learn(budget, caller, now, decision.reset_after);
        Some(decision)
    }

    /// Whether limits are per instance for now.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.server
            .load()
            .as_ref()
            .is_none_or(|server| server.degraded.load(Ordering::Relaxed))
    }

    /// How many decisions the stand-in has made.
    #[must_use]
    pub fn stood_in(&self) -> u64 {
        self.stood_in.load(Ordering::Relaxed)
    }
}

impl Server {
    fn new(
        url: SecretString,
        wake: Option<Arc<dyn Fn() + Send + Sync>>,
    ) -> Result<Self, UnusableAddress> {
        let client = Client::open(url.expose_secret()).map_err(|_| UnusableAddress)?;
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), connecting())
            .map_err(|_| UnusableAddress)?;
        let (script, connection) = (Script::new(SCRIPT), Mutex::new(connection));
        let (degraded, replaced) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self {
            url,
            wake,
            client,
            script,
            connection,
            degraded,
            losses: AtomicU32::new(0),
            failed_key: Mutex::new(None),
            replaced,
        })
    }

    /// One exchange, unless Redis is known not to answer.
    async fn ask(
        self: &Arc<Self>,
        budget: &Budget,
        caller: CallerHash,
        cost: Cost,
    ) -> Option<Answer> {
        if self.degraded.load(Ordering::Relaxed) {
            return None;
        }
        let (key, gcra) = (
            format!("roomkey:{}:{caller}", budget.name),
            Gcra::from(budget.limit),
        );
        let wanted = Wanted {
            key: &key,
            spacing_us: gcra.spacing_us(),
            capacity_us: gcra.capacity_us(),
            cost,
        };
        let connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match timeout(EXCHANGE, self.exchange(connection, &wanted)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => self.degrade(self.note(&error), Some(key)),
            Err(_) => self.degrade(RedisFailure::Late, Some(key)),
        }
    }

    async fn exchange(
        &self,
        mut connection: ConnectionManager,
        wanted: &Wanted<'_>,
    ) -> RedisResult<Answer> {
        let mut call = self.script.prepare_invoke();
        call.key(wanted.key)
            .arg(wanted.spacing_us)
            .arg(wanted.capacity_us)
            .arg(u8::from(wanted.cost == Cost::One));
        let mut answer = call.invoke_async(&mut connection).await;
        // A connection that was closed while it was idle shows only now, and a new one is on its
        // way. At worst one request counts twice.
        if answer
            .as_ref()
            .is_err_and(RedisError::is_connection_dropped)
        {
            answer = call.invoke_async(&mut connection).await;
        }
        let (allowed, used_us, _now): (bool, u64, u64) = answer?;
        Ok(Answer { allowed, used_us })
    }

    /// Says so once, and lets a task look for Redis. Always `None`: there is no answer.
    fn degrade(self: &Arc<Self>, cause: RedisFailure, key: Option<String>) -> Option<Answer> {
        // In this order, against the other one in `connect`: a loss that was said here is never
        // missed there.
        if !self.degraded.swap(true, Ordering::SeqCst) && !self.replaced.load(Ordering::SeqCst) {
            say_lost(cause);
            *self
                .failed_key
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = key;
            tokio::spawn(Self::recover(Arc::downgrade(self)));
        }
        None
    }

    /// Connects before the first caller comes, who then does not wait for it.
    async fn first_contact(server: Arc<Self>) {
        let connection = server
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match timeout(CONNECTING + EXCHANGE, server.probe(connection)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => drop(server.degrade(server.note(&error), None)),
            Err(_) => drop(server.degrade(RedisFailure::Late, None)),
        }
    }

    /// Tries at once, since this address is another, and says what is wrong with it, if something
    /// is.
    async fn succeed(server: Weak<Self>) {
        let attempt = match server.upgrade() {
            Some(server) => server.attempt().await,
            None => return,
        };
        if let Err(cause) = attempt {
            say_lost(cause);
            Self::recover(server).await;
        }
    }

    /// Tries until Redis answers in time again, or nobody counts there any more. Then sees whether
    /// that lasts.
    async fn recover(server: Weak<Self>) {
        let Some(losses) = server
            .upgrade()
            .map(|server| server.losses.fetch_add(1, Ordering::SeqCst))
        else {
            return;
        };
        let pause = PAUSE * (1 << losses.min(MAX_DOUBLINGS));
        loop {
            sleep(pause).await;
            match server.upgrade() {
                Some(server) if server.attempt().await.is_err() => {}
                Some(_) => break,
                None => return,
            }
        }
        sleep(STEADY).await;
        if let Some(server) = server.upgrade() {
            // Unless it was lost again meanwhile: then the task of that loss does it.
            let _ =
                server
                    .losses
                    .compare_exchange(losses + 1, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Shares counts from now on, and says so, if Redis answers in time. On a new connection: an
    /// old one may wait for minutes on a network that swallows packets.
    async fn attempt(&self) -> Result<(), RedisFailure> {
        let connecting = ConnectionManager::new_with_config(self.client.clone(), connecting());
        let connection = timeout(CONNECTING, connecting)
            .await
            .map_err(|_| RedisFailure::Late)?
            .map_err(|error| self.note(&error))?;
        timeout(EXCHANGE, self.probe(connection.clone()))
            .await
            .map_err(|_| RedisFailure::Late)?
            .map_err(|error| self.note(&error))?;
        let failed_key = self
            .failed_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(key) = failed_key {
            let again = Wanted { key: &key, ..LOOK };
            timeout(EXCHANGE, self.exchange(connection.clone(), &again))
                .await
                .map_err(|_| RedisFailure::Late)?
                .map_err(|error| self.note(&error))?;
        }
        if !self.replaced.load(Ordering::SeqCst) {
            *self
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = connection;
            self.degraded.store(false, Ordering::SeqCst);
            tracing::info!("Redis answers: all instances share their limits");
        }
        Ok(())
    }

    async fn probe(&self, connection: ConnectionManager) -> RedisResult<Answer> {
        self.exchange(connection, &PROBE).await
    }

    /// Says in our own words what went wrong; a password that is not accepted, or is missing, is
    /// looked up again.
    fn note(&self, error: &RedisError) -> RedisFailure {
        let cause = RedisFailure::of(error);
        if let (RedisFailure::Credentials, Some(wake), false) =
            (cause, &self.wake, self.replaced.load(Ordering::SeqCst))
        {
            wake();
        }
        cause
    }
}

fn say_lost(cause: RedisFailure) {
    tracing::warn!(
        cause = cause.as_str(),
        "Redis does not answer: until it does, each instance limits on its own"
    );
}

/// No retries inside the library: whoever waits has a limit of his own.
fn connecting() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECTING))
        .set_response_timeout(None)
        .set_number_of_retries(0)
}
