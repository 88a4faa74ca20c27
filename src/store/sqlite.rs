//! The embedded store: one SQLite file on a local disk, which several processes on one machine may
//! share.
//!
//! A change and its audit record are one transaction, which is durable (WAL, `synchronous=FULL`)
//! before it is acknowledged. The store has two threads, one for writes and one for reads. Each
//! call takes at most 3 s. After an error the next call opens the file again.
//!
//! # Source
//! <https://sqlite.org/wal.html>, <https://sqlite.org/pragma.html>

mod audit;
mod database;
mod projects;
mod sessions;
mod steps;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use self::database::{ConnectionMode, Database};
use self::worker::{CallHandle, ReplacedBytes, Worker};
use super::projects::{
    AuditAppend, AuditPage, AuditQuery, EndedBy, EndedSession, ListedProject, ProjectStore,
    ProjectWrite, SessionCounts, SessionDecision, SessionRequest, SessionStore, StoredProject,
};
use super::store_error::StoreError;
use crate::domain::audit_log::chain::{AuditRecord, ChainKey, ChainReport, ChainVerifier};
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;

/// The number of records that a verification reads at once: about 2 ms and 500 KB.
const VERIFIED_AT_ONCE: usize = 1_000;

/// A store in one SQLite file.
pub struct SqliteStore {
    writer: Worker,
    reader: Worker,
}

impl SqliteStore {
    /// Starts the threads. The first call creates or opens the file, so a file that cannot be
    /// opened does not prevent the start.
    ///
    /// # Errors
    /// [`StoreError`] if a thread cannot be started, or the path cannot be made absolute.
    pub fn new(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path)?;
        let was_there = Arc::new(AtomicBool::new(false));
        let start = |name, mode| {
            let database = Database::new(path.clone(), mode, Arc::clone(&was_there));
            Worker::start(name, database)
        };
        Ok(Self {
            writer: start("sqlite-writer", ConnectionMode::Writer)?,
            reader: start("sqlite-reader", ConnectionMode::Reader)?,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader
            .run(ReplacedBytes::Public, move |connection, _| call(connection))
            .await
    }

    async fn write<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Connection, &CallHandle<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(ReplacedBytes::Public, call).await
    }
}

#[async_trait]
impl ProjectStore for SqliteStore {
    async fn read_project(&self, id: &ProjectId) -> Result<Option<StoredProject>, StoreError> {
        let id = id.clone();
        self.read(move |connection| projects::read(connection, &id))
            .await
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<AuditRecord, StoreError> {
        // A first key replaces nothing.
        let replaced = if write.expected.is_some() {
            ReplacedBytes::SealedKey
        } else {
            ReplacedBytes::Public
        };
        self.writer
            .run(replaced, move |connection, call| {
                projects::write(connection, &write, call)
            })
            .await
    }

    async fn list_projects(
        &self,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ListedProject>, StoreError> {
        let after = after.cloned();
        self.read(move |connection| projects::list(connection, after.as_ref(), limit))
            .await
    }

    async fn list_sealed_below(
        &self,
        version: KekVersion,
        after: Option<&ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectId>, StoreError> {
        let after = after.cloned();
        self.read(move |connection| {
            projects::list_sealed_below(connection, version, after.as_ref(), limit)
        })
        .await
    }

    async fn count_by_kek(&self) -> Result<Vec<(Option<KekVersion>, u64)>, StoreError> {
        self.read(projects::count_by_kek).await
    }

    async fn append_audit(&self, append: AuditAppend) -> Result<AuditRecord, StoreError> {
        self.write(move |connection, call| audit::append_alone(connection, &append, call))
            .await
    }

    async fn query_audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.read(move |connection| audit::query(connection, &query))
            .await
    }

    async fn verify_audit(
        &self,
        key: &ChainKey,
        progress: &AtomicU64,
    ) -> Result<ChainReport, StoreError> {
        let mut verifier = ChainVerifier::new(key, audit::WRITER);
        let mut last_seen = 0;
        loop {
            let records = self
                .read(move |connection| audit::read_after(connection, last_seen, VERIFIED_AT_ONCE))
                .await?;
            for record in &records {
                verifier.check(record);
            }
            progress.fetch_add(records.len() as u64, Ordering::Relaxed);
            match records.last() {
                Some(last) => last_seen = last.sequence,
                None => return Ok(verifier.finish()),
            }
        }
    }

    async fn put_probe(&self, probe: Vec<u8>) -> Result<(), StoreError> {
        self.write(move |connection, _| {
            connection.execute(
                "INSERT INTO health (id, probe) VALUES (1, ?1)
                 ON CONFLICT DO UPDATE SET probe = excluded.probe",
                [probe],
            )?;
            Ok(())
        })
        .await
    }

    async fn get_probe(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT probe FROM health WHERE id = 1";
            Ok(connection.query_row(sql, [], |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn delete_probe(&self) -> Result<(), StoreError> {
        self.write(|connection, _| {
            connection.execute("DELETE FROM health", [])?;
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn open_session(&self, request: SessionRequest) -> Result<SessionDecision, StoreError> {
        self.write(move |connection, call| sessions::open(connection, &request, call))
            .await
    }

    async fn cancel_session(&self, session_id: Uuid) -> Result<(), StoreError> {
        self.write(move |connection, _| sessions::cancel(connection, session_id))
            .await
    }

    async fn extend_session(&self, session_id: Uuid, expires_at_ms: u64) -> Result<(), StoreError> {
        self.write(move |connection, _| sessions::extend(connection, session_id, expires_at_ms))
            .await
    }

    async fn end_session(
        &self,
        session_id: Uuid,
        by: EndedBy,
        now_ms: u64,
    ) -> Result<Option<EndedSession>, StoreError> {
        self.write(move |connection, _| sessions::end(connection, session_id, by, now_ms))
            .await
    }

    async fn count_sessions(
        &self,
        projects: &[ProjectId],
        now_ms: u64,
    ) -> Result<Vec<SessionCounts>, StoreError> {
        let projects = projects.to_vec();
        self.read(move |connection| sessions::count(connection, &projects, now_ms))
            .await
    }
}

#[cfg(test)]
mod tests;
