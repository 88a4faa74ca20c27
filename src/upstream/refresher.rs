//! Fetches a value again and again in the background, and lets requests wait for a fetch.
//!
//! The secrets in Key Vault, the Entra token and the identity provider's keys are all fetched by
//! this loop. It fetches at regular intervals, with growing pauses after failures, and early when a
//! request asks for a newer value ([`Refresher::refresh`]). Only one fetch runs at a time, and all
//! requests that wait share it. [`schedule`] decides when the next fetch begins.

mod schedule;

use std::future::Future;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use self::schedule::RefreshSchedule;
pub use self::schedule::RefreshStatus;
use crate::clock::{Clock, Stopwatch};
use crate::domain::limits::backoff;
use crate::entropy::Entropy;

/// The longest time that a request waits for a fetch.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Requests that may wait for one source at the same time. Half of the requests that are served at
/// once, so that a source that hangs leaves the other half to requests that do not need it.
const MAX_WAITING_REQUESTS: usize = 1_024;

/// A value that a [`Refresher`] fetches.
pub trait RefreshSource: Send {
    /// The reason why a fetch failed.
    type Error: Copy + PartialEq + Send;

    /// Fetches once and publishes the result. Returns the time until the next regular fetch.
    fn fetch(&mut self) -> impl Future<Output = Result<Duration, Self::Error>> + Send;

    /// Logs that fetches have begun to fail, or now fail for another reason.
    fn log_failure(&self, error: Self::Error);

    /// Logs that a fetch succeeded after failures.
    fn log_recovery(&self);
}

/// Runs the fetches of one [`RefreshSource`] and tells requests about their progress.
pub struct Refresher {
    since_start: Stopwatch,
    /// The shortest time between two fetches that requests ask for.
    cooldown: Duration,
    /// Waiting requests watch it, and so does the loop, which a request wakes by changing it.
    schedule: watch::Sender<RefreshSchedule>,
    waiting_permits: Semaphore,
}

/// A reason why no requested refresh has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// A refresh was requested a short time ago; the next one starts when the cooldown ends.
    #[error("the refresh is deferred to the end of the cooldown")]
    Cooldown,
    /// The fetch takes longer than a request may wait.
    #[error("the refresh takes too long")]
    TooSlow,
    /// The maximum number of requests already waits.
    #[error("too many requests wait for the refresh")]
    TooManyWaiting,
}

impl Refresher {
    /// Creates a refresher that has not fetched yet; [`Refresher::run`] fetches.
    #[must_use]
    pub fn new(cooldown: Duration) -> Self {
        Self {
            since_start: Stopwatch::start(),
            cooldown,
            schedule: watch::Sender::default(),
            waiting_permits: Semaphore::new(MAX_WAITING_REQUESTS),
        }
    }

    /// Fetches for as long as it is polled. Spawn it once.
    pub async fn run(
        &self,
        mut source: impl RefreshSource,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) {
        let mut failures = 0_u32;
        let mut last_error = None;
        loop {
            let request = self.begin_fetch();
            let outcome = source.fetch().await;
            let [random] = entropy.bytes();
            let pause = match outcome {
                Ok(interval) => {
                    if last_error.take().is_some() {
                        source.log_recovery();
                    }
                    failures = 0;
                    shorten_by_jitter(interval, random)
                }
                Err(error) => {
                    if last_error.replace(error) != Some(error) {
                        source.log_failure(error);
                    }
                    failures = failures.saturating_add(1);
                    backoff::pause(failures, random)
                }
            };
            let fetched_at = outcome.is_ok().then(|| clock.now());
            self.schedule
                .send_modify(|schedule| schedule.finish_fetch(request, fetched_at));
            self.sleep_until_due(self.since_start.elapsed() + pause)
                .await;
        }
    }

    /// Waits until the first fetch has finished, successfully or not, for at most [`LONGEST_WAIT`].
    /// Returns at once afterwards, and where too many requests already wait.
    pub async fn wait_for_first_fetch(&self) {
        // The caller looks at the fetched value, whatever happened here.
        let _ = self
            .wait_until(|schedule| schedule.status.has_finished())
            .await;
    }

    /// Requests a refresh and waits until it has finished, for at most [`LONGEST_WAIT`].
    ///
    /// # Errors
    /// [`RefreshError`] if it has not finished.
    pub async fn refresh(&self) -> Result<(), RefreshError> {
        let request = self.request_refresh().ok_or(RefreshError::Cooldown)?;
        self.wait_until(|schedule| schedule.is_served(request))
            .await
    }

    /// Requests a refresh without waiting for it. Returns the number of the request, or `None` if
    /// it is deferred to the end of the cooldown.
    pub fn request_refresh(&self) -> Option<u64> {
        let now = self.since_start.elapsed();
        let mut request = None;
        // Requests that join one another change nothing, and must not wake everyone who waits.
        self.schedule.send_if_modified(|schedule| {
            let before = *schedule;
            request = schedule.request_refresh(now, self.cooldown);
            *schedule != before
        });
        request
    }

    /// Returns the outcome of the fetches so far.
    #[must_use]
    pub fn status(&self) -> RefreshStatus {
        self.schedule.borrow().status
    }

    async fn wait_until(
        &self,
        mut condition: impl FnMut(&RefreshSchedule) -> bool,
    ) -> Result<(), RefreshError> {
        if condition(&self.schedule.borrow()) {
            return Ok(());
        }
        let _permit = self
            .waiting_permits
            .try_acquire()
            .map_err(|_| RefreshError::TooManyWaiting)?;
        let mut schedule = self.schedule.subscribe();
        match timeout(LONGEST_WAIT, schedule.wait_for(condition)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(RefreshError::TooSlow),
        }
    }

    fn begin_fetch(&self) -> u64 {
        let now = self.since_start.elapsed();
        let mut request = 0;
        self.schedule
            .send_modify(|schedule| request = schedule.begin_fetch(now, self.cooldown));
        request
    }

    /// Sleeps until `due_at`, or until a request needs a fetch earlier.
    async fn sleep_until_due(&self, due_at: Duration) {
        let mut schedule = self.schedule.subscribe();
        loop {
            let now = self.since_start.elapsed();
            let next_at = schedule.borrow_and_update().next_fetch_at(now, due_at);
            let pause = next_at.saturating_sub(now);
            if pause.is_zero() || timeout(pause, schedule.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// Takes off up to a fifth, so that instances that start together do not fetch together.
fn shorten_by_jitter(interval: Duration, random: u8) -> Duration {
    interval
        .saturating_sub(interval / 5 * u32::from(random) / 255)
        .max(backoff::FIRST_RETRY)
}

#[cfg(test)]
mod tests;
