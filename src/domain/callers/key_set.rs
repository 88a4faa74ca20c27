//! The public keys of an identity provider (JSON Web Key Set, RFC 7517 and RFC 7518 §6), and the
//! check of one signature.
//!
//! Only keys that sign, of asymmetric kinds, become usable; everything else in the document is
//! skipped, because providers publish more than we use. Nothing here fetches anything.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;

use crate::domain::requests::json::{self, Json, Object};

/// A document may have this many bytes. Entra's has about 20 KiB with its certificates; 100 keys
/// with a certificate each have about 200 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// This many usable keys of a document are kept.
const MAX_KEYS: usize = 100;
/// This many keys are tried for a token whose key id does not single one out, since each try costs
/// a signature check.
const MAX_CANDIDATES: usize = 8;
/// A key id may have this many bytes, in a key set and in a token.
pub const MAX_KEY_ID_BYTES: usize = 256;
/// RSA moduli in bits: shorter ones are weak (RFC 7518 §3.3), longer ones make each check
/// expensive.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
/// Real ones have 3 bytes: 65537.
const MAX_EXPONENT_BYTES: usize = 4;

/// How a token may be signed: asymmetric algorithms only (RFC 7518 §3.1, RFC 8037), so that no key
/// of ours or of the provider's can be mistaken for a shared secret. `none` and HMAC have no value
/// here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Those that one RSA key can serve.
    const OF_RSA: [Self; 6] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];

    /// Reads a registered name, exactly as registered; `None` for every other.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            // One algorithm under two names: RFC 8037, and RFC 9864, which names the curve.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// One public key, bound to the one algorithm that it may be used with (RFC 8725 §3.1).
///
/// It is parsed once, when the set is read, and not again for every token: that is why the
/// signature is checked by the cryptography library itself and not through a JWT library, which
/// copies and parses the key each time.
pub struct VerifyingKey {
    algorithm: Algorithm,
    issuer: Option<Arc<str>>,
    key: ParsedPublicKey,
}

impl VerifyingKey {
    /// The one algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The issuer that the set says this key belongs to. Only Entra says so, in the sets that all
    /// its tenants share, with `{tenantid}` where any tenant may stand.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Whether this key made the signature over the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The document is not a key set with at least one key that can be used.
#[derive(Debug, PartialEq, Eq)]
pub struct KeySetError;

/// Why a set has no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySelectionError {
    /// No key has this id, and none without an id could be meant. A newer set may have one.
    UnknownId,
    /// The key that is named is not one for this algorithm, or no key is.
    OtherAlgorithm,
}

/// The keys that may have signed a token: one to eight, all for its algorithm.
#[derive(Debug, Clone)]
pub struct Candidates {
    keys: Vec<Arc<VerifyingKey>>,
    /// Whether the token and the set both name the key. If not, a signature that none of them made
    /// may be by a newer key.
    pub are_named: bool,
}

impl Candidates {
    /// The keys to try, in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter().map(AsRef::as_ref)
    }
}

/// The usable keys of one document.
#[derive(Debug)]
pub struct KeySet {
    entries: Vec<Entry>,
    unreadable: usize,
    /// Of the whole document, so that a change of any of it is noticed.
    digest: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    key_id: Option<Box<str>>,
    /// One for each algorithm; never empty.
    keys: Vec<Arc<VerifyingKey>>,
}

/// Why an entry of a document does not become a key.
#[derive(Debug, PartialEq, Eq)]
enum Skipped {
    /// It is for another purpose, of another kind or for another algorithm, as providers publish
    /// them for others.
    NotForUs,
    /// It should be a key of a known kind and is broken or weak.
    Unreadable,
}

impl KeySet {
    /// Reads a document: `{"keys":[…]}`.
    ///
    /// An entry that is broken, weak, not for signatures, symmetric or of an unknown kind is
    /// skipped, so that one of them does not lock out everyone.
    ///
    /// # Errors
    /// [`KeySetError`] when it is larger than 256 KiB, is not JSON, or no key is left.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(KeySetError);
        }
        let (mut entries, mut unreadable) = (Vec::new(), 0);
        for listed in json::parse_items(document, "keys").map_err(|_| KeySetError)? {
            match listed
                .ok_or(Skipped::Unreadable)
                .and_then(|key| Entry::read(&key))
            {
                Ok(entry) if entries.len() < MAX_KEYS => entries.push(entry),
                Err(Skipped::NotForUs) => {}
                Ok(_) | Err(Skipped::Unreadable) => unreadable += 1,
            }
        }
        let digest = digest(&SHA256, document).as_ref().to_vec();
        if entries.is_empty() {
            Err(KeySetError)
        } else {
            Ok(Self {
                entries,
                unreadable,
                digest,
            })
        }
    }

    /// Whether both come from the same document.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Returns how many entries were skipped because they could not be read, or were too many.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Finds the keys that may have signed a token: those with its key id; where there is none,
    /// those without any id; for a token without a key id, all. Of these, the first eight for its
    /// algorithm.
    ///
    /// # Errors
    /// [`KeySelectionError`] says why there is none.
    pub fn find(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Candidates, KeySelectionError> {
        let has_id = |entry: &&Entry| key_id.is_some() && entry.key_id.as_deref() == key_id;
        let are_named = self.entries.iter().any(|entry| has_id(&entry));
        let is_meant = |entry: &&Entry| {
            if are_named {
                has_id(entry)
            } else {
                key_id.is_none() || entry.key_id.is_none()
            }
        };
        let mut meant = self
            .entries
            .iter()
            .filter(is_meant)
            .flat_map(|entry| &entry.keys)
            .peekable();
        if meant.peek().is_none() {
            return Err(KeySelectionError::UnknownId);
        }
        let keys: Vec<_> = meant
            .filter(|key| key.algorithm == algorithm)
            .take(MAX_CANDIDATES)
            .cloned()
            .collect();
        if keys.is_empty() {
            Err(KeySelectionError::OtherAlgorithm)
        } else {
            Ok(Candidates { keys, are_named })
        }
    }
}

impl Entry {
    fn read(key: &Object<'_>) -> Result<Self, Skipped> {
        let key_id = optional_text(key, "kid")?
            .map(|id| is_key_id(id).then(|| id.into()).ok_or(Skipped::Unreadable))
            .transpose()?;
        if !is_for_signatures(key)? {
            return Err(Skipped::NotForUs);
        }
        // A key that says its algorithm serves no other.
        let only = match optional_text(key, "alg")? {
            None => None,
            Some(name) => Some(Algorithm::parse(name).ok_or(Skipped::NotForUs)?),
        };
        let issuer: Option<Arc<str>> = optional_text(key, "issuer")?.map(Into::into);
        let keys = match (optional_text(key, "kty")?, optional_text(key, "crv")?) {
            (Some("RSA"), _) => rsa(key),
            (Some("EC"), Some("P-256")) => {
                elliptic(key, Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32)
            }
            (Some("EC"), Some("P-384")) => {
                elliptic(key, Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48)
            }
            (Some("OKP"), Some("Ed25519")) => edwards(key),
            (Some("EC" | "OKP"), None) | (None, _) => return Err(Skipped::Unreadable),
            _ => return Err(Skipped::NotForUs),
        };
        let wanted = keys
            .ok_or(Skipped::Unreadable)?
            .into_iter()
            .filter(|(algorithm, _)| only.is_none_or(|only| only == *algorithm));
        let bound = |(algorithm, key)| {
            Arc::new(VerifyingKey {
                algorithm,
                issuer: issuer.clone(),
                key,
            })
        };
        let keys: Vec<_> = wanted.map(bound).collect();
        if keys.is_empty() {
            Err(Skipped::Unreadable)
        } else {
            Ok(Self { key_id, keys })
        }
    }
}

/// Whether a text can be a key id: 1 to 256 visible ASCII characters.
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    (1..=MAX_KEY_ID_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Reads `use` and `key_ops` (RFC 7517 §4.2, §4.3) where they are given.
fn is_for_signatures(key: &Object<'_>) -> Result<bool, Skipped> {
    let for_signatures = optional_text(key, "use")?.is_none_or(|purpose| purpose == "sig");
    let to_verify = match key.get("key_ops") {
        None | Some(Json::Null) => true,
        Some(Json::Array(operations)) => operations.contains(&Json::Text("verify".into())),
        Some(_) => return Err(Skipped::Unreadable),
    };
    Ok(for_signatures && to_verify)
}

type Parsed = Vec<(Algorithm, ParsedPublicKey)>;

fn rsa(key: &Object<'_>) -> Option<Parsed> {
    // Base64urlUInt has no leading zero (RFC 7518 §2), but some libraries write the sign byte of
    // their big integers.
    let (n, e) = (bytes(key, "n")?, bytes(key, "e")?);
    let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    // An exponent of one would make every text its own signature, an even one fits no key, a long
    // one makes each check expensive.
    let is_sound = e != [1] && e.last()? % 2 == 1 && e.len() <= MAX_EXPONENT_BYTES;
    if !is_sound || !RSA_BITS.contains(&bits) {
        return None;
    }
    let parsed = |algorithm: Algorithm| {
        let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(algorithm.rsa()?);
        Some((algorithm, key.ok()?))
    };
    Algorithm::OF_RSA.into_iter().map(parsed).collect()
}

fn elliptic(
    key: &Object<'_>,
    algorithm: Algorithm,
    parameters: &'static dyn VerificationAlgorithm,
    size: usize,
) -> Option<Parsed> {
    // A coordinate has the full size of the field (RFC 7518 §6.2.1.2); some libraries leave leading
    // zeros out, or add one.
    let padded = |coordinate: Vec<u8>| {
        let digits = without_leading_zeros(&coordinate);
        Some([&vec![0; size.checked_sub(digits.len())?], digits].concat())
    };
    let (x, y) = (padded(bytes(key, "x")?)?, padded(bytes(key, "y")?)?);
    // The uncompressed point (SEC 1 §2.3.3). The parser refuses one that is not on the curve.
    let point = [&[4][..], &x, &y].concat();
    Some(vec![(
        algorithm,
        ParsedPublicKey::new(parameters, point).ok()?,
    )])
}

fn edwards(key: &Object<'_>) -> Option<Parsed> {
    let x = bytes(key, "x").filter(|x| x.len() == 32)?;
    Some(vec![(
        Algorithm::EdDsa,
        ParsedPublicKey::new(&ED25519, x).ok()?,
    )])
}

fn without_leading_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// The text of a member that may be absent or null.
fn optional_text<'a>(key: &'a Object<'_>, member: &str) -> Result<Option<&'a str>, Skipped> {
    match key.get(member) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err(Skipped::Unreadable),
    }
}

/// The bytes of a base64url member. Some libraries pad it, or write base64 with its two other
/// digits.
fn bytes(key: &Object<'_>, member: &str) -> Option<Vec<u8>> {
    let text = optional_text(key, member)
        .ok()??
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_");
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
