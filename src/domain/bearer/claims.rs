//! The claims of a token whose signature is good (RFC 7519 §4.1, RFC 9068 §4, Entra's access tokens).
//! Source: <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{LEEWAY_MILLIS, Policy, Rejected, Verified};
use crate::domain::caller::{Caller, Facts};
use crate::domain::json::{Json, Object};

/// Longest subject in bytes (`OpenID` Connect Core 1.0 §2).
const MAX_SUBJECT_BYTES: usize = 255;
/// Dates past this many seconds are read as this one (the year 2106), so that no sum overflows.
const LAST_SECOND: u32 = u32::MAX;

/// Holds the claims against the policy, and makes the caller of them. `key_issuer` is whose key signed, where the key set says.
pub(super) fn read(claims: &Object<'_>, key_issuer: Option<&str>, policy: &Policy, now: SystemTime) -> Result<Verified, Rejected> {
    let now = u64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    let last = millis(claims, "exp")?.ok_or(Rejected::Claims)? + LEEWAY_MILLIS;
    if now > last {
        return Err(Rejected::Expired);
    }
    for begins in ["nbf", "iat"] {
        if millis(claims, begins)?.is_some_and(|begins| begins > now.saturating_add(LEEWAY_MILLIS)) {
            return Err(Rejected::TooEarly);
        }
    }
    let issuer = issuer(claims, key_issuer, policy)?;
    if !texts(claims, "aud").unwrap_or_default().into_iter().any(|audience| policy.audiences.iter().any(|ours| ours == audience)) {
        return Err(Rejected::Audience);
    }
    let subject = text(claims, "sub").filter(|subject| is_subject(subject)).ok_or(Rejected::Claims)?;
    let rules = &policy.rules;
    let facts = Facts {
        issuer,
        subject,
        identity: if policy.tenants.len() > 1 { None } else { text(claims, &rules.identity_claim) },
        rooms: rules.rooms_claim.as_ref().and_then(|claim| texts(claims, claim)),
        // Entra's v1 and v2 tokens have `scp`, RFC 9068 has `scope`: words with spaces between them, at some providers a list.
        scopes: ["scp", "scope"].iter().filter_map(|claim| texts(claims, claim)).flatten().flat_map(|words| words.split(' ')).collect(),
        roles: texts(claims, "roles").unwrap_or_default(),
    };
    Ok(Verified { caller: Caller::signed_in(&facts, rules), good_until: UNIX_EPOCH + Duration::from_millis(last) })
}

/// With tenants, `tid` must be on the list and `iss` must be that tenant's; else `iss` must be the one issuer. Exactly, to the
/// last slash. In a key set that many tenants share, a key may belong to a few of them only.
fn issuer<'c>(claims: &'c Object<'_>, key_issuer: Option<&str>, policy: &Policy) -> Result<&'c str, Rejected> {
    let issuer = text(claims, "iss").ok_or(Rejected::Issuer)?;
    let tenant = if policy.tenants.is_empty() {
        None
    } else {
        let tenant = text(claims, "tid").filter(|tenant| policy.tenants.iter().any(|ours| ours == tenant));
        Some(tenant.ok_or(Rejected::Tenant)?)
    };
    if policy.issuer.accepts(issuer, tenant) && policy.issuer.key_may_sign_for(issuer, tenant, key_issuer) {
        Ok(issuer)
    } else {
        Err(Rejected::Issuer)
    }
}

/// A `NumericDate` (RFC 7519 §2): seconds since 1970 as a number, a fraction allowed.
fn millis(claims: &Object<'_>, claim: &str) -> Result<Option<u64>, Rejected> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Json::Whole(seconds)) => Ok(Some((*seconds).min(LAST_SECOND.into()) * 1000)),
        Some(Json::Fraction(seconds)) => {
            let span = Duration::try_from_secs_f64(seconds.min(LAST_SECOND.into())).map_err(|_| Rejected::Claims)?;
            Ok(u64::try_from(span.as_millis()).ok())
        }
        Some(_) => Err(Rejected::Claims),
    }
}

fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn text<'c>(claims: &'c Object<'_>, claim: &str) -> Option<&'c str> {
    match claims.get(claim) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

/// One text, or a list of nothing but texts.
fn texts<'c>(claims: &'c Object<'_>, claim: &str) -> Option<Vec<&'c str>> {
    let text = |item: &'c Json<'_>| match item {
        Json::Text(text) => Some(text.as_ref()),
        _ => None,
    };
    match claims.get(claim)? {
        Json::Array(items) => items.iter().map(text).collect(),
        item => Some(vec![text(item)?]),
    }
}
