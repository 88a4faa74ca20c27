//! The suite of all stores over a container in memory, which can die at any call, fail now and
//! then, and be tampered with.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::audit::PREFIX;
use super::container::{Blob, BlobPage, TIME_LIMIT};
use super::*;
use tokio::time::timeout;

use crate::domain::audit_log::entry::EventType;
use crate::domain::vault::changes::Precondition;
use crate::store::projects::keys::ProjectKeys;
use crate::store::projects::project_store;
use crate::store::store_error::KeyStoreError;

use crate::store::projects::project_store::{
    Expected, SCRIPT, apply, audit, chain_key, each_as_a_test, kek_version, keks, keys_over,
    opened, project, save, try_save, verified, verify, with_store_tests,
};

/// Blobs of a page here, so that every listing has several.
const PAGE: usize = 50;

/// When a container stops to answer.
#[derive(Clone, Copy)]
enum Death {
    Never,
    /// This call and all after it fail.
    Before(usize),
    /// This call is done, but fails like all after it.
    Behind(usize),
    /// Every so manyth call fails; half of those are done.
    Every(usize),
    /// This call and all after it are never answered.
    Silent(usize),
    /// Every call takes this time.
    Slow(Duration),
}

/// A container in memory.
#[derive(Default)]
struct Memory {
    blobs: Mutex<BTreeMap<String, Blob>>,
    writes: AtomicUsize,
}

/// A way to a container that may be cut.
struct Line {
    memory: Arc<Memory>,
    death: Death,
    calls: AtomicUsize,
}

impl Memory {
    fn write(
        &self,
        name: &str,
        condition: WriteCondition<'_>,
        metadata: Metadata,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut blobs = self.blobs.lock().unwrap();
        let etag = blobs.get(name).map(|blob| blob.etag.as_str());
        let holds = match condition {
            WriteCondition::Absent => etag.is_none(),
            WriteCondition::Unchanged(expected) => etag == Some(expected),
            WriteCondition::Always => true,
        };
        if !holds {
            return Err(StoreError::LostRace);
        }
        let etag = self.writes.fetch_add(1, Ordering::SeqCst).to_string();
        let blob = Blob {
            metadata,
            bytes,
            etag,
        };
        blobs.insert(name.to_owned(), blob);
        Ok(())
    }

    fn list(&self, prefix: &str, marker: Option<&str>, limit: usize) -> BlobPage {
        let blobs = self.blobs.lock().unwrap();
        let behind = blobs.iter().filter(|(name, _)| {
            name.starts_with(prefix) && marker.is_none_or(|marker| name.as_str() > marker)
        });
        let mut found: Vec<_> = behind
            .map(|(name, blob)| (name.clone(), blob.metadata.clone()))
            .take(limit.min(PAGE) + 1)
            .collect();
        let more = found.len() > limit.min(PAGE);
        found.truncate(limit.min(PAGE));
        BlobPage {
            marker: found.last().filter(|_| more).map(|(name, _)| name.clone()),
            blobs: found,
        }
    }

    /// Changes blobs as somebody with access to the account would.
    fn tamper(&self, change: impl FnOnce(&mut BTreeMap<String, Blob>)) {
        change(&mut self.blobs.lock().unwrap());
    }
}

impl Line {
    /// Does a call, unless the line is cut.
    async fn call<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        // As the network would, so that calls of others come in between.
        tokio::task::yield_now().await;
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let cut = Err(StoreOutage::Unreachable.into());
        match self.death {
            Death::Silent(at) if number >= at => std::future::pending().await,
            Death::Slow(time) => {
                tokio::time::sleep(time).await;
                call()
            }
            Death::Before(at) if number >= at => cut,
            Death::Behind(at) if number > at => cut,
            Death::Behind(at) if number == at => call().and(cut),
            Death::Every(nth) if number.is_multiple_of(2 * nth) => cut,
            Death::Every(nth) if number.is_multiple_of(nth) => call().and(cut),
            _ => call(),
        }
    }
}

#[async_trait]
impl BlobContainer for Line {
    async fn read(&self, name: &str) -> Result<Option<Blob>, StoreError> {
        self.call(|| Ok(self.memory.blobs.lock().unwrap().get(name).cloned()))
            .await
    }

    async fn write(
        &self,
        name: &str,
        condition: WriteCondition<'_>,
        metadata: Metadata,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.call(|| self.memory.write(name, condition, metadata, bytes))
            .await
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.call(|| {
            self.memory.blobs.lock().unwrap().remove(name);
            Ok(())
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<BlobPage, StoreError> {
        self.call(|| Ok(self.memory.list(prefix, marker, limit)))
            .await
    }
}

/// A process of its own over a container.
struct Guard {
    memory: Arc<Memory>,
    keys: ProjectKeys,
}

impl Guard {
    fn keys(&self) -> &ProjectKeys {
        &self.keys
    }
}

fn over(memory: &Arc<Memory>, death: Death) -> Guard {
    static INSTANCE: AtomicUsize = AtomicUsize::new(1);
    let instance = INSTANCE.fetch_add(1, Ordering::SeqCst) as u128;
    let line = Line {
        memory: Arc::clone(memory),
        death,
        calls: AtomicUsize::new(0),
    };
    let store = BlobStore::new(Arc::new(line), Uuid::from_u128(instance));
    Guard {
        memory: Arc::clone(memory),
        keys: keys_over(Arc::new(store)),
    }
}

#[expect(
    clippy::unused_async,
    reason = "the suite awaits it, for stores that start slowly"
)]
async fn fresh() -> Guard {
    over(&Arc::default(), Death::Never)
}

with_store_tests!(each_as_a_test, fresh);

#[tokio::test]
async fn a_process_that_dies_at_any_call_leaves_each_change_whole_or_undone() {
    let mut kills = 0;
    for number in 1.. {
        let mut is_through = false;
        for death in [Death::Before(number), Death::Behind(number)] {
            let memory = Arc::default();
            let dying = over(&memory, death);
            let mut done = 0;
            for change in SCRIPT {
                if apply(&dying.keys, change).await.is_err() {
                    break;
                }
                done += 1;
            }
            let next = over(&memory, Death::Never);
            let found = Expected::found(&next.keys).await;
            if done == SCRIPT.len() {
                assert_eq!(found, Expected::after(&SCRIPT));
                is_through = true;
                continue;
            }
            kills += 1;
            let acknowledged = Expected::after(&SCRIPT[..done]);
            let attempted = Expected::after(&SCRIPT[..=done]);
            assert!(
                found == acknowledged || found == attempted,
                "died at call {number}: {found:?} is neither {acknowledged:?} nor {attempted:?}"
            );
            // It serves as if nothing had happened.
            save(&next.keys, &project("c"), 9).await;
            assert_eq!(verified(&next.keys).await, found.records + 1);
        }
        if is_through {
            break;
        }
    }
    assert!(kills >= 60, "{kills}");
}

#[tokio::test]
async fn a_container_that_fails_now_and_then_loses_nothing_that_was_acknowledged() {
    for nth in 3..12 {
        let memory = Arc::default();
        let (shaky, id) = (over(&memory, Death::Every(nth)), project("a"));
        let mut last = None;
        for number in 0..40 {
            let precondition = match last {
                None => Precondition::None,
                Some(_) => Precondition::AnyKey,
            };
            if try_save(&shaky.keys, &id, number, &precondition)
                .await
                .is_ok()
            {
                last = Some(number);
            }
        }
        let next = over(&memory, Death::Never);
        let found = opened(&next.keys, &id).await.unwrap();
        let found: usize = found
            .trim_start_matches("sk-proj-canary-key-number-")
            .parse()
            .unwrap();
        // A later one may have arrived although its answer did not.
        assert!(found >= last.unwrap(), "{nth}: {found} after {last:?}");
        let versions = next
            .keys
            .store()
            .read_project(&id)
            .await
            .unwrap()
            .unwrap()
            .record
            .versions;
        assert_eq!(verified(&next.keys).await, versions.record, "{nth}");
    }
}

#[tokio::test]
async fn several_processes_have_chains_of_their_own_and_one_log() {
    let memory = Arc::default();
    let processes: Vec<_> = (0..3).map(|_| over(&memory, Death::Never)).collect();
    save(&processes[0].keys, &project("a"), 0).await;
    for number in 1..7 {
        let any = Precondition::AnyKey;
        let keys = &processes[number % 3].keys;
        try_save(keys, &project("a"), number, &any).await.unwrap();
    }
    for process in &processes {
        assert_eq!(verified(&process.keys).await, 7);
        let key = opened(&process.keys, &project("a")).await;
        assert_eq!(key.as_deref(), Ok("sk-proj-canary-key-number-6"));
    }
}

#[tokio::test]
async fn eight_processes_that_write_to_one_project_lose_no_update() {
    const WRITES: usize = 5;
    let memory = Arc::default();
    save(&over(&memory, Death::Never).keys, &project("a"), 0).await;
    let write = |process: usize| {
        let keys = over(&memory, Death::Never).keys;
        tokio::spawn(async move {
            let any = Precondition::AnyKey;
            let mut left = WRITES;
            while left > 0 {
                match try_save(&keys, &project("a"), process, &any).await {
                    Ok(_) => left -= 1,
                    // Nothing was stored; the others were faster each time.
                    Err(KeyStoreError::Store(StoreError::LostRace)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };
    let processes: Vec<_> = (1..=8).map(write).collect();
    for process in processes {
        process.await.unwrap();
    }
    let keys = over(&memory, Death::Never).keys;
    let stored = keys
        .store()
        .read_project(&project("a"))
        .await
        .unwrap()
        .unwrap();
    let versions = stored.record.versions;
    assert_eq!((versions.secret, versions.record), (41, 41));
    assert_eq!(verified(&keys).await, 41);
    assert!(opened(&keys, &project("a")).await.is_ok());
}

/// Returns the ids of the records of a page and of all pages after it.
async fn ids_from(keys: &ProjectKeys, mut page: AuditPage, limit: usize) -> Vec<String> {
    let mut records = page.records;
    while let Some(after) = page.next.take() {
        let query = AuditQuery {
            after: Some(after),
            limit,
            ..AuditQuery::default()
        };
        page = keys.store().query_audit(query).await.unwrap();
        records.append(&mut page.records);
    }
    records.into_iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn records_written_between_two_pages_of_the_audit_log_repeat_none() {
    let keys = fresh().await.keys;
    let save_all = async |prefix: char| {
        for number in 0..=PAGE {
            save(&keys, &project(&format!("{prefix}{number}")), number).await;
        }
    };
    save_all('a').await;
    let query = AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    };
    let first = keys.store().query_audit(query).await.unwrap();
    let expected = ids_from(&keys, first.clone(), 10).await;
    assert_eq!(expected.len(), PAGE + 1);
    // They are newer: more than a page of the container lies before the position.
    save_all('b').await;
    assert_eq!(ids_from(&keys, first, 10).await, expected);
}

#[tokio::test]
async fn a_tampered_audit_log_shows() {
    type Tamper = fn(&mut BTreeMap<String, Blob>, &[String]);
    let tampered: [Tamper; 6] = [
        |blobs, names| drop(blobs.remove(&names[2])),
        |blobs, names| drop(blobs.remove(&names[4])),
        |blobs, names| {
            let metadata = &mut blobs.get_mut(&names[2]).unwrap().metadata;
            metadata.insert("actor".to_owned(), "nobody".to_owned());
        },
        |blobs, names| {
            let metadata = &mut blobs.get_mut(&names[2]).unwrap().metadata;
            metadata.remove("projectid");
        },
        |blobs, names| {
            let copy = blobs[&names[2]].clone();
            blobs.insert(names[1].clone(), copy);
        },
        |blobs, names| {
            let copy = blobs[&names[2]].clone();
            blobs.insert(format!("{}x", names[2]), copy);
        },
    ];
    for (number, tamper) in tampered.into_iter().enumerate() {
        let guard = fresh().await;
        for project_number in 0..5 {
            let id = project(&format!("p{project_number}"));
            save(&guard.keys, &id, project_number).await;
        }
        // Nothing in the projects' blobs can heal it.
        guard
            .memory
            .tamper(|blobs| blobs.retain(|name, _| name.starts_with(PREFIX)));
        assert_eq!(verified(&guard.keys).await, 5);
        guard.memory.tamper(|blobs| {
            let names: Vec<_> = blobs.keys().cloned().collect();
            tamper(blobs, &names);
        });
        let report = verify(&guard.keys, &chain_key()).await;
        assert!(!report.is_intact(), "{number}");
    }
}

#[tokio::test]
async fn a_tampered_project_fails_alone() {
    let guard = fresh().await;
    for (number, id) in ["a", "b"].into_iter().enumerate() {
        save(&guard.keys, &project(id), number).await;
    }
    let original = guard.memory.blobs.lock().unwrap()["projects/a"].clone();
    let other = guard.memory.blobs.lock().unwrap()["projects/b"].clone();
    for number in 0..4 {
        let mut blob = original.clone();
        match number {
            0 => blob.bytes = other.bytes.clone(),
            1 => blob.bytes.truncate(10),
            2 => drop(
                blob.metadata
                    .insert("recordversion".to_owned(), "9".to_owned()),
            ),
            _ => drop(blob.metadata.remove("fingerprint")),
        }
        guard
            .memory
            .tamper(|blobs| drop(blobs.insert("projects/a".to_owned(), blob)));
        let read = opened(&guard.keys, &project("a")).await;
        assert_eq!(read, Err(KeyStoreError::RecordCorrupt), "{number}");
        assert!(opened(&guard.keys, &project("b")).await.is_ok());
        let listed = guard.keys.store().list_projects(None, 10).await.unwrap();
        assert_eq!(listed.len(), 2);
        assert!(listed[1].summary.is_some());
    }
}

#[tokio::test]
async fn a_blob_whose_name_is_no_projects_is_left_alone_and_fails_no_listing() {
    let guard = fresh().await;
    for id in ["a", "b"] {
        save(&guard.keys, &project(id), 1).await;
    }
    guard.memory.tamper(|blobs| {
        let blob = blobs["projects/a"].clone();
        for name in ["projects/", "projects/a b", "projects/a/b"] {
            blobs.insert(name.to_owned(), blob.clone());
        }
    });
    let store = guard.keys.store();
    let listed = store.list_projects(None, 2).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|listed| listed.project_id).collect();
    assert_eq!(listed, [project("a"), project("b")]);
    let below = store.list_sealed_below(kek_version(2), None, 2).await;
    assert_eq!(below.unwrap(), listed);
    assert_eq!(verified(&guard.keys).await, 2);
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_within_its_time_limit() {
    let guard = over(&Arc::default(), Death::Silent(1));
    let store = guard.keys.store();
    let late = StoreError::Unavailable(StoreOutage::Late);
    let began = tokio::time::Instant::now();
    assert_eq!(store.read_project(&project("a")).await, Err(late));
    assert_eq!(store.get_probe().await, Err(late));
    assert_eq!(store.list_projects(None, 1).await, Err(late));
    assert_eq!(store.count_by_kek().await, Err(late));
    assert_eq!(store.cancel_session(Uuid::nil()).await, Err(late));
    assert_eq!(began.elapsed(), 5 * TIME_LIMIT);
}

/// Projects and records of two pages each; the newest record is only in its project's blob.
async fn log_with_a_record_to_publish() -> Arc<Memory> {
    let guard = fresh().await;
    for number in 0..=PAGE {
        save(&guard.keys, &project(&format!("p{number}")), number).await;
    }
    guard.memory.tamper(|blobs| {
        let newest = blobs.keys().find(|name| name.starts_with(PREFIX));
        let newest = newest.unwrap().clone();
        blobs.remove(&newest);
    });
    guard.memory
}

#[tokio::test(start_paused = true)]
async fn a_verification_ends_within_the_time_limit_of_the_step_that_hangs() {
    let mut hung = 0;
    for number in 1.. {
        let memory = log_with_a_record_to_publish().await;
        let began = tokio::time::Instant::now();
        let silent = over(&memory, Death::Silent(number));
        let (key, store) = (chain_key(), silent.keys.store());
        let counted = AtomicU64::default();
        let verified = timeout(2 * TIME_LIMIT, store.verify_audit(&key, &counted)).await;
        let verified = verified.expect("a step without a limit");
        if verified.is_ok() {
            break;
        }
        assert_eq!(verified, Err(StoreOutage::Late.into()), "{number}");
        assert_eq!(began.elapsed(), TIME_LIMIT, "{number}");
        hung += 1;
    }
    // Two pages of projects, a page of the log, the record's read and write, two pages of the log.
    assert_eq!(hung, 7);
}

#[tokio::test(start_paused = true)]
async fn a_verification_may_take_longer_than_one_step() {
    let memory = log_with_a_record_to_publish().await;
    let began = tokio::time::Instant::now();
    let slow = over(&memory, Death::Slow(Duration::from_secs(1)));
    assert_eq!(verified(&slow.keys).await, PAGE as u64 + 1);
    assert!(began.elapsed() > TIME_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_key_in_progress_when_the_time_of_a_slice_runs_out_is_finished_and_counted() {
    let guard = fresh().await;
    for number in 0..10 {
        save(&guard.keys, &project(&format!("p{number}")), number).await;
    }
    // The list takes one step and each key five, the fourth of which makes the change.
    let slow = over(&guard.memory, Death::Slow(Duration::from_millis(100)));
    let (both, logged) = (keks(&[1, 2]), AtomicUsize::new(0));
    let slice = async || {
        let began = tokio::time::Instant::now();
        let rotated = slow.keys.rotate_slice(
            kek_version(2),
            1,
            &both,
            |id| audit(EventType::VaultKeyRotated, id),
            || Duration::from_millis(550).saturating_sub(began.elapsed()),
            |_| {
                logged.fetch_add(1, Ordering::SeqCst);
            },
        );
        rotated.await.unwrap()
    };
    for remaining in (0..10).rev() {
        let slice = slice().await;
        assert_eq!((slice.rotated, slice.remaining), (1, remaining));
    }
    assert_eq!(logged.into_inner(), 10);
}
