//! The verification of the audit log: one at a time, which goes on where a long log takes longer
//! than a request may.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::domain::audit_log::chain::ChainReport;
use crate::store::store_error::{StoreError, StoreOutage};

/// The time for which a request waits for the result.
const WAIT: Duration = Duration::from_secs(5);
/// The time for which the result of a verification that took longer waits for a request. A later
/// one verifies the log again.
const KEPT: Duration = Duration::from_mins(5);

/// The answer to a request for a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditVerification {
    /// The log was verified.
    Finished(ChainReport),
    /// It is being verified. The next request waits for the same result.
    Running {
        /// The number of records that were verified so far.
        records: u64,
    },
}

/// Verifies the audit log, once at a time. Requests that come meanwhile wait for the same result.
///
/// A verification belongs to this process. If the process ends, the next request begins another.
#[derive(Default)]
pub(super) struct AuditVerifier {
    run: Mutex<Option<Run>>,
}

/// A verification, running or finished.
#[derive(Clone)]
struct Run {
    records: Arc<AtomicU64>,
    /// Its sender is gone when the result is kept no longer.
    result: watch::Receiver<Option<Result<ChainReport, StoreError>>>,
}

impl AuditVerifier {
    /// Waits for the verification that runs, or starts one: `verify` gets the counter of the
    /// records that it has verified.
    ///
    /// # Errors
    /// [`StoreError`]; the next request begins another verification then.
    pub(super) async fn verify<F>(
        &self,
        verify: impl FnOnce(Arc<AtomicU64>) -> F,
    ) -> Result<AuditVerification, StoreError>
    where
        F: Future<Output = Result<ChainReport, StoreError>> + Send + 'static,
    {
        let Run {
            records,
            mut result,
        } = self.join(verify);
        let report = match timeout(WAIT, result.wait_for(Option::is_some)).await {
            Err(_elapsed) => {
                let records = records.load(Ordering::Relaxed);
                return Ok(AuditVerification::Running { records });
            }
            Ok(Ok(report)) => report.clone(),
            // The verification panicked.
            Ok(Err(_)) => None,
        };
        self.forget(&records);
        let report = report.unwrap_or(Err(StoreOutage::Failed.into()));
        report.map(AuditVerification::Finished)
    }

    fn join<F>(&self, verify: impl FnOnce(Arc<AtomicU64>) -> F) -> Run
    where
        F: Future<Output = Result<ChainReport, StoreError>> + Send + 'static,
    {
        let mut current = self.current();
        if let Some(run) = current.as_ref().filter(|run| run.is_kept()) {
            return run.clone();
        }
        let records = Arc::new(AtomicU64::new(0));
        let (sender, result) = watch::channel(None);
        let verification = verify(Arc::clone(&records));
        tokio::spawn(async move {
            let mut verification = pin!(verification);
            let in_time = timeout(WAIT, &mut verification).await.ok();
            let is_long = in_time.is_none();
            let report = match in_time {
                Some(report) => report,
                None => verification.await,
            };
            sender.send_replace(Some(report));
            // Nobody waits any more: until the next request has it, which forgets it.
            if is_long {
                let _ = timeout(KEPT, sender.closed()).await;
            }
        });
        current.insert(Run { records, result }).clone()
    }

    /// Forgets a verification whose result a request has, so that the next one begins another.
    fn forget(&self, records: &Arc<AtomicU64>) {
        let mut current = self.current();
        if (current.as_ref()).is_some_and(|run| Arc::ptr_eq(&run.records, records)) {
            *current = None;
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn is_kept(&self) -> bool {
        self.result.has_changed().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    fn report(records: u64) -> ChainReport {
        ChainReport {
            records,
            first_broken: None,
        }
    }

    /// A verification that must not be started.
    async fn second(_: Arc<AtomicU64>) -> Result<ChainReport, StoreError> {
        panic!("a second verification runs")
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_verification_goes_on_and_later_requests_wait_for_its_result() {
        let (verifier, (end, ended)) = (AuditVerifier::default(), oneshot::channel());
        let first = verifier.verify(async |records: Arc<AtomicU64>| {
            records.store(7, Ordering::Relaxed);
            Ok(ended.await.unwrap())
        });
        let running = Ok(AuditVerification::Running { records: 7 });
        assert_eq!(first.await, running);
        assert_eq!(verifier.verify(second).await, running);
        let finish = async { end.send(report(9)).unwrap() };
        let (one, other, ()) =
            tokio::join!(verifier.verify(second), verifier.verify(second), finish);
        let finished = Ok(AuditVerification::Finished(report(9)));
        assert_eq!((&one, &other), (&finished, &finished));
        let next = verifier.verify(async |_| Ok(report(10))).await;
        assert_eq!(next, Ok(AuditVerification::Finished(report(10))));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_or_a_panic_the_next_request_begins_another() {
        let verifier = AuditVerifier::default();
        let late = Err(StoreOutage::Late.into());
        let failed = verifier.verify(async |_| Err(StoreOutage::Late.into()));
        assert_eq!(failed.await, late);
        let failed = Err(StoreOutage::Failed.into());
        assert_eq!(verifier.verify(second).await, failed);
        let next = verifier.verify(async |_| Ok(report(1))).await;
        assert_eq!(next, Ok(AuditVerification::Finished(report(1))));
        let hung = verifier.verify(async |_| pending().await).await;
        assert_eq!(hung, Ok(AuditVerification::Running { records: 0 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_gets_no_result_of_a_short_verification_before_it() {
        let (verifier, (end, ended)) = (AuditVerifier::default(), oneshot::channel());
        let gone = verifier.verify(async |_| Ok(ended.await.unwrap()));
        assert!(timeout(WAIT / 2, gone).await.is_err());
        end.send(report(1)).unwrap();
        tokio::task::yield_now().await;
        let next = verifier.verify(async |_| Ok(report(2))).await;
        assert_eq!(next, Ok(AuditVerification::Finished(report(2))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_is_given_for_some_minutes_and_then_no_more() {
        for (age, records) in [(KEPT / 2, 1), (2 * KEPT, 2)] {
            let (verifier, (end, ended)) = (AuditVerifier::default(), oneshot::channel());
            let first = verifier.verify(async |_| Ok(ended.await.unwrap())).await;
            assert_eq!(first, Ok(AuditVerification::Running { records: 0 }));
            // Its own time is over too.
            tokio::task::yield_now().await;
            end.send(report(1)).unwrap();
            tokio::task::yield_now().await;
            tokio::time::advance(age).await;
            tokio::task::yield_now().await;
            let next = verifier.verify(async |_| Ok(report(2))).await;
            assert_eq!(next, Ok(AuditVerification::Finished(report(records))));
        }
    }
}
