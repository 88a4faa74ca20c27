//! Two secrets that change together but are written one after the other: which two readings belong
//! together?
//!
//! Whoever rotates a pair writes both halves within [`TIME_TO_WRITE_BOTH`]. A half that is younger
//! than that may be waiting for the other; one that is older is meant to be as it is, so that no
//! pair is refused for ever.

use std::time::{Duration, SystemTime};

use crate::upstream::key_vault::SecretVersion;

/// Who writes both secrets of a pair needs no longer than this.
const TIME_TO_WRITE_BOTH: Duration = Duration::from_secs(20);

/// What to do with a pair that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the one that is held.
    Same,
    /// It is new and whole.
    Whole,
    /// It is to be taken, for nothing better will come; but its halves were written so far apart
    /// that they may be two that do not belong together.
    FarApart,
    /// This half, 0 or 1, may be about to be written.
    Awaits(usize),
}

/// Looks at a pair that was read, in the same order as the versions that are held.
pub(super) fn judge(
    held: Option<[&str; 2]>,
    read: [&SecretVersion; 2],
    now: SystemTime,
) -> Verdict {
    let [key, secret] = read;
    let [key_stays, secret_stays] = held.map_or([false; 2], |[held_key, held_secret]| {
        [held_key == key.version, held_secret == secret.version]
    });
    let verdict = if are_far_apart(key.written_at, secret.written_at) {
        Verdict::FarApart
    } else {
        Verdict::Whole
    };
    match (key_stays, secret_stays) {
        (true, true) => Verdict::Same,
        (true, false) if may_be_alone(secret, now) => Verdict::Awaits(0),
        (false, true) if may_be_alone(key, now) => Verdict::Awaits(1),
        // Where nothing is held, or both are new, there is only the time to tell it by.
        (false, false) if verdict == Verdict::FarApart && is_young(key, now) => Verdict::Awaits(1),
        (false, false) if verdict == Verdict::FarApart && is_young(secret, now) => {
            Verdict::Awaits(0)
        }
        _ => verdict,
    }
}

/// Whether the other half may still come. A vault that does not say when it was written leaves it
/// open.
fn may_be_alone(half: &SecretVersion, now: SystemTime) -> bool {
    half.written_at.is_none() || is_young(half, now)
}

/// Ahead of our clock is young too.
fn is_young(half: &SecretVersion, now: SystemTime) -> bool {
    half.written_at
        .is_some_and(|at| now.duration_since(at).unwrap_or_default() < TIME_TO_WRITE_BOTH)
}

fn are_far_apart(key: Option<SystemTime>, secret: Option<SystemTime>) -> bool {
    match (key, secret) {
        (Some(key), Some(secret)) => {
            key.max(secret)
                .duration_since(key.min(secret))
                .unwrap_or_default()
                >= TIME_TO_WRITE_BOTH
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

    fn half(version: &str, written_at: u64) -> SecretVersion {
        SecretVersion {
            value: "v".into(),
            version: version.to_owned(),
            written_at: Some(at(written_at)),
        }
    }

    fn verdict(held: Option<[&str; 2]>, key: &SecretVersion, secret: &SecretVersion) -> Verdict {
        judge(held, [key, secret], at(NOW))
    }

    #[test]
    fn a_half_waits_for_the_other_no_longer_than_it_takes_to_write_it() {
        for held in [None, Some(["k1", "s1"]), Some(["k0", "s0"])] {
            for (age, awaits, taken) in [
                (0, true, false),
                (19, true, false),
                (20, false, true),
                (500, false, true),
            ] {
                let (old_key, old_secret) = (half("k1", 1), half("s1", 1));
                let (key, secret) = (half("k2", NOW - age), half("s2", NOW - age));
                for (verdict, other) in [
                    (verdict(held, &key, &old_secret), 1),
                    (verdict(held, &old_key, &secret), 0),
                ] {
                    assert_eq!(
                        (
                            verdict == Verdict::Awaits(other),
                            verdict == Verdict::FarApart
                        ),
                        (awaits, taken),
                        "{held:?}, {age} s"
                    );
                }
            }
        }
    }

    #[test]
    fn halves_that_were_written_together_are_taken_at_once() {
        for held in [None, Some(["k1", "s1"])] {
            assert_eq!(
                verdict(held, &half("k2", NOW), &half("s2", NOW - 19)),
                Verdict::Whole
            );
            assert_eq!(
                verdict(held, &half("k2", NOW - 30), &half("s2", NOW - 15)),
                Verdict::Whole
            );
            assert_eq!(
                verdict(held, &half("k2", NOW + 9), &half("s2", NOW)),
                Verdict::Whole,
                "a vault's clock may be ahead"
            );
        }
        assert_eq!(
            verdict(Some(["k2", "s2"]), &half("k2", NOW), &half("s2", 1)),
            Verdict::Same
        );
    }

    #[test]
    fn a_half_that_has_no_time_never_takes_the_place_of_one_that_is_held() {
        let undated = |version| SecretVersion {
            written_at: None,
            ..half(version, 0)
        };
        assert_eq!(
            verdict(None, &undated("k1"), &undated("s1")),
            Verdict::Whole
        );
        assert_eq!(
            verdict(Some(["k1", "s1"]), &undated("k2"), &undated("s1")),
            Verdict::Awaits(1)
        );
        assert_eq!(
            verdict(Some(["k1", "s1"]), &undated("k2"), &undated("s2")),
            Verdict::Whole
        );
    }
}
