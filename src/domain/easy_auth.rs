//! Azure's built-in sign-in ("Easy Auth"): the header in which the platform says who asks.
//!
//! Anyone can write this header. It proves something only where the platform takes forged ones away, so whoever calls this has
//! checked the operator's setting and the platform's own marker first.
//! Source: <https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities>

use data_encoding::BASE64;

use super::caller::{Caller, Facts, Rules};
use super::json::{self, Json, Object};

/// The header, in lower case.
pub const PRINCIPAL_HEADER: &str = "x-ms-client-principal";
/// Longest value in bytes; users with hundreds of groups stay below it.
const MAX_BYTES: usize = 16 * 1024;
/// Longest name of a provider in bytes; the platform's own are `aad`, `google`, `github` and the like.
const MAX_PROVIDER_BYTES: usize = 64;
/// Longest subject in bytes (`OpenID` Connect Core 1.0 §2).
const MAX_SUBJECT_BYTES: usize = 255;

/// The platform renames some claims: the name in a token, and what stands in the header for it.
const RENAMED: [(&str, &str); 4] = [
    ("sub", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"),
    ("oid", "http://schemas.microsoft.com/identity/claims/objectidentifier"),
    ("scp", "http://schemas.microsoft.com/identity/claims/scope"),
    ("roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"),
];

/// The header does not name one caller. What was wrong is not told apart: it is the platform's own, or an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unproven;

/// Reads the header's values. `None` where there is no such header: nobody is signed in.
///
/// The caller is `sub` of the issuer `easy-auth:` and the platform's name for the provider. The identity is always the hashed form,
/// since the app may have several providers and two could give the same value to different people.
///
/// # Errors
/// [`Unproven`] for more than one value, more than 16 KiB, and anything else than the platform writes.
pub fn caller<'a>(values: impl IntoIterator<Item = &'a [u8]>, rules: &Rules) -> Result<Option<Caller>, Unproven> {
    let mut values = values.into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.len() > MAX_BYTES {
        return Err(Unproven);
    }
    let principal = BASE64.decode(value).map_err(|_| Unproven)?;
    let principal = json::parse_object(&principal).map_err(|_| Unproven)?;
    read(&principal, rules).map(Some).ok_or(Unproven)
}

fn read(principal: &Object<'_>, rules: &Rules) -> Option<Caller> {
    let provider = text(principal, "auth_typ").filter(|provider| is_provider(provider))?;
    let Json::Array(listed) = principal.get("claims")? else { return None };
    let claims = listed.iter().map(Claim::read).collect::<Option<Vec<_>>>()?;
    let of_roles = |claim: &&Claim<'_>| claim.is("roles") || text(principal, "role_typ") == Some(claim.typ);
    let values = |name: &str| -> Vec<_> { claims.iter().filter(|claim| claim.is(name)).map(|claim| claim.value).collect() };
    // A claim that stands there twice names nobody.
    let one = |name: &str| match values(name).as_slice() {
        [value] => Some(*value),
        _ => None,
    };
    let subject = one("sub").filter(|subject| is_subject(subject))?;
    let rooms = rules.rooms_claim.as_ref().map(|claim| values(claim));
    let facts = Facts {
        issuer: &format!("easy-auth:{provider}"),
        subject,
        identity: None,
        rooms,
        scopes: ["scp", "scope"].iter().flat_map(|claim| values(claim)).flat_map(|words| words.split(' ')).collect(),
        roles: claims.iter().filter(of_roles).map(|claim| claim.value).collect(),
    };
    Some(Caller::signed_in(&facts, rules))
}

/// One claim; several with the same type make a list.
struct Claim<'a> {
    typ: &'a str,
    value: &'a str,
}

impl<'a> Claim<'a> {
    fn read(listed: &'a Json<'_>) -> Option<Self> {
        let Json::Object(claim) = listed else { return None };
        Some(Self { typ: text(claim, "typ")?, value: text(claim, "val")? })
    }

    /// Whether this is the claim of that name in a token, renamed or not.
    fn is(&self, name: &str) -> bool {
        self.typ == name || RENAMED.contains(&(name, self.typ))
    }
}

fn is_provider(text: &str) -> bool {
    (1..=MAX_PROVIDER_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn text<'a>(object: &'a Object<'_>, member: &str) -> Option<&'a str> {
    match object.get(member) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::caller::Forbidden;
    use crate::domain::names::RoomName;

    const NAME: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
    const OBJECT: &str = "http://schemas.microsoft.com/identity/claims/objectidentifier";
    const SCOPE: &str = "http://schemas.microsoft.com/identity/claims/scope";

    fn rules() -> Rules {
        Rules { required_scope: None, admin_role: "Roomkey.Admin".into(), identity_claim: "sub".into(), rooms_claim: None }
    }

    fn principal(claims: &[(&str, &str)]) -> Value {
        let claims: Vec<_> = claims.iter().map(|(typ, value)| json!({ "typ": typ, "val": value })).collect();
        json!({ "auth_typ": "aad", "claims": claims, "name_typ": "name", "role_typ": "roles" })
    }

    fn read(principal: &Value, rules: &Rules) -> Result<Caller, Unproven> {
        let value = BASE64.encode(principal.to_string().as_bytes());
        caller([value.as_bytes()], rules).map(Option::unwrap)
    }

    fn with(member: &str, value: Value) -> Value {
        let mut principal = principal(&[(NAME, "alice")]);
        principal[member] = value;
        principal
    }

    #[test]
    fn a_header_that_the_platform_would_not_write_is_refused() {
        for principal in [
            json!({}),
            principal(&[]),
            principal(&[("name", "alice")]),
            principal(&[(NAME, "")]),
            principal(&[(NAME, "a\0b")]),
            principal(&[(NAME, &"a".repeat(256))]),
            principal(&[(NAME, "alice"), (NAME, "mallory")]),
            principal(&[(NAME, "alice"), ("sub", "mallory")]),
            with("auth_typ", json!(null)),
            with("auth_typ", json!("")),
            with("auth_typ", json!("a b")),
            with("auth_typ", json!("a".repeat(65))),
            with("claims", json!({ "sub": "alice" })),
            with("claims", json!(["alice"])),
            with("claims", json!([{ "typ": NAME, "val": "alice" }, { "typ": "x" }])),
            with("claims", json!([{ "typ": NAME, "val": 5 }])),
        ] {
            assert_eq!(read(&principal, &rules()), Err(Unproven), "{principal}");
        }
        let good = BASE64.encode(principal(&[(NAME, "alice")]).to_string().as_bytes());
        let large = BASE64.encode(with("x", json!("x".repeat(13_000))).to_string().as_bytes());
        let twice = BASE64.encode(br#"{"auth_typ":"aad","auth_typ":"aad","claims":[{"typ":"sub","val":"alice"}]}"#);
        for value in ["", "alice", "e30", &format!("{good}="), &format!(" {good}"), &format!("{good}\n"), &large, &twice] {
            assert_eq!(caller([value.as_bytes()], &rules()), Err(Unproven), "{value:.20}");
        }
        assert_eq!(caller([good.as_bytes(), good.as_bytes()], &rules()), Err(Unproven));
        assert_eq!(caller([], &rules()), Ok(None));
        assert!(caller([good.as_bytes()], &rules()).is_ok_and(|caller| caller.is_some()));
    }

    #[test]
    fn the_identity_is_hashed_and_differs_between_providers() {
        let identity = |principal: &Value, rules: &Rules| {
            let caller = read(principal, rules).unwrap();
            caller.authorize(None, None).unwrap().unwrap().as_str().to_owned()
        };
        let alice = identity(&principal(&[(NAME, "alice")]), &rules());
        assert_eq!((alice.len(), &alice[..2]), (28, "u-"));
        assert_eq!(identity(&principal(&[("sub", "alice")]), &rules()), alice);
        assert_ne!(identity(&with("auth_typ", json!("google")), &rules()), alice);
        let both = principal(&[(NAME, "alice"), (OBJECT, "object-1")]);
        assert_eq!(identity(&both, &rules()), alice);
        assert_eq!(read(&both, &rules()).unwrap().name(), b"easy-auth:aad\0alice");
    }

    #[test]
    fn roles_scopes_and_rooms_come_from_their_claims() {
        let admin = |claims: &[_]| read(&principal(&[&[(NAME, "alice")], claims].concat()), &rules()).unwrap().is_admin();
        assert!(admin(&[("roles", "x"), ("roles", "Roomkey.Admin")]));
        assert!(admin(&[("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "Roomkey.Admin")]));
        assert!(!admin(&[("role", "Roomkey.Admin"), ("groups", "Roomkey.Admin"), (SCOPE, "Roomkey.Admin"), ("roles", "a Roomkey.Admin")]));
        let renamed =
            json!({ "auth_typ": "x", "role_typ": "r", "claims": [{ "typ": "sub", "val": "a" }, { "typ": "r", "val": "Roomkey.Admin" }] });
        assert!(read(&renamed, &rules()).unwrap().is_admin());

        let strict = Rules { required_scope: Some("rooms.join".into()), rooms_claim: Some("rooms".into()), ..rules() };
        let room = RoomName::parse("team-1").unwrap();
        for (claims, decided) in [
            (&[][..], Some(Forbidden::Scope)),
            (&[(SCOPE, "openid")], Some(Forbidden::Scope)),
            (&[(SCOPE, "openid rooms.join")], Some(Forbidden::Room)),
            (&[("roles", "rooms.join"), ("rooms", "team-2")], Some(Forbidden::Room)),
            (&[("roles", "rooms.join"), ("rooms", "team-2"), ("rooms", "team-1")], None),
            (&[("scp", "rooms.join"), ("rooms", "team-*")], None),
        ] {
            let caller = read(&principal(&[&[(NAME, "alice")], claims].concat()), &strict).unwrap();
            assert_eq!(caller.authorize(None, Some(&room)).err(), decided, "{claims:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(value in prop::collection::vec(any::<u8>(), 0..256)) {
            prop_assert_ne!(caller([&value[..]], &rules()), Ok(None));
            drop(caller([BASE64.encode(&value).as_bytes()], &rules()));
        }
    }
}
