//! Azure's built-in sign-in ("Easy Auth"): the headers in which the platform says who asks.
//!
//! Anyone can write these headers. They prove something only where the platform takes forged ones
//! away, so whoever calls this has checked the operator's setting and the platform's own marker
//! first. The principal has one of two shapes, told apart by their members: App Service's, with
//! claims, and the one of Static Web Apps in front of a linked backend, without. Sources:
//! <https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities>,
//! <https://learn.microsoft.com/azure/static-web-apps/user-information>

use data_encoding::BASE64;

use super::caller::{Caller, CallerClaims, CallerRules};
use crate::domain::requests::json::{self, Json, Object};

/// The header with the principal, in lower case.
pub const PRINCIPAL_HEADER: &str = "x-ms-client-principal";
/// The header with the principal's id, in lower case.
pub const ID_HEADER: &str = "x-ms-client-principal-id";
/// The header with the name of the identity provider, in lower case.
pub const PROVIDER_HEADER: &str = "x-ms-client-principal-idp";
/// The provider's name where Static Web Apps signed the caller in, or let an anonymous one pass.
pub const STATIC_WEB_APPS: &str = "azureStaticWebApps";
/// Longest value in bytes; users with hundreds of groups stay below it.
const MAX_BYTES: usize = 24 * 1024;
/// Longest name of a provider in bytes; the platform's own are `aad`, `google`, `github` and the
/// like.
const MAX_PROVIDER_BYTES: usize = 64;
/// Longest subject in bytes (`OpenID` Connect Core 1.0 §2).
const MAX_SUBJECT_BYTES: usize = 255;

/// The members of the principal of App Service.
const OF_APP_SERVICE: [&str; 4] = ["auth_typ", "claims", "name_typ", "role_typ"];
/// The members of the principal of Static Web Apps.
const OF_STATIC_WEB_APPS: [&str; 4] = ["identityProvider", "userId", "userDetails", "userRoles"];
/// The built-in roles of Static Web Apps: everyone has the first, whoever is signed in the second.
const BUILT_IN_ROLES: [&str; 2] = ["anonymous", "authenticated"];

/// The platform renames some claims: the name in a token, and what stands in the header for it.
const RENAMED: [(&str, &str); 4] = [
    (
        "sub",
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier",
    ),
    (
        "oid",
        "http://schemas.microsoft.com/identity/claims/objectidentifier",
    ),
    ("scp", "http://schemas.microsoft.com/identity/claims/scope"),
    (
        "roles",
        "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    ),
];

/// The headers do not name one caller. What was wrong is not told apart: it is the platform's own,
/// or an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unproven;

/// The values of the platform's headers, each as often as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct EasyAuthHeaders<V> {
    /// Of [`PRINCIPAL_HEADER`].
    pub principal: V,
    /// Of [`ID_HEADER`].
    pub id: V,
    /// Of [`PROVIDER_HEADER`].
    pub provider: V,
}

/// Who signed in, and through what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The caller.
    pub caller: Caller,
    /// Whether the principal came with the claims of the caller's token. Static Web Apps keeps them
    /// to itself, so that settings which name a claim find none.
    pub has_claims: bool,
}

/// Reads the headers. `None` where there is no principal: nobody is signed in.
///
/// The caller is `sub` of the issuer `easy-auth:` and the platform's name for the provider; behind
/// Static Web Apps it is `userId` of `easy-auth:azureStaticWebApps:` and its name for the provider.
/// The identity is always the hashed form, since the app may have several providers and two could
/// give the same value to different people.
///
/// # Errors
/// [`Unproven`] for more than one principal, more than 24 KiB, and anything else than the platform
/// writes.
pub fn caller<'a, V>(
    headers: EasyAuthHeaders<V>,
    rules: &CallerRules,
) -> Result<Option<SignedIn>, Unproven>
where
    V: IntoIterator<Item = &'a [u8]>,
{
    let mut values = headers.principal.into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() || value.len() > MAX_BYTES {
        return Err(Unproven);
    }
    let document = BASE64.decode(value).map_err(|_| Unproven)?;
    let principal = json::parse_members(&document).map_err(|_| Unproven)?;
    let holds = |members: [&str; 4]| members.iter().any(|member| principal.contains_key(*member));
    let caller = match (holds(OF_APP_SERVICE), holds(OF_STATIC_WEB_APPS)) {
        (true, false) => of_app_service(&principal, &document, rules),
        (false, true) => {
            of_static_web_apps(&principal, only(headers.id), only(headers.provider), rules)
        }
        (true, true) | (false, false) => None,
    };
    caller
        .map(|caller| {
            Some(SignedIn {
                caller,
                has_claims: holds(OF_APP_SERVICE),
            })
        })
        .ok_or(Unproven)
}

fn of_app_service(principal: &Object<'_>, document: &[u8], rules: &CallerRules) -> Option<Caller> {
    let provider = text(principal, "auth_typ").filter(|provider| is_provider(provider))?;
    let listed = json::parse_items(document, "claims").ok()?;
    let claims: Vec<_> = listed.iter().flatten().filter_map(Claim::read).collect();
    let of_roles = |claim: &&Claim<'_>| {
        claim.is("roles")
            || [text(principal, "role_typ"), rules.roles_claim.as_deref()]
                .contains(&Some(claim.typ))
    };
    let values = |name: &str| -> Vec<_> {
        claims
            .iter()
            .filter(|claim| claim.is(name))
            .filter_map(|claim| claim.value)
            .collect()
    };
    // A claim that stands there twice, or with something else than a text, names nobody.
    let mut subjects = claims.iter().filter(|claim| claim.is("sub"));
    let subject = subjects
        .next()
        .filter(|_| subjects.next().is_none())?
        .value
        .filter(|subject| is_subject(subject))?;
    let rooms = rules.rooms_claim.as_ref().map(|claim| values(claim));
    let facts = CallerClaims {
        issuer: &format!("easy-auth:{provider}"),
        subject,
        identity: None,
        rooms,
        scopes: ["scp", "scope"]
            .iter()
            .flat_map(|claim| values(claim))
            .flat_map(|words| words.split(' '))
            .collect(),
        roles: claims
            .iter()
            .filter(of_roles)
            .filter_map(|claim| claim.value)
            .collect(),
    };
    Some(Caller::signed_in(&facts, rules))
}

/// The principal alone proves nothing here: the platform's two other headers must say the same, and
/// the role that the caller is signed in.
fn of_static_web_apps(
    principal: &Object<'_>,
    id: Option<&[u8]>,
    front_end: Option<&[u8]>,
    rules: &CallerRules,
) -> Option<Caller> {
    let provider = text(principal, "identityProvider").filter(|provider| is_provider(provider))?;
    let subject = text(principal, "userId")
        .filter(|subject| is_subject(subject) && *subject != "anonymous")?;
    let Json::Array(listed) = principal.get("userRoles")? else {
        return None;
    };
    let user_roles: Vec<_> = listed.iter().filter_map(as_text).collect();
    let is_signed_in = user_roles.contains(&"authenticated");
    if !is_signed_in
        || id != Some(subject.as_bytes())
        || front_end != Some(STATIC_WEB_APPS.as_bytes())
    {
        return None;
    }
    let facts = CallerClaims {
        issuer: &format!("easy-auth:{STATIC_WEB_APPS}:{provider}"),
        subject,
        identity: None,
        rooms: None,
        scopes: Vec::new(),
        roles: user_roles
            .into_iter()
            .filter(|role| !BUILT_IN_ROLES.contains(role))
            .collect(),
    };
    Some(Caller::signed_in(&facts, rules))
}

/// The one value of a header that is sent once.
fn only<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let mut values = values.into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// One claim; several with the same type make a list.
struct Claim<'a> {
    typ: &'a str,
    /// `None` for something else than a text.
    value: Option<&'a str>,
}

impl<'a> Claim<'a> {
    /// `None` for a claim without a name or without a value, which says nothing.
    fn read(claim: &'a Object<'_>) -> Option<Self> {
        let value = claim.get("val").filter(|value| **value != Json::Null)?;
        Some(Self {
            typ: text(claim, "typ")?,
            value: as_text(value),
        })
    }

    /// Whether this is the claim of that name in a token, renamed or not.
    fn is(&self, name: &str) -> bool {
        self.typ == name || RENAMED.contains(&(name, self.typ))
    }
}

fn is_provider(text: &str) -> bool {
    (1..=MAX_PROVIDER_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn text<'a>(object: &'a Object<'_>, member: &str) -> Option<&'a str> {
    object.get(member).and_then(as_text)
}

fn as_text<'a>(value: &'a Json<'_>) -> Option<&'a str> {
    match value {
        Json::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::callers::caller::Forbidden;
    use crate::domain::livekit::names::RoomName;

    const NAME: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
    const OBJECT: &str = "http://schemas.microsoft.com/identity/claims/objectidentifier";
    const SCOPE: &str = "http://schemas.microsoft.com/identity/claims/scope";

    fn rules() -> CallerRules {
        CallerRules {
            required_scope: None,
            admin_role: "Roomkey.Admin".into(),
            identity_claim: "sub".into(),
            rooms_claim: None,
            roles_claim: None,
        }
    }

    fn principal(claims: &[(&str, &str)]) -> Value {
        let claims: Vec<_> = claims
            .iter()
            .map(|(typ, value)| json!({ "typ": typ, "val": value }))
            .collect();
        json!({ "auth_typ": "aad", "claims": claims, "name_typ": "name", "role_typ": "roles" })
    }

    fn read(principal: &Value, rules: &CallerRules) -> Result<Caller, Unproven> {
        let value = BASE64.encode(principal.to_string().as_bytes());
        of_principal([value.as_bytes()], rules).map(Option::unwrap)
    }

    /// As App Service sends it, without the headers that only Static Web Apps needs.
    fn of_principal<'a>(
        values: impl IntoIterator<Item = &'a [u8]>,
        rules: &CallerRules,
    ) -> Result<Option<Caller>, Unproven> {
        let headers = EasyAuthHeaders {
            principal: values.into_iter().collect::<Vec<_>>(),
            id: Vec::new(),
            provider: Vec::new(),
        };
        caller(headers, rules).map(|signed_in| signed_in.map(|signed_in| signed_in.caller))
    }

    fn swa() -> Value {
        json!({ "identityProvider": "github", "userId": "0a1b", "userDetails": "alice", "userRoles": ["anonymous", "authenticated", "rooms.join"] })
    }

    fn behind_swa(
        principal: &Value,
        ids: &[&str],
        providers: &[&str],
        rules: &CallerRules,
    ) -> Result<Option<SignedIn>, Unproven> {
        let value = BASE64.encode(principal.to_string().as_bytes());
        let bytes = |value: &&str| value.to_string().into_bytes();
        let (ids, providers): (Vec<_>, Vec<_>) = (
            ids.iter().map(bytes).collect(),
            providers.iter().map(bytes).collect(),
        );
        let headers = EasyAuthHeaders {
            principal: vec![value.as_bytes()],
            id: ids.iter().map(Vec::as_slice).collect(),
            provider: providers.iter().map(Vec::as_slice).collect(),
        };
        caller(headers, rules)
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
            with("claims", json!([{ "typ": NAME, "val": 5 }])),
            with("claims", json!([{ "typ": NAME, "val": null }])),
            with(
                "claims",
                json!([{ "typ": NAME, "val": "alice" }, { "typ": NAME, "val": 5 }]),
            ),
            with("claims", json!(null)),
            with("userId", json!("alice")),
            with("userRoles", json!(["authenticated"])),
        ] {
            assert_eq!(read(&principal, &rules()), Err(Unproven), "{principal}");
        }
        let good = BASE64.encode(principal(&[(NAME, "alice")]).to_string().as_bytes());
        let large = BASE64.encode(with("x", json!("x".repeat(18_500))).to_string().as_bytes());
        let twice = BASE64.encode(
            br#"{"auth_typ":"aad","auth_typ":"aad","claims":[{"typ":"sub","val":"alice"}]}"#,
        );
        for value in [
            "",
            "alice",
            "e30",
            &format!("{good}="),
            &format!(" {good}"),
            &format!("{good}\n"),
            &large,
            &twice,
        ] {
            assert_eq!(
                of_principal([value.as_bytes()], &rules()),
                Err(Unproven),
                "{value:.20}"
            );
        }
        assert_eq!(
            of_principal([good.as_bytes(), good.as_bytes()], &rules()),
            Err(Unproven)
        );
        assert_eq!(of_principal([], &rules()), Ok(None));
        assert!(of_principal([good.as_bytes()], &rules()).is_ok_and(|caller| caller.is_some()));
    }

    #[test]
    fn a_claim_that_says_nothing_spoils_no_other() {
        let large = "x".repeat(17_800);
        for odd in [
            r#"{"typ":"name","val":null}"#,
            r#"{"typ":"name"}"#,
            r#"{"val":"x"}"#,
            r#"{"typ":null,"val":"x"}"#,
            r#"{"typ":"name","val":5}"#,
            r#"{"typ":"name","val":"\ud83d"}"#,
            r#"{"typ":"name","val":"a","val":"b"}"#,
            "null",
            "5",
            "{}",
            &format!(r#"{{"typ":"groups","val":"{large}"}}"#),
        ] {
            let principal = format!(
                r#"{{"auth_typ":"aad","name_typ":null,"claims":[{odd},{{"typ":"{NAME}","val":"alice"}},{{"typ":"roles","val":"Roomkey.Admin"}}]}}"#
            );
            let value = BASE64.encode(principal.as_bytes());
            let caller = of_principal([value.as_bytes()], &rules())
                .unwrap_or_else(|_| panic!("{odd:.60}"))
                .unwrap();
            assert!(
                caller.is_admin() && caller.name() == b"easy-auth:aad\0alice",
                "{odd:.60}"
            );
        }
    }

    #[test]
    fn static_web_apps_names_a_caller_by_three_headers_that_agree() {
        let front_end = ["azureStaticWebApps"];
        let with = |member: &str, value: Value| {
            let mut principal = swa();
            principal[member] = value;
            principal
        };
        for (principal, ids, providers) in [
            (swa(), &[][..], &front_end[..]),
            (swa(), &["0a1b"], &[]),
            (swa(), &["0a1b", "0a1b"], &front_end),
            (
                swa(),
                &["0a1b"],
                &["azureStaticWebApps", "azureStaticWebApps"],
            ),
            (swa(), &["0A1B"], &front_end),
            (swa(), &["anonymous"], &front_end),
            (swa(), &["0a1b"], &["aad"]),
            (swa(), &["0a1b"], &[""]),
            (with("userId", json!("")), &[""], &front_end),
            (
                with("userId", json!("anonymous")),
                &["anonymous"],
                &front_end,
            ),
            (with("userId", json!(5)), &["5"], &front_end),
            (with("userId", json!(null)), &[""], &front_end),
            (with("userId", json!("a\0b")), &["a\0b"], &front_end),
            (with("identityProvider", json!("")), &["0a1b"], &front_end),
            (
                with("identityProvider", json!("a:b")),
                &["0a1b"],
                &front_end,
            ),
            (with("identityProvider", json!(null)), &["0a1b"], &front_end),
            (
                with("userRoles", json!(["anonymous"])),
                &["0a1b"],
                &front_end,
            ),
            (with("userRoles", json!([])), &["0a1b"], &front_end),
            (
                with("userRoles", json!("authenticated")),
                &["0a1b"],
                &front_end,
            ),
            (with("userRoles", json!(null)), &["0a1b"], &front_end),
            (
                with("userRoles", json!({ "authenticated": true })),
                &["0a1b"],
                &front_end,
            ),
            (with("auth_typ", json!("aad")), &["0a1b"], &front_end),
            (
                with("claims", json!([{ "typ": "sub", "val": "0a1b" }])),
                &["0a1b"],
                &front_end,
            ),
            (json!({ "x": 1 }), &["0a1b"], &front_end),
        ] {
            assert_eq!(
                behind_swa(&principal, ids, providers, &rules()),
                Err(Unproven),
                "{principal} {ids:?} {providers:?}"
            );
        }
        let absent = EasyAuthHeaders {
            principal: vec![],
            id: vec![&b"0a1b"[..]],
            provider: vec![&b"azureStaticWebApps"[..]],
        };
        assert_eq!(
            caller(absent, &rules()),
            Ok(None),
            "the id alone is no user"
        );
        let signed_in = behind_swa(&swa(), &["0a1b"], &front_end, &rules())
            .unwrap()
            .unwrap();
        assert!(!signed_in.has_claims);
        assert_eq!(
            signed_in.caller.name(),
            [&b"easy-auth:azureStaticWebApps:github\0"[..], b"0a1b"].concat()
        );
        assert!(
            signed_in
                .caller
                .authorize(None, None)
                .unwrap()
                .unwrap()
                .as_str()
                .starts_with("u-")
        );
    }

    #[test]
    fn the_roles_of_static_web_apps_are_those_that_are_not_built_in() {
        let strict = |role: &str| CallerRules {
            required_scope: Some(role.into()),
            ..rules()
        };
        let may = |role: &str| {
            let signed_in = behind_swa(&swa(), &["0a1b"], &["azureStaticWebApps"], &strict(role))
                .unwrap()
                .unwrap();
            signed_in.caller.authorize(None, None).is_ok()
        };
        assert!(may("rooms.join") && !may("authenticated") && !may("anonymous") && !may("other"));
        let mut admin = swa();
        admin["userRoles"] = json!(["authenticated", null, 5, "Roomkey.Admin"]);
        assert!(
            behind_swa(&admin, &["0a1b"], &["azureStaticWebApps"], &rules())
                .unwrap()
                .unwrap()
                .caller
                .is_admin()
        );
        let by_rooms = CallerRules {
            rooms_claim: Some("rooms".into()),
            ..rules()
        };
        let caller = behind_swa(&swa(), &["0a1b"], &["azureStaticWebApps"], &by_rooms)
            .unwrap()
            .unwrap()
            .caller;
        assert_eq!(
            caller.authorize(None, None),
            Err(Forbidden::Room),
            "there is no claim that could list one"
        );
    }

    #[test]
    fn the_identity_is_hashed_and_differs_between_providers() {
        let identity = |principal: &Value, rules: &CallerRules| {
            let caller = read(principal, rules).unwrap();
            caller
                .authorize(None, None)
                .unwrap()
                .unwrap()
                .as_str()
                .to_owned()
        };
        let alice = identity(&principal(&[(NAME, "alice")]), &rules());
        assert_eq!((alice.len(), &alice[..2]), (28, "u-"));
        assert_eq!(identity(&principal(&[("sub", "alice")]), &rules()), alice);
        assert_ne!(
            identity(&with("auth_typ", json!("google")), &rules()),
            alice
        );
        let both = principal(&[(NAME, "alice"), (OBJECT, "object-1")]);
        assert_eq!(identity(&both, &rules()), alice);
        assert_eq!(
            read(&both, &rules()).unwrap().name(),
            b"easy-auth:aad\0alice"
        );
    }

    #[test]
    fn roles_scopes_and_rooms_come_from_their_claims() {
        let admin = |claims: &[_]| {
            read(&principal(&[&[(NAME, "alice")], claims].concat()), &rules())
                .unwrap()
                .is_admin()
        };
        assert!(admin(&[("roles", "x"), ("roles", "Roomkey.Admin")]));
        assert!(admin(&[(
            "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
            "Roomkey.Admin"
        )]));
        assert!(!admin(&[
            ("role", "Roomkey.Admin"),
            ("groups", "Roomkey.Admin"),
            (SCOPE, "Roomkey.Admin"),
            ("roles", "a Roomkey.Admin")
        ]));
        let by_claim = CallerRules {
            roles_claim: Some("permissions".into()),
            ..rules()
        };
        assert!(
            read(
                &principal(&[(NAME, "alice"), ("permissions", "Roomkey.Admin")]),
                &by_claim
            )
            .unwrap()
            .is_admin()
        );
        let renamed = json!({ "auth_typ": "x", "role_typ": "r", "claims": [{ "typ": "sub", "val": "a" }, { "typ": "r", "val": "Roomkey.Admin" }] });
        assert!(read(&renamed, &rules()).unwrap().is_admin());

        let strict = CallerRules {
            required_scope: Some("rooms.join".into()),
            rooms_claim: Some("rooms".into()),
            ..rules()
        };
        let room = RoomName::parse("team-1").unwrap();
        for (claims, decided) in [
            (&[][..], Some(Forbidden::Scope)),
            (&[(SCOPE, "openid")], Some(Forbidden::Scope)),
            (&[(SCOPE, "openid rooms.join")], Some(Forbidden::Room)),
            (
                &[("roles", "rooms.join"), ("rooms", "team-2")],
                Some(Forbidden::Room),
            ),
            (
                &[
                    ("roles", "rooms.join"),
                    ("rooms", "team-2"),
                    ("rooms", "team-1"),
                ],
                None,
            ),
            (&[("scp", "rooms.join"), ("rooms", "team-*")], None),
        ] {
            let caller = read(&principal(&[&[(NAME, "alice")], claims].concat()), &strict).unwrap();
            assert_eq!(
                caller.authorize(None, Some(&room)).err(),
                decided,
                "{claims:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(value in prop::collection::vec(any::<u8>(), 0..256)) {
            prop_assert_ne!(of_principal([&value[..]], &rules()), Ok(None));
            drop(of_principal([BASE64.encode(&value).as_bytes()], &rules()));
        }
    }
}
