//! Decides which versions of a key and its secret belong together. The two are rotated together,
//! but written one after the other.
//!
//! An operator writes both within [`TIME_TO_WRITE_BOTH`]. A new version that is younger than that
//! may still wait for its counterpart; an older one is used as it is, so that no pair is refused
//! forever.

use std::time::{Duration, SystemTime};

use super::vault_entry::{EntryError, VaultEntry};
use crate::upstream::key_vault::{ReadError, SecretVersion, Vault};

/// The longest time between writing a key and writing its secret.
const TIME_TO_WRITE_BOTH: Duration = Duration::from_secs(20);
/// The number of reads of a pair that changes meanwhile, before the next refresh tries again.
const ATTEMPTS: usize = 3;

/// The decision about a pair that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PairVerdict {
    /// It is the published one.
    Unchanged,
    /// It is new and complete.
    Complete,
    /// It is new and used because no better one is expected, but its versions were written so far
    /// apart that they may not belong together.
    WrittenApart,
    /// A new key may be about to be written.
    AwaitsKey,
    /// A new secret may be about to be written.
    AwaitsSecret,
}

/// Reads both values as they were at one moment.
///
/// The first pair is read at once, and its versions are compared by the time they were written.
/// Where that time is unknown, or a pair replaces another, the key must not have changed while the
/// secret was read.
pub(super) async fn read(
    [key_entry, secret_entry]: &[VaultEntry; 2],
    vault: &impl Vault,
    published: Option<[&str; 2]>,
) -> Result<[SecretVersion; 2], EntryError> {
    let (key, secret) = tokio::join!(key_entry.read(vault), secret_entry.read(vault));
    let (mut key, secret) = (key?, secret?);
    let is_unchanged = published == Some([&key.version, &secret.version]);
    let are_dated = key.written_at.is_some() && secret.written_at.is_some();
    if is_unchanged || (published.is_none() && are_dated) {
        return Ok([key, secret]);
    }
    for _ in 0..ATTEMPTS {
        let secret = secret_entry.read(vault).await?;
        let key_after = key_entry.read(vault).await?;
        if key.version == key_after.version {
            return Ok([key_after, secret]);
        }
        key = key_after;
    }
    Err(key_entry.failed(ReadError::HalfRotated))
}

/// Decides what to do with a pair, given the versions that are published.
pub(super) fn judge(
    published: Option<[&str; 2]>,
    [key, secret]: [&SecretVersion; 2],
    now: SystemTime,
) -> PairVerdict {
    let [key_stays, secret_stays] = published.map_or([false; 2], |[old_key, old_secret]| {
        [old_key == key.version, old_secret == secret.version]
    });
    let is_apart = were_written_apart(key.written_at, secret.written_at);
    match (key_stays, secret_stays) {
        (true, true) => PairVerdict::Unchanged,
        (true, false) if may_be_alone(secret, now) => PairVerdict::AwaitsKey,
        (false, true) if may_be_alone(key, now) => PairVerdict::AwaitsSecret,
        // Where nothing is published, or both are new, only the time tells.
        (false, false) if is_apart && is_young(key, now) => PairVerdict::AwaitsSecret,
        (false, false) if is_apart && is_young(secret, now) => PairVerdict::AwaitsKey,
        _ if is_apart => PairVerdict::WrittenApart,
        _ => PairVerdict::Complete,
    }
}

/// Returns whether the counterpart may still be written. A vault that reports no time leaves it
/// open.
fn may_be_alone(version: &SecretVersion, now: SystemTime) -> bool {
    version.written_at.is_none() || is_young(version, now)
}

/// Returns whether the version was written a short time ago, or in the future by our clock.
fn is_young(version: &SecretVersion, now: SystemTime) -> bool {
    version
        .written_at
        .is_some_and(|at| now.duration_since(at).unwrap_or_default() < TIME_TO_WRITE_BOTH)
}

fn were_written_apart(key: Option<SystemTime>, secret: Option<SystemTime>) -> bool {
    match (key, secret) {
        (Some(key), Some(secret)) => {
            let distance = key.max(secret).duration_since(key.min(secret));
            distance.unwrap_or_default() >= TIME_TO_WRITE_BOTH
        }
        (key, secret) => key != secret,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const NOW: u64 = 1_000;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn version_of(version: &str, written_at: u64) -> SecretVersion {
        SecretVersion {
            value: "v".into(),
            version: version.to_owned(),
            written_at: Some(at(written_at)),
        }
    }

    fn verdict(
        published: Option<[&str; 2]>,
        key: &SecretVersion,
        secret: &SecretVersion,
    ) -> PairVerdict {
        judge(published, [key, secret], at(NOW))
    }

    #[test]
    fn a_new_version_waits_for_its_counterpart_for_twenty_seconds() {
        for published in [None, Some(["k1", "s1"]), Some(["k0", "s0"])] {
            for (age, awaits, taken) in [
                (0, true, false),
                (19, true, false),
                (20, false, true),
                (500, false, true),
            ] {
                let (old_key, old_secret) = (version_of("k1", 1), version_of("s1", 1));
                let (key, secret) = (version_of("k2", NOW - age), version_of("s2", NOW - age));
                for (verdict, other) in [
                    (
                        verdict(published, &key, &old_secret),
                        PairVerdict::AwaitsSecret,
                    ),
                    (
                        verdict(published, &old_key, &secret),
                        PairVerdict::AwaitsKey,
                    ),
                ] {
                    assert_eq!(
                        (verdict == other, verdict == PairVerdict::WrittenApart),
                        (awaits, taken),
                        "{published:?}, {age} s"
                    );
                }
            }
        }
    }

    #[test]
    fn versions_written_together_are_used_at_once() {
        for published in [None, Some(["k1", "s1"])] {
            assert_eq!(
                verdict(
                    published,
                    &version_of("k2", NOW),
                    &version_of("s2", NOW - 19)
                ),
                PairVerdict::Complete
            );
            assert_eq!(
                verdict(
                    published,
                    &version_of("k2", NOW - 30),
                    &version_of("s2", NOW - 15)
                ),
                PairVerdict::Complete
            );
            assert_eq!(
                verdict(
                    published,
                    &version_of("k2", NOW + 9),
                    &version_of("s2", NOW)
                ),
                PairVerdict::Complete,
                "a vault's clock may be ahead"
            );
        }
        assert_eq!(
            verdict(
                Some(["k2", "s2"]),
                &version_of("k2", NOW),
                &version_of("s2", 1)
            ),
            PairVerdict::Unchanged
        );
    }

    #[test]
    fn a_version_without_a_time_never_replaces_a_published_one_alone() {
        let undated = |version| SecretVersion {
            written_at: None,
            ..version_of(version, 0)
        };
        assert_eq!(
            verdict(None, &undated("k1"), &undated("s1")),
            PairVerdict::Complete
        );
        assert_eq!(
            verdict(Some(["k1", "s1"]), &undated("k2"), &undated("s1")),
            PairVerdict::AwaitsSecret
        );
        assert_eq!(
            verdict(Some(["k1", "s1"]), &undated("k2"), &undated("s2")),
            PairVerdict::Complete
        );
    }
}
