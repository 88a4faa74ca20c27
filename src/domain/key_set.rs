//! The public keys of an identity provider (JSON Web Key Set, RFC 7517 and RFC 7518 §6), and the check of one signature.
//!
//! Only keys that sign, of asymmetric kinds, become usable; everything else in the document is passed over, because providers
//! publish more than we use. Nothing here fetches anything.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;

use super::json::{self, Json, Object};

/// A document may have this many bytes. Entra's, one of the largest, has about 20 KiB with its certificates.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// A document may list this many keys, usable or not.
const MAX_KEYS: usize = 100;
/// A key id may have this many bytes, in a key set and in a token.
pub const MAX_KEY_ID_BYTES: usize = 256;
/// RSA moduli in bits: shorter ones are weak (RFC 7518 §3.3), longer ones make each check expensive.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
/// Real ones have 3 bytes: 65537.
const MAX_EXPONENT_BYTES: usize = 4;

/// How a token may be signed: asymmetric algorithms only (RFC 7518 §3.1, RFC 8037), so that no key of ours or of the
/// provider's can be mistaken for a shared secret. `none` and HMAC have no value here.
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
    const OF_RSA: [Self; 6] = [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Ps384, Self::Ps512];

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
            "EdDSA" => Self::EdDsa,
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
/// It is parsed once, when the set is read, and not again for every token: that is why the signature is checked by the
/// cryptography library itself and not through a JWT library, which copies and parses the key each time.
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

    /// The issuer that the set says this key belongs to. Only Entra says so, in the sets that all its tenants share, with
    /// `{tenantid}` where any tenant may stand.
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
        formatter.debug_struct("VerifyingKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The document is not a key set with at least one key that can be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable;

/// Why a set has no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// No key has this id. A newer set may.
    UnknownId,
    /// The token names no key, and there are several.
    Unnamed,
    /// The key is not one for this algorithm.
    OtherAlgorithm,
}

/// The usable keys of one document.
#[derive(Debug)]
pub struct KeySet {
    entries: Vec<Entry>,
    /// Of the whole document, so that a change of any of it is noticed.
    digest: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    key_id: Option<Box<str>>,
    /// One for each algorithm; never empty.
    keys: Vec<Arc<VerifyingKey>>,
}

impl KeySet {
    /// Reads a document: `{"keys":[…]}`.
    ///
    /// A key that is broken, weak, not for signatures, symmetric or of an unknown kind is passed over, so that one of them
    /// does not lock out everyone. Without `kid` a key is usable only as the single one. Of two keys with the same id and
    /// algorithm the first counts.
    ///
    /// # Errors
    /// [`Unusable`] when it is larger than 64 KiB, lists more than 100 keys, is not strict JSON, or no key is left.
    pub fn parse(document: &[u8]) -> Result<Self, Unusable> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(Unusable);
        }
        let members = json::parse_object(document).map_err(|_| Unusable)?;
        let Some(Json::Array(listed)) = members.get("keys") else { return Err(Unusable) };
        if listed.len() > MAX_KEYS {
            return Err(Unusable);
        }
        let mut entries: Vec<_> = listed.iter().filter_map(Entry::read).collect();
        if entries.len() > 1 {
            entries.retain(|entry| entry.key_id.is_some());
        }
        let digest = digest(&SHA256, document).as_ref().to_vec();
        if entries.is_empty() { Err(Unusable) } else { Ok(Self { entries, digest }) }
    }

    /// Whether both come from the same document.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// The key that a token names. A token without a key id, or a key without one, is served where there is a single key.
    ///
    /// # Errors
    /// [`NoKey`] says why there is none.
    pub fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Result<Arc<VerifyingKey>, NoKey> {
        let single = self.entries.len() == 1;
        if key_id.is_none() && !single {
            return Err(NoKey::Unnamed);
        }
        let meant = |entry: &&Entry| match (key_id, &entry.key_id) {
            (Some(wanted), Some(id)) => **id == *wanted,
            (None, _) | (_, None) => single,
        };
        let mut named = self.entries.iter().filter(meant).peekable();
        if named.peek().is_none() {
            return Err(NoKey::UnknownId);
        }
        let mut keys = named.flat_map(|entry| &entry.keys);
        keys.find(|key| key.algorithm == algorithm).cloned().ok_or(NoKey::OtherAlgorithm)
    }
}

impl Entry {
    /// `None` for a key that cannot be used.
    fn read(listed: &Json<'_>) -> Option<Self> {
        let Json::Object(key) = listed else { return None };
        let key_id = match key.get("kid") {
            None => None,
            Some(Json::Text(id)) if is_key_id(id) => Some(id.as_ref().into()),
            Some(_) => return None,
        };
        if !signs(key) {
            return None;
        }
        // A key that says its algorithm serves no other.
        let algorithms = match key.get("alg") {
            None => None,
            Some(Json::Text(name)) => Some(Algorithm::parse(name)?),
            Some(_) => return None,
        };
        let issuer: Option<Arc<str>> = text(key, "issuer").map(Into::into);
        let keys: Vec<_> = match text(key, "kty")? {
            "RSA" => rsa(key)?,
            "EC" => vec![elliptic(key)?],
            "OKP" => vec![edwards(key)?],
            _ => return None,
        };
        let wanted = keys.into_iter().filter(|(algorithm, _)| algorithms.is_none_or(|only| only == *algorithm));
        let bound = |(algorithm, key)| Arc::new(VerifyingKey { algorithm, issuer: issuer.clone(), key });
        let keys: Vec<_> = wanted.map(bound).collect();
        (!keys.is_empty()).then_some(Self { key_id, keys })
    }
}

/// Whether a text can be a key id: 1 to 256 visible ASCII characters.
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    (1..=MAX_KEY_ID_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// `use` and `key_ops` (RFC 7517 §4.2, §4.3) where they are given.
fn signs(key: &Object<'_>) -> bool {
    let for_signatures = match key.get("use") {
        None => true,
        Some(Json::Text(purpose)) => purpose == "sig",
        Some(_) => false,
    };
    let to_verify = match key.get("key_ops") {
        None => true,
        Some(Json::Array(operations)) => operations.contains(&Json::Text("verify".into())),
        Some(_) => false,
    };
    for_signatures && to_verify
}

fn rsa(key: &Object<'_>) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    let (n, e) = (bytes(key, "n")?, bytes(key, "e")?);
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    // An exponent of one would make every text its own signature, an even one fits no key, a long one makes each check expensive.
    let sound_exponent = *e.first()? != 0 && e != [1] && e.last()? % 2 == 1 && e.len() <= MAX_EXPONENT_BYTES;
    // Base64urlUInt has no leading zero (RFC 7518 §2).
    if *n.first()? == 0 || !sound_exponent || !RSA_BITS.contains(&bits) {
        return None;
    }
    let parsed = |algorithm: Algorithm| {
        let key = RsaPublicKeyComponents { n: &n, e: &e }.to_parsed_public_key(algorithm.rsa()?);
        Some((algorithm, key.ok()?))
    };
    Algorithm::OF_RSA.into_iter().map(parsed).collect()
}

fn elliptic(key: &Object<'_>) -> Option<(Algorithm, ParsedPublicKey)> {
    let (algorithm, parameters, size): (_, &'static dyn VerificationAlgorithm, _) = match text(key, "crv")? {
        "P-256" => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32),
        "P-384" => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48),
        _ => return None,
    };
    let (x, y) = (bytes(key, "x")?, bytes(key, "y")?);
    if x.len() != size || y.len() != size {
        return None;
    }
    // The uncompressed point (SEC 1 §2.3.3). The parser refuses one that is not on the curve.
    let point = [&[4][..], &x, &y].concat();
    Some((algorithm, ParsedPublicKey::new(parameters, point).ok()?))
}

fn edwards(key: &Object<'_>) -> Option<(Algorithm, ParsedPublicKey)> {
    let x = bytes(key, "x").filter(|x| x.len() == 32 && text(key, "crv") == Some("Ed25519"))?;
    Some((Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, x).ok()?))
}

fn text<'a>(key: &'a Object<'_>, member: &str) -> Option<&'a str> {
    match key.get(member) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

fn bytes(key: &Object<'_>, member: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text(key, member)?.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
