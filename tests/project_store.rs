//! What every durable store must do, whichever it is: one suite, run by the unit tests against
//! SQLite and by the tests with real peers against Azure Blob, and its part on sessions against
//! Redis too.
//!
//! Whoever includes this file has `roomkey` in scope and calls `with_store_tests!`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use uuid::Uuid;

use super::roomkey::domain::audit::Actor;
use super::roomkey::domain::audit_log::chain::{AuditRecord, ChainKey, ChainReport};
use super::roomkey::domain::audit_log::entry::{AuditEntry, EventType};
use super::roomkey::domain::callers::caller_hash::{CallerHash, HashKey};
use super::roomkey::domain::vault::changes::{ChangeRefused, NewKey, Precondition};
use super::roomkey::domain::vault::envelope::SealRandomness;
use super::roomkey::domain::vault::kek::{
    KekVersion, KeyEncryptionKey, KeyEncryptionKeys, MissingKek,
};
use super::roomkey::domain::vault::project_id::ProjectId;
use super::roomkey::domain::vault::project_key::{KeyFingerprint, ProjectKey};
use super::roomkey::domain::vault::record::RecordTag;
use super::roomkey::store::projects::keys::{ProjectKeys, SavedKey};
use super::roomkey::store::projects::{
    AuditAppend, AuditQuery, EndedBy, EndedSession, ProjectStore, ProjectWrite, SessionCounts,
    SessionDecision, SessionRequest, SessionStore, StoredProject,
};
use super::roomkey::store::store_error::{KeyStoreError, StoreError};

/// Calls a macro with what it is given and the names of all tests of the suite.
macro_rules! with_store_tests {
    ($callback:ident, $given:path) => {
        $callback! { $given;
            a_saved_key_opens_and_is_listed_without_a_secret,
            a_save_over_a_key_needs_a_precondition,
            a_deleted_key_is_gone_and_its_versions_go_on,
            a_write_over_another_state_changes_nothing,
            a_first_write_over_what_is_there_changes_nothing,
            versions_that_do_not_grow_are_refused,
            a_rotation_reseals_without_a_change_of_the_key,
            a_missing_kek_is_an_error_and_loses_nothing,
            a_rotation_of_all_goes_on_where_it_stopped_and_leaves_what_does_not_open,
            a_listing_goes_on_behind_an_id_in_their_order,
            eight_writers_of_one_project_lose_no_update,
            audit_records_are_chained_and_found_by_their_fields,
            a_page_of_the_audit_log_goes_on_behind_its_last_record,
            a_failed_change_leaves_no_audit_record,
            a_session_takes_a_place_until_it_is_ended_or_over,
            only_the_owner_or_an_operator_ends_a_session,
            a_cancelled_session_counts_for_nothing,
            an_extended_session_keeps_its_place_longer,
            an_ended_session_is_not_extended,
            the_sessions_of_a_day_are_limited_until_the_next,
            concurrent_sessions_never_exceed_the_limit,
            the_probe_is_replaced_read_and_removed,
        }
    };
}

/// Makes a test of each: `$open` makes a guard with `keys()`, over a store that is empty.
macro_rules! each_as_a_test {
    ($open:path; $($name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let guard = $open().await;
                project_store::$name(guard.keys()).await;
            }
        )*
    };
}
pub(crate) use {each_as_a_test, with_store_tests};

/// A store of sessions, alone or with projects.
pub trait Sessions {
    fn sessions(&self) -> Arc<dyn SessionStore>;
}

impl Sessions for ProjectKeys {
    fn sessions(&self) -> Arc<dyn SessionStore> {
        Arc::clone(self.store()) as _
    }
}

impl Sessions for Arc<dyn SessionStore> {
    fn sessions(&self) -> Arc<dyn SessionStore> {
        Arc::clone(self)
    }
}

/// 2026-11-30 at noon, in milliseconds since 1970.
pub const NOON_MS: u64 = 1_796_040_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Randomness that differs from call to call.
pub fn keys_over(store: Arc<dyn ProjectStore>) -> ProjectKeys {
    ProjectKeys::new(
        store,
        Arc::new(|| SealRandomness::draw(|bytes| aws_lc_rs::rand::fill(bytes).unwrap())),
    )
}

pub fn project(text: &str) -> ProjectId {
    ProjectId::parse(text).unwrap()
}

pub fn kek_version(number: u32) -> KekVersion {
    KekVersion::from_number(number).unwrap()
}

/// The KEKs of these versions, the same ones each time.
pub fn keks(numbers: &[u32]) -> KeyEncryptionKeys {
    let kek = |number: &u32| {
        let bytes = zeroize::Zeroizing::new([u8::try_from(*number).unwrap(); 32]);
        (
            kek_version(*number),
            Arc::new(KeyEncryptionKey::from_bytes(bytes)),
        )
    };
    numbers.iter().map(kek).collect()
}

pub fn chain_key() -> ChainKey {
    ChainKey::new(&hash_key())
}

fn hash_key() -> HashKey {
    HashKey::new(b"a-throw-away-hash-key-of-32-bytes")
}

pub fn audit(event_type: EventType, project_id: &ProjectId) -> AuditAppend {
    let actor = Actor::Caller(hash_key().hash("log", b"operator"));
    AuditAppend {
        entry: AuditEntry::new(event_type, &actor, Uuid::from_u128(7), NOON_MS)
            .of_project(project_id),
        key: chain_key(),
    }
}

/// A key that tells which it is.
pub fn key(number: usize) -> ProjectKey {
    ProjectKey::parse(&format!("sk-proj-canary-key-number-{number}")).unwrap()
}

pub async fn try_save(
    keys: &ProjectKeys,
    id: &ProjectId,
    number: usize,
    precondition: &Precondition,
) -> Result<SavedKey, KeyStoreError> {
    let key = key(number);
    let new = NewKey {
        project_id: id,
        key: &key,
        fingerprint: KeyFingerprint::of(&hash_key(), &key),
        kek_version: kek_version(1),
        now_ms: NOON_MS + number as u64,
    };
    let audit = audit(EventType::VaultKeySaved, id);
    keys.save(&new, precondition, &keks(&[1]), &audit).await
}

/// Saves the first key of a project.
pub async fn save(keys: &ProjectKeys, id: &ProjectId, number: usize) -> SavedKey {
    try_save(keys, id, number, &Precondition::None)
        .await
        .unwrap()
}

/// The key of a project, if it opens.
pub async fn opened(keys: &ProjectKeys, id: &ProjectId) -> Result<String, KeyStoreError> {
    let opened = keys.open(id, &keks(&[1, 2])).await?;
    Ok(opened.key.secret().expose_secret().to_owned())
}

pub async fn delete(
    keys: &ProjectKeys,
    id: &ProjectId,
    precondition: &Precondition,
) -> Result<AuditRecord, KeyStoreError> {
    let audit = audit(EventType::VaultKeyDeleted, id);
    keys.delete(id, precondition, &audit).await
}

pub async fn rotate(
    keys: &ProjectKeys,
    id: &ProjectId,
    number: u32,
) -> Result<Option<AuditRecord>, KeyStoreError> {
    let (target, known) = (kek_version(number), keks(&[1, 2]));
    let audit = audit(EventType::VaultKeyRotated, id);
    let none = Precondition::None;
    let rotated = keys
        .rotate(id, target, &none, NOON_MS + 9_000, &known, &audit)
        .await?;
    Ok(rotated.audit)
}

async fn stored(keys: &ProjectKeys, id: &ProjectId) -> StoredProject {
    keys.store().read_project(id).await.unwrap().unwrap()
}

async fn records(keys: &ProjectKeys) -> Vec<AuditRecord> {
    let query = AuditQuery {
        limit: 1_000,
        ..AuditQuery::default()
    };
    keys.store().query_audit(query).await.unwrap().records
}

/// Verifies the audit log. The counter of its progress counts all records.
pub async fn verify(keys: &ProjectKeys, key: &ChainKey) -> ChainReport {
    let counted = AtomicU64::new(0);
    let report = keys.store().verify_audit(key, &counted).await.unwrap();
    assert_eq!(report.records, counted.into_inner());
    report
}

/// How many records the log has; it must be intact.
pub async fn verified(keys: &ProjectKeys) -> u64 {
    let report = verify(keys, &chain_key()).await;
    assert_eq!(report.first_broken, None);
    report.records
}

fn refused(error: ChangeRefused) -> KeyStoreError {
    KeyStoreError::Refused(error)
}

pub async fn a_saved_key_opens_and_is_listed_without_a_secret(keys: &ProjectKeys) {
    let id = project("customer-42");
    assert_eq!(
        opened(keys, &id).await,
        Err(refused(ChangeRefused::NotFound))
    );
    assert_eq!(keys.store().read_project(&id).await, Ok(None));
    assert_eq!(keys.store().list_projects(None, 10).await, Ok(Vec::new()));
    let saved = save(keys, &id, 1).await;
    assert!(saved.is_new);
    assert_eq!(
        opened(keys, &id).await.as_deref(),
        Ok("sk-proj-canary-key-number-1")
    );
    let listed = keys.store().list_projects(None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].project_id, id);
    let summary = listed[0].summary.as_ref().unwrap();
    assert_eq!(summary, &saved.summary);
    assert_eq!(summary.kek_version, kek_version(1));
    assert_eq!(
        (summary.created_at_ms, summary.rotated_at_ms),
        (NOON_MS + 1, None)
    );
    assert_eq!(keys.open(&id, &keks(&[1])).await.unwrap().tag, summary.tag);
    assert!(!format!("{listed:?}").contains("canary"));
    let counts = keys.store().count_by_kek().await;
    assert_eq!(counts, Ok(vec![(Some(kek_version(1)), 1)]));
}

pub async fn a_save_over_a_key_needs_a_precondition(keys: &ProjectKeys) {
    let id = project("customer-42");
    let failed = Err(refused(ChangeRefused::PreconditionFailed));
    let any = Precondition::AnyKey;
    assert_eq!(try_save(keys, &id, 1, &any).await, failed);
    let first = save(keys, &id, 1).await;
    assert_eq!(
        try_save(keys, &id, 2, &Precondition::None).await,
        Err(refused(ChangeRefused::Exists))
    );
    let stale = Precondition::OneOf(vec![RecordTag::from_text("stale")]);
    assert_eq!(try_save(keys, &id, 2, &stale).await, failed);
    assert_eq!(
        opened(keys, &id).await.as_deref(),
        Ok("sk-proj-canary-key-number-1")
    );
    let current = Precondition::OneOf(vec![first.summary.tag.clone()]);
    let second = try_save(keys, &id, 2, &current).await.unwrap();
    assert!(!second.is_new);
    assert_eq!(second.summary.created_at_ms, first.summary.created_at_ms);
    assert_ne!(second.summary.tag, first.summary.tag);
    assert_eq!(try_save(keys, &id, 3, &current).await, failed);
    assert!(try_save(keys, &id, 4, &any).await.is_ok());
    assert_eq!(
        opened(keys, &id).await.as_deref(),
        Ok("sk-proj-canary-key-number-4")
    );
    assert_eq!(stored(keys, &id).await.record.versions.secret, 3);
}

pub async fn a_deleted_key_is_gone_and_its_versions_go_on(keys: &ProjectKeys) {
    let id = project("customer-42");
    let none = Precondition::None;
    let not_found = || refused(ChangeRefused::NotFound);
    assert_eq!(delete(keys, &id, &none).await, Err(not_found()));
    let first = save(keys, &id, 1).await;
    let stale = Precondition::OneOf(vec![RecordTag::from_text("stale")]);
    assert_eq!(
        delete(keys, &id, &stale).await,
        Err(refused(ChangeRefused::PreconditionFailed))
    );
    assert!(delete(keys, &id, &none).await.is_ok());
    assert_eq!(delete(keys, &id, &none).await, Err(not_found()));
    assert_eq!(opened(keys, &id).await, Err(not_found()));
    assert_eq!(keys.store().list_projects(None, 10).await, Ok(Vec::new()));
    assert_eq!(keys.store().count_by_kek().await, Ok(Vec::new()));
    let tombstone = stored(keys, &id).await.record;
    assert_eq!(
        (tombstone.key, tombstone.versions.record),
        (None, 2),
        "the versions outlive the key"
    );
    let again = save(keys, &id, 1).await;
    assert!(again.is_new);
    assert_ne!(again.summary.tag, first.summary.tag);
    let versions = stored(keys, &id).await.record.versions;
    assert_eq!((versions.secret, versions.record), (2, 3));
}

pub async fn a_write_over_another_state_changes_nothing(keys: &ProjectKeys) {
    let id = project("customer-42");
    save(keys, &id, 1).await;
    let old = stored(keys, &id).await;
    try_save(keys, &id, 2, &Precondition::AnyKey).await.unwrap();
    let (current, count) = (stored(keys, &id).await, verified(keys).await);
    let mut record = current.record.clone();
    record.versions.record += 5;
    let write = ProjectWrite {
        project_id: id.clone(),
        expected: Some(old.revision),
        record,
        audit: audit(EventType::VaultKeySaved, &id),
    };
    let lost = Err(StoreError::LostRace);
    assert_eq!(keys.store().write_project(write.clone()).await, lost);
    let absent = ProjectWrite {
        project_id: project("nobody"),
        ..write
    };
    assert_eq!(keys.store().write_project(absent).await, lost);
    assert_eq!(stored(keys, &id).await, current);
    assert_eq!(verified(keys).await, count);
}

pub async fn a_first_write_over_what_is_there_changes_nothing(keys: &ProjectKeys) {
    let id = project("customer-42");
    save(keys, &id, 1).await;
    for is_deleted in [false, true] {
        if is_deleted {
            delete(keys, &id, &Precondition::None).await.unwrap();
        }
        let (current, count) = (stored(keys, &id).await, verified(keys).await);
        let write = ProjectWrite {
            project_id: id.clone(),
            expected: None,
            record: current.record.clone(),
            audit: audit(EventType::VaultKeySaved, &id),
        };
        let lost = Err(StoreError::LostRace);
        assert_eq!(keys.store().write_project(write).await, lost);
        assert_eq!(stored(keys, &id).await, current);
        assert_eq!(verified(keys).await, count);
    }
}

pub async fn versions_that_do_not_grow_are_refused(keys: &ProjectKeys) {
    let id = project("customer-42");
    save(keys, &id, 1).await;
    let current = stored(keys, &id).await;
    let write = ProjectWrite {
        project_id: id.clone(),
        expected: Some(current.revision.clone()),
        record: current.record.clone(),
        audit: audit(EventType::VaultKeySaved, &id),
    };
    let result = keys.store().write_project(write).await;
    assert_eq!(result, Err(StoreError::LostRace));
    assert_eq!(stored(keys, &id).await, current);
}

pub async fn a_rotation_reseals_without_a_change_of_the_key(keys: &ProjectKeys) {
    let id = project("customer-42");
    let saved = save(keys, &id, 1).await;
    assert_eq!(rotate(keys, &id, 1).await, Ok(None));
    assert_eq!(verified(keys).await, 1);
    assert!(rotate(keys, &id, 2).await.unwrap().is_some());
    let key = stored(keys, &id).await.record.key.unwrap();
    let summary = key.summary.unwrap();
    assert_eq!(summary.kek_version, kek_version(2));
    assert_eq!(summary.rotated_at_ms, Some(NOON_MS + 9_000));
    assert_eq!(summary.created_at_ms, saved.summary.created_at_ms);
    assert_eq!(summary.fingerprint, saved.summary.fingerprint);
    assert_ne!(summary.tag, saved.summary.tag);
    assert_eq!(
        opened(keys, &id).await.as_deref(),
        Ok("sk-proj-canary-key-number-1")
    );
    let lower = Err(refused(ChangeRefused::LowerKekVersion));
    assert_eq!(rotate(keys, &id, 1).await, lower);
    assert_eq!(verified(keys).await, 2);
}

pub async fn a_missing_kek_is_an_error_and_loses_nothing(keys: &ProjectKeys) {
    let id = project("customer-42");
    save(keys, &id, 1).await;
    assert_eq!(
        keys.missing_keks(&keks(&[2])).await,
        Ok(vec![kek_version(1)])
    );
    assert_eq!(keys.missing_keks(&keks(&[1, 2])).await, Ok(Vec::new()));
    let missing = keys.open(&id, &keks(&[2])).await.unwrap_err();
    assert!(matches!(missing, KeyStoreError::Kek(missing) if missing.0 == kek_version(1)));
    let rotated = keys
        .rotate_slice(
            kek_version(2),
            NOON_MS,
            &keks(&[2]),
            |id| audit(EventType::VaultKeyRotated, id),
            || Duration::MAX,
            |_| panic!("nothing was rotated"),
        )
        .await
        .unwrap();
    assert_eq!((rotated.rotated, rotated.remaining), (0, 1));
    let missing = KeyStoreError::Kek(MissingKek(kek_version(1)));
    assert_eq!(rotated.failed, [(id.clone(), missing)]);
    assert!(matches!(
        rotate(keys, &id, 3).await,
        Err(KeyStoreError::Kek(_))
    ));
    assert!(opened(keys, &id).await.is_ok());
}

pub async fn a_rotation_of_all_goes_on_where_it_stopped_and_leaves_what_does_not_open(
    keys: &ProjectKeys,
) {
    const PROJECTS: usize = 130;
    for number in 0..PROJECTS {
        save(keys, &project(&format!("p{number:03}")), number).await;
    }
    delete(keys, &project("p129"), &Precondition::None)
        .await
        .unwrap();
    // One record is another project's, put there by somebody with access to the store.
    let (bad, other) = (project("p007"), project("p008"));
    let mut swapped = stored(keys, &bad).await;
    swapped.record.versions.record += 1;
    swapped.record.key = stored(keys, &other).await.record.key;
    let write = ProjectWrite {
        project_id: bad.clone(),
        expected: Some(swapped.revision),
        record: swapped.record,
        audit: audit(EventType::VaultKeySaved, &bad),
    };
    keys.store().write_project(write).await.unwrap();

    let (left, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let slice = |most: usize| {
        // The first list of projects is a step too.
        left.store(most + 1, Ordering::SeqCst);
        keys.rotate_slice(
            kek_version(2),
            NOON_MS,
            Box::leak(Box::new(keks(&[1, 2]))),
            |id| audit(EventType::VaultKeyRotated, id),
            || {
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .map_or(Duration::ZERO, |_| Duration::MAX)
            },
            |_| {
                told.fetch_add(1, Ordering::SeqCst);
            },
        )
    };
    let before = verified(keys).await;
    let first = slice(20).await.unwrap();
    assert_eq!((first.rotated, first.remaining), (19, 110));
    let failed = [(bad.clone(), KeyStoreError::RecordCorrupt)];
    assert_eq!(first.failed, failed);
    assert_eq!(told.load(Ordering::SeqCst), 19);
    let second = slice(1_000).await.unwrap();
    assert_eq!((second.rotated, second.remaining), (109, 1));
    let third = slice(1_000).await.unwrap();
    assert_eq!((third.rotated, third.remaining), (0, 1));
    assert_eq!(third.failed, failed);
    assert_eq!(verified(keys).await, before + 128);
    for number in [0, 6, 8, 100, 128] {
        let key = opened(keys, &project(&format!("p{number:03}"))).await;
        assert_eq!(key, Ok(format!("sk-proj-canary-key-number-{number}")));
    }
    let corrupt = Err(KeyStoreError::RecordCorrupt);
    assert_eq!(opened(keys, &bad).await, corrupt);
    assert_eq!(rotate(keys, &bad, 2).await.map(drop), corrupt.map(drop));
    // It can be replaced, and deleted.
    let replaced = try_save(keys, &bad, 7, &Precondition::AnyKey).await;
    assert!(replaced.is_ok());
    assert_eq!(slice(1_000).await.unwrap().remaining, 0);
}

pub async fn a_listing_goes_on_behind_an_id_in_their_order(keys: &ProjectKeys) {
    let ids = ["-", "0", "A", "B", "_", "a", "a-", "aa", "b"];
    for (number, id) in ids.iter().enumerate().rev() {
        save(keys, &project(id), number).await;
    }
    delete(keys, &project("B"), &Precondition::None)
        .await
        .unwrap();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = keys.store().list_projects(after.as_ref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        after = page.last().map(|listed| listed.project_id.clone());
        listed.extend(page.into_iter().map(|listed| listed.project_id.to_string()));
    }
    assert_eq!(listed, ["-", "0", "A", "_", "a", "a-", "aa", "b"]);
    let below = |after: Option<ProjectId>| async move {
        let found = keys
            .store()
            .list_sealed_below(kek_version(2), after.as_ref(), 4)
            .await
            .unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(below(None).await, ["-", "0", "A", "_"]);
    assert_eq!(below(Some(project("_"))).await, ["a", "a-", "aa", "b"]);
    let none_below = keys
        .store()
        .list_sealed_below(kek_version(1), None, 4)
        .await;
    assert_eq!(none_below, Ok(Vec::new()));
}

pub async fn eight_writers_of_one_project_lose_no_update(keys: &ProjectKeys) {
    const WRITES: usize = 5;
    let id = project("customer-42");
    save(keys, &id, 0).await;
    let writer = |writer: usize| {
        let (keys, id) = (keys.clone(), id.clone());
        tokio::spawn(async move {
            let mut tags = Vec::new();
            for write in 0..WRITES {
                let number = writer * 100 + write;
                // A storm may outlast the rounds of one call; nothing is stored then.
                let saved = loop {
                    match try_save(&keys, &id, number, &Precondition::AnyKey).await {
                        Err(KeyStoreError::Store(StoreError::LostRace)) => {}
                        saved => break saved.unwrap(),
                    }
                };
                tags.push(saved.summary.tag.to_string());
            }
            tags
        })
    };
    let writers: Vec<_> = (1..=8).map(writer).collect();
    let mut tags = BTreeSet::new();
    for writer in writers {
        tags.extend(writer.await.unwrap());
    }
    assert_eq!(tags.len(), 8 * WRITES);
    let versions = stored(keys, &id).await.record.versions;
    let total = 8 * WRITES as u64 + 1;
    assert_eq!((versions.secret, versions.record), (total, total));
    assert_eq!(verified(keys).await, total);
    assert!(opened(keys, &id).await.is_ok());
}

async fn found(keys: &ProjectKeys, query: AuditQuery) -> Vec<String> {
    let query = AuditQuery {
        limit: 100,
        ..query
    };
    let page = keys.store().query_audit(query).await.unwrap();
    let requests = page.records.into_iter().map(|record| record.entry.actor);
    requests.collect()
}

pub async fn audit_records_are_chained_and_found_by_their_fields(keys: &ProjectKeys) {
    assert_eq!(records(keys).await, []);
    assert_eq!(verified(keys).await, 0);
    let session = Uuid::from_u128(99);
    let append = |number: u64, event_type: EventType, id: Option<&str>, code| {
        let actor = Actor::Caller(format!("actor-{number}"));
        let time = NOON_MS + number * 10;
        let mut entry = AuditEntry::new(event_type, &actor, Uuid::from_u128(1), time);
        if let Some(id) = id {
            entry = entry.of_project(&project(id)).of_session(session);
        }
        if let Some(code) = code {
            entry = entry.failed(code);
        }
        let key = chain_key();
        keys.store().append_audit(AuditAppend { entry, key })
    };
    let first = append(1, EventType::SessionCreated, Some("a"), None)
        .await
        .unwrap();
    append(2, EventType::SessionError, Some("b"), Some("not_found"))
        .await
        .unwrap();
    append(3, EventType::SessionEnded, None, None)
        .await
        .unwrap();
    let last = append(4, EventType::SessionCreated, Some("b"), None)
        .await
        .unwrap();
    let all = records(keys).await;
    assert_eq!((all.first(), all.last()), (Some(&last), Some(&first)));
    assert_eq!(all.len(), 4);
    assert_eq!(all[2].entry.code.as_deref(), Some("not_found"));
    assert_eq!(all[2].entry.session_id, Some(session.to_string()));
    assert_eq!(
        (&all[1].entry.project_id, &all[1].entry.session_id),
        (&None, &None)
    );
    assert_eq!(verified(keys).await, 4);

    let any = AuditQuery::default();
    let created = AuditQuery {
        event_type: Some(EventType::SessionCreated),
        ..any.clone()
    };
    assert_eq!(found(keys, created.clone()).await, ["actor-4", "actor-1"]);
    let of_b = AuditQuery {
        project_id: Some(project("b")),
        ..created
    };
    assert_eq!(found(keys, of_b).await, ["actor-4"]);
    let between = AuditQuery {
        from_ms: Some(NOON_MS + 20),
        to_ms: Some(NOON_MS + 30),
        ..any.clone()
    };
    assert_eq!(found(keys, between).await, ["actor-3", "actor-2"]);
    let never = AuditQuery {
        from_ms: Some(u64::MAX),
        ..any.clone()
    };
    assert!(found(keys, never).await.is_empty());
    let until_forever = AuditQuery {
        to_ms: Some(u64::MAX),
        ..any
    };
    assert_eq!(found(keys, until_forever).await.len(), 4);
    let other = ChainKey::new(&HashKey::new(b"another-throw-away-key-of-32-bytes"));
    let report = verify(keys, &other).await;
    assert_eq!(report.first_broken, Some(first.id));
}

pub async fn a_page_of_the_audit_log_goes_on_behind_its_last_record(keys: &ProjectKeys) {
    let mut expected = Vec::new();
    for _ in 0..7 {
        let append = audit(EventType::SessionCreated, &project("a"));
        let record = keys.store().append_audit(append).await.unwrap();
        expected.insert(0, record.id);
    }
    for limit in [1, 2, 3, 7, 8] {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let query = AuditQuery {
                after,
                limit,
                ..AuditQuery::default()
            };
            let page = keys.store().query_audit(query).await.unwrap();
            assert!(page.records.len() <= limit);
            ids.extend(page.records.into_iter().map(|record| record.id));
            after = page.next;
            if after.is_none() {
                break;
            }
            // What is written meanwhile is newer than the page, and not part of it.
        }
        assert_eq!(ids, expected, "{limit}");
    }
}

pub async fn a_failed_change_leaves_no_audit_record(keys: &ProjectKeys) {
    let id = project("customer-42");
    save(keys, &id, 1).await;
    let stale = Precondition::OneOf(vec![RecordTag::from_text("stale")]);
    assert!(try_save(keys, &id, 2, &stale).await.is_err());
    assert!(delete(keys, &id, &stale).await.is_err());
    assert!(rotate(keys, &id, 3).await.is_err());
    assert_eq!(verified(keys).await, 1);
}

static SESSION: AtomicU8 = AtomicU8::new(0);

fn request(id: &str, now_ms: u64) -> SessionRequest {
    let number = u128::from(SESSION.fetch_add(1, Ordering::SeqCst));
    SessionRequest {
        session_id: Uuid::from_u128(number + (u128::from(now_ms) << 64)),
        project_id: project(id),
        owner: owner("alice"),
        now_ms,
        expires_at_ms: now_ms + 1_000,
        concurrency: 2,
        daily_sessions: None,
    }
}

fn owner(name: &str) -> CallerHash {
    hash_key().hash("token", name.as_bytes())
}

async fn open(store: &impl Sessions, request: &SessionRequest) -> SessionDecision {
    store
        .sessions()
        .open_session(request.clone())
        .await
        .unwrap()
}

async fn counts(store: &impl Sessions, now_ms: u64) -> Vec<(u64, u64)> {
    let projects = [project("a"), project("b")];
    let counts = store
        .sessions()
        .count_sessions(&projects, now_ms)
        .await
        .unwrap();
    let pair = |counts: SessionCounts| (counts.active, counts.today);
    counts.into_iter().map(pair).collect()
}

pub async fn a_session_takes_a_place_until_it_is_ended_or_over(store: &impl Sessions) {
    let (one, two) = (request("a", NOON_MS), request("a", NOON_MS + 100));
    assert_eq!(counts(store, NOON_MS).await, [(0, 0), (0, 0)]);
    assert_eq!(open(store, &one).await, SessionDecision::Admitted);
    assert_eq!(open(store, &two).await, SessionDecision::Admitted);
    assert_eq!(counts(store, NOON_MS + 200).await, [(2, 2), (0, 0)]);
    let full = SessionDecision::Full {
        retry_after_ms: 800,
    };
    assert_eq!(open(store, &request("a", NOON_MS + 200)).await, full);
    let other = request("b", NOON_MS + 200);
    assert_eq!(open(store, &other).await, SessionDecision::Admitted);
    // The first is over at this very moment.
    let third = request("a", NOON_MS + 1_000);
    assert_eq!(open(store, &third).await, SessionDecision::Admitted);
    assert_eq!(counts(store, NOON_MS + 1_000).await, [(2, 3), (1, 1)]);
    let ended = store
        .sessions()
        .end_session(
            two.session_id,
            EndedBy::Owner(owner("alice")),
            NOON_MS + 1_050,
        )
        .await
        .unwrap();
    let was_active = EndedSession {
        project_id: project("a"),
        was_active: true,
    };
    assert_eq!(ended, Some(was_active));
    assert_eq!(counts(store, NOON_MS + 1_050).await, [(1, 3), (1, 1)]);
    let fourth = request("a", NOON_MS + 1_060);
    assert_eq!(open(store, &fourth).await, SessionDecision::Admitted);
}

pub async fn only_the_owner_or_an_operator_ends_a_session(store: &impl Sessions) {
    let (one, two) = (request("a", NOON_MS), request("a", NOON_MS));
    open(store, &one).await;
    open(store, &two).await;
    let end = |id: Uuid, by, now_ms| async move {
        let ended = store.sessions().end_session(id, by, now_ms).await.unwrap();
        ended.map(|ended| ended.was_active)
    };
    let (alice, bob) = (EndedBy::Owner(owner("alice")), EndedBy::Owner(owner("bob")));
    assert_eq!(end(Uuid::from_u128(1), alice, NOON_MS).await, None);
    assert_eq!(
        end(Uuid::from_u128(1), EndedBy::Operator, NOON_MS).await,
        None
    );
    assert_eq!(end(one.session_id, bob, NOON_MS).await, None);
    assert_eq!(counts(store, NOON_MS).await[0].0, 2);
    assert_eq!(end(one.session_id, alice, NOON_MS).await, Some(true));
    assert_eq!(end(one.session_id, alice, NOON_MS).await, Some(false));
    assert_eq!(end(one.session_id, bob, NOON_MS).await, None);
    assert_eq!(
        end(two.session_id, EndedBy::Operator, NOON_MS).await,
        Some(true)
    );
    assert_eq!(counts(store, NOON_MS).await, [(0, 2), (0, 0)]);
    // It is remembered for a day after it has expired.
    let three = request("a", NOON_MS);
    open(store, &three).await;
    assert_eq!(
        end(three.session_id, alice, NOON_MS + 2_000).await,
        Some(false)
    );
    let next_day = request("a", NOON_MS + DAY_MS + 500);
    open(store, &next_day).await;
    assert_eq!(
        end(three.session_id, alice, NOON_MS + 2_000).await,
        Some(false)
    );
    let later = request("a", NOON_MS + DAY_MS + 1_001);
    open(store, &later).await;
    let forgotten = end(three.session_id, alice, later.now_ms).await;
    assert_eq!(forgotten, None);
}

pub async fn a_cancelled_session_counts_for_nothing(store: &impl Sessions) {
    let one = request("a", NOON_MS);
    open(store, &one).await;
    open(store, &request("a", NOON_MS)).await;
    store
        .sessions()
        .cancel_session(one.session_id)
        .await
        .unwrap();
    store
        .sessions()
        .cancel_session(one.session_id)
        .await
        .unwrap();
    assert_eq!(counts(store, NOON_MS).await, [(1, 1), (0, 0)]);
    let alice = EndedBy::Owner(owner("alice"));
    let ended = store
        .sessions()
        .end_session(one.session_id, alice, NOON_MS)
        .await;
    assert_eq!(ended, Ok(None));
}

pub async fn an_extended_session_keeps_its_place_longer(store: &impl Sessions) {
    let (one, two) = (request("a", NOON_MS), request("a", NOON_MS));
    open(store, &one).await;
    open(store, &two).await;
    let sessions = store.sessions();
    let extend = |to| sessions.extend_session(one.session_id, to);
    extend(NOON_MS + 60).await.unwrap();
    assert_eq!(counts(store, NOON_MS + 999).await[0], (2, 2));
    extend(NOON_MS + 5_000).await.unwrap();
    assert_eq!(counts(store, NOON_MS + 1_000).await[0], (1, 2));
    assert_eq!(counts(store, NOON_MS + 4_999).await[0], (1, 2));
    assert_eq!(counts(store, NOON_MS + 5_000).await[0], (0, 2));
    let unknown = sessions.extend_session(Uuid::from_u128(1), NOON_MS);
    assert_eq!(unknown.await, Ok(()));
}

pub async fn an_ended_session_is_not_extended(store: &impl Sessions) {
    let one = request("a", NOON_MS);
    open(store, &one).await;
    let sessions = store.sessions();
    let ended = sessions.end_session(one.session_id, EndedBy::Operator, NOON_MS + 1);
    assert!(ended.await.unwrap().is_some());
    let extended = sessions.extend_session(one.session_id, NOON_MS + 5_000);
    assert_eq!(extended.await, Ok(()));
    assert_eq!(counts(store, NOON_MS + 2).await[0], (0, 1));
}

pub async fn the_sessions_of_a_day_are_limited_until_the_next(store: &impl Sessions) {
    let daily = |now_ms| SessionRequest {
        concurrency: 10,
        daily_sessions: Some(2),
        ..request("a", now_ms)
    };
    assert_eq!(
        open(store, &daily(NOON_MS)).await,
        SessionDecision::Admitted
    );
    let ended = daily(NOON_MS + 1);
    assert_eq!(open(store, &ended).await, SessionDecision::Admitted);
    let alice = EndedBy::Owner(owner("alice"));
    let end = store
        .sessions()
        .end_session(ended.session_id, alice, NOON_MS + 2)
        .await;
    assert!(end.unwrap().is_some());
    // An ended session has still been one of the day's.
    let used_up = SessionDecision::DayUsedUp {
        retry_after_ms: DAY_MS / 2 - 3,
    };
    assert_eq!(open(store, &daily(NOON_MS + 3)).await, used_up);
    let midnight = NOON_MS + DAY_MS / 2;
    let last = SessionDecision::DayUsedUp { retry_after_ms: 1 };
    assert_eq!(open(store, &daily(midnight - 1)).await, last);
    assert_eq!(
        open(store, &daily(midnight)).await,
        SessionDecision::Admitted
    );
    assert_eq!(counts(store, midnight).await[0].1, 1);
}

pub async fn concurrent_sessions_never_exceed_the_limit(store: &impl Sessions) {
    let attempt = |_| {
        let (sessions, request) = (store.sessions(), request("a", NOON_MS));
        tokio::spawn(async move {
            // Of the same store, so that all of them race.
            loop {
                match sessions.open_session(request.clone()).await {
                    Err(StoreError::LostRace) => {}
                    admittance => break admittance.unwrap(),
                }
            }
        })
    };
    let attempts: Vec<_> = (0..8).map(attempt).collect();
    let mut admitted = 0;
    for attempt in attempts {
        admitted += u32::from(attempt.await.unwrap() == SessionDecision::Admitted);
    }
    assert_eq!(admitted, 2);
    assert_eq!(counts(store, NOON_MS).await[0], (2, 2));
}

pub async fn the_probe_is_replaced_read_and_removed(keys: &ProjectKeys) {
    let store = keys.store();
    assert_eq!(store.get_probe().await, Ok(None));
    store.delete_probe().await.unwrap();
    store.put_probe(vec![1]).await.unwrap();
    store.put_probe(vec![2, 3]).await.unwrap();
    assert_eq!(store.get_probe().await, Ok(Some(vec![2, 3])));
    store.delete_probe().await.unwrap();
    assert_eq!(store.get_probe().await, Ok(None));
    assert_eq!(store.list_projects(None, 10).await, Ok(Vec::new()));
}

/// The changes of one life, one after another.
pub const SCRIPT: [Change; 11] = [
    Change::Save("a", 1),
    Change::Save("b", 2),
    Change::Replace("a", 3),
    Change::OpenSession(1),
    Change::Rotate("a"),
    Change::Delete("b"),
    Change::AppendAudit,
    Change::Save("b", 4),
    Change::CancelSession(1),
    Change::OpenSession(2),
    Change::EndSession(2),
];

#[derive(Clone, Copy)]
pub enum Change {
    Save(&'static str, usize),
    Replace(&'static str, usize),
    Rotate(&'static str),
    Delete(&'static str),
    AppendAudit,
    OpenSession(u128),
    CancelSession(u128),
    EndSession(u128),
}

/// What a store must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    pub a: Option<usize>,
    a_is_rotated: bool,
    b: Option<usize>,
    pub records: u64,
    active: u64,
    today: u64,
}

impl Expected {
    pub fn after(changes: &[Change]) -> Self {
        let mut expected = Self::default();
        for change in changes {
            let is_audited = match *change {
                Change::Save("a", number) | Change::Replace("a", number) => {
                    expected.a = Some(number);
                    true
                }
                Change::Save(_, number) | Change::Replace(_, number) => {
                    expected.b = Some(number);
                    true
                }
                Change::Rotate(_) => {
                    expected.a_is_rotated = true;
                    true
                }
                Change::Delete(_) => {
                    expected.b = None;
                    true
                }
                Change::AppendAudit => true,
                Change::OpenSession(_) => {
                    expected.active += 1;
                    expected.today += 1;
                    false
                }
                Change::CancelSession(_) => {
                    expected.active -= 1;
                    expected.today -= 1;
                    false
                }
                Change::EndSession(_) => {
                    expected.active -= 1;
                    false
                }
            };
            expected.records += u64::from(is_audited);
        }
        expected
    }

    /// What a store holds; every key in it must open, and its log must verify.
    pub async fn found(keys: &ProjectKeys) -> Self {
        let mut found = Self::default();
        let listed = keys.store().list_projects(None, 10).await.unwrap();
        for listed in listed {
            let key = opened(keys, &listed.project_id).await.unwrap();
            let number = key.trim_start_matches("sk-proj-canary-key-number-").parse();
            let number = Some(number.unwrap());
            let is_rotated = listed.summary.unwrap().kek_version.number() == 2;
            match listed.project_id.as_str() {
                "a" => (found.a, found.a_is_rotated) = (number, is_rotated),
                _ => found.b = number,
            }
        }
        found.records = verified(keys).await;
        let projects = [project("a")];
        let counts = keys
            .store()
            .count_sessions(&projects, NOON_MS)
            .await
            .unwrap();
        (found.active, found.today) = (counts[0].active, counts[0].today);
        found
    }
}

/// Makes a change.
pub async fn apply(keys: &ProjectKeys, change: Change) -> Result<(), KeyStoreError> {
    let (store, any) = (keys.store(), Precondition::AnyKey);
    match change {
        Change::Save(id, number) => {
            try_save(keys, &project(id), number, &Precondition::None).await?;
        }
        Change::Replace(id, number) => {
            try_save(keys, &project(id), number, &any).await?;
        }
        Change::Rotate(id) => drop(rotate(keys, &project(id), 2).await?),
        Change::Delete(id) => drop(delete(keys, &project(id), &any).await?),
        Change::AppendAudit => {
            let append = audit(EventType::SessionError, &project("a"));
            store.append_audit(append).await?;
        }
        Change::OpenSession(id) => {
            let request = SessionRequest {
                session_id: Uuid::from_u128(id),
                concurrency: 5,
                daily_sessions: Some(5),
                ..request("a", NOON_MS)
            };
            store.open_session(request).await?;
        }
        Change::CancelSession(id) => store.cancel_session(Uuid::from_u128(id)).await?,
        Change::EndSession(id) => {
            let id = Uuid::from_u128(id);
            let ended = store.end_session(id, EndedBy::Operator, NOON_MS).await?;
            assert!(ended.is_some_and(|ended| ended.was_active));
        }
    }
    Ok(())
}
