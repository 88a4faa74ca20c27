//! The claims of a token whose signature is valid (RFC 7519 §4.1, RFC 9068 §4, Entra's access
//! tokens).
//!
//! Source: <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::policy::{TokenPolicy, VerifiedCaller};
use super::rejection::TokenRejection;
use crate::domain::callers::caller::{Caller, CallerClaims};
use crate::domain::callers::subject::is_subject;
use crate::domain::requests::json::{self, Json, Object};

/// The accepted difference between the provider's clock and ours, in milliseconds.
const LEEWAY_MILLIS: u64 = 60_000;
/// The last second of the year 9999. A later date is a mistake, most likely one in milliseconds,
/// which would make a token valid for ever.
const LAST_SECOND: u64 = 253_402_300_799;

/// Checks the claims against the policy, and returns the caller that they identify.
///
/// `key_issuer` is the issuer that the key set assigns the signing key to, if it does.
pub(super) fn verify(
    claims: &Object<'_>,
    key_issuer: Option<&str>,
    policy: &TokenPolicy,
    now: SystemTime,
) -> Result<VerifiedCaller, TokenRejection> {
    let good_until = verify_times(claims, now)?;
    let issuer = verify_issuer(claims, key_issuer, policy)?;
    verify_audience(claims, policy)?;
    let subject = json::text(claims, "sub")
        .filter(|subject| is_subject(subject))
        .ok_or(TokenRejection::Claims)?;
    let rules = &policy.rules;
    let has_one_tenant = policy.tenants.len() <= 1;
    let claims = CallerClaims {
        issuer,
        subject,
        identity: json::text(claims, &rules.identity_claim).filter(|_| has_one_tenant),
        rooms: rules
            .rooms_claim
            .as_ref()
            .and_then(|claim| texts(claims.get(claim.as_str())?)),
        projects: rules
            .projects_claim
            .as_ref()
            .and_then(|claim| texts(claims.get(claim.as_str())?)),
        scopes: scopes(claims),
        roles: roles(claims, rules.roles_claim.as_deref()),
    };
    Ok(VerifiedCaller {
        caller: Caller::signed_in(&claims, rules),
        good_until,
    })
}

/// Checks `exp`, `nbf` and `iat`, and returns the last moment at which the token is accepted.
fn verify_times(claims: &Object<'_>, now: SystemTime) -> Result<SystemTime, TokenRejection> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let expires_at = date(claims, "exp")?
        .and_then(NumericDate::millis)
        .ok_or(TokenRejection::Claims)?;
    let good_until = expires_at + LEEWAY_MILLIS;
    if now > good_until {
        return Err(TokenRejection::Expired);
    }
    for claim in ["nbf", "iat"] {
        let starts_at = date(claims, claim)?.and_then(NumericDate::millis);
        if starts_at.is_some_and(|at| at > now.saturating_add(LEEWAY_MILLIS)) {
            return Err(TokenRejection::TooEarly);
        }
    }
    Ok(UNIX_EPOCH + Duration::from_millis(good_until))
}

/// Checks `iss`, and `tid` if tenants are listed, and returns the issuer.
///
/// With tenants, `tid` must be on the list and `iss` must be that tenant's; otherwise `iss` must be
/// the one accepted issuer, equal to the last slash. In a key set that many tenants share, a key
/// may belong to some of them only.
fn verify_issuer<'c>(
    claims: &'c Object<'_>,
    key_issuer: Option<&str>,
    policy: &TokenPolicy,
) -> Result<&'c str, TokenRejection> {
    let issuer = json::text(claims, "iss").ok_or(TokenRejection::Issuer)?;
    let tenant = if policy.tenants.is_empty() {
        None
    } else {
        let is_listed = |tenant: &&str| policy.tenants.iter().any(|listed| listed == tenant);
        let tenant = json::text(claims, "tid").filter(is_listed);
        Some(tenant.ok_or(TokenRejection::Tenant)?)
    };
    if policy.issuer.accepts(issuer, tenant)
        && policy.issuer.key_may_sign_for(issuer, tenant, key_issuer)
    {
        Ok(issuer)
    } else {
        Err(TokenRejection::Issuer)
    }
}

fn verify_audience(claims: &Object<'_>, policy: &TokenPolicy) -> Result<(), TokenRejection> {
    let audiences = claims.get("aud").and_then(texts).unwrap_or_default();
    let is_accepted = |audience: &str| policy.audiences.iter().any(|listed| listed == audience);
    if audiences.into_iter().any(is_accepted) {
        Ok(())
    } else {
        Err(TokenRejection::Audience)
    }
}

/// Returns the scopes. Entra's tokens have `scp`, RFC 9068 has `scope`: words separated by spaces,
/// with some providers an array.
fn scopes<'c>(claims: &'c Object<'_>) -> Vec<&'c str> {
    ["scp", "scope"]
        .iter()
        .filter_map(|claim| texts(claims.get(*claim)?))
        .flatten()
        .flat_map(|words| words.split(' '))
        .collect()
}

/// Returns the roles: those of the claim `roles` and those of the operator's own claim.
fn roles<'c>(claims: &'c Object<'_>, roles_claim: Option<&str>) -> Vec<&'c str> {
    let standard = claims.get("roles").and_then(texts);
    let configured = roles_claim.and_then(|path| texts(claim_at_path(claims, path)?));
    [standard, configured]
        .into_iter()
        .flatten()
        .flatten()
        .collect()
}

/// A date as a claim contains it.
#[derive(Clone, Copy)]
enum NumericDate {
    /// A date before 1970. Some libraries write the year 1 as `nbf` if no date was set.
    BeforeEpoch,
    /// Milliseconds since 1970.
    Millis(u64),
}

impl NumericDate {
    fn millis(self) -> Option<u64> {
        match self {
            Self::BeforeEpoch => None,
            Self::Millis(millis) => Some(millis),
        }
    }
}

/// Reads a `NumericDate` (RFC 7519 §2): seconds since 1970, with or without a fraction.
fn date(claims: &Object<'_>, claim: &str) -> Result<Option<NumericDate>, TokenRejection> {
    let since_epoch = match claims.get(claim) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Negative) => return Ok(Some(NumericDate::BeforeEpoch)),
        Some(Json::Float(seconds)) if *seconds < 0.0 => return Ok(Some(NumericDate::BeforeEpoch)),
        Some(Json::Unsigned(seconds)) => Duration::from_secs(*seconds),
        Some(Json::Float(seconds)) => {
            Duration::try_from_secs_f64(*seconds).map_err(|_| TokenRejection::Claims)?
        }
        Some(_) => return Err(TokenRejection::Claims),
    };
    if since_epoch.as_secs() > LAST_SECOND {
        return Err(TokenRejection::Claims);
    }
    u64::try_from(since_epoch.as_millis())
        .map(|millis| Some(NumericDate::Millis(millis)))
        .map_err(|_| TokenRejection::Claims)
}

/// Returns the texts of a claim: one text, or an array of texts and nulls, which are skipped. Any
/// other value is `None`.
fn texts<'c>(value: &'c Json<'_>) -> Option<Vec<&'c str>> {
    match value {
        Json::Array(items) => items
            .iter()
            .filter(|item| **item != Json::Null)
            .map(Json::as_str)
            .collect(),
        value => Some(vec![value.as_str()?]),
    }
}

/// Finds the claim at a dotted path such as `realm_access.roles`. A claim whose name is the whole
/// path, dots included, takes precedence: namespaced claims have URLs as names.
fn claim_at_path<'c, 'a>(claims: &'c Object<'a>, path: &str) -> Option<&'c Json<'a>> {
    claims.get(path).or_else(|| {
        path.match_indices('.').find_map(|(dot, _)| {
            match (claims.get(path.get(..dot)?), path.get(dot + 1..)) {
                (Some(Json::Object(inner)), Some(rest)) => claim_at_path(inner, rest),
                _ => None,
            }
        })
    })
}
