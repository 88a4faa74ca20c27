//! Decides when a [`Refresher`](super::Refresher) fetches: a function of the time and of what was
//! requested, without a clock or a timer.

use std::time::{Duration, SystemTime};

/// The outcome of the fetches so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefreshStatus {
    /// When a fetch last succeeded.
    pub fetched_at: Option<SystemTime>,
    /// True if the last fetch failed.
    pub is_failing: bool,
    /// Fetches that succeeded.
    pub succeeded: u64,
    /// Fetches that failed.
    pub failed: u64,
}

impl RefreshStatus {
    /// Returns whether any fetch has finished, successfully or not.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        self.succeeded + self.failed > 0
    }
}

/// The requests for a refresh, and the state of the fetches that serve them.
///
/// Requests are numbered. Request `n` is served once a fetch that began after it has finished,
/// successfully or not; a fetch that was already running may have read the old value. All times
/// count from the start of the refresher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RefreshSchedule {
    /// The number of the latest request.
    requested: u64,
    /// The number of the latest request that is served.
    served: u64,
    /// Until then a request starts no fetch.
    cooldown_until: Duration,
    /// A request came during the cooldown; a fetch starts when the cooldown ends.
    is_deferred: bool,
    pub(super) status: RefreshStatus,
}

impl RefreshSchedule {
    /// Requests a refresh, or joins the one that is already requested. Returns the number of the
    /// request, or `None` if it is deferred to the end of the cooldown.
    pub(super) fn request_refresh(&mut self, now: Duration, cooldown: Duration) -> Option<u64> {
        if self.requested == self.served {
            if now < self.cooldown_until {
                self.is_deferred = true;
                return None;
            }
            self.add_request(now, cooldown);
        }
        Some(self.requested)
    }

    /// Returns whether a request is served.
    pub(super) fn is_served(&self, request: u64) -> bool {
        self.served >= request
    }

    /// Begins a fetch, which also serves a deferred request. Returns the number of the latest
    /// request that it serves.
    pub(super) fn begin_fetch(&mut self, now: Duration, cooldown: Duration) -> u64 {
        if self.is_deferred {
            self.add_request(now, cooldown);
        }
        self.requested
    }

    /// Records the end of a fetch that serves the requests up to `request`.
    pub(super) fn finish_fetch(&mut self, request: u64, fetched_at: Option<SystemTime>) {
        self.served = request;
        self.status.is_failing = fetched_at.is_none();
        self.status.fetched_at = fetched_at.or(self.status.fetched_at);
        self.status.succeeded += u64::from(fetched_at.is_some());
        self.status.failed += u64::from(fetched_at.is_none());
    }

    /// Returns when the next fetch begins; `due_at` is when it begins without any request.
    pub(super) fn next_fetch_at(&self, now: Duration, due_at: Duration) -> Duration {
        if self.requested > self.served {
            now
        } else if self.is_deferred {
            due_at.min(self.cooldown_until)
        } else {
            due_at
        }
    }

    fn add_request(&mut self, now: Duration, cooldown: Duration) {
        self.requested += 1;
        self.cooldown_until = now + cooldown;
        self.is_deferred = false;
    }
}
