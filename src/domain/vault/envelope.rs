//! The envelope: a project key under a fresh data key, and the data key under a KEK.
//!
//! Each AES-256-GCM key here seals exactly one message, so its nonce is zero: every save uses a new
//! data key, and every seal derives a new wrapping key from the KEK and a random salt. The limit of
//! 2^32 random nonces under one KEK (NIST SP 800-38D §8.3) therefore does not apply. The same
//! derivation yields a commitment to the KEK, which GCM itself does not provide.
//!
//! # Source
//! AES-GCM: NIST SP 800-38D. HKDF-SHA256: RFC 5869.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{self, HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use super::associated_data::{Versions, of_data_key, of_secret};
use super::kek::{KekVersion, KeyEncryptionKey, KeyEncryptionKeys, MissingKek};
use super::project_id::ProjectId;
use super::project_key::ProjectKey;

/// The version of the serialised form, its first byte.
const FORMAT: u8 = 1;
/// AES-256-GCM for both layers, the second byte. No other is known.
const ALGORITHM: u8 = 1;

const DATA_KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 32;
const COMMITMENT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const SEALED_DATA_KEY_BYTES: usize = DATA_KEY_BYTES + TAG_BYTES;
/// The bytes before the sealed secret.
const HEAD_BYTES: usize = 2 + 8 + 8 + 4 + SALT_BYTES + COMMITMENT_BYTES + SEALED_DATA_KEY_BYTES;
/// The most bytes of the serialised form, with a key of 512 characters.
const MAX_BYTES: usize = HEAD_BYTES + 512 + TAG_BYTES;

/// The reason why a key could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The KEK to seal with is not known.
    #[error(transparent)]
    Kek(#[from] MissingKek),
    /// The cryptographic library failed, which no valid input causes.
    #[error("The cryptographic library failed.")]
    Crypto(#[from] Unspecified),
}

/// The reason why a record could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The KEK that sealed it is not known. The record may be intact.
    #[error(transparent)]
    Kek(#[from] MissingKek),
    /// The record was not sealed for this project and these versions, or the KEK with this label is
    /// another key. The two cases cannot be distinguished.
    #[error("The sealed record does not open.")]
    Corrupt,
}

impl From<Unspecified> for OpenError {
    /// Returns [`OpenError::Corrupt`]. A failed authentication has no details on purpose.
    fn from(_: Unspecified) -> Self {
        Self::Corrupt
    }
}

/// The random bytes for one seal: the data key and the salt. They are zeroized when dropped.
pub struct SealRandomness(Zeroizing<[u8; DATA_KEY_BYTES + SALT_BYTES]>);

impl SealRandomness {
    /// Draws the bytes with `fill`, which must overwrite its whole argument with random ones.
    #[must_use]
    pub fn draw(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = Zeroizing::new([0; DATA_KEY_BYTES + SALT_BYTES]);
        fill(bytes.as_mut_slice());
        Self(bytes)
    }

    fn data_key(&self) -> Zeroizing<[u8; DATA_KEY_BYTES]> {
        Zeroizing::new(prefix(self.0.as_slice()))
    }

    fn salt(&self) -> [u8; SALT_BYTES] {
        prefix(self.0.get(DATA_KEY_BYTES..).unwrap_or_default())
    }
}

/// A sealed project key as a store keeps it. It contains no secret in plain text.
///
/// Serialised, in bytes: format 1, algorithm 1, secret version 8, record version 8, KEK version 4,
/// salt 32, commitment 32, sealed data key 48, sealed secret 36 to 528; numbers big endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey {
    versions: Versions,
    kek_version: KekVersion,
    salt: [u8; SALT_BYTES],
    commitment: [u8; COMMITMENT_BYTES],
    data_key: [u8; SEALED_DATA_KEY_BYTES],
    secret: Vec<u8>,
}

/// Seals a project's key under a new data key, and the data key under the KEK of `kek_version`.
///
/// ```
/// use std::sync::Arc;
/// use roomkey::domain::vault::associated_data::Versions;
/// use roomkey::domain::vault::envelope::{self, SealRandomness};
/// use roomkey::domain::vault::kek::{KekVersion, KeyEncryptionKey, KeyEncryptionKeys};
/// use roomkey::domain::vault::project_id::ProjectId;
/// use roomkey::domain::vault::project_key::ProjectKey;
///
/// let v1 = KekVersion::parse("v1").unwrap();
/// let kek = "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg".into();
/// let kek = KeyEncryptionKey::parse(&kek).unwrap();
/// let keks: KeyEncryptionKeys = [(v1, Arc::new(kek))].into_iter().collect();
/// let project = ProjectId::parse("customer-42").unwrap();
/// let key = ProjectKey::parse("sk-proj-Ab3dEf6hIj9kLm2nOp5q").unwrap();
/// let versions = Versions { secret: 1, record: 1 };
///
/// // The service draws these bytes from its source of randomness.
/// let randomness = SealRandomness::draw(|bytes| bytes.fill(7));
/// let sealed = envelope::seal(&keks, v1, &project, versions, &key, &randomness).unwrap();
/// assert!(envelope::open(&keks, &project, versions, &sealed.to_bytes()).is_ok());
///
/// let other = ProjectId::parse("customer-43").unwrap();
/// assert!(envelope::open(&keks, &other, versions, &sealed.to_bytes()).is_err());
/// ```
///
/// # Errors
/// [`SealError::Kek`] if that KEK is not known.
pub fn seal(
    keks: &KeyEncryptionKeys,
    kek_version: KekVersion,
    project_id: &ProjectId,
    versions: Versions,
    key: &ProjectKey,
    randomness: &SealRandomness,
) -> Result<SealedKey, SealError> {
    let data_key = randomness.data_key();
    // With capacity for the tag no reallocation leaves a copy of the key behind, and encryption in
    // place overwrites this copy.
    let mut secret = Vec::with_capacity(key.as_bytes().len() + TAG_BYTES);
    secret.extend_from_slice(key.as_bytes());
    aead(data_key.as_slice())?.seal_in_place_append_tag(
        zero_nonce(),
        Aad::from(of_secret(project_id, versions.secret)),
        &mut secret,
    )?;
    let outer = of_data_key(project_id, versions, kek_version);
    let salt = randomness.salt();
    let (commitment, data_key) = wrap(keks.get(kek_version)?, &salt, &outer, &data_key)?;
    Ok(SealedKey {
        versions,
        kek_version,
        salt,
        commitment,
        data_key,
        secret,
    })
}

/// Opens a project's record. `versions` are those that the store keeps separately, so that an older
/// record in its place cannot be opened.
///
/// # Errors
/// [`OpenError::Kek`] if the KEK is not known, otherwise [`OpenError::Corrupt`].
pub fn open(
    keks: &KeyEncryptionKeys,
    project_id: &ProjectId,
    versions: Versions,
    record: &[u8],
) -> Result<ProjectKey, OpenError> {
    let sealed = SealedKey::parse(record).ok_or(OpenError::Corrupt)?;
    let data_key = sealed.open_data_key(keks, project_id, versions)?;
    let mut secret = Zeroizing::new(sealed.secret);
    let plain = aead(data_key.as_slice())?.open_in_place(
        zero_nonce(),
        Aad::from(of_secret(project_id, versions.secret)),
        &mut secret,
    )?;
    let text = str::from_utf8(plain).map_err(|_| OpenError::Corrupt)?;
    ProjectKey::parse(text).map_err(|_| OpenError::Corrupt)
}

/// Reseals the data key under the KEK of `kek_version` and for the next record version. The secret
/// is not opened; its bytes stay unchanged.
///
/// # Errors
/// [`OpenError::Kek`] if either KEK is not known, otherwise [`OpenError::Corrupt`].
pub fn reseal(
    keks: &KeyEncryptionKeys,
    kek_version: KekVersion,
    project_id: &ProjectId,
    versions: Versions,
    record: &[u8],
    randomness: &SealRandomness,
) -> Result<SealedKey, OpenError> {
    let sealed = SealedKey::parse(record).ok_or(OpenError::Corrupt)?;
    let data_key = sealed.open_data_key(keks, project_id, versions)?;
    let versions = Versions {
        record: versions.record.saturating_add(1),
        ..versions
    };
    let outer = of_data_key(project_id, versions, kek_version);
    let salt = randomness.salt();
    let (commitment, data_key) = wrap(keks.get(kek_version)?, &salt, &outer, &data_key)?;
    Ok(SealedKey {
        versions,
        kek_version,
        salt,
        commitment,
        data_key,
        secret: sealed.secret,
    })
}

impl SealedKey {
    /// Returns the version of the KEK that sealed the data key.
    #[must_use]
    pub fn kek_version(&self) -> KekVersion {
        self.kek_version
    }

    /// Returns the versions that the record is bound to.
    #[must_use]
    pub fn versions(&self) -> Versions {
        self.versions
    }

    /// Serialises the record in the form that [`SealedKey`] documents.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.secret.len());
        bytes.extend_from_slice(&[FORMAT, ALGORITHM]);
        bytes.extend_from_slice(&self.versions.secret.to_be_bytes());
        bytes.extend_from_slice(&self.versions.record.to_be_bytes());
        bytes.extend_from_slice(&self.kek_version.number().to_be_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.commitment);
        bytes.extend_from_slice(&self.data_key);
        bytes.extend_from_slice(&self.secret);
        bytes
    }

    /// Reads a serialised record. Returns `None` for anything that [`SealedKey::to_bytes`] does not
    /// write.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let rest = bytes.strip_prefix(&[FORMAT, ALGORITHM])?;
        let (secret_version, rest) = rest.split_first_chunk()?;
        let (record_version, rest) = rest.split_first_chunk()?;
        let (kek_version, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (commitment, rest) = rest.split_first_chunk()?;
        let (data_key, secret) = rest.split_first_chunk()?;
        Some(Self {
            versions: Versions {
                secret: u64::from_be_bytes(*secret_version),
                record: u64::from_be_bytes(*record_version),
            },
            kek_version: KekVersion::from_number(u32::from_be_bytes(*kek_version))?,
            salt: *salt,
            commitment: *commitment,
            data_key: *data_key,
            secret: secret.to_vec(),
        })
    }

    fn open_data_key(
        &self,
        keks: &KeyEncryptionKeys,
        project_id: &ProjectId,
        versions: Versions,
    ) -> Result<Zeroizing<[u8; DATA_KEY_BYTES]>, OpenError> {
        if self.versions != versions {
            return Err(OpenError::Corrupt);
        }
        let outer = of_data_key(project_id, versions, self.kek_version);
        let (wrapping_key, commitment) = derive(keks.get(self.kek_version)?, &self.salt, &outer)?;
        verify_slices_are_equal(&commitment, &self.commitment)?;
        let mut bytes = Zeroizing::new(self.data_key);
        let data_key = aead(wrapping_key.as_slice())?.open_in_place(
            zero_nonce(),
            Aad::from(outer),
            bytes.as_mut_slice(),
        )?;
        Ok(Zeroizing::new(prefix(data_key)))
    }
}

type Wrapped = ([u8; COMMITMENT_BYTES], [u8; SEALED_DATA_KEY_BYTES]);

/// Seals a data key under a wrapping key that is derived from the KEK, the salt and the context and
/// seals nothing else.
fn wrap(
    kek: &KeyEncryptionKey,
    salt: &[u8; SALT_BYTES],
    outer: &[u8],
    data_key: &Zeroizing<[u8; DATA_KEY_BYTES]>,
) -> Result<Wrapped, Unspecified> {
    let (wrapping_key, commitment) = derive(kek, salt, outer)?;
    let mut sealed = [0; SEALED_DATA_KEY_BYTES];
    let (in_place, tag) = sealed.split_at_mut(DATA_KEY_BYTES);
    in_place.copy_from_slice(data_key.as_slice());
    let computed = aead(wrapping_key.as_slice())?.seal_in_place_separate_tag(
        zero_nonce(),
        Aad::from(outer),
        in_place,
    )?;
    tag.copy_from_slice(computed.as_ref());
    Ok((commitment, sealed))
}

type Derived = (Zeroizing<[u8; DATA_KEY_BYTES]>, [u8; COMMITMENT_BYTES]);

/// Derives 64 bytes by HKDF-SHA256: the wrapping key of one data key, and the commitment to it.
fn derive(
    kek: &KeyEncryptionKey,
    salt: &[u8; SALT_BYTES],
    outer: &[u8],
) -> Result<Derived, Unspecified> {
    let mut output = Zeroizing::new([0; DATA_KEY_BYTES + COMMITMENT_BYTES]);
    Salt::new(HKDF_SHA256, salt)
        .extract(kek.as_bytes())
        .expand(&[outer], OutputLength)?
        .fill(output.as_mut_slice())?;
    let (key, commitment) = output.split_at(DATA_KEY_BYTES);
    Ok((Zeroizing::new(prefix(key)), prefix(commitment)))
}

/// The output length of HKDF in `derive`.
struct OutputLength;

impl hkdf::KeyType for OutputLength {
    fn len(&self) -> usize {
        DATA_KEY_BYTES + COMMITMENT_BYTES
    }
}

fn aead(key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?))
}

/// Returns the nonce of a key that seals one message only.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// Copies the first `N` bytes. Every caller has as many.
fn prefix<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut copy = [0; N];
    copy.iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    copy
}

#[cfg(test)]
mod tests;
