//! The database file: creates, opens and migrates it, and maps SQLite's errors.
//!
//! A new file is written under a temporary name and then linked to its own name when it is
//! complete, so an existing file, even an empty one, is never treated as new.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::steps;
use crate::platform::{self, FileIdentity};
use crate::store::store_error::{StoreError, StoreOutage};

/// The application id in the file's header, which marks it as roomkey's: `RmKy`.
const APPLICATION_ID: i32 = 0x526d_4b79;
/// The migrations, each from one schema version to the next.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];
/// The time that a statement waits for another process's lock. It is shorter than the time limit of
/// a call, so that the caller gets [`StoreOutage::Locked`] as the cause.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// The idle time after which a connection empties the write-ahead log of deleted keys. Doubles with
/// each attempt that fails.
const SCRUB_AFTER: Duration = Duration::from_millis(50);
/// Most doublings of [`SCRUB_AFTER`], which gives 51 s.
const MAX_DOUBLINGS: u32 = 10;

/// The access mode of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionMode {
    /// Reads and writes.
    Writer,
    /// Only reads.
    Reader,
}

/// A connection that is opened at its first use, and again after a failure.
pub struct Database {
    path: PathBuf,
    mode: ConnectionMode,
    open: Option<Open>,
    /// A connection of this store has opened the file before, so a missing file is an error.
    was_there: Arc<AtomicBool>,
    /// Deleted or replaced keys may still be in the write-ahead log. Contains the number of failed
    /// attempts to truncate it.
    scrub_attempts: Option<u32>,
}

struct Open {
    connection: Connection,
    file: FileIdentity,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreOutage::Locked.into(),
            Some(ErrorCode::DiskFull) => StoreOutage::Full.into(),
            Some(ErrorCode::ReadOnly) => StoreOutage::ReadOnly.into(),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreOutage::NoAccess.into()
            }
            // Without a code: a value has another type than this program writes.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => Self::Corrupt,
            Some(_) => StoreOutage::Failed.into(),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory => StoreOutage::NoAccess.into(),
            io::ErrorKind::ReadOnlyFilesystem => StoreOutage::ReadOnly.into(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreOutage::Full.into(),
            _ => StoreOutage::Failed.into(),
        }
    }
}

impl Database {
    /// Creates a closed connection. The first use opens the file.
    pub fn new(path: PathBuf, mode: ConnectionMode, was_there: Arc<AtomicBool>) -> Self {
        Self {
            path,
            mode,
            open: None,
            was_there,
            scrub_attempts: None,
        }
    }

    /// Calls `work` with the connection. After a failure it is closed, and the next use opens it
    /// again.
    pub fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.connection().and_then(work);
        match &result {
            Ok(_)
            | Err(
                StoreError::LostRace
                | StoreError::RecordCorrupt
                | StoreError::Unavailable(StoreOutage::Locked | StoreOutage::Late),
            ) => {}
            Err(_) => self.close(),
        }
        result
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Requests a [`Database::scrub`], because a key was deleted or replaced and its old bytes are
    /// still in the write-ahead log.
    pub fn request_scrub(&mut self) {
        self.scrub_attempts.get_or_insert(0);
    }

    /// Returns the idle time before the next [`Database::scrub`]; `None` if none is requested.
    pub fn scrub_after(&self) -> Option<Duration> {
        self.scrub_attempts
            .map(|attempts| SCRUB_AFTER * 2_u32.pow(attempts.min(MAX_DOUBLINGS)))
    }

    /// Truncates the write-ahead log. If another process is using it, a later attempt does. SQLite
    /// overwrites deleted data in the database file itself (`secure_delete`).
    pub fn scrub(&mut self) {
        let emptied = self.with(|connection| {
            // Other calls wait for this one, so it must not wait for locks.
            connection.busy_timeout(Duration::ZERO)?;
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            let busy = connection.query_row(checkpoint, [], |row| row.get::<_, i64>(0));
            connection.busy_timeout(LOCK_WAIT)?;
            Ok(busy? == 0)
        });
        self.scrub_attempts = match emptied {
            Ok(true) => None,
            _ => self
                .scrub_attempts
                .map(|attempts| attempts.saturating_add(1)),
        };
    }

    fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        // If the file was replaced by a backup or removed, the open connection would write to a
        // file that no longer has a name.
        let on_disk = identity(&self.path)?;
        if self.open.as_ref().map(|open| &open.file) != on_disk.as_ref() {
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.open_file(on_disk.is_some())?,
        };
        Ok(&mut self.open.insert(open).connection)
    }

    fn open_file(&self, exists: bool) -> Result<Open, StoreError> {
        if !exists {
            if self.was_there.load(Ordering::SeqCst) {
                return Err(StoreOutage::Missing.into());
            }
            create(&self.path)?;
        }
        let metadata = fs::metadata(&self.path)?;
        if !metadata.is_file() {
            return Err(StoreOutage::NoAccess.into());
        }
        if metadata.len() == 0 {
            return Err(StoreError::Corrupt);
        }
        platform::restrict_to_owner(&self.path, &metadata)?;
        let mut connection = connect(&self.path)?;
        migrate(&mut connection)?;
        // With WAL and FULL, acknowledged writes survive a power failure. The file stores the mode.
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(StoreOutage::Failed.into());
        }
        if self.mode == ConnectionMode::Reader {
            connection.pragma_update(None, "query_only", true)?;
        }
        self.was_there.store(true, Ordering::SeqCst);
        let file = identity(&self.path)?.ok_or(StoreOutage::Missing)?;
        Ok(Open { connection, file })
    }
}

fn identity(path: &Path) -> Result<Option<FileIdentity>, StoreError> {
    match platform::identify_file(path) {
        Ok(identity) => Ok(Some(identity)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens an existing file. The path is absolute, so SQLite does not parse it as a URI.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "secure_delete", true)?;
    // Temporary data of sorts and indexes is not written to another file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Creates the file, its folder and the tables; only the owner may use them. Another process may do
/// the same meanwhile.
fn create(path: &Path) -> Result<(), StoreError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().ok_or(StoreOutage::NoAccess)?;
    platform::create_private_folder(folder)?;
    let mut name = path.file_name().ok_or(StoreOutage::NoAccess)?.to_owned();
    let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    name.push(format!(".new-{process}-{number}"));
    let new = folder.join(name);
    // A killed process with the same id may have left this file.
    let _ = fs::remove_file(&new);
    let created = fill(&new).and_then(|()| {
        steps::reached("create.link");
        // Unlike a rename, this never replaces a file.
        match fs::hard_link(&new, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    });
    let _ = fs::remove_file(&new);
    created?;
    platform::sync_folder(folder)?;
    Ok(())
}

fn fill(new: &Path) -> Result<(), StoreError> {
    platform::private_file_options().open(new)?;
    steps::reached("create.file");
    let mut connection = connect(new)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&mut connection)?;
    connection.close().map_err(|(_, error)| error)?;
    // Windows flushes only files that are open for writing.
    File::options().write(true).open(new)?.sync_all()?;
    Ok(())
}

/// Checks that the file is roomkey's, and runs the missing migrations in one transaction.
fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    if header(connection, "application_id")? != i64::from(APPLICATION_ID) {
        return Err(StoreError::Foreign);
    }
    let newest = MIGRATIONS.len();
    if version(connection)? == newest {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have migrated the file.
    let version = version(&transaction)?;
    if version > newest {
        return Err(StoreError::NewerSchema);
    }
    for migration in MIGRATIONS.iter().skip(version) {
        transaction.execute_batch(migration)?;
        steps::reached("migrate.step");
    }
    transaction.pragma_update(None, "user_version", newest)?;
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Result<usize, StoreError> {
    usize::try_from(header(connection, "user_version")?).map_err(|_| StoreError::NewerSchema)
}

fn header(connection: &Connection, field: &str) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, field, |row| row.get(0))?)
}
