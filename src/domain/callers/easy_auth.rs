//! Azure's built-in authentication ("Easy Auth"): the headers in which the platform names the
//! caller.
//!
//! Anyone can write these headers. They prove something only where the platform removes forged
//! ones, so the code that calls [`read_caller`] must check the operator's setting and the
//! platform's own marker first. The principal has one of two shapes, which differ in their members:
//! App Service's, with claims, and that of Static Web Apps in front of a linked backend, without.
//!
//! # Source
//! <https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities>
//! and <https://learn.microsoft.com/azure/static-web-apps/user-information>

use data_encoding::BASE64;

use super::caller::{Caller, CallerClaims, CallerRules};
use super::subject::is_subject;
use crate::domain::requests::json::{self, Json, Object};

/// The header with the principal, in lower case.
pub const PRINCIPAL_HEADER: &str = "x-ms-client-principal";
/// The header with the principal's id, in lower case.
pub const ID_HEADER: &str = "x-ms-client-principal-id";
/// The header with the name of the identity provider, in lower case.
pub const PROVIDER_HEADER: &str = "x-ms-client-principal-idp";
/// The provider name of callers whom Static Web Apps signed in, or let pass as anonymous.
pub const STATIC_WEB_APPS: &str = "azureStaticWebApps";
/// The most bytes of the principal header. Users with hundreds of groups stay below it.
const MAX_BYTES: usize = 24 * 1024;
/// The most bytes of a provider's name. The platform's own names are `aad`, `google`, `github` and
/// the like.
const MAX_PROVIDER_BYTES: usize = 64;

/// The members of App Service's principal.
const APP_SERVICE_MEMBERS: [&str; 4] = ["auth_typ", "claims", "name_typ", "role_typ"];
/// The members of Static Web Apps' principal.
const STATIC_WEB_APPS_MEMBERS: [&str; 4] =
    ["identityProvider", "userId", "userDetails", "userRoles"];
/// The built-in roles of Static Web Apps: every caller has the first, every signed-in caller the
/// second.
const BUILT_IN_ROLES: [&str; 2] = ["anonymous", "authenticated"];

/// The claims that the platform renames: the name in a token, and the name in the header.
const RENAMED_CLAIMS: [(&str, &str); 4] = [
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

/// The error for headers that do not identify one caller.
///
/// The causes are not distinguished: such headers are a fault of the platform or an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the platform's headers do not identify one caller")]
pub struct PrincipalError;

/// The values of the platform's headers, each as often as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct EasyAuthHeaders<V> {
    /// The values of [`PRINCIPAL_HEADER`].
    pub principal: V,
    /// The values of [`ID_HEADER`].
    pub id: V,
    /// The values of [`PROVIDER_HEADER`].
    pub provider: V,
}

/// A caller whom the platform signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EasyAuthCaller {
    /// The caller.
    pub caller: Caller,
    /// True if the principal contains the claims of the caller's token. Static Web Apps does not
    /// pass them on, so settings that name a claim find none.
    pub has_claims: bool,
}

/// Reads the caller from the platform's headers. Returns `None` if there is no principal: nobody is
/// signed in.
///
/// The caller's name is `sub` of the issuer `easy-auth:` and the platform's name for the provider;
/// behind Static Web Apps it is `userId` of `easy-auth:azureStaticWebApps:` and the provider. The
/// identity is always the hashed form, since the app may have several providers and two of them
/// could give the same value to different people.
///
/// # Errors
/// [`PrincipalError`] for more than one principal, for more than 24 KiB, and for anything that the
/// platform would not write.
///
/// # Examples
/// ```
/// use data_encoding::BASE64;
/// use roomkey::domain::callers::caller::CallerRules;
/// use roomkey::domain::callers::easy_auth::{EasyAuthHeaders, PrincipalError, read_caller};
///
/// let rules = CallerRules {
///     required_scope: None,
///     admin_role: "Roomkey.Admin".into(),
///     identity_claim: "sub".into(),
///     rooms_claim: None,
///     projects_claim: None,
///     roles_claim: None,
/// };
/// let principal = BASE64.encode(
///     br#"{ "auth_typ": "aad", "claims": [{ "typ": "sub", "val": "alice" }] }"#,
/// );
/// let headers = EasyAuthHeaders {
///     principal: vec![principal.as_bytes()],
///     id: vec![],
///     provider: vec![],
/// };
/// let signed_in = read_caller(headers, &rules)?.expect("there is a principal");
/// assert_eq!(signed_in.caller.name(), b"easy-auth:aad\0alice");
/// # Ok::<(), PrincipalError>(())
/// ```
pub fn read_caller<'a, V>(
    headers: EasyAuthHeaders<V>,
    rules: &CallerRules,
) -> Result<Option<EasyAuthCaller>, PrincipalError>
where
    V: IntoIterator<Item = &'a [u8]>,
{
    let mut values = headers.principal.into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() || value.len() > MAX_BYTES {
        return Err(PrincipalError);
    }
    let document = BASE64.decode(value).map_err(|_| PrincipalError)?;
    let principal = json::parse_members(&document).map_err(|_| PrincipalError)?;
    let has_any = |members: [&str; 4]| members.iter().any(|name| principal.contains_key(*name));
    let is_app_service = has_any(APP_SERVICE_MEMBERS);
    let caller = match (is_app_service, has_any(STATIC_WEB_APPS_MEMBERS)) {
        (true, false) => read_app_service(&principal, &document, rules),
        (false, true) => {
            let (id, provider) = (only_value(headers.id), only_value(headers.provider));
            read_static_web_apps(&principal, id, provider, rules)
        }
        (true, true) | (false, false) => None,
    };
    let caller = caller.ok_or(PrincipalError)?;
    Ok(Some(EasyAuthCaller {
        caller,
        has_claims: is_app_service,
    }))
}

fn read_app_service(
    principal: &Object<'_>,
    document: &[u8],
    rules: &CallerRules,
) -> Option<Caller> {
    let provider = json::text(principal, "auth_typ").filter(|name| is_provider(name))?;
    let items = json::parse_items(document, "claims").ok()?;
    let claims: Vec<_> = items
        .iter()
        .flatten()
        .filter_map(PlatformClaim::read)
        .collect();
    let values = |name: &str| PlatformClaim::values(&claims, name);
    let role_claims = [
        json::text(principal, "role_typ"),
        rules.roles_claim.as_deref(),
    ];
    let is_role = |claim: &&PlatformClaim<'_>| {
        claim.has_name("roles") || role_claims.contains(&Some(claim.typ))
    };
    let subject = PlatformClaim::only_value(&claims, "sub").filter(|text| is_subject(text))?;
    let caller_claims = CallerClaims {
        issuer: &format!("easy-auth:{provider}"),
        subject,
        identity: None,
        rooms: rules.rooms_claim.as_ref().map(|claim| values(claim)),
        projects: rules.projects_claim.as_ref().map(|claim| values(claim)),
        scopes: ["scp", "scope"]
            .iter()
            .flat_map(|claim| values(claim))
            .flat_map(|words| words.split(' '))
            .collect(),
        roles: claims
            .iter()
            .filter(is_role)
            .filter_map(|claim| claim.value)
            .collect(),
    };
    Some(Caller::signed_in(&caller_claims, rules))
}

/// Reads a principal of Static Web Apps. The principal alone proves nothing: the platform's two
/// other headers must agree with it, and it must have the role of signed-in callers.
fn read_static_web_apps(
    principal: &Object<'_>,
    id: Option<&[u8]>,
    front_end: Option<&[u8]>,
    rules: &CallerRules,
) -> Option<Caller> {
    let provider = json::text(principal, "identityProvider").filter(|name| is_provider(name))?;
    let subject = json::text(principal, "userId")
        .filter(|subject| is_subject(subject) && *subject != "anonymous")?;
    let Json::Array(items) = principal.get("userRoles")? else {
        return None;
    };
    let user_roles: Vec<_> = items.iter().filter_map(Json::as_str).collect();
    let is_signed_in = user_roles.contains(&"authenticated")
        && id == Some(subject.as_bytes())
        && front_end == Some(STATIC_WEB_APPS.as_bytes());
    if !is_signed_in {
        return None;
    }
    let caller_claims = CallerClaims {
        issuer: &format!("easy-auth:{STATIC_WEB_APPS}:{provider}"),
        subject,
        identity: None,
        rooms: None,
        projects: None,
        scopes: Vec::new(),
        roles: user_roles
            .into_iter()
            .filter(|role| !BUILT_IN_ROLES.contains(role))
            .collect(),
    };
    Some(Caller::signed_in(&caller_claims, rules))
}

/// Returns the value of a header that was sent exactly once.
fn only_value<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let mut values = values.into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// One claim of App Service's principal. Several claims of the same type form a list.
struct PlatformClaim<'a> {
    typ: &'a str,
    /// The value, or `None` if it is not text.
    value: Option<&'a str>,
}

impl<'a> PlatformClaim<'a> {
    /// Reads a claim. Returns `None` for one without a type or a value, which has no meaning.
    fn read(claim: &'a Object<'_>) -> Option<Self> {
        let value = claim.get("val").filter(|value| **value != Json::Null)?;
        Some(Self {
            typ: json::text(claim, "typ")?,
            value: value.as_str(),
        })
    }

    /// Returns the texts of the claims with a name.
    fn values(claims: &[Self], name: &str) -> Vec<&'a str> {
        claims
            .iter()
            .filter(|claim| claim.has_name(name))
            .filter_map(|claim| claim.value)
            .collect()
    }

    /// Returns the text of the claim with a name, or `None` if it occurs twice or is not text.
    fn only_value(claims: &[Self], name: &str) -> Option<&'a str> {
        let mut named = claims.iter().filter(|claim| claim.has_name(name));
        named.next().filter(|_| named.next().is_none())?.value
    }

    /// Reports whether a token has this claim under `name`, renamed or not.
    fn has_name(&self, name: &str) -> bool {
        self.typ == name || RENAMED_CLAIMS.contains(&(name, self.typ))
    }
}

fn is_provider(text: &str) -> bool {
    (1..=MAX_PROVIDER_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
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
            projects_claim: None,
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

    fn read(principal: &Value, rules: &CallerRules) -> Result<Caller, PrincipalError> {
        let value = BASE64.encode(principal.to_string().as_bytes());
        read_principal([value.as_bytes()], rules).map(Option::unwrap)
    }

    /// Reads a principal without the headers that only Static Web Apps needs.
    fn read_principal<'a>(
        values: impl IntoIterator<Item = &'a [u8]>,
        rules: &CallerRules,
    ) -> Result<Option<Caller>, PrincipalError> {
        let headers = EasyAuthHeaders {
            principal: values.into_iter().collect::<Vec<_>>(),
            id: Vec::new(),
            provider: Vec::new(),
        };
        read_caller(headers, rules).map(|signed_in| signed_in.map(|signed_in| signed_in.caller))
    }

    fn swa() -> Value {
        json!({
            "identityProvider": "github",
            "userId": "0a1b",
            "userDetails": "alice",
            "userRoles": ["anonymous", "authenticated", "rooms.join"],
        })
    }

    fn behind_swa(
        principal: &Value,
        ids: &[&str],
        providers: &[&str],
        rules: &CallerRules,
    ) -> Result<Option<EasyAuthCaller>, PrincipalError> {
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
        read_caller(headers, rules)
    }

    fn with(member: &str, value: Value) -> Value {
        let mut principal = principal(&[(NAME, "alice")]);
        principal[member] = value;
        principal
    }

    #[test]
    fn a_header_that_the_platform_would_not_write_is_rejected() {
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
            assert_eq!(
                read(&principal, &rules()),
                Err(PrincipalError),
                "{principal}"
            );
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
                read_principal([value.as_bytes()], &rules()),
                Err(PrincipalError),
                "{value:.20}"
            );
        }
        assert_eq!(
            read_principal([good.as_bytes(), good.as_bytes()], &rules()),
            Err(PrincipalError)
        );
        assert_eq!(read_principal([], &rules()), Ok(None));
        assert!(read_principal([good.as_bytes()], &rules()).is_ok_and(|caller| caller.is_some()));
    }

    #[test]
    fn a_meaningless_claim_does_not_affect_the_others() {
        let large = "x".repeat(17_800);
        for meaningless in [
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
                r#"{{"auth_typ":"aad","name_typ":null,"claims":[{meaningless},
                    {{"typ":"{NAME}","val":"alice"}},{{"typ":"roles","val":"Roomkey.Admin"}}]}}"#
            );
            let value = BASE64.encode(principal.as_bytes());
            let caller = read_principal([value.as_bytes()], &rules())
                .unwrap_or_else(|_| panic!("{meaningless:.60}"))
                .unwrap();
            assert!(
                caller.is_admin() && caller.name() == b"easy-auth:aad\0alice",
                "{meaningless:.60}"
            );
        }
    }

    #[test]
    fn static_web_apps_identifies_a_caller_by_three_headers_that_agree() {
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
                Err(PrincipalError),
                "{principal} {ids:?} {providers:?}"
            );
        }
        let absent = EasyAuthHeaders {
            principal: vec![],
            id: vec![&b"0a1b"[..]],
            provider: vec![&b"azureStaticWebApps"[..]],
        };
        assert_eq!(
            read_caller(absent, &rules()),
            Ok(None),
            "the id alone identifies nobody"
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
    fn the_built_in_roles_of_static_web_apps_do_not_count() {
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
            "no claim can list a room"
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
        let renamed = json!({
            "auth_typ": "x",
            "role_typ": "r",
            "claims": [{ "typ": "sub", "val": "a" }, { "typ": "r", "val": "Roomkey.Admin" }],
        });
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
        fn arbitrary_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..256)) {
            prop_assert_ne!(read_principal([&value[..]], &rules()), Ok(None));
            drop(read_principal([BASE64.encode(&value).as_bytes()], &rules()));
        }
    }
}
