//! A thread that owns a connection and runs calls one after another: SQLite's calls block, and the
//! threads of the async runtime must not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::database::Database;
use crate::store::store_error::{StoreError, StoreOutage};

/// The time limit of a call, including the time in the queue.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Most queued calls. A write takes about 0.3 ms, so a full queue is done within the time limit.
const QUEUE: usize = 1_024;

type Job = Box<dyn FnOnce(&mut Database) + Send>;

/// A connection in its own thread, which ends when this is dropped.
pub struct Worker {
    jobs: SyncSender<Job>,
}

/// A running call, as the code that it runs sees it.
pub struct CallHandle<'a>(&'a dyn Fn() -> bool);

impl CallHandle<'_> {
    /// Fails if the caller no longer waits for the result, so that a call which timed out is not
    /// committed later.
    ///
    /// # Errors
    /// [`StoreOutage::Late`].
    pub fn check_waiting(&self) -> Result<(), StoreError> {
        if (self.0)() {
            Ok(())
        } else {
            Err(StoreOutage::Late.into())
        }
    }
}

/// The secrecy of the bytes that a call replaces in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplacedBytes {
    /// They are not secret.
    Public,
    /// They are a sealed key, which is also removed from the write-ahead log.
    SealedKey,
}

impl Worker {
    /// Starts the thread. The first call opens the file.
    ///
    /// # Errors
    /// [`StoreOutage::Failed`] if the system cannot start a thread.
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
    /// The error of the call, [`StoreOutage::Late`] or [`StoreOutage::Busy`].
    pub async fn run<T: Send + 'static>(
        &self,
        replaced: ReplacedBytes,
        call: impl FnOnce(&mut Connection, &CallHandle<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move |database: &mut Database| {
            let waits = || !sender.is_closed();
            if !waits() {
                return;
            }
            let result = database.with(|connection| call(connection, &CallHandle(&waits)));
            if result.is_ok() && replaced == ReplacedBytes::SealedKey {
                database.request_scrub();
            }
            // Fails only if the caller no longer waits.
            let _ = sender.send(result);
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreOutage::Busy,
            TrySendError::Disconnected(_) => StoreOutage::Failed,
        })?;
        match timeout(TIME_LIMIT, receiver).await {
            Ok(Ok(result)) => result,
            // The call panicked.
            Ok(Err(_)) => Err(StoreOutage::Failed.into()),
            Err(_) => Err(StoreOutage::Late.into()),
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
        // A panic must not end the thread. The state of the connection is unknown then, so it is
        // closed.
        if catch_unwind(AssertUnwindSafe(|| job(&mut database))).is_err() {
            database.close();
        }
    }
    if database.scrub_after().is_some() {
        database.scrub();
    }
}
