//! Fetches something from outside again and again in the background, and lets requests wait for it.
//!
//! Secrets in Key Vault, the Entra token and the identity provider's keys are all fetched by this
//! loop: regularly, after a failure with growing pauses, and when a request asks for a refresh
//! because what is held does not serve. One fetch runs at a time, however many requests wait for
//! it.

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::clock::{Clock, Stopwatch};
use crate::domain::limits::backoff;
use crate::entropy::Entropy;

/// The longest time that a request waits for a fetch.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Requests that may wait for one source at the same time; more are answered at once. Half of the
/// requests that are served at once, so that a source that hangs leaves the other half to requests
/// that do not need it.
const WAITING_REQUESTS: usize = 1_024;

/// What a [`Refresher`] fetches.
pub trait RefreshSource: Send {
    /// Why a fetch failed.
    type Error: Copy + PartialEq + Send;

    /// Fetches once and publishes the result. Returns how long it serves before it is fetched
    /// again.
    fn fetch(&mut self) -> impl Future<Output = Result<Duration, Self::Error>> + Send;

    /// Logs that fetches have begun to fail, or that they fail for another reason.
    fn log_failure(&self, error: Self::Error);

    /// Logs that a fetch succeeded after failures.
    fn log_recovery(&self);
}

/// Runs the fetches of one [`RefreshSource`] and tells requests how far they are.
pub struct Refresher {
    since_start: Stopwatch,
    /// The shortest time between two fetches that requests asked for.
    cooldown: Duration,
    progress: watch::Sender<Progress>,
    waiting: Semaphore,
}

/// What is known of the fetches so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefreshStatus {
    /// When a fetch last succeeded.
    pub fetched_at: Option<SystemTime>,
    /// Whether the last fetch failed.
    pub is_failing: bool,
    /// Fetches that succeeded.
    pub succeeded: u64,
    /// Fetches that failed.
    pub failed: u64,
}

/// A refresh that was requested is served when a fetch that began afterwards has finished, well or
/// not. All times are since the start of the [`Refresher`].
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    requested: u64,
    served: u64,
    /// Requests before this moment start no fetch.
    cooldown_until: Duration,
    /// A request came during the cooldown, so a fetch follows when it ends.
    is_deferred: bool,
    status: RefreshStatus,
}

impl Refresher {
    /// Creates one that has not fetched yet; [`Refresher::run`] does.
    #[must_use]
    pub fn new(cooldown: Duration) -> Self {
        Self {
            since_start: Stopwatch::start(),
            cooldown,
            progress: watch::Sender::default(),
            waiting: Semaphore::new(WAITING_REQUESTS),
        }
    }

    /// Fetches for as long as it is polled: spawn it once.
    pub async fn run(
        &self,
        mut source: impl RefreshSource,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) {
        let mut progress = self.progress.subscribe();
        let mut failures = 0_u32;
        let mut logged = None;
        loop {
            let requested = self.begin_fetch();
            let fetched = source.fetch().await;
            let [random] = entropy.bytes();
            let pause = match fetched {
                Ok(serves_for) => {
                    if logged.take().is_some() {
                        source.log_recovery();
                    }
                    failures = 0;
                    jittered(serves_for, random)
                }
                Err(error) => {
                    if logged != Some(error) {
                        source.log_failure(error);
                        logged = Some(error);
                    }
                    failures = failures.saturating_add(1);
                    backoff::pause(failures, random)
                }
            };
            let fetched_at = fetched.is_ok().then(|| clock.now());
            self.progress
                .send_modify(|progress| progress.finish(requested, fetched_at));
            let due_at = self.since_start.elapsed() + pause;
            self.sleep_until_due(&mut progress, due_at).await;
        }
    }

    /// Waits until the first fetch has finished, well or not, at most [`LONGEST_WAIT`]. Returns at
    /// once afterwards, and where too many requests wait already.
    pub async fn first_fetch(&self) {
        // Whatever the outcome, the caller looks at what was fetched.
        let _ = self
            .wait_until(|progress| progress.status.has_finished())
            .await;
    }

    /// Requests a refresh and waits until it has finished, at most [`LONGEST_WAIT`].
    ///
    /// # Errors
    /// [`RefreshError`] says why no fetch finished.
    pub async fn refresh(&self) -> Result<(), RefreshError> {
        let request = self.request().ok_or(RefreshError::Cooldown)?;
        self.wait_until(|progress| progress.served >= request).await
    }

    /// Requests a refresh. Returns its number, or `None` where it waits for the end of the
    /// cooldown.
    pub fn request(&self) -> Option<u64> {
        let now = self.since_start.elapsed();
        let mut number = None;
        self.progress.send_if_modified(|progress| {
            let before = (progress.requested, progress.is_deferred);
            number = progress.request(now, self.cooldown);
            before != (progress.requested, progress.is_deferred)
        });
        number
    }

    /// Returns what is known of the fetches so far.
    #[must_use]
    pub fn status(&self) -> RefreshStatus {
        self.progress.borrow().status
    }

    async fn wait_until(
        &self,
        mut reached: impl FnMut(&Progress) -> bool,
    ) -> Result<(), RefreshError> {
        if reached(&self.progress.borrow()) {
            return Ok(());
        }
        let _place = self
            .waiting
            .try_acquire()
            .map_err(|_| RefreshError::TooManyWaiting)?;
        let mut progress = self.progress.subscribe();
        match timeout(LONGEST_WAIT, progress.wait_for(reached)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(RefreshError::TooSlow),
        }
    }

    /// Returns how many requests the fetch that begins now serves; a deferred one is among them.
    fn begin_fetch(&self) -> u64 {
        let now = self.since_start.elapsed();
        let mut requested = 0;
        self.progress.send_if_modified(|progress| {
            if progress.is_deferred {
                progress.begin_request(now, self.cooldown);
            }
            requested = progress.requested;
            false
        });
        requested
    }

    async fn sleep_until_due(&self, progress: &mut watch::Receiver<Progress>, due_at: Duration) {
        loop {
            // Before the look at it, so that a request that comes right after it is not missed.
            progress.mark_unchanged();
            let now = self.since_start.elapsed();
            let mut next_at = due_at;
            self.progress.send_if_modified(|progress| {
                next_at = progress.next_at(now, self.cooldown, due_at);
                false
            });
            let pause = next_at.saturating_sub(now);
            if pause.is_zero() || timeout(pause, progress.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// Why a refresh that was requested has not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshError {
    /// A refresh was requested a short time ago; the next one follows when the cooldown ends.
    Cooldown,
    /// The fetch takes longer than a request may wait.
    TooSlow,
    /// As many requests as may wait for it do so already.
    TooManyWaiting,
}

impl RefreshStatus {
    /// Returns whether any fetch has finished, well or not.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        self.succeeded + self.failed > 0
    }
}

impl Progress {
    /// Requests a fetch, or joins one that was requested and has not finished.
    fn request(&mut self, now: Duration, cooldown: Duration) -> Option<u64> {
        if self.requested == self.served {
            if now < self.cooldown_until {
                self.is_deferred = true;
                return None;
            }
            self.begin_request(now, cooldown);
        }
        Some(self.requested)
    }

    fn begin_request(&mut self, now: Duration, cooldown: Duration) {
        self.requested += 1;
        self.cooldown_until = now + cooldown;
        self.is_deferred = false;
    }

    /// Records the end of a fetch that began when `requested` requests had been made.
    fn finish(&mut self, requested: u64, fetched_at: Option<SystemTime>) {
        self.served = requested;
        self.status.is_failing = fetched_at.is_none();
        self.status.fetched_at = fetched_at.or(self.status.fetched_at);
        self.status.succeeded += u64::from(fetched_at.is_some());
        self.status.failed += u64::from(fetched_at.is_none());
    }

    /// Returns when the next fetch begins. A deferred request becomes one when the cooldown is
    /// over.
    fn next_at(&mut self, now: Duration, cooldown: Duration, due_at: Duration) -> Duration {
        if self.is_deferred && now >= self.cooldown_until {
            self.begin_request(now, cooldown);
        }
        match (self.requested > self.served, self.is_deferred) {
            (true, _) => now,
            (false, true) => due_at.min(self.cooldown_until),
            (false, false) => due_at,
        }
    }
}

/// Takes off up to a fifth, so that instances that were started together do not fetch together.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause
        .saturating_sub(pause / 5 * u32::from(random) / 255)
        .max(backoff::FIRST_RETRY)
}

#[cfg(test)]
mod tests;
