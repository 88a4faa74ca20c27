//! How long the host waits where `host.json` has no say. Tests may shorten each; the defaults are
//! those that were measured.

use std::time::Duration;

/// The host's own intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two questions whether a new process answers.
    pub readiness_poll: Duration,
    /// Between the end of a process and the start of the next.
    pub restart_pause: Duration,
    /// Between two looks at `host.json`, which stand for the notice of a changed file.
    pub file_poll: Duration,
    /// Proxying: the pause before the second try. It doubles with each further try.
    pub first_pause: Duration,
    /// Proxying: the longest pause.
    pub longest_pause: Duration,
    /// Between `functionTimeout` and the 500 with which the process is replaced.
    pub timeout_grace: Duration,
    /// For how long a body waits for `100 Continue` when the client has asked for that.
    pub continue_wait: Duration,
    /// For how long an unused connection to the handler is kept.
    pub idle: Duration,
    /// An error this much later than the one before is the first again.
    pub errors_are_forgotten: Duration,
}

/// Proxying: how often a request is tried at most.
pub const TRIES: u32 = 10;

/// How often .NET's client sends a request without a body whose connection closes before an answer.
pub const SENDS: u32 = 4;

/// The host stops at this many errors.
pub const ERRORS_TO_STOP: usize = 3;

/// Requests that arrive before the handler is ready wait this many times the limit of a start.
pub const EARLY_REQUESTS_WAIT: u32 = 4;

impl Timing {
    /// As measured at host 4.1037.
    pub const MEASURED: Self = Self {
        readiness_poll: Duration::from_millis(25),
        restart_pause: Duration::from_millis(30),
        file_poll: Duration::from_millis(25),
        first_pause: Duration::from_millis(50),
        longest_pause: Duration::from_millis(250),
        timeout_grace: Duration::from_secs(2),
        continue_wait: Duration::from_secs(1),
        idle: Duration::from_mins(1),
        errors_are_forgotten: Duration::from_mins(30),
    };

    /// The pauses between all tries of one request.
    pub fn pauses(&self) -> impl Iterator<Item = Duration> {
        let longest = self.longest_pause;
        std::iter::successors(Some(self.first_pause), move |pause| {
            Some(longest.min(*pause * 2))
        })
        .take(TRIES as usize - 1)
    }
}

#[test]
fn the_defaults_are_what_was_measured_at_the_host() {
    let timing = Timing::MEASURED;
    let milliseconds = |span: Duration| span.as_millis();
    assert_eq!(
        timing.pauses().map(milliseconds).sum::<u128>(),
        1_850,
        "all tries of proxying take 1.9 s"
    );
    assert_eq!((TRIES, SENDS, TRIES * SENDS), (10, 4, 40));
    assert_eq!(
        timing.pauses().take(2).map(milliseconds).sum::<u128>(),
        150,
        "a third process is reached within 160 ms"
    );
    assert_eq!(
        (timing.timeout_grace, timing.restart_pause),
        (Duration::from_secs(2), Duration::from_millis(30))
    );
    assert_eq!(
        (timing.readiness_poll, timing.idle),
        (Duration::from_millis(25), Duration::from_mins(1))
    );
    assert_eq!(
        (ERRORS_TO_STOP, timing.errors_are_forgotten),
        (3, Duration::from_mins(30))
    );
    assert_eq!(
        (EARLY_REQUESTS_WAIT, timing.continue_wait),
        (4, Duration::from_secs(1))
    );
}
