//! Counters that several instances share through Redis, and a local stand-in for the time when it does not answer.
//!
//! One request costs one exchange: a script that is atomic and takes the server's clock. An exchange that fails, or lasts longer
//! than 50 ms, is decided by the stand-in, which knows what Redis said last of the callers of this instance. From then on
//! nobody waits for Redis until a task of ours has reached it again. Never does a failure mean "unlimited".

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, RedisResult, Script};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::memory::Memory;
use crate::domain::caller_hash::CallerHash;
use crate::domain::rate_limit::{Budget, Cost, Decision, Gcra};

/// The script, for tests that compare it with the rule.
pub const SCRIPT: &str = include_str!("gcra.lua");

/// How long a request waits for Redis; in one network an answer takes less than 1 ms.
const EXCHANGE: Duration = Duration::from_millis(50);
/// How long a connection may take to come up; TLS to another zone takes some 20 ms.
const CONNECTING: Duration = Duration::from_secs(1);
/// Pause between two attempts to reach Redis again.
const PAUSE: Duration = Duration::from_secs(1);
/// What an attempt asks: a budget of its own, full again at once, so that the script writes each time.
const PROBE: Wanted<'_> = Wanted { key: "roomkey:probe", spacing_us: 1, capacity_us: 1_000, cost: Cost::One };

/// The address is not one of a Redis server.
#[derive(Debug, PartialEq, Eq)]
pub struct UnusableAddress;

/// Shared counters.
pub struct Redis {
    /// Empty until the address is known.
    server: ArcSwapOption<Server>,
    /// Stays when the address changes, so that nobody's budget is full again by that.
    stand_in: Memory,
    stood_in: AtomicU64,
}

struct Server {
    url: SecretString,
    /// Whom to ring when it does not accept the password: whoever can bring another.
    wake: Option<Arc<Notify>>,
    client: Client,
    script: Script,
    /// Replaced by each connection that was made anew. Locked for a copy only.
    connection: Mutex<ConnectionManager>,
    degraded: AtomicBool,
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
    /// Counters whose address is not known yet. Until [`Redis::connect`], each instance limits on its own.
    #[must_use]
    pub fn awaiting_address() -> Self {
        Self { server: ArcSwapOption::empty(), stand_in: Memory::new(), stood_in: AtomicU64::new(0) }
    }

    /// Begins to connect, in a task of the Tokio runtime that this is called in, and does not wait; counts there from now on, and no
    /// longer where it did before. `wake` is rung when the password is not accepted.
    ///
    /// # Errors
    /// [`UnusableAddress`] when the URL is not of the form `redis://…` or `rediss://…`; then nothing changes.
    pub fn connect(&self, url: SecretString, wake: Option<Arc<Notify>>) -> Result<(), UnusableAddress> {
        let before = self.server.load_full();
        if before.as_ref().is_some_and(|before| before.url.expose_secret() == url.expose_secret()) {
            return Ok(());
        }
        let server = Arc::new(Server::new(url, wake)?);
        let was_lost = before.is_some_and(|before| {
            before.replaced.store(true, Ordering::Relaxed);
            before.degraded.load(Ordering::Relaxed)
        });
        server.degraded.store(was_lost, Ordering::Relaxed);
        self.server.store(Some(Arc::clone(&server)));
        if was_lost {
            // It was said that Redis does not answer, so its successor has to say when it does.
            tokio::spawn(Server::recover(Arc::downgrade(&server)));
        } else {
            tokio::spawn(Server::first_contact(server));
        }
        Ok(())
    }

    /// Decides and counts, in Redis or in its stead.
    pub async fn decide(&self, budget: &Budget, caller: CallerHash, now: SystemTime, cost: Cost) -> Decision {
        if let Some(server) = self.server.load_full()
            && let Some(answer) = server.ask(budget, caller, cost).await
        {
            let decision = Gcra::from(budget.limit).decision(answer.allowed, answer.used_us);
            self.stand_in.learn(budget, caller, now, decision.reset_after);
            return decision;
        }
        self.stood_in.fetch_add(1, Ordering::Relaxed);
        self.stand_in.decide(budget, caller, now, cost)
    }

    /// Whether limits are per instance for now.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.server.load().as_ref().is_none_or(|server| server.degraded.load(Ordering::Relaxed))
    }

    /// How many decisions the stand-in has made.
    #[must_use]
    pub fn stood_in(&self) -> u64 {
        self.stood_in.load(Ordering::Relaxed)
    }
}

impl Server {
    fn new(url: SecretString, wake: Option<Arc<Notify>>) -> Result<Self, UnusableAddress> {
        let client = Client::open(url.expose_secret()).map_err(|_| UnusableAddress)?;
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), connecting()).map_err(|_| UnusableAddress)?;
        let (script, connection) = (Script::new(SCRIPT), Mutex::new(connection));
        Ok(Self { url, wake, client, script, connection, degraded: AtomicBool::new(false), replaced: AtomicBool::new(false) })
    }

    /// One exchange, unless Redis is known not to answer.
    async fn ask(self: &Arc<Self>, budget: &Budget, caller: CallerHash, cost: Cost) -> Option<Answer> {
        if self.degraded.load(Ordering::Relaxed) {
            return None;
        }
        let (key, gcra) = (format!("roomkey:{}:{caller}", budget.name), Gcra::from(budget.limit));
        let wanted = Wanted { key: &key, spacing_us: gcra.spacing_us(), capacity_us: gcra.capacity_us(), cost };
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match timeout(EXCHANGE, self.exchange(connection, &wanted)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => self.degrade(self.cause(&error)),
            Err(_) => self.degrade("it took too long"),
        }
    }

    async fn exchange(&self, mut connection: ConnectionManager, wanted: &Wanted<'_>) -> RedisResult<Answer> {
        let mut call = self.script.prepare_invoke();
        call.key(wanted.key).arg(wanted.spacing_us).arg(wanted.capacity_us).arg(u8::from(wanted.cost == Cost::One));
        let mut answer = call.invoke_async(&mut connection).await;
        // A connection that was closed while it was idle shows only now, and a new one is on its way. At worst one request
        // counts twice.
        if answer.as_ref().is_err_and(RedisError::is_connection_dropped) {
            answer = call.invoke_async(&mut connection).await;
        }
        let (allowed, used_us, _now): (bool, u64, u64) = answer?;
        Ok(Answer { allowed, used_us })
    }

    /// Says so once, and lets a task look for Redis. Always `None`: there is no answer.
    fn degrade(self: &Arc<Self>, cause: &'static str) -> Option<Answer> {
        if !self.replaced.load(Ordering::Relaxed) && !self.degraded.swap(true, Ordering::Relaxed) {
            tracing::warn!(cause, "Redis does not answer: until it does, each instance limits on its own");
            tokio::spawn(Self::recover(Arc::downgrade(self)));
        }
        None
    }

    /// Connects before the first caller comes, who then does not wait for it.
    async fn first_contact(server: Arc<Self>) {
        let connection = server.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match timeout(CONNECTING + EXCHANGE, server.probe(connection)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => drop(server.degrade(server.cause(&error))),
            Err(_) => drop(server.degrade("it took too long")),
        }
    }

    /// Tries until Redis answers in time again, or the counters are gone. Each attempt has a new connection: an old one may wait
    /// for minutes on a network that swallows packets.
    async fn recover(server: Weak<Self>) {
        loop {
            sleep(PAUSE).await;
            let Some(server) = server.upgrade() else { return };
            let connecting = ConnectionManager::new_with_config(server.client.clone(), connecting());
            let connection = match timeout(CONNECTING, connecting).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    server.cause(&error);
                    continue;
                }
                Err(_) => continue,
            };
            if let Ok(Ok(_)) = timeout(EXCHANGE, server.probe(connection.clone())).await {
                *server.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
                server.degraded.store(false, Ordering::Relaxed);
                tracing::info!("Redis answers again: all instances share their limits");
                return;
            }
        }
    }

    async fn probe(&self, connection: ConnectionManager) -> RedisResult<Answer> {
        self.exchange(connection, &PROBE).await
    }

    /// Our own words: what a server says may quote what it was sent. A password that is not accepted is looked up again.
    fn cause(&self, error: &RedisError) -> &'static str {
        match error.kind() {
            ErrorKind::Io => "the connection failed",
            ErrorKind::AuthenticationFailed => {
                if let Some(wake) = &self.wake {
                    wake.notify_one();
                }
                "it refused the credentials"
            }
            ErrorKind::Server(_) | ErrorKind::Extension => "it refused the script",
            _ => "its answer made no sense",
        }
    }
}

/// No retries inside the library: whoever waits has a limit of his own.
fn connecting() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new().set_connection_timeout(Some(CONNECTING)).set_response_timeout(None).set_number_of_retries(0)
}
