//! The operations on projects' keys: save, open, delete, rotate one, rotate all in slices.
//!
//! Each reads the record, decides by the rules in `domain::vault::changes` and writes by
//! compare-and-swap. If another writer changed the record in between, the operation reads it again
//! and decides again, so a refusal is always based on the current record.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{AuditAppend, ProjectStore, ProjectWrite, Revision};
use crate::domain::audit_log::chain::AuditRecord;
use crate::domain::vault::changes::{self, ChangeRefused, NewKey, Precondition, RotateError};
use crate::domain::vault::envelope::{self, OpenError, SealError, SealRandomness};
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKeys};
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::project_key::ProjectKey;
use crate::domain::vault::record::{KeySummary, ProjectRecord, RecordTag};
use crate::store::store_error::{KeyStoreError, StoreError};

/// Most attempts when other writers change the record first. Another write succeeds in each round,
/// so only very many writes to one project reach this number.
const ROUNDS: usize = 32;
/// The number of projects that a slice of a rotation reads from the store at once.
const BATCH: usize = 100;
/// The time that the last key of a slice of a rotation may take beyond the end of the slice. A key
/// takes some milliseconds, so only a store that hangs exceeds it.
const GRACE: Duration = Duration::from_secs(1);

/// The operations on keys, over any store.
#[derive(Clone)]
pub struct ProjectKeys {
    store: Arc<dyn ProjectStore>,
    randomness: Arc<dyn Fn() -> SealRandomness + Send + Sync>,
}

/// A key that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedKey {
    /// True if the project had no key before.
    pub is_new: bool,
    /// The public description of the key.
    pub summary: KeySummary,
    /// The audit record.
    pub audit: AuditRecord,
}

/// The result of a rotation of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotatedKey {
    /// The public description of the key.
    pub summary: KeySummary,
    /// The audit record; `None` if the key was sealed under that KEK already.
    pub audit: Option<AuditRecord>,
}

/// A key, opened for one request.
#[derive(Debug, Clone)]
pub struct OpenedKey {
    /// The key.
    pub key: ProjectKey,
    /// The state that it was opened in.
    pub tag: RecordTag,
}

/// The result of one slice of a rotation of all projects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RotationSlice {
    /// The number of keys that were resealed.
    pub rotated: u64,
    /// The number of keys still sealed under a lower KEK, including those that do not open.
    pub remaining: u64,
    /// Projects whose keys were not resealed, and why.
    pub failed: Vec<(ProjectId, KeyStoreError)>,
}

impl From<SealError> for KeyStoreError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Kek(missing) => Self::Kek(missing),
            SealError::Crypto(_) => Self::Crypto,
        }
    }
}

impl From<OpenError> for KeyStoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Kek(missing) => Self::Kek(missing),
            OpenError::Corrupt => Self::RecordCorrupt,
        }
    }
}

impl From<RotateError> for KeyStoreError {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Refused(refused) => Self::Refused(refused),
            RotateError::Open(error) => error.into(),
        }
    }
}

impl ProjectKeys {
    /// Creates the operations from a store and a source of randomness.
    #[must_use]
    pub fn new(
        store: Arc<dyn ProjectStore>,
        randomness: Arc<dyn Fn() -> SealRandomness + Send + Sync>,
    ) -> Self {
        Self { store, randomness }
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ProjectStore> {
        &self.store
    }

    /// Checks whether a save would be refused now, so that a key is validated only if it can be
    /// saved.
    ///
    /// # Errors
    /// [`KeyStoreError::Refused`], or [`KeyStoreError::Store`].
    pub async fn check_save(
        &self,
        project_id: &ProjectId,
        precondition: &Precondition,
    ) -> Result<(), KeyStoreError> {
        let stored = self.store.read_project(project_id).await?;
        changes::check_save(stored.as_ref().map(|stored| &stored.record), precondition)?;
        Ok(())
    }

    /// Saves a key.
    ///
    /// # Errors
    /// [`KeyStoreError`]; nothing was stored then.
    pub async fn save(
        &self,
        new: &NewKey<'_>,
        precondition: &Precondition,
        keks: &KeyEncryptionKeys,
        audit: &AuditAppend,
    ) -> Result<SavedKey, KeyStoreError> {
        for _ in 0..ROUNDS {
            let (before, revision) = self.read(new.project_id).await?;
            changes::check_save(before.as_ref(), precondition)?;
            let record = changes::saved(before.as_ref(), new, keks, &(self.randomness)())?;
            let is_new = before.is_none_or(|before| before.key.is_none());
            let summary = summary(&record)?;
            if let Some(audit) = self.write(new.project_id, revision, record, audit).await? {
                return Ok(SavedKey {
                    is_new,
                    summary,
                    audit,
                });
            }
        }
        Err(StoreError::LostRace.into())
    }

    /// Opens a project's key, for one request.
    ///
    /// # Errors
    /// [`ChangeRefused::NotFound`] when there is none, and [`KeyStoreError`].
    pub async fn open(
        &self,
        project_id: &ProjectId,
        keks: &KeyEncryptionKeys,
    ) -> Result<OpenedKey, KeyStoreError> {
        let (record, _) = self.read(project_id).await?;
        let (versions, stored) = record
            .and_then(|record| Some((record.versions, record.key?)))
            .ok_or(ChangeRefused::NotFound)?;
        let summary = stored.summary.ok_or(KeyStoreError::RecordCorrupt)?;
        let key = envelope::open(keks, project_id, versions, &stored.sealed)?;
        Ok(OpenedKey {
            key,
            tag: summary.tag,
        })
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`KeyStoreError`]; nothing has changed then.
    pub async fn delete(
        &self,
        project_id: &ProjectId,
        precondition: &Precondition,
        audit: &AuditAppend,
    ) -> Result<AuditRecord, KeyStoreError> {
        for _ in 0..ROUNDS {
            let (before, revision) = self.read(project_id).await?;
            let record = changes::deleted(before.as_ref(), precondition)?;
            if let Some(audit) = self.write(project_id, revision, record, audit).await? {
                return Ok(audit);
            }
        }
        Err(StoreError::LostRace.into())
    }

    /// Reseals a key under another KEK.
    ///
    /// # Errors
    /// [`KeyStoreError`]; nothing has changed then.
    pub async fn rotate(
        &self,
        project_id: &ProjectId,
        target: KekVersion,
        precondition: &Precondition,
        now_ms: u64,
        keks: &KeyEncryptionKeys,
        audit: &AuditAppend,
    ) -> Result<RotatedKey, KeyStoreError> {
        keks.get(target)?;
        for _ in 0..ROUNDS {
            let (before, revision) = self.read(project_id).await?;
            let rotated = changes::rotated(
                project_id,
                before.as_ref(),
                precondition,
                target,
                now_ms,
                keks,
                &(self.randomness)(),
            )?;
            let Some(record) = rotated else {
                let summary = summary(&before.ok_or(ChangeRefused::NotFound)?)?;
                return Ok(RotatedKey {
                    summary,
                    audit: None,
                });
            };
            let summary = summary(&record)?;
            if let Some(audit) = self.write(project_id, revision, record, audit).await? {
                return Ok(RotatedKey {
                    summary,
                    audit: Some(audit),
                });
            }
        }
        Err(StoreError::LostRace.into())
    }

    /// Reseals keys that are sealed under a lower KEK, one after another in the order of their ids,
    /// until none is left or `time_left` returns zero. Another call continues with the remaining
    /// keys. `audit` creates the entry for a project, and `on_rotated` gets each record as soon as
    /// it is written.
    ///
    /// The key in progress when the time runs out is finished, for which it has up to 1 s. It is
    /// given up after that, like a step whose caller hangs up: if its commit had begun, the key is
    /// resealed and its audit record written, but `on_rotated` does not get it. The count of the
    /// remaining keys, which takes up to 3 s more, comes last.
    ///
    /// A record that cannot be opened, or whose KEK is not configured, is left unchanged and counts
    /// as remaining. Keys that are saved or deleted meanwhile are skipped: a save uses the sealing
    /// KEK anyway.
    ///
    /// # Errors
    /// [`KeyStoreError::Kek`] if the target is not configured, [`KeyStoreError::Store`]. Keys
    /// rotated before the error stay rotated.
    pub async fn rotate_slice(
        &self,
        target: KekVersion,
        now_ms: u64,
        keks: &KeyEncryptionKeys,
        audit: impl Fn(&ProjectId) -> AuditAppend + Send + Sync,
        time_left: impl Fn() -> Duration + Send + Sync,
        on_rotated: impl Fn(&AuditRecord) + Send + Sync,
    ) -> Result<RotationSlice, KeyStoreError> {
        keks.get(target)?;
        let mut slice = RotationSlice::default();
        let mut after = None;
        'slice: loop {
            let list = self.store.list_sealed_below(target, after.as_ref(), BATCH);
            let Ok(batch) = timeout(time_left(), list).await else {
                break;
            };
            let batch = batch?;
            for project_id in &batch {
                let time_left = time_left();
                if time_left.is_zero() {
                    break 'slice;
                }
                let none = &Precondition::None;
                let append = audit(project_id);
                let rotate = self.rotate(project_id, target, none, now_ms, keks, &append);
                let Ok(rotated) = timeout(time_left.saturating_add(GRACE), rotate).await else {
                    break 'slice;
                };
                match rotated {
                    Ok(RotatedKey { audit, .. }) => {
                        slice.rotated += u64::from(audit.is_some());
                        audit.iter().for_each(&on_rotated);
                    }
                    Err(error @ (KeyStoreError::RecordCorrupt | KeyStoreError::Kek(_))) => {
                        slice.failed.push((project_id.clone(), error));
                    }
                    // It was deleted, saved or rotated further meanwhile, or others write to it all
                    // the time; the count below tells whether it is left.
                    Err(KeyStoreError::Refused(_) | KeyStoreError::Store(StoreError::LostRace)) => {
                    }
                    Err(error) => return Err(error),
                }
            }
            let is_last = batch.len() < BATCH;
            after = batch.into_iter().next_back();
            if is_last {
                break;
            }
        }
        slice.remaining = self.count_below(target).await?;
        Ok(slice)
    }

    /// Counts the keys that are sealed under a lower KEK.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_below(&self, version: KekVersion) -> Result<u64, StoreError> {
        let counts = self.store.count_by_kek().await?;
        let below = counts
            .into_iter()
            .filter(|(sealed, _)| *sealed < Some(version));
        Ok(below.map(|(_, count)| count).sum())
    }

    /// Returns the versions of KEKs that seal keys and are not known, lowest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn missing_keks(
        &self,
        keks: &KeyEncryptionKeys,
    ) -> Result<Vec<KekVersion>, StoreError> {
        let counts = self.store.count_by_kek().await?;
        let sealing = counts.into_iter().filter_map(|(version, _)| version);
        Ok(sealing
            .filter(|version| keks.get(*version).is_err())
            .collect())
    }

    async fn read(
        &self,
        project_id: &ProjectId,
    ) -> Result<(Option<ProjectRecord>, Option<Revision>), StoreError> {
        let stored = self.store.read_project(project_id).await?;
        Ok(stored
            .map(|stored| (stored.record, stored.revision))
            .unzip())
    }

    /// Writes a record; `None` where another writer was faster.
    async fn write(
        &self,
        project_id: &ProjectId,
        expected: Option<Revision>,
        record: ProjectRecord,
        audit: &AuditAppend,
    ) -> Result<Option<AuditRecord>, StoreError> {
        let write = ProjectWrite {
            project_id: project_id.clone(),
            expected,
            record,
            audit: audit.clone(),
        };
        match self.store.write_project(write).await {
            Ok(audit) => Ok(Some(audit)),
            Err(StoreError::LostRace) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn summary(record: &ProjectRecord) -> Result<KeySummary, KeyStoreError> {
    let key = record.key.as_ref().ok_or(ChangeRefused::NotFound)?;
    key.summary.clone().ok_or(KeyStoreError::RecordCorrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit_log::entry::EventType;
    use crate::store::hanging_store::HangingStore;
    use crate::store::projects::project_store::{
        audit, kek_version, keks, keys_over, project, save,
    };
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn a_rotation_ends_in_time_whichever_step_of_the_store_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::new(&folder.path().join("store.db")).unwrap();
        let store = Arc::new(HangingStore::new(sqlite));
        let keys = keys_over(Arc::clone(&store) as _);
        for id in ["a", "b", "c"] {
            save(&keys, &project(id), 1).await;
        }
        let both = keks(&[1, 2]);
        let slice = async || {
            let rotated = keys.rotate_slice(
                kek_version(2),
                1,
                &both,
                |id| audit(EventType::VaultKeyRotated, id),
                || Duration::from_secs(2),
                |_| (),
            );
            let rotated = timeout(Duration::from_secs(20), rotated).await;
            let slice = rotated.expect("it hangs").unwrap();
            (slice.rotated, slice.remaining)
        };
        store.hang("list_sealed_below", 0);
        assert_eq!(slice().await, (0, 3));
        store.hang("write_project", 1);
        assert_eq!(slice().await, (1, 2));
        store.hang("read_project", 1);
        assert_eq!(slice().await, (1, 1));
        store.hang("read_project", 9);
        assert_eq!(slice().await, (1, 0));
    }
}
