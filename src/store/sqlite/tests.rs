//! The suite of all stores, and what only a file can go through.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::clock::Stopwatch;
use crate::domain::audit_log::entry::EventType;
use crate::domain::vault::changes::Precondition;
use crate::store::projects::keys::ProjectKeys;
use crate::store::projects::project_store;
use crate::store::store_error::{KeyStoreError, StoreOutage};

mod killed;

use crate::store::projects::project_store::{
    audit, delete, each_as_a_test, kek_version, keys_over, opened, project, save, try_save,
    verified, verify, with_store_tests,
};

/// A store in a folder of its own.
pub struct Guard {
    folder: tempfile::TempDir,
    sqlite: Arc<SqliteStore>,
    keys: ProjectKeys,
}

impl Guard {
    pub fn keys(&self) -> &ProjectKeys {
        &self.keys
    }

    fn path(&self) -> PathBuf {
        file(self.folder.path())
    }

    /// The file as another program sees it.
    fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// Another life of the same file.
    fn reopened(self) -> Self {
        drop((self.keys, self.sqlite));
        over(self.folder)
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("below").join("store.db")
}

fn over(folder: tempfile::TempDir) -> Guard {
    let sqlite = Arc::new(SqliteStore::new(&file(folder.path())).unwrap());
    let keys = keys_over(Arc::clone(&sqlite) as Arc<dyn ProjectStore>);
    Guard {
        folder,
        sqlite,
        keys,
    }
}

#[expect(
    clippy::unused_async,
    reason = "the suite awaits it, for stores that start slowly"
)]
async fn fresh() -> Guard {
    over(tempfile::tempdir().unwrap())
}

/// A store with one key, that of `a`.
async fn with_a_key() -> Guard {
    let guard = fresh().await;
    save(&guard.keys, &project("a"), 1).await;
    guard
}

with_store_tests!(each_as_a_test, fresh);

fn outage(outage: StoreOutage) -> KeyStoreError {
    KeyStoreError::Store(StoreError::Unavailable(outage))
}

/// Returns the result of a save over the key of `a`.
async fn replaced(guard: &Guard, number: usize) -> Result<(), KeyStoreError> {
    let any = Precondition::AnyKey;
    let saved = try_save(&guard.keys, &project("a"), number, &any).await;
    saved.map(drop)
}

async fn key_number(guard: &Guard) -> String {
    let key = opened(&guard.keys, &project("a")).await.unwrap();
    key.trim_start_matches("sk-proj-canary-key-number-")
        .to_owned()
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_outlives_the_process() {
    let guard = with_a_key().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(guard.path().parent().unwrap()), 0o700);
    for end in ["", "-wal", "-shm"] {
        let path = PathBuf::from(format!("{}{end}", guard.path().display()));
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let guard = guard.reopened();
    assert_eq!(key_number(&guard).await, "1");
    assert_eq!(verified(&guard.keys).await, 1);
    fs::set_permissions(
        guard.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let guard = guard.reopened();
    assert_eq!(key_number(&guard).await, "1");
    assert_eq!(mode(&guard.path()), 0o600);
    let left: Vec<_> = fs::read_dir(guard.path().parent().unwrap())
        .unwrap()
        .collect();
    assert!(left.len() <= 3, "{left:?}");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let good = with_a_key().await;
    let path = good.path();
    drop((good.keys, good.sqlite));
    // The last connection has gone when the log is.
    let began = Stopwatch::start();
    while path.with_extension("db-wal").exists() {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "the store stays open"
        );
        tokio::task::yield_now().await;
    }
    let store = fs::read(&path).unwrap();
    let mut header = store.clone();
    header[..100].fill(b'x');
    let mut page = store.clone();
    page[4_096..].fill(0xff);
    let files = [
        (Vec::new(), StoreError::Corrupt),
        (b"garbage".to_vec(), StoreError::Corrupt),
        (header, StoreError::Corrupt),
        (page, StoreError::Corrupt),
        (store[..store.len() / 2].to_vec(), StoreError::Corrupt),
        (store[..100].to_vec(), StoreError::Corrupt),
    ];
    for (number, (bytes, error)) in files.into_iter().enumerate() {
        fs::write(&path, &bytes).unwrap();
        let guard = over(tempfile::tempdir().unwrap());
        fs::create_dir(guard.path().parent().unwrap()).unwrap();
        fs::copy(&path, guard.path()).unwrap();
        let read = opened(&guard.keys, &project("a")).await;
        assert_eq!(read, Err(KeyStoreError::Store(error)), "{number}");
        let written = replaced(&guard, 2).await;
        assert_eq!(written, Err(KeyStoreError::Store(error)), "{number}");
        assert_eq!(fs::read(guard.path()).unwrap(), bytes, "{number}");
        // Once the file is a store again, it serves, without a restart.
        fs::write(guard.path(), &store).unwrap();
        assert_eq!(key_number(&guard).await, "1", "{number}");
        assert_eq!(replaced(&guard, 2).await, Ok(()));
    }
}

#[tokio::test]
async fn a_file_of_another_program_or_a_newer_version_is_refused() {
    for (sql, error) in [
        ("PRAGMA application_id = 0", StoreError::Foreign),
        ("PRAGMA application_id = 7", StoreError::Foreign),
        ("PRAGMA user_version = 2", StoreError::NewerSchema),
        ("PRAGMA user_version = -1", StoreError::NewerSchema),
    ] {
        let guard = with_a_key().await;
        guard.raw().execute_batch(sql).unwrap();
        let guard = guard.reopened();
        let refused = KeyStoreError::Store(error);
        assert_eq!(
            opened(&guard.keys, &project("a")).await,
            Err(refused),
            "{sql}"
        );
        assert_eq!(replaced(&guard, 2).await, Err(refused), "{sql}");
        let back = "PRAGMA application_id = 1382894457; PRAGMA user_version = 1";
        guard.raw().execute_batch(back).unwrap();
        assert_eq!(key_number(&guard).await, "1", "{sql}");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("below"),
        "a file where a folder should be",
    )
    .unwrap();
    let guard = over(folder);
    let read = opened(&guard.keys, &project("a")).await;
    assert_eq!(read, Err(outage(StoreOutage::NoAccess)));
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(file(folder.path())).unwrap();
    let guard = over(folder);
    let read = opened(&guard.keys, &project("a")).await;
    assert_eq!(read, Err(outage(StoreOutage::NoAccess)));
}

#[tokio::test]
async fn a_held_lock_is_an_outage_of_writes_only_and_passes() {
    let guard = with_a_key().await;
    let other = guard.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Stopwatch::start();
    let refused = replaced(&guard, 2).await.unwrap_err();
    // On a machine that is very busy the time limit comes first.
    assert!([outage(StoreOutage::Locked), outage(StoreOutage::Late)].contains(&refused));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(key_number(&guard).await, "1");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(replaced(&guard, 3).await, Ok(()));
    assert_eq!(key_number(&guard).await, "3");
    assert_eq!(verified(&guard.keys).await, 2);
}

async fn run(guard: &Guard, sql: &'static str) {
    guard
        .sqlite
        .write(move |connection, _| Ok(connection.execute_batch(sql)?))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_an_outage_that_changes_nothing_and_passes() {
    let guard = with_a_key().await;
    for (sql, expected) in [
        // No page more than there is.
        ("PRAGMA max_page_count = 1", StoreOutage::Full),
        ("PRAGMA query_only = 1", StoreOutage::ReadOnly),
    ] {
        let mut number = 1;
        let error = loop {
            // It takes some writes until a new page is needed.
            run(&guard, sql).await;
            let before = (key_number(&guard).await, verified(&guard.keys).await);
            number += 1;
            if let Err(error) = replaced(&guard, number).await {
                let after = (key_number(&guard).await, verified(&guard.keys).await);
                assert_eq!(before, after);
                break error;
            }
        };
        assert_eq!(error, outage(expected));
        // The connection is opened again, without what made it fail.
        assert_eq!(replaced(&guard, 9).await, Ok(()));
        assert_eq!(key_number(&guard).await, "9");
    }
}

#[tokio::test]
async fn a_file_that_goes_missing_is_not_made_anew() {
    let guard = with_a_key().await;
    let folder = guard.path().parent().unwrap().to_owned();
    let away = guard.folder.path().join("away");
    fs::rename(&folder, &away).unwrap();
    let missing = Err(outage(StoreOutage::Missing));
    assert_eq!(opened(&guard.keys, &project("a")).await.map(drop), missing);
    assert_eq!(replaced(&guard, 2).await, missing);
    fs::create_dir(&folder).unwrap();
    assert_eq!(replaced(&guard, 2).await, missing);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(key_number(&guard).await, "1");
    assert_eq!(replaced(&guard, 3).await, Ok(()));
}

#[tokio::test]
async fn a_call_that_panics_does_not_take_the_store_with_it() {
    let guard = with_a_key().await;
    let panicked: Result<(), _> = guard.sqlite.write(|_, _| panic!("on purpose")).await;
    assert_eq!(panicked, Err(StoreOutage::Failed.into()));
    assert_eq!(replaced(&guard, 2).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_is_not_done_afterwards() {
    let guard = fresh().await;
    let (release, released) = channel::<()>();
    // The thread is kept busy, as by a disk that hangs; time is the runtime's, so that the limit
    // passes at once.
    let busy = guard.sqlite.write(move |_, _| {
        let _ = released.recv();
        Ok(())
    });
    assert_eq!(busy.await, Err(StoreOutage::Late.into()));
    let append = audit(EventType::SessionCreated, &project("a"));
    let late = guard.keys.store().append_audit(append.clone()).await;
    assert_eq!(late, Err(StoreOutage::Late.into()));
    drop(release);
    // Waits for the thread in real time: a read of another thread is not held up.
    tokio::time::resume();
    let record = guard.keys.store().append_audit(append).await.unwrap();
    assert_eq!(record.sequence, 1, "the one before was not written");
}

#[tokio::test]
async fn a_caller_who_leaves_while_a_lock_is_awaited_changes_nothing() {
    let guard = with_a_key().await;
    let other = guard.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..3 {
        let store = Arc::clone(&guard.sqlite);
        let append = audit(EventType::SessionCreated, &project("a"));
        let call = tokio::spawn(async move { store.append_audit(append).await });
        tokio::task::yield_now().await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(replaced(&guard, 2).await, Ok(()));
    assert_eq!(verified(&guard.keys).await, 2);
}

#[tokio::test]
async fn too_many_waiting_calls_are_refused_at_once() {
    let guard = fresh().await;
    let (release, released) = channel::<()>();
    let (running, runs) = tokio::sync::oneshot::channel();
    let sqlite = Arc::clone(&guard.sqlite);
    let busy = tokio::spawn(async move {
        let wait = move |_: &mut Connection, _: &CallHandle<'_>| {
            let _ = running.send(());
            let _ = released.recv();
            Ok(())
        };
        sqlite.write(wait).await
    });
    runs.await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..1_100 {
        let sqlite = Arc::clone(&guard.sqlite);
        calls.push(tokio::spawn(
            async move { sqlite.write(|_, _| Ok(())).await },
        ));
    }
    // Those beyond the queue are refused while the first one still runs.
    let refusals = async {
        while calls.iter().filter(|call| call.is_finished()).count() < 76 {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), refusals);
    in_time.await.unwrap();
    drop(release);
    let mut refused = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, StoreOutage::Busy.into());
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 76);
    assert_eq!(busy.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_deleted_key_leaves_the_file_and_its_log() {
    let guard = with_a_key().await;
    let id = project("a");
    let stored = guard.keys.store().read_project(&id).await.unwrap().unwrap();
    let sealed = stored.record.key.unwrap().sealed;
    let is_anywhere = || {
        let folder = fs::read_dir(guard.path().parent().unwrap()).unwrap();
        folder.into_iter().any(|file| {
            let bytes = fs::read(file.unwrap().path()).unwrap_or_default();
            bytes.windows(64).any(|window| window == &sealed[30..94])
        })
    };
    assert!(is_anywhere());
    delete(&guard.keys, &id, &Precondition::None).await.unwrap();
    let began = Stopwatch::start();
    while is_anywhere() {
        assert!(began.elapsed() < Duration::from_secs(20), "the key stays");
        tokio::task::yield_now().await;
    }
    assert_eq!(verified(&guard.keys).await, 2);
}

#[tokio::test]
async fn a_record_that_was_tampered_with_fails_alone() {
    let guard = with_a_key().await;
    save(&guard.keys, &project("b"), 2).await;
    for sql in [
        "UPDATE projects SET sealed = (SELECT sealed FROM projects WHERE project_id = 'b') WHERE project_id = 'a'",
        "UPDATE projects SET sealed = x'00' WHERE project_id = 'a'",
        "UPDATE projects SET fingerprint = 'none' WHERE project_id = 'a'",
        "UPDATE projects SET record_version = 9 WHERE project_id = 'a'",
        "UPDATE projects SET kek_version = 1, secret_version = 9 WHERE project_id = 'a'",
    ] {
        guard.raw().execute_batch(sql).unwrap();
        let read = opened(&guard.keys, &project("a")).await;
        assert_eq!(read, Err(KeyStoreError::RecordCorrupt), "{sql}");
        assert!(opened(&guard.keys, &project("b")).await.is_ok());
        let listed = guard.keys.store().list_projects(None, 10).await.unwrap();
        assert_eq!(listed.len(), 2, "{sql}");
        assert!(listed[1].summary.is_some());
    }
}

#[tokio::test]
async fn a_tampered_audit_log_shows_its_first_broken_record() {
    let tampered = [
        "UPDATE audit SET actor = 'nobody' WHERE sequence = 3",
        "UPDATE audit SET project_id = NULL WHERE sequence = 3",
        "UPDATE audit SET timestamp_ms = -1 WHERE sequence = 3",
        "UPDATE audit SET event_type = 'anything' WHERE sequence = 3",
        "UPDATE audit SET request_id = CAST(x'ff' AS TEXT) WHERE sequence = 3",
        "UPDATE audit SET hash = zeroblob(32) WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence = 2",
        "DELETE FROM audit WHERE sequence < 3",
        "UPDATE audit SET sequence = 9 WHERE sequence = 2",
        "UPDATE audit SET sequence = -2 WHERE sequence = 2",
    ];
    for sql in tampered {
        let guard = with_a_key().await;
        for number in 2..=5 {
            replaced(&guard, number).await.unwrap();
        }
        guard.raw().execute_batch(sql).unwrap();
        let report = verify(&guard.keys, &project_store::chain_key()).await;
        assert_eq!(report.first_broken.as_deref(), Some("3"), "{sql}");
        let query = AuditQuery {
            limit: 10,
            ..AuditQuery::default()
        };
        let page = guard.keys.store().query_audit(query).await.unwrap();
        assert!(page.records.len() >= 3, "it can still be read: {sql}");
        // Whoever writes on does not heal it.
        replaced(&guard, 6).await.unwrap();
        let report = verify(&guard.keys, &project_store::chain_key()).await;
        assert_eq!(report.first_broken.as_deref(), Some("3"), "{sql}");
    }
}

#[tokio::test]
async fn a_row_whose_id_is_none_is_left_alone_and_fails_no_listing() {
    let guard = fresh().await;
    for id in ["a", "b", "c", "d", "e", "f"] {
        save(&guard.keys, &project(id), 1).await;
    }
    guard
        .raw()
        .execute_batch(
            "UPDATE projects SET project_id = 'a b' WHERE project_id = 'b';
             UPDATE projects SET project_id = 'c' || char(0) WHERE project_id = 'c';
             UPDATE projects SET project_id = CAST(x'64ff' AS TEXT) WHERE project_id = 'd';
             UPDATE projects SET project_id = printf('%.*c', 65, 'e') WHERE project_id = 'e'",
        )
        .unwrap();
    let store = guard.keys.store();
    let listed = store.list_projects(None, 2).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|listed| listed.project_id).collect();
    assert_eq!(listed, [project("a"), project("f")]);
    let below = store.list_sealed_below(kek_version(2), None, 2).await;
    assert_eq!(below.unwrap(), listed);
    // They still count as sealed under their KEK.
    assert_eq!(guard.keys.count_below(kek_version(2)).await, Ok(6));
}

#[tokio::test]
async fn a_page_looks_through_a_bounded_part_of_a_long_log() {
    let guard = with_a_key().await;
    // The chain is none of a query's business.
    guard
        .raw()
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
             INSERT INTO audit SELECT i, 0, 'session_created', 'x', NULL, NULL, NULL, 'r',
               zeroblob(32) FROM n",
        )
        .unwrap();
    let mut query = AuditQuery {
        event_type: Some(EventType::VaultKeySaved),
        limit: 5,
        ..AuditQuery::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = guard.keys.store().query_audit(query.clone()).await.unwrap();
        pages.push(page.records.len());
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [0, 0, 1]);
}
