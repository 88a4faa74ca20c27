//! A thread that owns a connection and does one call after another. SQLite's calls block; those who
//! wait for them must not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::database::Database;
use crate::store::store_error::{Outage, StoreError};

/// Longest time that a call takes, whatever the disk does.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Most calls that wait. A write takes some 0.3 ms, so these are done within the time limit.
const QUEUE: usize = 1_024;

type Job = Box<dyn FnOnce(&mut Database) + Send>;

/// A connection in a thread of its own, which ends when this is dropped.
pub struct Worker {
    jobs: SyncSender<Job>,
}

/// Whoever waits for a call.
pub struct Caller<'a>(&'a dyn Fn() -> bool);

impl Caller<'_> {
    /// Fails when nobody waits any more, so that what was given up is not done afterwards.
    ///
    /// # Errors
    /// [`Outage::Late`].
    pub fn still_waits(&self) -> Result<(), StoreError> {
        if (self.0)() {
            Ok(())
        } else {
            Err(Outage::Late.into())
        }
    }
}

/// The treatment of the bytes that a call replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// They are nobody's secret.
    Harmless,
    /// They are a sealed key, which is to leave the write-ahead log too.
    Scrub,
}

impl Worker {
    /// Starts the thread. The file is opened with the first call.
    ///
    /// # Errors
    /// [`Outage::Failed`] when the system gives no thread.
    pub fn start(name: &str, database: Database) -> Result<Self, StoreError> {
        let (jobs, queue) = sync_channel(QUEUE);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(database, &queue))?;
        Ok(Self { jobs })
    }

    /// Runs a call on the thread and waits for it, 3 s at most.
    ///
    /// # Errors
    /// As the call, and [`Outage::Late`] or [`Outage::Busy`].
    pub async fn run<T: Send + 'static>(
        &self,
        leftovers: Leftovers,
        call: impl FnOnce(&mut Connection, &Caller<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |database: &mut Database| {
            let waits = || !answer.is_closed();
            if !waits() {
                return;
            }
            let result = database.with(|connection| call(connection, &Caller(&waits)));
            if result.is_ok() && leftovers == Leftovers::Scrub {
                database.request_scrub();
            }
            // Whoever has gone away wants no answer.
            let _ = answer.send(result);
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Outage::Busy,
            TrySendError::Disconnected(_) => Outage::Failed,
        })?;
        match timeout(TIME_LIMIT, answered).await {
            Ok(Ok(result)) => result,
            // The call has panicked.
            Ok(Err(_)) => Err(Outage::Failed.into()),
            Err(_) => Err(Outage::Late.into()),
        }
    }
}

fn work(mut database: Database, queue: &Receiver<Job>) {
    loop {
        let job = if let Some(idle) = database.scrub_after() {
            match queue.recv_timeout(idle) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    database.scrub();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        } else {
            match queue.recv() {
                Ok(job) => job,
                Err(_) => break,
            }
        };
        // A call that panics must not take the store with it; nobody knows what state the
        // connection is in.
        if catch_unwind(AssertUnwindSafe(|| job(&mut database))).is_err() {
            database.close();
        }
    }
    if database.scrub_after().is_some() {
        database.scrub();
    }
}
