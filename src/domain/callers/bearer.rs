//! Bearer tokens (RFC 6750) that are signed JWTs (RFC 7515, RFC 7519): from the Authorization
//! header to a [`Caller`].
//!
//! Follows the advice of RFC 8725: an allow-list of algorithms, the type checked, keys chosen by
//! `kid` among the provider's own, nothing in a token ever followed (`jku`, `x5u`, `jwk`, `x5c` are
//! not looked at), and every claim that we rely on required. Time is a parameter; the keys come
//! from [`super::key_set`].

mod claims;
mod header;
mod issuer;

use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;

pub use self::issuer::Issuer;
use super::caller::{Caller, CallerRules};
use super::key_set::{Algorithm, VerifyingKey};
use crate::domain::requests::json::{self, Json};

/// Longest token in bytes. Entra writes up to 200 groups into one, about 12 KiB.
pub const MAX_BYTES: usize = 16 * 1024;
/// How `iss` of the tokens ends that Azure's own front ends write: Static Web Apps to its linked
/// backend, and to a managed one.
const ISSUERS_OF_AZURE: [&str; 2] = ["/.auth", ".scm.azurewebsites.net"];
/// How far the clocks of provider and server may differ, in milliseconds.
const LEEWAY_MILLIS: u64 = 60_000;

/// Whose tokens for whom are accepted, and what their claims mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPolicy {
    /// Who vouches.
    pub issuer: Issuer,
    /// Tenants whose tokens are accepted (`tid`, in lower case); empty: the issuer alone decides.
    pub tenants: Vec<String>,
    /// One of these is in `aud`.
    pub audiences: Vec<String>,
    /// Identity, rooms, scope, role.
    pub rules: CallerRules,
}

/// Why credentials were not accepted. The word is for log and metrics; a caller never learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRejection {
    /// More than one Authorization header, another scheme, or not exactly one token.
    Credentials,
    /// Longer than 16 KiB.
    TooLong,
    /// Not three parts of base64url, or the header is not a strict JSON object.
    Form,
    /// `alg` is missing or not on the list.
    Algorithm,
    /// `typ` says that this is not an access token.
    Type,
    /// `crit` or `b64`: the token wants something that we do not do.
    Critical,
    /// The key is not named properly, not known, or one for another algorithm.
    Key,
    /// The key did not make this signature.
    Signature,
    /// The payload is not a strict JSON object, or a claim that we need is missing or of another
    /// type.
    Claims,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` lies ahead.
    TooEarly,
    /// Another `iss`.
    Issuer,
    /// `tid` is not on the list.
    Tenant,
    /// None of ours is in `aud`.
    Audience,
    /// A front end of Azure has put a token of its own in the place of the caller's.
    Platform,
}

impl TokenRejection {
    /// Every reason, so that each can be counted from the start.
    pub const ALL: [Self; 15] = [
        Self::Credentials,
        Self::TooLong,
        Self::Form,
        Self::Algorithm,
        Self::Type,
        Self::Critical,
        Self::Key,
        Self::Signature,
        Self::Claims,
        Self::Expired,
        Self::TooEarly,
        Self::Issuer,
        Self::Tenant,
        Self::Audience,
        Self::Platform,
    ];

    /// One fixed word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::TooLong => "too_long",
            Self::Form => "form",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Critical => "critical",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::TooEarly => "too_early",
            Self::Issuer => "issuer",
            Self::Tenant => "tenant",
            Self::Audience => "audience",
            Self::Platform => "platform_token",
        }
    }
}

/// A caller whom a token vouches for, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCaller {
    /// Who asks.
    pub caller: Caller,
    /// The last moment at which the token is accepted, leeway included. Whoever remembers the
    /// caller forgets it then.
    pub good_until: SystemTime,
}

/// Takes the token out of the values of the Authorization header: scheme `Bearer` in any case,
/// spaces, one token (RFC 6750 §2.1). `None` where there is no such header at all.
///
/// # Errors
/// [`TokenRejection::Credentials`] or [`TokenRejection::TooLong`].
pub fn token<'a>(
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
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && token.bytes().all(allowed) {
        Ok(Some(token))
    } else {
        Err(TokenRejection::Credentials)
    }
}

/// A token that anyone may have written. Only its algorithm and the name of its key may be
/// believed, and only to find the key that [`UnverifiedToken::verify`] then holds it against.
pub struct UnverifiedToken<'a> {
    algorithm: Algorithm,
    key_id: Option<Box<str>>,
    /// Header and payload with the dot between them: what is signed.
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> UnverifiedToken<'a> {
    /// Reads the form and the header; the payload stays unread.
    ///
    /// # Errors
    /// [`TokenRejection`], for what no key could make good.
    pub fn parse(token: &'a str) -> Result<Self, TokenRejection> {
        if token.len() > MAX_BYTES {
            return Err(TokenRejection::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenRejection::Form)?;
        let (header, payload) = message
            .split_once('.')
            .filter(|(_, payload)| !payload.contains('.'))
            .ok_or(TokenRejection::Form)?;
        let header = header::read(&decoded(header)?)?;
        Ok(Self {
            algorithm: header.algorithm,
            key_id: header.key_id,
            message,
            payload,
            signature,
        })
    }

    /// The algorithm that the token says it is signed with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that it says it is signed with.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Checks the signature, and only then reads the claims and holds them against the policy. Of
    /// several keys the one counts that made the signature.
    ///
    /// # Errors
    /// [`TokenRejection`], for whatever is wrong first; [`TokenRejection::Signature`] where none of the keys
    /// made the signature.
    pub fn verify<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k VerifyingKey>,
        policy: &TokenPolicy,
        now: SystemTime,
    ) -> Result<VerifiedCaller, TokenRejection> {
        let signature = decoded(self.signature)?;
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
        claims::read(&claims, key.issuer(), policy, now)
    }
}

/// Whether a token, which anyone may have written, says that a front end of Azure issued it. Only
/// for the choice of the reason under which a token is refused: nothing is proven by it.
#[must_use]
pub fn is_of_azure_front_end(token: &str) -> bool {
    let claims = || {
        let payload = token
            .split('.')
            .nth(1)
            .filter(|_| token.len() <= MAX_BYTES)?;
        BASE64URL_NOPAD.decode(payload.as_bytes()).ok()
    };
    let is_of_azure = |issuer: &str| {
        ISSUERS_OF_AZURE
            .iter()
            .any(|end| issuer.trim_end_matches('/').ends_with(end))
    };
    claims().is_some_and(|claims| {
        let claims = json::parse_members(&claims).unwrap_or_default();
        matches!(claims.get("iss"), Some(Json::Text(issuer)) if is_of_azure(issuer))
    })
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenRejection> {
    BASE64URL_NOPAD
        .decode(part.as_bytes())
        .map_err(|_| TokenRejection::Form)
}

#[cfg(test)]
mod tests;
