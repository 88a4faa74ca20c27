//! The claims of a token whose signature is good (RFC 7519 §4.1, RFC 9068 §4, Entra's access
//! tokens). Source:
//! <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{LEEWAY_MILLIS, TokenPolicy, TokenRejection, VerifiedCaller};
use crate::domain::callers::caller::{Caller, CallerClaims};
use crate::domain::requests::json::{Json, Object};

/// Longest subject in bytes (`OpenID` Connect Core 1.0 §2).
const MAX_SUBJECT_BYTES: usize = 255;
/// The last second of the year 9999. A date past it is a mistake, most likely one in milliseconds,
/// by which a token would not end.
const LAST_SECOND: u64 = 253_402_300_799;

/// Holds the claims against the policy, and makes the caller of them. `key_issuer` is whose key
/// signed, where the key set says.
pub(super) fn read(
    claims: &Object<'_>,
    key_issuer: Option<&str>,
    policy: &TokenPolicy,
    now: SystemTime,
) -> Result<VerifiedCaller, TokenRejection> {
    let now = u64::try_from(
        now.duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis(),
    )
    .unwrap_or(u64::MAX);
    let end = date(claims, "exp")?
        .and_then(Date::millis)
        .ok_or(TokenRejection::Claims)?;
    let last = end + LEEWAY_MILLIS;
    if now > last {
        return Err(TokenRejection::Expired);
    }
    for begins in ["nbf", "iat"] {
        if date(claims, begins)?
            .and_then(Date::millis)
            .is_some_and(|begins| begins > now.saturating_add(LEEWAY_MILLIS))
        {
            return Err(TokenRejection::TooEarly);
        }
    }
    let issuer = issuer(claims, key_issuer, policy)?;
    if !texts(claims, "aud")
        .unwrap_or_default()
        .into_iter()
        .any(|audience| policy.audiences.iter().any(|ours| ours == audience))
    {
        return Err(TokenRejection::Audience);
    }
    let subject = text(claims, "sub")
        .filter(|subject| is_subject(subject))
        .ok_or(TokenRejection::Claims)?;
    let rules = &policy.rules;
    let facts = CallerClaims {
        issuer,
        subject,
        identity: if policy.tenants.len() > 1 {
            None
        } else {
            text(claims, &rules.identity_claim)
        },
        rooms: rules
            .rooms_claim
            .as_ref()
            .and_then(|claim| texts(claims, claim)),
        // Entra's v1 and v2 tokens have `scp`, RFC 9068 has `scope`: words with spaces between
        // them, at some providers a list.
        scopes: ["scp", "scope"]
            .iter()
            .filter_map(|claim| texts(claims, claim))
            .flatten()
            .flat_map(|words| words.split(' '))
            .collect(),
        roles: [
            texts(claims, "roles"),
            rules
                .roles_claim
                .as_ref()
                .and_then(|path| texts_at(claims, path)),
        ]
        .into_iter()
        .flatten()
        .flatten()
        .collect(),
    };
    Ok(VerifiedCaller {
        caller: Caller::signed_in(&facts, rules),
        good_until: UNIX_EPOCH + Duration::from_millis(last),
    })
}

/// With tenants, `tid` must be on the list and `iss` must be that tenant's; else `iss` must be the
/// one issuer. Exactly, to the last slash. In a key set that many tenants share, a key may belong
/// to a few of them only.
fn issuer<'c>(
    claims: &'c Object<'_>,
    key_issuer: Option<&str>,
    policy: &TokenPolicy,
) -> Result<&'c str, TokenRejection> {
    let issuer = text(claims, "iss").ok_or(TokenRejection::Issuer)?;
    let tenant = if policy.tenants.is_empty() {
        None
    } else {
        let tenant =
            text(claims, "tid").filter(|tenant| policy.tenants.iter().any(|ours| ours == tenant));
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

/// A date as a claim has it.
#[derive(Clone, Copy)]
enum Date {
    /// Before 1970. Some libraries write the year 1 as `nbf` where no date was set.
    Past,
    /// Milliseconds since 1970.
    Millis(u64),
}

impl Date {
    fn millis(self) -> Option<u64> {
        match self {
            Self::Past => None,
            Self::Millis(millis) => Some(millis),
        }
    }
}

/// Reads a `NumericDate` (RFC 7519 §2): seconds since 1970 as a number, a fraction allowed.
fn date(claims: &Object<'_>, claim: &str) -> Result<Option<Date>, TokenRejection> {
    let seconds = match claims.get(claim) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::OtherNumber) => return Ok(Some(Date::Past)),
        Some(Json::Fraction(seconds)) if *seconds < 0.0 => return Ok(Some(Date::Past)),
        Some(Json::Whole(seconds)) => Duration::from_secs(*seconds),
        Some(Json::Fraction(seconds)) => {
            Duration::try_from_secs_f64(*seconds).map_err(|_| TokenRejection::Claims)?
        }
        Some(_) => return Err(TokenRejection::Claims),
    };
    if seconds.as_secs() > LAST_SECOND {
        return Err(TokenRejection::Claims);
    }
    u64::try_from(seconds.as_millis())
        .map(|millis| Some(Date::Millis(millis)))
        .map_err(|_| TokenRejection::Claims)
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

/// One text, or a list of nothing but texts and nulls, which count as absent.
fn texts<'c>(claims: &'c Object<'_>, claim: &str) -> Option<Vec<&'c str>> {
    texts_of(claims.get(claim)?)
}

/// As [`texts`], of the claim at a dotted path such as `realm_access.roles`. A claim whose name is
/// the whole path, dots included, comes first: namespaced claims have addresses as names.
fn texts_at<'c>(claims: &'c Object<'_>, path: &str) -> Option<Vec<&'c str>> {
    texts_of(at_path(claims, path)?)
}

fn at_path<'c, 'a>(claims: &'c Object<'a>, path: &str) -> Option<&'c Json<'a>> {
    claims.get(path).or_else(|| {
        path.match_indices('.').find_map(|(dot, _)| {
            match (claims.get(path.get(..dot)?), path.get(dot + 1..)) {
                (Some(Json::Object(inner)), Some(rest)) => at_path(inner, rest),
                _ => None,
            }
        })
    })
}

fn texts_of<'c>(value: &'c Json<'_>) -> Option<Vec<&'c str>> {
    let text = |item: &'c Json<'_>| match item {
        Json::Text(text) => Some(text.as_ref()),
        _ => None,
    };
    match value {
        Json::Array(items) => items
            .iter()
            .filter(|item| **item != Json::Null)
            .map(text)
            .collect(),
        item => Some(vec![text(item)?]),
    }
}
