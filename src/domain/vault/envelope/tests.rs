//! Known answers, and every change of a record that must not open.

use std::sync::Arc;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const KEK_1: &[u8] = b"canary-kek-of-32-bytes-012345678";
const KEK_2: &[u8] = b"another-canary-kek-of-32-bytes-0";
const KEY: &str = "sk-proj-canary-project-key-0123";

/// A sealed record, computed with Python's `cryptography` 48.0.0 (`AESGCM`, `HKDF`) and `struct`:
/// the data key is the bytes 0 to 31, the salt 32 to 63, the project `customer-42`, the secret
/// version 3, the record version 7, the KEK [`KEK_1`] as `v1`.
const SEALED: &str = "\
    01010000000000000003000000000000000700000001202122232425262728292a2b2c2d2e2f3031\
    32333435363738393a3b3c3d3e3f8a1e9c045f26465e7b71a4ec0c8696063adb04e325f03f020558\
    d50bcd569bfc7fdd025c68aabd702ffefd54cb2afa10710bfab58dcc347444dcda93b2b40be456a3\
    c91eff828fd44741067d88baa1967dd798aec743e9906bc9c7546a55bce9a02c3c364bf54d44e5e7\
    9eb3f4cd6e2136a8270b34f67f951887fba22727d3";

/// The same record, resealed under [`KEK_2`] as `v2` with the salt 64 to 95 as record version 8.
const RESEALED: &str = "\
    01010000000000000003000000000000000800000002404142434445464748494a4b4c4d4e4f5051\
    52535455565758595a5b5c5d5e5f2bb13c5a1d56b353b3e542d5264777a0e0a86acc3c228e6afe76\
    0329a3e16dbda704610c69976cc7642d582112916fb2e4ab28eb12fc50e25c0c5e7d19494155dda3\
    38f20383fcf21b38ec2752226b807dd798aec743e9906bc9c7546a55bce9a02c3c364bf54d44e5e7\
    9eb3f4cd6e2136a8270b34f67f951887fba22727d3";

const VERSIONS: Versions = Versions {
    secret: 3,
    record: 7,
};

fn kek(bytes: &[u8]) -> Arc<KeyEncryptionKey> {
    let text = BASE64URL_NOPAD.encode(bytes);
    Arc::new(KeyEncryptionKey::parse(&text.into()).unwrap())
}

fn version(number: u32) -> KekVersion {
    KekVersion::from_number(number).unwrap()
}

fn keks() -> KeyEncryptionKeys {
    [(version(1), kek(KEK_1)), (version(2), kek(KEK_2))]
        .into_iter()
        .collect()
}

fn project() -> ProjectId {
    ProjectId::parse("customer-42").unwrap()
}

/// Yields the bytes from `first` upwards, so that a data key and a salt are told apart.
fn counting(first: u8) -> SealRandomness {
    SealRandomness::draw(|bytes| bytes.iter_mut().zip(first..).for_each(|(to, n)| *to = n))
}

fn sealed() -> SealedKey {
    let key = ProjectKey::parse(KEY).unwrap();
    seal(
        &keks(),
        version(1),
        &project(),
        VERSIONS,
        &key,
        &counting(0),
    )
    .unwrap()
}

fn opened(record: &[u8]) -> Result<String, OpenError> {
    let key = open(&keks(), &project(), VERSIONS, record)?;
    Ok(key.secret().expose_secret().to_owned())
}

#[test]
fn a_sealed_key_is_the_one_that_another_implementation_computes() {
    assert_eq!(HEXLOWER.encode(&sealed().to_bytes()), SEALED);
    let record = HEXLOWER.decode(SEALED.as_bytes()).unwrap();
    assert_eq!(opened(&record).as_deref(), Ok(KEY));
    assert_eq!(SealedKey::parse(&record), Some(sealed()));
}

#[test]
fn a_resealed_key_is_the_one_that_another_implementation_computes() {
    let record = sealed().to_bytes();
    let resealed = reseal(
        &keks(),
        version(2),
        &project(),
        VERSIONS,
        &record,
        &counting(32),
    )
    .unwrap();
    assert_eq!(HEXLOWER.encode(&resealed.to_bytes()), RESEALED);
    assert_eq!(resealed.kek_version(), version(2));
    assert_eq!(resealed.secret, sealed().secret, "the secret is untouched");
    let versions = Versions {
        record: 8,
        ..VERSIONS
    };
    assert_eq!(resealed.versions(), versions);
    let only_new: KeyEncryptionKeys = [(version(2), kek(KEK_2))].into_iter().collect();
    let key = open(&only_new, &project(), versions, &resealed.to_bytes()).unwrap();
    assert_eq!(key.secret().expose_secret(), KEY);
}

#[test]
fn every_flipped_bit_of_a_record_fails_to_open() {
    let record = sealed().to_bytes();
    for position in 0..record.len() {
        for bit in 0..8 {
            let mut flipped = record.clone();
            flipped[position] ^= 1 << bit;
            let error = opened(&flipped).unwrap_err();
            // The KEK's version is in bytes 18 to 21; another one may simply not be known.
            let is_missing = matches!(error, OpenError::Kek(_));
            assert!(
                !is_missing || (18..22).contains(&position),
                "{position}.{bit}"
            );
            let resealed = reseal(
                &keks(),
                version(2),
                &project(),
                VERSIONS,
                &flipped,
                &counting(32),
            );
            // Rotation does not look at the secret, which still does not open afterwards.
            let head = HEAD_BYTES;
            assert_eq!(resealed.is_ok(), position >= head, "{position}.{bit}");
            if let Ok(resealed) = resealed {
                let versions = resealed.versions();
                let record = resealed.to_bytes();
                let opened = open(&keks(), &project(), versions, &record).map(drop);
                assert_eq!(opened, Err(OpenError::Corrupt));
            }
        }
    }
}

#[test]
fn every_truncated_or_extended_record_fails_to_open() {
    let record = sealed().to_bytes();
    for length in 0..record.len() {
        assert_eq!(
            opened(&record[..length]),
            Err(OpenError::Corrupt),
            "{length}"
        );
        assert_eq!(opened(&record[length + 1..]), Err(OpenError::Corrupt));
    }
    for more in [1, 16, 2_000] {
        let longer = [record.clone(), vec![0; more]].concat();
        assert_eq!(opened(&longer), Err(OpenError::Corrupt), "{more}");
    }
}

#[test]
fn a_record_of_another_project_version_or_kek_fails_to_open() {
    let record = sealed().to_bytes();
    let other = ProjectId::parse("customer-4").unwrap();
    let corrupt = Err(OpenError::Corrupt);
    assert_eq!(open(&keks(), &other, VERSIONS, &record).map(drop), corrupt);
    for (secret, record_version) in [(2, 7), (4, 7), (3, 6), (3, 8), (7, 3)] {
        let versions = Versions {
            secret,
            record: record_version,
        };
        assert_eq!(
            open(&keks(), &project(), versions, &record).map(drop),
            corrupt
        );
        // Not even where the record's own numbers are changed to match.
        let mut renumbered = sealed();
        renumbered.versions = versions;
        let record = renumbered.to_bytes();
        assert_eq!(
            open(&keks(), &project(), versions, &record).map(drop),
            corrupt
        );
    }
    let swapped: KeyEncryptionKeys = [(version(1), kek(KEK_2)), (version(2), kek(KEK_1))]
        .into_iter()
        .collect();
    assert_eq!(
        open(&swapped, &project(), VERSIONS, &record).map(drop),
        corrupt
    );
    let mut relabelled = sealed();
    relabelled.kek_version = version(2);
    let (keks, record) = (swapped, relabelled.to_bytes());
    assert_eq!(
        open(&keks, &project(), VERSIONS, &record).map(drop),
        corrupt
    );
}

#[test]
fn a_secret_under_the_data_key_of_another_record_fails_to_open() {
    let key = ProjectKey::parse("sk-proj-canary-project-key-4567").unwrap();
    let other = seal(
        &keks(),
        version(1),
        &project(),
        VERSIONS,
        &key,
        &counting(9),
    )
    .unwrap();
    let mut mixed = sealed();
    mixed.secret = other.secret;
    assert_eq!(opened(&mixed.to_bytes()), Err(OpenError::Corrupt));
}

#[test]
fn an_unknown_kek_is_told_apart_from_a_corrupt_record() {
    let record = sealed().to_bytes();
    let only_new: KeyEncryptionKeys = [(version(2), kek(KEK_2))].into_iter().collect();
    let missing = MissingKek(version(1));
    assert_eq!(
        open(&only_new, &project(), VERSIONS, &record).map(drop),
        Err(OpenError::Kek(missing))
    );
    let resealed = reseal(
        &keks(),
        version(3),
        &project(),
        VERSIONS,
        &record,
        &counting(32),
    );
    assert_eq!(resealed, Err(OpenError::Kek(MissingKek(version(3)))));
    let key = ProjectKey::parse(KEY).unwrap();
    assert_eq!(
        seal(
            &only_new,
            version(1),
            &project(),
            VERSIONS,
            &key,
            &counting(0)
        ),
        Err(SealError::Kek(missing))
    );
}

#[test]
fn a_sealed_key_shows_nothing_of_the_key_or_the_kek() {
    let key = ProjectKey::parse(KEY).unwrap();
    let randomness = counting(128);
    let sealed = seal(&keks(), version(1), &project(), VERSIONS, &key, &randomness).unwrap();
    let (record, printed) = (sealed.to_bytes(), format!("{sealed:?}"));
    let data_key: Vec<u8> = (128..160).collect();
    for secret in [KEY.as_bytes(), KEK_1, &data_key] {
        let shows = |window: &[u8]| secret.windows(8).any(|part| part == window);
        assert!(!record.windows(8).any(shows));
        let decimal = format!("{secret:?}");
        assert!(!printed.contains(decimal.trim_matches(['[', ']'])));
    }
    let salt: Vec<u8> = (160..192).collect();
    assert!(record.windows(32).any(|window| window == salt));
}

proptest! {
    #[test]
    fn what_is_sealed_opens_and_nothing_else_parses_as_it(
        key in "sk-[a-z0-9]{20,80}q",
        number in 1..3_u32,
        secret_version in any::<u64>(),
        record_version in 0..u64::MAX,
        seed in any::<[u8; 64]>(),
    ) {
        let key = ProjectKey::parse(&key).unwrap();
        let versions = Versions { secret: secret_version, record: record_version };
        let randomness = SealRandomness::draw(|bytes| bytes.copy_from_slice(&seed));
        let (keks, kek) = (keks(), version(number));
        let sealed = seal(&keks, kek, &project(), versions, &key, &randomness).unwrap();
        let record = sealed.to_bytes();
        prop_assert_eq!(SealedKey::parse(&record).unwrap().to_bytes(), &record[..]);
        let opened = open(&keks, &project(), versions, &record).unwrap();
        prop_assert_eq!(opened.secret().expose_secret(), key.secret().expose_secret());
    }

    #[test]
    fn every_parsed_record_serialises_to_the_same_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        let bytes = [&[FORMAT, ALGORITHM, 0, 0][..], &bytes].concat();
        if let Some(sealed) = SealedKey::parse(&bytes) {
            prop_assert_eq!(sealed.to_bytes(), &bytes[..]);
        }
        let _ = opened(&bytes).unwrap_err();
    }
}
