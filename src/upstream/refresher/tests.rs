//! Tests the schedule at fixed times, and the loop with a source that the test controls.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::FixedClock;
use crate::entropy::FixedEntropy;

const COOLDOWN: Duration = Duration::from_secs(30);
const EPOCH: FixedClock = FixedClock(UNIX_EPOCH);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A source that finishes one fetch for each permit, and counts fetches and logged lines.
#[derive(Clone)]
struct Controlled {
    permits: Arc<Semaphore>,
    began: Arc<AtomicU32>,
    logged: Arc<AtomicU32>,
    recovered: Arc<AtomicU32>,
    outcomes: Arc<dyn Fn(u32) -> Result<Duration, &'static str> + Send + Sync>,
}

impl Controlled {
    fn new(
        outcomes: impl Fn(u32) -> Result<Duration, &'static str> + Send + Sync + 'static,
    ) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(0)),
            began: Arc::default(),
            logged: Arc::default(),
            recovered: Arc::default(),
            outcomes: Arc::new(outcomes),
        }
    }

    fn began(&self) -> u32 {
        self.began.load(Ordering::SeqCst)
    }
}

impl RefreshSource for Controlled {
    type Error = &'static str;

    async fn fetch(&mut self) -> Result<Duration, &'static str> {
        let number = self.began.fetch_add(1, Ordering::SeqCst) + 1;
        self.permits.acquire().await.unwrap().forget();
        (self.outcomes)(number)
    }

    fn log_failure(&self, _: &'static str) {
        self.logged.fetch_add(1, Ordering::SeqCst);
    }

    fn log_recovery(&self) {
        self.recovered.fetch_add(1, Ordering::SeqCst);
    }
}

fn run(source: &Controlled) -> (Arc<Refresher>, JoinHandle<()>) {
    let refresher = Arc::new(Refresher::new(COOLDOWN));
    let (running, source) = (Arc::clone(&refresher), source.clone());
    (
        refresher,
        tokio::spawn(async move { running.run(source, &EPOCH, &FixedEntropy(0)).await }),
    )
}

async fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Waits until so many requests wait for a fetch.
async fn wait_for_waiting(refresher: &Refresher, requests: usize) {
    wait_until(|| refresher.waiting_permits.available_permits() == MAX_WAITING_REQUESTS - requests)
        .await;
}

#[test]
fn one_request_is_served_at_once_and_many_requests_every_30_s() {
    let mut schedule = RefreshSchedule::default();
    schedule.finish_fetch(0, Some(UNIX_EPOCH));
    let mut began = Vec::new();
    for now in (5..100).map(at) {
        schedule.request_refresh(now, COOLDOWN);
        if schedule.next_fetch_at(now, at(600)) <= now {
            began.push(now);
            let request = schedule.begin_fetch(now, COOLDOWN);
            schedule.finish_fetch(request, Some(UNIX_EPOCH));
        }
    }
    assert_eq!(began, [at(5), at(35), at(65), at(95)]);
    assert_eq!(
        schedule.next_fetch_at(at(99), at(600)),
        at(125),
        "the last request is not forgotten"
    );
    assert_eq!(
        schedule.next_fetch_at(at(99), at(110)),
        at(110),
        "a regular fetch comes first"
    );
}

#[test]
fn requests_share_a_requested_fetch_but_not_one_that_began_before() {
    let mut schedule = RefreshSchedule::default();
    assert_eq!(
        schedule.request_refresh(at(1), COOLDOWN),
        Some(1),
        "the first fetch may have begun before"
    );
    assert_eq!(schedule.request_refresh(at(2), COOLDOWN), Some(1));
    schedule.finish_fetch(0, None);
    assert_eq!(
        schedule.next_fetch_at(at(3), at(600)),
        at(3),
        "so another one follows"
    );
    assert_eq!(schedule.request_refresh(at(3), COOLDOWN), Some(1));
    schedule.finish_fetch(1, Some(UNIX_EPOCH));
    assert_eq!(schedule.request_refresh(at(4), COOLDOWN), None);
    assert_eq!((schedule.status.succeeded, schedule.status.failed), (1, 1));
    assert_eq!(
        (schedule.status.fetched_at, schedule.status.is_failing),
        (Some(UNIX_EPOCH), false)
    );
}

#[test]
fn instances_that_start_together_do_not_fetch_together() {
    let seconds = |random| shorten_by_jitter(Duration::from_mins(10), random).as_secs();
    assert_eq!((seconds(0), seconds(255)), (600, 480));
    assert_eq!(
        shorten_by_jitter(Duration::ZERO, 0),
        backoff::FIRST_RETRY,
        "a value that expires at once does not cause a fetch loop"
    );
}

#[tokio::test]
async fn all_requests_that_wait_for_the_first_fetch_share_it() {
    let source = Controlled::new(|_| Ok(at(600)));
    let (refresher, _task) = run(&source);
    let waiters = join_all((0..40).map(|_| refresher.wait_for_first_fetch()));
    let finish = async {
        wait_for_waiting(&refresher, 40).await;
        assert_eq!(refresher.status(), RefreshStatus::default());
        source.permits.add_permits(1);
    };
    tokio::join!(waiters, finish);
    assert_eq!((source.began(), refresher.status().succeeded), (1, 1));
    assert_eq!(
        refresher.waiting_permits.available_permits(),
        MAX_WAITING_REQUESTS,
        "the permits are returned"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_first_fetch_no_request_waits_and_the_loop_retries() {
    let source = Controlled::new(|number| if number < 3 { Err("down") } else { Ok(at(600)) });
    let (refresher, _task) = run(&source);
    source.permits.add_permits(1);
    refresher.wait_for_first_fetch().await;
    assert!(refresher.status().is_failing);
    assert!(
        is_ready(refresher.wait_for_first_fetch()),
        "the second fetch is not waited for"
    );
    source.permits.add_permits(10);
    while refresher.status().is_failing {
        tokio::time::sleep(at(1)).await;
    }
    assert_eq!(
        (refresher.status().failed, refresher.status().succeeded),
        (2, 1)
    );
    let lines = [&source.logged, &source.recovered].map(|lines| lines.load(Ordering::SeqCst));
    assert_eq!(
        lines,
        [1, 1],
        "one line for the failures and one for the recovery"
    );
}

#[tokio::test(start_paused = true)]
async fn a_different_error_is_logged_again() {
    let source = Controlled::new(|number| Err(if number == 2 { "b" } else { "a" }));
    let (refresher, _task) = run(&source);
    source.permits.add_permits(4);
    while refresher.status().failed < 4 {
        tokio::time::sleep(at(1)).await;
    }
    assert_eq!(source.logged.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_3_s_for_a_fetch_that_hangs() {
    let (refresher, _task) = run(&Controlled::new(|_| Ok(at(600))));
    let began = tokio::time::Instant::now();
    refresher.wait_for_first_fetch().await;
    assert_eq!(began.elapsed(), LONGEST_WAIT);
    assert_eq!(refresher.refresh().await, Err(RefreshError::TooSlow));
    assert_eq!(began.elapsed(), 2 * LONGEST_WAIT);
}

#[tokio::test]
async fn past_the_maximum_of_waiting_requests_none_waits() {
    let (refresher, _task) = run(&Controlled::new(|_| Ok(at(600))));
    let crowd = join_all((0..MAX_WAITING_REQUESTS).map(|_| refresher.wait_for_first_fetch()));
    let one_more = async {
        wait_for_waiting(&refresher, MAX_WAITING_REQUESTS).await;
        is_ready(refresher.wait_for_first_fetch())
    };
    tokio::select! {
        _ = crowd => panic!("nothing was fetched"),
        answered = one_more => assert!(answered),
    }
}

#[tokio::test]
async fn a_requested_refresh_is_waited_for_and_the_next_one_is_in_the_cooldown() {
    let source = Controlled::new(|_| Ok(at(600)));
    let (refresher, _task) = run(&source);
    source.permits.add_permits(2);
    refresher.wait_for_first_fetch().await;
    let answers = join_all((0..5).map(|_| refresher.refresh())).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(source.began(), 2, "all share one fetch");
    assert_eq!(refresher.refresh().await, Err(RefreshError::Cooldown));
}

#[tokio::test]
async fn a_deferred_request_causes_one_fetch_when_the_cooldown_ends() {
    let source = Controlled::new(|_| Ok(at(600)));
    let refresher = Arc::new(Refresher::new(Duration::from_millis(50)));
    let (running, fetching) = (Arc::clone(&refresher), source.clone());
    let _task = tokio::spawn(async move { running.run(fetching, &EPOCH, &FixedEntropy(0)).await });
    source.permits.add_permits(100);
    assert!(refresher.refresh().await.is_ok());
    let before = source.began();
    assert_eq!(refresher.request_refresh(), None, "it is deferred");
    wait_until(|| source.began() > before).await;
    // Another fetch would have begun by now: the loop runs on this thread.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.began(), before + 1);
}

/// Returns whether a future is ready without waiting.
fn is_ready(future: impl Future<Output = ()>) -> bool {
    futures_util::FutureExt::now_or_never(future).is_some()
}
