//! Bearer tokens (RFC 6750) that are signed JWTs (RFC 7515, RFC 7519): from the Authorization
//! header to a [`Caller`](super::caller::Caller).
//!
//! Follows the advice of RFC 8725: a list of allowed algorithms, a checked type, keys chosen by
//! `kid` among the provider's own, and every claim that is relied on required. Nothing in a token
//! is ever followed: `jku`, `x5u`, `jwk` and `x5c` are ignored. Time is a parameter; the keys come
//! from [`super::key_set`].

mod claims;
mod header;
mod issuer;
mod policy;
mod rejection;

use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;

pub use self::issuer::Issuer;
pub use self::policy::{TokenPolicy, VerifiedCaller};
pub use self::rejection::TokenRejection;
use super::key_set::{Algorithm, VerifyingKey};
use crate::domain::requests::json;

/// The most bytes of a token. Entra writes up to 200 groups into one, about 12 KiB.
pub const MAX_BYTES: usize = 16 * 1024;
/// The endings of `iss` in tokens that Azure's own front ends write: Static Web Apps to its linked
/// backend and to a managed one.
const PLATFORM_ISSUER_ENDINGS: [&str; 2] = ["/.auth", ".scm.azurewebsites.net"];

/// Extracts the token from the values of the Authorization header: the scheme `Bearer` in any case,
/// spaces, one token (RFC 6750 §2.1). Returns `None` if there is no such header.
///
/// # Errors
/// [`TokenRejection::Credentials`] or [`TokenRejection::TooLong`].
pub fn extract_token<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a str>, TokenRejection> {
    let mut values = values.into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(TokenRejection::Credentials);
    }
    let text = str::from_utf8(value).map_err(|_| TokenRejection::Credentials)?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenRejection::Credentials)?;
    let token = token.trim_start_matches(' ');
    if token.len() > MAX_BYTES {
        return Err(TokenRejection::TooLong);
    }
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && token.bytes().all(is_allowed) {
        Ok(Some(token))
    } else {
        Err(TokenRejection::Credentials)
    }
}

/// Returns whether a text has the form of a signed JWT (RFC 7515 §7.1): three parts of base64url
/// with a `.` between them. The last one may be empty, as in an unsigned one.
#[must_use]
pub fn has_jwt_form(token: &str) -> bool {
    let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let mut parts = token.split('.');
    let are_first_two_filled =
        [parts.next(), parts.next()].map(|part| part.is_some_and(|part| !part.is_empty()));
    are_first_two_filled == [true; 2]
        && parts.next().is_some()
        && parts.next().is_none()
        && token.bytes().all(|b| b == b'.' || is_base64url(b))
}

/// A token whose signature has not been verified: **anyone may have written it.**
///
/// Only its algorithm and its key id can be read, and only to find the keys for
/// [`UnverifiedToken::verify`].
///
/// # Examples
/// ```
/// use roomkey::domain::callers::bearer::{TokenRejection, UnverifiedToken, extract_token};
/// use roomkey::domain::callers::key_set::Algorithm;
///
/// // {"alg":"RS256","kid":"k1"}
/// let value = b"Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.e30.c2lnbmF0dXJl";
/// let token = extract_token([&value[..]])?.expect("there is a header");
/// let token = UnverifiedToken::parse(token)?;
/// assert_eq!((token.algorithm(), token.key_id()), (Algorithm::Rs256, Some("k1")));
///
/// // {"alg":"none"}
/// let unsigned = UnverifiedToken::parse("eyJhbGciOiJub25lIn0.e30.");
/// assert_eq!(unsigned.err(), Some(TokenRejection::Algorithm));
/// # Ok::<(), TokenRejection>(())
/// ```
pub struct UnverifiedToken<'a> {
    algorithm: Algorithm,
    key_id: Option<Box<str>>,
    /// The header and the payload with the dot between them, which is what is signed.
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> UnverifiedToken<'a> {
    /// Splits the token and reads its header, but not its payload.
    ///
    /// # Errors
    /// [`TokenRejection`] if no key could make the token acceptable.
    pub fn parse(token: &'a str) -> Result<Self, TokenRejection> {
        if token.len() > MAX_BYTES {
            return Err(TokenRejection::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenRejection::Form)?;
        let (header, payload) = message
            .split_once('.')
            .filter(|(_, payload)| !payload.contains('.'))
            .ok_or(TokenRejection::Form)?;
        let header = header::read(&decode(header)?)?;
        Ok(Self {
            algorithm: header.algorithm,
            key_id: header.key_id,
            message,
            payload,
            signature,
        })
    }

    /// Returns the algorithm that the header names.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the key id that the header names.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Verifies the signature with one of the keys, and only then reads the claims and checks them
    /// against the policy.
    ///
    /// # Errors
    /// [`TokenRejection`] for the first check that fails; [`TokenRejection::Signature`] if none of
    /// the keys made the signature.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    ///
    /// use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    /// use data_encoding::BASE64URL_NOPAD;
    /// use roomkey::domain::callers::bearer::{Issuer, TokenPolicy, UnverifiedToken};
    /// use roomkey::domain::callers::caller::CallerRules;
    /// use roomkey::domain::callers::key_set::KeySet;
    ///
    /// // The identity provider publishes a key and signs a token with it.
    /// let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    /// let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32])?;
    /// let x = encode(key.public_key().as_ref());
    /// let document = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}"#);
    /// let claims = br#"{"iss":"https://id.example","aud":"api://roomkey","sub":"alice",
    ///     "exp":1800000060}"#;
    /// let message = format!("{}.{}", encode(br#"{"alg":"EdDSA"}"#), encode(claims));
    /// let token = format!("{message}.{}", encode(key.sign(message.as_bytes()).as_ref()));
    ///
    /// let policy = TokenPolicy {
    ///     issuer: Issuer::parse("https://id.example")?,
    ///     tenants: vec![],
    ///     audiences: vec!["api://roomkey".into()],
    ///     rules: CallerRules {
    ///         required_scope: None,
    ///         admin_role: "Roomkey.Admin".into(),
    ///         identity_claim: "sub".into(),
    ///         rooms_claim: None,
    ///         roles_claim: None,
    ///         projects_claim: None,
    ///     },
    /// };
    /// let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    /// let key_set = KeySet::parse(document.as_bytes())?;
    /// let token = UnverifiedToken::parse(&token)?;
    /// let candidates = key_set.find(token.key_id(), token.algorithm())?;
    /// let verified = token.verify(candidates.iter(), &policy, now)?;
    /// assert_eq!(verified.caller.name(), b"https://id.example\0alice");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k VerifyingKey>,
        policy: &TokenPolicy,
        now: SystemTime,
    ) -> Result<VerifiedCaller, TokenRejection> {
        let signature = decode(self.signature)?;
        let mut keys = keys
            .into_iter()
            .filter(|key| key.algorithm() == self.algorithm)
            .peekable();
        if keys.peek().is_none() {
            return Err(TokenRejection::Key);
        }
        let key = keys
            .find(|key| key.verifies(self.message.as_bytes(), &signature))
            .ok_or(TokenRejection::Signature)?;
        let payload = BASE64URL_NOPAD
            .decode(self.payload.as_bytes())
            .map_err(|_| TokenRejection::Claims)?;
        let claims = json::parse_members(&payload).map_err(|_| TokenRejection::Claims)?;
        claims::verify(&claims, key.issuer(), policy, now)
    }
}

/// Reports whether an unverified token names a front end of Azure as its issuer.
///
/// It may only be used to choose the reason for a rejection: nothing about the token is proven.
#[must_use]
pub fn is_platform_token(token: &str) -> bool {
    let payload = token
        .split('.')
        .nth(1)
        .filter(|_| token.len() <= MAX_BYTES)
        .and_then(|payload| BASE64URL_NOPAD.decode(payload.as_bytes()).ok());
    payload.is_some_and(|payload| {
        let claims = json::parse_members(&payload).unwrap_or_default();
        json::text(&claims, "iss").is_some_and(|issuer| {
            let issuer = issuer.trim_end_matches('/');
            PLATFORM_ISSUER_ENDINGS
                .iter()
                .any(|ending| issuer.ends_with(ending))
        })
    })
}

fn decode(part: &str) -> Result<Vec<u8>, TokenRejection> {
    BASE64URL_NOPAD
        .decode(part.as_bytes())
        .map_err(|_| TokenRejection::Form)
}

#[cfg(test)]
mod tests;
