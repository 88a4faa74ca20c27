//! One entry of a key set (RFC 7517 §4, RFC 7518 §6) and the public keys that it holds.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;

use super::algorithm::Algorithm;
use crate::domain::requests::json::{Json, Object};

/// The most bytes of a key id, in a key set and in a token.
pub const MAX_KEY_ID_BYTES: usize = 256;
/// The sizes of RSA moduli in bits. Shorter ones are weak (RFC 7518 §3.3), longer ones make each
/// verification expensive.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
/// The most bytes of an RSA exponent. The usual one, 65537, has three.
const MAX_EXPONENT_BYTES: usize = 4;

/// A public key, bound to the one algorithm that it may be used with (RFC 8725 §3.1).
///
/// It is parsed once, when the key set is read, and not again for each token. That is why the
/// cryptography library verifies signatures itself: a JWT library copies and parses the key each
/// time.
pub struct VerifyingKey {
    algorithm: Algorithm,
    issuer: Option<Arc<str>>,
    key: ParsedPublicKey,
}

impl VerifyingKey {
    /// Returns the only algorithm that the key may be used with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the issuer that the key set assigns the key to.
    ///
    /// Only Entra assigns issuers, in the key sets that all its tenants share, with `{tenantid}`
    /// where any tenant is meant.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Reports whether this key made the signature over the message.
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

/// One usable entry of a key set.
#[derive(Debug)]
pub(super) struct Jwk {
    pub key_id: Option<Box<str>>,
    /// The key, once for each algorithm that it may be used with. Never empty.
    pub keys: Vec<Arc<VerifyingKey>>,
}

/// The reason why an entry is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SkipReason {
    /// The entry is for another purpose, key type or algorithm. Providers publish such entries for
    /// other services.
    NotApplicable,
    /// The entry has a known key type but is broken or weak.
    Unreadable,
}

impl Jwk {
    /// Reads one entry.
    pub fn read(entry: &Object<'_>) -> Result<Self, SkipReason> {
        let key_id = optional_text(entry, "kid")?
            .map(|id| {
                is_key_id(id)
                    .then(|| id.into())
                    .ok_or(SkipReason::Unreadable)
            })
            .transpose()?;
        if !is_for_signatures(entry)? {
            return Err(SkipReason::NotApplicable);
        }
        // A key that names its algorithm may be used with no other.
        let only = match optional_text(entry, "alg")? {
            None => None,
            Some(name) => Some(Algorithm::parse(name).ok_or(SkipReason::NotApplicable)?),
        };
        let issuer: Option<Arc<str>> = optional_text(entry, "issuer")?.map(Into::into);
        let keys: Vec<_> = parse_keys(entry)?
            .into_iter()
            .filter(|(algorithm, _)| only.is_none_or(|only| only == *algorithm))
            .map(|(algorithm, key)| {
                Arc::new(VerifyingKey {
                    algorithm,
                    issuer: issuer.clone(),
                    key,
                })
            })
            .collect();
        if keys.is_empty() {
            Err(SkipReason::Unreadable)
        } else {
            Ok(Self { key_id, keys })
        }
    }
}

/// Reports whether a text can be a key id: 1 to 256 visible ASCII characters.
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    (1..=MAX_KEY_ID_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Reports whether `use` and `key_ops` (RFC 7517 §4.2, §4.3), where present, allow verification.
fn is_for_signatures(entry: &Object<'_>) -> Result<bool, SkipReason> {
    let is_for_signing = optional_text(entry, "use")?.is_none_or(|purpose| purpose == "sig");
    let may_verify = match entry.get("key_ops") {
        None | Some(Json::Null) => true,
        Some(Json::Array(operations)) => operations.contains(&Json::Text("verify".into())),
        Some(_) => return Err(SkipReason::Unreadable),
    };
    Ok(is_for_signing && may_verify)
}

/// A public key for each algorithm that it can be used with.
type ParsedKeys = Vec<(Algorithm, ParsedPublicKey)>;

fn parse_keys(entry: &Object<'_>) -> Result<ParsedKeys, SkipReason> {
    let (key_type, curve) = (optional_text(entry, "kty")?, optional_text(entry, "crv")?);
    let keys = match (key_type, curve) {
        (Some("RSA"), _) => parse_rsa(entry),
        (Some("EC"), Some("P-256")) => {
            parse_elliptic(entry, Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32)
        }
        (Some("EC"), Some("P-384")) => {
            parse_elliptic(entry, Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48)
        }
        (Some("OKP"), Some("Ed25519")) => parse_edwards(entry),
        (Some("EC" | "OKP"), None) | (None, _) => None,
        _ => return Err(SkipReason::NotApplicable),
    };
    keys.ok_or(SkipReason::Unreadable)
}

fn parse_rsa(entry: &Object<'_>) -> Option<ParsedKeys> {
    // Base64urlUInt has no leading zero (RFC 7518 §2), but some libraries write the sign byte of
    // their big integers.
    let (n, e) = (decode_member(entry, "n")?, decode_member(entry, "e")?);
    let (n, e) = (strip_leading_zeros(&n), strip_leading_zeros(&e));
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    // An exponent of one would make every text its own signature, an even one fits no key, and a
    // long one makes each verification expensive.
    let has_sound_exponent = e != [1] && e.last()? % 2 == 1 && e.len() <= MAX_EXPONENT_BYTES;
    if !has_sound_exponent || !RSA_BITS.contains(&bits) {
        return None;
    }
    let parse = |algorithm: Algorithm| {
        let components = RsaPublicKeyComponents { n, e };
        let key = components.to_parsed_public_key(algorithm.rsa_parameters()?);
        Some((algorithm, key.ok()?))
    };
    Algorithm::RSA.into_iter().map(parse).collect()
}

fn parse_elliptic(
    entry: &Object<'_>,
    algorithm: Algorithm,
    parameters: &'static dyn VerificationAlgorithm,
    size: usize,
) -> Option<ParsedKeys> {
    // A coordinate has the full size of the field (RFC 7518 §6.2.1.2), but some libraries omit
    // leading zeros or add one.
    let padded = |coordinate: Vec<u8>| {
        let digits = strip_leading_zeros(&coordinate);
        Some([&vec![0; size.checked_sub(digits.len())?], digits].concat())
    };
    let x = padded(decode_member(entry, "x")?)?;
    let y = padded(decode_member(entry, "y")?)?;
    // The uncompressed point (SEC 1 §2.3.3). The parser rejects one that is not on the curve.
    let point = [&[4][..], &x, &y].concat();
    let key = ParsedPublicKey::new(parameters, point).ok()?;
    Some(vec![(algorithm, key)])
}

fn parse_edwards(entry: &Object<'_>) -> Option<ParsedKeys> {
    let x = decode_member(entry, "x").filter(|x| x.len() == 32)?;
    let key = ParsedPublicKey::new(&ED25519, x).ok()?;
    Some(vec![(Algorithm::EdDsa, key)])
}

fn strip_leading_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Returns the text of a member, or `None` if it is absent or null.
fn optional_text<'a>(entry: &'a Object<'_>, member: &str) -> Result<Option<&'a str>, SkipReason> {
    match entry.get(member) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(SkipReason::Unreadable),
    }
}

/// Decodes a base64url member. Some libraries pad it, or write the alphabet of plain base64.
fn decode_member(entry: &Object<'_>, member: &str) -> Option<Vec<u8>> {
    let text = optional_text(entry, member)
        .ok()??
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_");
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}
