//! The rules for changes of a project's key: which are refused, and the record that follows.

use super::associated_data::Versions;
use super::envelope::{self, OpenError, SealError, SealRandomness, SealedKey};
use super::kek::{KekVersion, KeyEncryptionKeys};
use super::project_id::ProjectId;
use super::project_key::{KeyFingerprint, ProjectKey};
use super::record::{KeySummary, ProjectRecord, RecordTag, StoredKey};

/// The state that a client expects before its change: `If-Match` (RFC 9110 §13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// No expectation: there was no `If-Match`.
    None,
    /// Any state in which there is a key: `If-Match: *`.
    AnyKey,
    /// A state with one of these tags.
    OneOf(Vec<RecordTag>),
}

/// The reason why a change is refused. The record stays unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// There is no key.
    #[error("The project has no key.")]
    NotFound,
    /// There is a key, and the client did not expect one.
    #[error("The project has a key already.")]
    Exists,
    /// The state is not the one that the client expects.
    #[error("The project's key has changed.")]
    PreconditionFailed,
    /// The key is sealed under a higher version of the KEK than the requested one.
    #[error("The project's key is sealed under a newer key-encryption key.")]
    LowerKekVersion,
}

impl Precondition {
    /// Checks that the record is in the state that the client expects.
    fn check(self: &Precondition, record: Option<&ProjectRecord>) -> Result<(), ChangeRefused> {
        let key = record.and_then(|record| record.key.as_ref());
        // A damaged key has no tag that a client could name.
        let tag = key.and_then(|key| Some(&key.summary.as_ref()?.tag));
        let holds = match self {
            Self::None => true,
            Self::AnyKey => key.is_some(),
            Self::OneOf(tags) => tag.is_some_and(|tag| tags.contains(tag)),
        };
        if holds {
            Ok(())
        } else {
            Err(ChangeRefused::PreconditionFailed)
        }
    }
}

/// The data of a save, except the randomness.
#[derive(Debug)]
pub struct NewKey<'a> {
    /// The project.
    pub project_id: &'a ProjectId,
    /// Its key.
    pub key: &'a ProjectKey,
    /// The key's fingerprint.
    pub fingerprint: KeyFingerprint,
    /// The KEK to seal it with.
    pub kek_version: KekVersion,
    /// The current time in milliseconds since 1970.
    pub now_ms: u64,
}

/// Checks that a key may be saved over the current record.
///
/// # Errors
/// [`ChangeRefused::Exists`] or [`ChangeRefused::PreconditionFailed`].
pub fn check_save(
    record: Option<&ProjectRecord>,
    precondition: &Precondition,
) -> Result<(), ChangeRefused> {
    let has_key = record.is_some_and(|record| record.key.is_some());
    if has_key && *precondition == Precondition::None {
        return Err(ChangeRefused::Exists);
    }
    precondition.check(record)
}

/// Seals a key, and returns the record that replaces `record`.
///
/// # Errors
/// [`SealError`], as for [`envelope::seal`].
pub fn saved(
    record: Option<&ProjectRecord>,
    new: &NewKey<'_>,
    keks: &KeyEncryptionKeys,
    randomness: &SealRandomness,
) -> Result<ProjectRecord, SealError> {
    let versions = record.map_or(
        Versions {
            secret: 1,
            record: 1,
        },
        |record| Versions {
            secret: record.versions.secret.saturating_add(1),
            record: record.versions.record.saturating_add(1),
        },
    );
    let sealed = envelope::seal(
        keks,
        new.kek_version,
        new.project_id,
        versions,
        new.key,
        randomness,
    )?;
    let before = record
        .and_then(|record| record.key.as_ref())
        .and_then(|key| key.summary.as_ref());
    Ok(with_key(
        &sealed,
        new.fingerprint,
        Times {
            created_at_ms: before.map_or(new.now_ms, |summary| summary.created_at_ms),
            rotated_at_ms: before.and_then(|summary| summary.rotated_at_ms),
        },
    ))
}

/// Returns the record after the deletion of its key.
///
/// # Errors
/// [`ChangeRefused::NotFound`] or [`ChangeRefused::PreconditionFailed`].
pub fn deleted(
    record: Option<&ProjectRecord>,
    precondition: &Precondition,
) -> Result<ProjectRecord, ChangeRefused> {
    precondition.check(record)?;
    let (versions, _) = live(record)?;
    Ok(ProjectRecord {
        versions: Versions {
            record: versions.record.saturating_add(1),
            ..versions
        },
        key: None,
    })
}

/// The reason why a key was not resealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// The record could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Reseals a key under another KEK. Returns `None` if it is already sealed under that one.
///
/// # Errors
/// [`RotateError`] if the change is refused or the record cannot be opened.
pub fn rotated(
    project_id: &ProjectId,
    record: Option<&ProjectRecord>,
    precondition: &Precondition,
    target: KekVersion,
    now_ms: u64,
    keks: &KeyEncryptionKeys,
    randomness: &SealRandomness,
) -> Result<Option<ProjectRecord>, RotateError> {
    precondition.check(record)?;
    let (versions, key) = live(record)?;
    let summary = key.summary.as_ref().ok_or(OpenError::Corrupt)?;
    if target < summary.kek_version {
        return Err(ChangeRefused::LowerKekVersion.into());
    }
    if target == summary.kek_version {
        return Ok(None);
    }
    let sealed = envelope::reseal(keks, target, project_id, versions, &key.sealed, randomness)?;
    Ok(Some(with_key(
        &sealed,
        summary.fingerprint,
        Times {
            created_at_ms: summary.created_at_ms,
            rotated_at_ms: Some(now_ms),
        },
    )))
}

fn live(record: Option<&ProjectRecord>) -> Result<(Versions, &StoredKey), ChangeRefused> {
    let record = record.ok_or(ChangeRefused::NotFound)?;
    let key = record.key.as_ref().ok_or(ChangeRefused::NotFound)?;
    Ok((record.versions, key))
}

/// The times at which a key was saved and resealed.
#[derive(Clone, Copy)]
struct Times {
    created_at_ms: u64,
    rotated_at_ms: Option<u64>,
}

fn with_key(sealed: &SealedKey, fingerprint: KeyFingerprint, times: Times) -> ProjectRecord {
    ProjectRecord {
        versions: sealed.versions(),
        key: Some(StoredKey {
            sealed: sealed.to_bytes(),
            summary: Some(KeySummary {
                kek_version: sealed.kek_version(),
                fingerprint,
                tag: RecordTag::of(sealed),
                created_at_ms: times.created_at_ms,
                rotated_at_ms: times.rotated_at_ms,
            }),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::domain::callers::caller_hash::HashKey;
    use crate::domain::vault::kek::KeyEncryptionKey;

    const KEY: &str = "sk-proj-canary-project-key-0123";

    struct Project {
        id: ProjectId,
        keks: KeyEncryptionKeys,
        record: Option<ProjectRecord>,
        seed: u8,
    }

    fn version(number: u32) -> KekVersion {
        KekVersion::from_number(number).unwrap()
    }

    impl Project {
        fn new() -> Self {
            let kek = |text: &str| Arc::new(KeyEncryptionKey::parse(&text.into()).unwrap());
            let one = kek("Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg");
            let two = kek("YW5vdGhlci1jYW5hcnkta2VrLW9mLTMyLWJ5dGVzLTA");
            Self {
                id: ProjectId::parse("customer-42").unwrap(),
                keks: [(version(1), one), (version(2), two)].into_iter().collect(),
                record: None,
                seed: 0,
            }
        }

        fn randomness(&mut self) -> SealRandomness {
            self.seed += 1;
            SealRandomness::draw(|bytes| bytes.fill(self.seed))
        }

        fn save(&mut self, now_ms: u64) {
            let key = ProjectKey::parse(KEY).unwrap();
            let fingerprint = KeyFingerprint::of(&HashKey::new(&[7; 32]), &key);
            let randomness = self.randomness();
            let new = NewKey {
                project_id: &self.id,
                key: &key,
                fingerprint,
                kek_version: version(1),
                now_ms,
            };
            let record = saved(self.record.as_ref(), &new, &self.keks, &randomness).unwrap();
            self.record = Some(record);
        }

        fn rotate(&mut self, target: u32, now_ms: u64) -> Result<bool, RotateError> {
            let randomness = self.randomness();
            let rotated = rotated(
                &self.id,
                self.record.as_ref(),
                &Precondition::None,
                version(target),
                now_ms,
                &self.keks,
                &randomness,
            )?;
            let changed = rotated.is_some();
            self.record = rotated.or(self.record.take());
            Ok(changed)
        }

        fn delete(&mut self) {
            let record = deleted(self.record.as_ref(), &Precondition::None).unwrap();
            self.record = Some(record);
        }

        fn versions(&self) -> (u64, u64) {
            let versions = self.record.as_ref().unwrap().versions;
            (versions.secret, versions.record)
        }

        fn summary(&self) -> &KeySummary {
            let key = self.record.as_ref().unwrap().key.as_ref().unwrap();
            key.summary.as_ref().unwrap()
        }

        fn opens(&self) -> bool {
            let record = self.record.as_ref().unwrap();
            let sealed = &record.key.as_ref().unwrap().sealed;
            envelope::open(&self.keks, &self.id, record.versions, sealed)
                .is_ok_and(|key| key.secret().expose_secret() == KEY)
        }
    }

    #[test]
    fn versions_only_grow_over_saves_rotations_and_deletions() {
        let mut project = Project::new();
        project.save(1_000);
        assert_eq!((project.versions(), project.opens()), ((1, 1), true));
        project.save(2_000);
        assert_eq!((project.versions(), project.opens()), ((2, 2), true));
        assert_eq!(project.rotate(2, 3_000), Ok(true));
        assert_eq!((project.versions(), project.opens()), ((2, 3), true));
        let summary = project.summary();
        assert_eq!(
            (summary.created_at_ms, summary.rotated_at_ms),
            (1_000, Some(3_000))
        );
        project.delete();
        assert_eq!(project.versions(), (2, 4));
        project.save(5_000);
        assert_eq!((project.versions(), project.opens()), ((3, 5), true));
        let summary = project.summary();
        assert_eq!(
            (summary.created_at_ms, summary.rotated_at_ms),
            (5_000, None)
        );
    }

    #[test]
    fn no_two_states_have_the_same_tag() {
        let mut project = Project::new();
        let mut tags = Vec::new();
        for _ in 0..3 {
            project.save(1);
            tags.push(project.summary().tag.clone());
            project.rotate(2, 2).unwrap();
            tags.push(project.summary().tag.clone());
            project.delete();
        }
        for (position, tag) in tags.iter().enumerate() {
            assert_eq!(tag.as_str().len(), 22);
            assert!(!tags[..position].contains(tag));
        }
    }

    #[test]
    fn a_save_over_a_key_needs_a_precondition_that_holds() {
        let mut project = Project::new();
        let none = Precondition::None;
        let stale = Precondition::OneOf(vec![RecordTag::from_text("stale")]);
        let failed = Err(ChangeRefused::PreconditionFailed);
        assert_eq!(check_save(None, &none), Ok(()));
        assert_eq!(check_save(None, &Precondition::AnyKey), failed);
        assert_eq!(check_save(None, &stale), failed);
        project.save(1);
        let current = Precondition::OneOf(vec![
            RecordTag::from_text("stale"),
            project.summary().tag.clone(),
        ]);
        let record = project.record.as_ref();
        assert_eq!(check_save(record, &none), Err(ChangeRefused::Exists));
        assert_eq!(check_save(record, &stale), failed);
        assert_eq!(check_save(record, &Precondition::OneOf(Vec::new())), failed);
        assert_eq!(check_save(record, &Precondition::AnyKey), Ok(()));
        assert_eq!(check_save(record, &current), Ok(()));
        project.delete();
        let record = project.record.as_ref();
        assert_eq!(check_save(record, &none), Ok(()));
        assert_eq!(check_save(record, &Precondition::AnyKey), failed);
        assert_eq!(check_save(record, &current), failed);
    }

    #[test]
    fn a_deletion_of_what_is_absent_or_changed_is_refused() {
        let mut project = Project::new();
        let (none, any) = (Precondition::None, Precondition::AnyKey);
        assert_eq!(deleted(None, &none), Err(ChangeRefused::NotFound));
        assert_eq!(deleted(None, &any), Err(ChangeRefused::PreconditionFailed));
        project.save(1);
        let stale = Precondition::OneOf(vec![RecordTag::from_text("stale")]);
        let record = project.record.as_ref();
        assert_eq!(
            deleted(record, &stale),
            Err(ChangeRefused::PreconditionFailed)
        );
        assert!(deleted(record, &any).is_ok());
        project.delete();
        assert_eq!(
            deleted(project.record.as_ref(), &none),
            Err(ChangeRefused::NotFound)
        );
    }

    #[test]
    fn a_damaged_key_can_be_replaced_and_deleted_and_does_not_rotate() {
        let mut project = Project::new();
        project.save(1_000);
        let tag = project.summary().tag.clone();
        let record = project.record.as_mut().unwrap();
        record.key.as_mut().unwrap().summary = None;
        let (none, any) = (Precondition::None, Precondition::AnyKey);
        let record = project.record.as_ref();
        assert_eq!(check_save(record, &none), Err(ChangeRefused::Exists));
        assert_eq!(
            check_save(record, &Precondition::OneOf(vec![tag])),
            Err(ChangeRefused::PreconditionFailed)
        );
        assert_eq!(check_save(record, &any), Ok(()));
        assert!(deleted(record, &none).is_ok() && deleted(record, &any).is_ok());
        assert_eq!(
            project.rotate(2, 2_000),
            Err(RotateError::Open(OpenError::Corrupt))
        );
        project.save(3_000);
        assert_eq!((project.versions(), project.opens()), ((2, 2), true));
        assert_eq!(project.summary().created_at_ms, 3_000);
    }

    #[test]
    fn a_rotation_goes_up_only_and_to_the_same_version_changes_nothing() {
        let mut project = Project::new();
        let not_found = Err(RotateError::Refused(ChangeRefused::NotFound));
        assert_eq!(project.rotate(1, 1), not_found);
        project.save(1);
        let before = project.record.clone();
        assert_eq!(project.rotate(1, 2), Ok(false));
        assert_eq!(project.record, before);
        assert_eq!(project.rotate(2, 2), Ok(true));
        let lower = Err(RotateError::Refused(ChangeRefused::LowerKekVersion));
        assert_eq!(project.rotate(1, 3), lower);
        let missing = project.rotate(3, 3).unwrap_err();
        assert!(matches!(missing, RotateError::Open(OpenError::Kek(_))));
        project.delete();
        assert_eq!(project.rotate(2, 4), not_found);
    }

    #[test]
    fn a_rotation_of_a_record_that_was_swapped_fails() {
        let mut project = Project::new();
        project.save(1);
        let old = project.record.clone().unwrap();
        project.save(2);
        // Somebody puts the older sealed key beside the newer versions.
        project.record.as_mut().unwrap().key = old.key;
        assert!(!project.opens());
        assert_eq!(
            project.rotate(2, 3),
            Err(RotateError::Open(OpenError::Corrupt))
        );
    }
}
