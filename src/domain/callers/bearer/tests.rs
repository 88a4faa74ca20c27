//! Tests of bearer tokens: valid ones, and every forgery of the corpus.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::callers::caller::{CallerRules, Forbidden};
use crate::domain::callers::key_set::KeySet;
use crate::domain::livekit::names::RoomName;

#[path = "../../../../tests/forgery.rs"]
mod forgery;

use forgery::{Forge, Terms, changed};

const NOW: i64 = 1_700_000_000;
const TENANT: &str = "aaaaaaaa-2222-3333-4444-555555555555";

/// An identity provider with its keys, and the policy that accepts its tokens.
struct TestProvider {
    forge: Forge,
    terms: Terms,
    policy: TokenPolicy,
    keys: KeySet,
}

impl TestProvider {
    fn new() -> Self {
        let (forge, issuer) = (
            Forge::new(),
            format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        );
        let policy = TokenPolicy {
            issuer: Issuer::parse(&issuer).unwrap(),
            tenants: vec![TENANT.into()],
            audiences: vec!["other-audience".into(), "api://roomkey".into()],
            rules: CallerRules {
                required_scope: Some("rooms.join".into()),
                admin_role: "Roomkey.Admin".into(),
                identity_claim: "sub".into(),
                rooms_claim: None,
                projects_claim: None,
                roles_claim: None,
            },
        };
        let keys = KeySet::parse(forge.key_set().to_string().as_bytes()).unwrap();
        Self {
            forge,
            terms: Terms {
                issuer,
                audience: "api://roomkey".into(),
                tenant: TENANT.into(),
                now: NOW,
            },
            policy,
            keys,
        }
    }

    /// Verifies a token from the header to the claims.
    fn verify(&self, token: &str) -> Result<VerifiedCaller, TokenRejection> {
        let value = format!("Bearer {token}");
        let token = UnverifiedToken::parse(extract_token([value.as_bytes()])?.unwrap())?;
        let keys = self
            .keys
            .find(token.key_id(), token.algorithm())
            .map_err(|_| TokenRejection::Key)?;
        token.verify(keys.iter(), &self.policy, at(NOW))
    }

    fn verify_with(&self, header: Value, claims: Value) -> Result<VerifiedCaller, TokenRejection> {
        self.verify(&self.forge.sign(
            &changed(&forgery::header(), header),
            &changed(&forgery::claims(&self.terms), claims),
        ))
    }

    fn identity(&self, claims: Value) -> String {
        let verified = self.verify_with(json!({}), claims).unwrap();
        verified
            .caller
            .authorize(None, None)
            .unwrap()
            .unwrap()
            .as_str()
            .to_owned()
    }
}

fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())
}

#[test]
fn every_forgery_of_the_corpus_is_rejected_for_its_own_reason() {
    let provider = TestProvider::new();
    let forgeries = provider.forge.forgeries(&provider.terms);
    assert!(forgeries.len() >= 100, "{}", forgeries.len());
    for forgery in &forgeries {
        println!("{:<55} {}", forgery.name, forgery.reason);
        let refused = provider
            .verify(&forgery.token)
            .map_err(TokenRejection::as_str);
        assert_eq!(refused.err(), Some(forgery.reason), "{}", forgery.name);
    }
    assert!(
        provider
            .verify(&provider.forge.good(&provider.terms))
            .is_ok(),
        "the token that the forgeries are made from is valid"
    );
}

#[test]
fn a_valid_token_with_one_changed_byte_is_rejected() {
    let provider = TestProvider::new();
    let good = provider.forge.good(&provider.terms);
    for at in 0..good.len() {
        let mut token = good.clone().into_bytes();
        token[at] = if token[at] == b'x' { b'y' } else { b'x' };
        assert!(
            provider.verify(&String::from_utf8(token).unwrap()).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn harmless_differences_between_valid_tokens_are_accepted() {
    let provider = TestProvider::new();
    for typ in [json!(null), json!("JWT")] {
        assert!(
            provider
                .verify_with(json!({ "typ": typ }), json!({}))
                .is_ok(),
            "{typ}"
        );
    }
    for typ in [
        "JWT",
        "jwt",
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/JWT",
    ] {
        assert!(
            provider
                .verify_with(json!({ "typ": typ }), json!({}))
                .is_ok(),
            "{typ}"
        );
    }
    for header in [
        json!({ "jku": "https://evil.example" }),
        json!({ "x5t": "abc", "cty": "x", "unknown": [1] }),
    ] {
        assert!(
            provider.verify_with(header.clone(), json!({})).is_ok(),
            "{header}"
        );
    }
    for claims in [
        json!({ "nbf": null, "iat": null, "jti": null }),
        json!({ "exp": NOW - 60 }),
        json!({ "exp": 1_700_000_000.5 }),
        json!({ "exp": 253_402_300_799_u64 }),
        json!({ "exp": 253_402_300_799.5 }),
        json!({ "exp": 1.7e9 + 600.0 }),
        json!({ "nbf": -62_135_596_800_i64, "iat": -1.5 }),
        json!({ "email_verified": -1, "address": { "a": [1e300, null] }, "groups": [null, 5, {}] }),
        json!({ "aud": [null, "api://roomkey"], "scope": ["rooms.join", null] }),
        json!({ "nbf": NOW + 60, "iat": NOW + 60 }),
        json!({ "nbf": 0, "iat": 0.0 }),
        json!({ "aud": ["x", "api://roomkey"] }),
        json!({ "aud": "other-audience" }),
        json!({ "sub": "a".repeat(255) }),
        json!({ "scope": null, "scp": "a rooms.join" }),
        json!({ "scope": null, "scp": ["a", "rooms.join"] }),
        json!({ "scope": null, "roles": ["rooms.join"] }),
    ] {
        let verified = provider
            .verify_with(json!({}), claims.clone())
            .unwrap_or_else(|rejected| panic!("{claims} {rejected:?}"));
        assert!(verified.caller.authorize(None, None).is_ok(), "{claims}");
    }
}

#[test]
fn an_invalid_claim_that_is_not_needed_is_ignored() {
    let provider = TestProvider::new();
    let claims = forgery::claims(&provider.terms).to_string();
    for invalid in [
        r#"{"a":1,"a":2}"#,
        r#""\ud83d""#,
        "1e999",
        "-1e400",
        r#"[{"x":"\udc00"}]"#,
        &format!("{}{}", "[".repeat(300), "]".repeat(300)),
    ] {
        let payload = claims.replacen('{', &format!(r#"{{"invalid":{invalid},"#), 1);
        let verified = provider.verify(
            &provider
                .forge
                .sign_text(&forgery::header().to_string(), &payload),
        );
        assert!(verified.is_ok(), "{invalid:.20} {verified:?}");
        let header =
            forgery::header()
                .to_string()
                .replacen('{', &format!(r#"{{"invalid":{invalid},"#), 1);
        assert!(
            provider
                .verify(&provider.forge.sign_text(&header, &claims))
                .is_ok(),
            "{invalid:.20} in the header"
        );
        // The same in a claim that is needed.
        for needed in ["exp", "iss", "aud", "sub", "tid", "nbf"] {
            let mut without = forgery::claims(&provider.terms);
            without.as_object_mut().unwrap().remove(needed);
            let payload =
                without
                    .to_string()
                    .replacen('{', &format!(r#"{{"{needed}":{invalid},"#), 1);
            assert!(
                provider
                    .verify(
                        &provider
                            .forge
                            .sign_text(&forgery::header().to_string(), &payload)
                    )
                    .is_err(),
                "{needed} {invalid:.20}"
            );
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn roles_are_also_read_from_a_configured_claim_by_name_or_path() {
    let mut provider = TestProvider::new();
    for (path, claims, has_role) in [
        (
            "realm_access.roles",
            json!({ "realm_access": { "roles": ["a", "rooms.join"] } }),
            true,
        ),
        (
            "realm_access.roles",
            json!({ "realm_access": { "roles": "rooms.join" } }),
            true,
        ),
        (
            "realm_access.roles",
            json!({ "realm_access.roles": ["rooms.join"] }),
            true,
        ),
        (
            "realm_access.roles",
            json!({ "realm_access.roles": ["x"], "realm_access": { "roles": ["rooms.join"] } }),
            false,
        ),
        (
            "resource_access.my.client.roles",
            json!({ "resource_access": { "my.client": { "roles": ["rooms.join"] } } }),
            true,
        ),
        (
            "resource_access.my.client.roles",
            json!({ "resource_access": { "my": { "client": { "roles": ["rooms.join"] } } } }),
            true,
        ),
        (
            "https://example.com/roles",
            json!({ "https://example.com/roles": ["rooms.join"] }),
            true,
        ),
        (
            "https://example.com/roles",
            json!({ "https://example": { "com/roles": ["rooms.join"] } }),
            true,
        ),
        (
            "permissions",
            json!({ "permissions": ["rooms.join", null] }),
            true,
        ),
        (
            "permissions",
            json!({ "permissions": ["rooms.join", 5] }),
            false,
        ),
        (
            "permissions",
            json!({ "permissions": "a rooms.join" }),
            false,
        ),
        (
            "permissions",
            json!({ "permissions": { "rooms.join": true } }),
            false,
        ),
        ("permissions", json!({ "other": ["rooms.join"] }), false),
        (
            "realm_access.roles",
            json!({ "realm_access": ["roles"] }),
            false,
        ),
        (
            "realm_access.roles",
            json!({ "realm_access": { "roles": null } }),
            false,
        ),
        ("realm_access.roles", json!({ "realm_access": null }), false),
        (
            "a..b",
            json!({ "a": { "": { "b": ["rooms.join"] } } }),
            true,
        ),
        (".", json!({ "": { "": ["rooms.join"] } }), true),
        (
            "permissions",
            json!({ "permissions": [], "roles": ["rooms.join"] }),
            true,
        ),
        (
            "permissions",
            json!({ "permissions": [], "scp": ["rooms.join"] }),
            true,
        ),
    ] {
        provider.policy.rules.roles_claim = Some(path.into());
        let mut all = json!({ "scope": null });
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        let caller = provider.verify_with(json!({}), all).unwrap().caller;
        assert_eq!(
            caller.authorize(None, None).is_ok(),
            has_role,
            "{path} {claims}"
        );
    }
    provider.policy.rules.roles_claim = Some("realm_access.roles".into());
    let admin = json!({ "realm_access": { "roles": ["Roomkey.Admin"] } });
    assert!(
        provider
            .verify_with(json!({}), admin.clone())
            .unwrap()
            .caller
            .is_admin()
    );
    provider.policy.rules.roles_claim = None;
    assert!(
        !provider
            .verify_with(json!({}), admin)
            .unwrap()
            .caller
            .is_admin()
    );
}

#[test]
fn a_token_without_a_key_id_is_checked_against_every_key() {
    let provider = TestProvider::new();
    assert!(
        provider
            .verify_with(json!({ "kid": null }), json!({}))
            .is_ok()
    );
    let mallory = changed(&forgery::header(), json!({ "kid": null }));
    let forged = Forge::new().sign(&mallory, &forgery::claims(&provider.terms));
    assert_eq!(
        provider.verify(&forged).err(),
        Some(TokenRejection::Signature)
    );
}

#[test]
fn a_token_of_azures_front_ends_is_recognized_by_its_issuer() {
    let has_platform_issuer = |issuer: Value| {
        is_platform_token(
            &TestProvider::new()
                .forge
                .sign(&forgery::header(), &json!({ "iss": issuer })),
        )
    };
    for issuer in [
        "https://calm-sea-1.2.azurestaticapps.net/.auth",
        "https://x/.auth/",
        "https://0a1b.scm.azurewebsites.net",
    ] {
        assert!(has_platform_issuer(json!(issuer)), "{issuer}");
    }
    for issuer in [
        json!("https://id.example.com"),
        json!("https://x/.auth/x"),
        json!("/.authx"),
        json!(null),
        json!(5),
        json!(""),
    ] {
        assert!(!has_platform_issuer(issuer.clone()), "{issuer}");
    }
    for token in ["", ".", "a.b.c", "a..c", &"a.".repeat(9_000)] {
        assert!(!is_platform_token(token), "{token:.20}");
    }
}

#[test]
fn a_caller_without_the_scope_is_identified_but_forbidden() {
    let provider = TestProvider::new();
    for scope in [
        json!(null),
        json!("openid"),
        json!(""),
        json!("rooms.join.all"),
        json!("Rooms.Join"),
        json!(5),
        json!(["rooms.join", 5]),
    ] {
        let caller = provider
            .verify_with(json!({}), json!({ "scope": scope }))
            .unwrap()
            .caller;
        assert_eq!(
            caller.authorize(None, None),
            Err(Forbidden::Scope),
            "{scope}"
        );
    }
    let admin = |roles| {
        provider
            .verify_with(json!({}), json!({ "roles": roles }))
            .unwrap()
            .caller
            .is_admin()
    };
    assert!(admin(json!(["Roomkey.Admin"])));
    assert!(
        !admin(json!(["x"]))
            && !admin(json!("x Roomkey.Admin"))
            && !admin(json!({ "Roomkey.Admin": 1 }))
            && !admin(json!(null))
    );
}

#[test]
fn a_token_is_valid_until_exp_plus_leeway() {
    let provider = TestProvider::new();
    let verified = provider
        .verify_with(json!({}), json!({ "exp": NOW + 5 }))
        .unwrap();
    assert_eq!(verified.good_until, at(NOW + 65));
    let token = provider.forge.good(&provider.terms);
    let token = UnverifiedToken::parse(&token).unwrap();
    let keys = provider
        .keys
        .find(token.key_id(), token.algorithm())
        .unwrap();
    let until = token
        .verify(keys.iter(), &provider.policy, at(NOW))
        .unwrap()
        .good_until;
    assert!(token.verify(keys.iter(), &provider.policy, until).is_ok());
    assert_eq!(
        token.verify(
            keys.iter(),
            &provider.policy,
            until + Duration::from_millis(1)
        ),
        Err(TokenRejection::Expired)
    );
}

#[test]
fn a_key_for_another_algorithm_is_never_used() {
    let provider = TestProvider::new();
    let token = provider.forge.good(&provider.terms);
    let token = UnverifiedToken::parse(&token).unwrap();
    let other = provider
        .keys
        .find(token.key_id(), Algorithm::Rs512)
        .unwrap();
    assert_eq!(
        token.verify(other.iter(), &provider.policy, at(NOW)),
        Err(TokenRejection::Key)
    );
    assert_eq!(
        token.verify([], &provider.policy, at(NOW)),
        Err(TokenRejection::Key)
    );
}

#[test]
fn a_malformed_key_id_is_rejected_before_any_key_is_searched() {
    let provider = TestProvider::new();
    for key_id in [
        json!(""),
        json!(1),
        json!(["k1"]),
        json!("k1\n"),
        json!("k 1"),
        json!("k\u{e9}"),
        json!("k".repeat(257)),
    ] {
        let token = provider.forge.sign(
            &changed(&forgery::header(), json!({ "kid": key_id })),
            &json!({}),
        );
        assert_eq!(
            UnverifiedToken::parse(&token).err(),
            Some(TokenRejection::Key),
            "{key_id}"
        );
    }
}

#[test]
fn the_identity_follows_the_claim_only_with_a_single_tenant() {
    let mut provider = TestProvider::new();
    assert_eq!(provider.identity(json!({})), "alice");
    for reserved in ["guest-1", "agent-1", "EG_1", "sip_1"] {
        assert!(
            provider
                .identity(json!({ "sub": reserved }))
                .starts_with("u-"),
            "{reserved}"
        );
    }
    provider.policy.rules.identity_claim = "oid".into();
    assert_eq!(provider.identity(json!({ "oid": "object-1" })), "object-1");
    let hashed = provider.identity(json!({ "oid": null }));
    assert_eq!((hashed.len(), &hashed[..2]), (28, "u-"));
    assert_eq!(provider.identity(json!({ "oid": 5 })), hashed);
    provider
        .policy
        .tenants
        .push("22222222-2222-3333-4444-555555555555".into());
    assert_eq!(provider.identity(json!({ "oid": "object-1" })), hashed);
}

#[test]
fn rooms_come_only_from_the_rooms_claim() {
    let mut provider = TestProvider::new();
    provider.policy.rules.rooms_claim = Some("rooms".into());
    let room = RoomName::parse("team-1").unwrap();
    for (rooms, admitted) in [
        (json!(null), false),
        (json!([]), false),
        (json!(""), false),
        (json!("team-1 team-2"), false),
        (json!(["team-2"]), false),
        (json!(["team-1", 5]), false),
        (json!({ "team-1": true }), false),
        (json!(true), false),
        (json!("team-1"), true),
        (json!(["x", "team-*"]), true),
    ] {
        let caller = provider
            .verify_with(json!({}), json!({ "rooms": rooms }))
            .unwrap()
            .caller;
        assert_eq!(
            caller.authorize(None, Some(&room)).is_ok(),
            admitted,
            "{rooms}"
        );
    }
}

#[test]
fn an_issuer_is_only_accepted_for_its_own_tenant() {
    let mut provider = TestProvider::new();
    let second = "22222222-2222-3333-4444-555555555555";
    provider.policy.tenants.push(second.into());
    provider.policy.issuer =
        Issuer::parse("https://login.microsoftonline.com/organizations/v2.0").unwrap();
    let iss = |tenant| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let third = "33333333-2222-3333-4444-555555555555";
    for (tid, iss, expected) in [
        (TENANT, iss(TENANT), None),
        (second, iss(second), None),
        (TENANT, iss(second), Some(TokenRejection::Issuer)),
        (second, iss(TENANT), Some(TokenRejection::Issuer)),
        (third, iss(third), Some(TokenRejection::Tenant)),
        (third, iss(TENANT), Some(TokenRejection::Tenant)),
        (
            TENANT,
            format!("https://sts.windows.net/{TENANT}/"),
            Some(TokenRejection::Issuer),
        ),
        (TENANT, iss("{tenantid}"), Some(TokenRejection::Issuer)),
        (TENANT, iss("organizations"), Some(TokenRejection::Issuer)),
        (
            TENANT,
            format!("{}/", iss(TENANT)),
            Some(TokenRejection::Issuer),
        ),
    ] {
        assert_eq!(
            provider
                .verify_with(json!({}), json!({ "tid": tid, "iss": iss }))
                .err(),
            expected,
            "{tid} {iss}"
        );
    }
    provider.policy.issuer = Issuer::parse("https://login.microsoftonline.com/common").unwrap();
    assert_eq!(
        provider.verify_with(json!({}), json!({})).err(),
        Some(TokenRejection::Issuer)
    );
    let version_1 = format!("https://sts.windows.net/{second}/");
    assert!(
        provider
            .verify_with(json!({}), json!({ "tid": second, "iss": version_1 }))
            .is_ok()
    );
    provider.policy.tenants.clear();
    assert_eq!(
        provider
            .verify_with(json!({}), json!({ "tid": second, "iss": version_1 }))
            .err(),
        Some(TokenRejection::Issuer)
    );
}

#[test]
fn a_key_of_one_tenant_is_not_accepted_for_another() {
    let mut provider = TestProvider::new();
    let iss = |tenant| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let other = "22222222-2222-3333-4444-555555555555";
    for (setting, key_issuer, accepted) in [
        ("organizations", json!(iss(other)), false),
        ("organizations", json!(iss("organizations")), false),
        ("organizations", json!(iss(TENANT)), true),
        ("organizations", json!(iss("{tenantid}")), true),
        ("organizations", json!(null), true),
        // The member has no meaning for other issuers.
        (TENANT, json!("x"), true),
    ] {
        let mut keys = provider.forge.key_set();
        keys["keys"][0]["issuer"] = key_issuer.clone();
        provider.keys = KeySet::parse(keys.to_string().as_bytes()).unwrap();
        provider.policy.issuer = Issuer::parse(&iss(setting)).unwrap();
        let refused = provider.verify_with(json!({}), json!({})).err();
        assert_eq!(
            refused,
            (!accepted).then_some(TokenRejection::Issuer),
            "{setting} {key_issuer}"
        );
    }
}

#[test]
fn a_header_without_exactly_one_bearer_token_is_rejected() {
    let long = format!("Bearer {}", "a".repeat(MAX_BYTES + 1));
    assert!(
        extract_token([&long.as_bytes()[..long.len() - 1]]).is_ok_and(|token| token.is_some()),
        "16 KiB without the scheme"
    );
    for value in [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Basic YTpi",
        "Bearera.b.c",
        "Bearer\ta.b.c",
        "bearer a,b",
        "Bearer a b",
        " Bearer a",
        "a.b.c",
    ] {
        assert_eq!(
            extract_token([value.as_bytes()]),
            Err(TokenRejection::Credentials),
            "{value:?}"
        );
    }
    assert_eq!(
        extract_token([&b"Bearer \xff"[..]]),
        Err(TokenRejection::Credentials)
    );
    assert_eq!(
        extract_token([&b"Bearer a"[..], b"Bearer a"]),
        Err(TokenRejection::Credentials)
    );
    assert_eq!(
        extract_token([long.as_bytes()]),
        Err(TokenRejection::TooLong)
    );
    assert_eq!(extract_token([]), Ok(None));
    for value in ["Bearer a.b-_~+/=", "bearer a", "BEARER   a"] {
        assert!(
            extract_token([value.as_bytes()])
                .unwrap()
                .is_some_and(|token| token.starts_with('a')),
            "{value}"
        );
    }
}

#[test]
fn each_rejection_has_a_distinct_label() {
    let labels: BTreeSet<_> = TokenRejection::ALL.map(TokenRejection::as_str).into();
    assert_eq!(labels.len(), TokenRejection::ALL.len());
    assert!(
        labels
            .iter()
            .all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(Some(token)) = extract_token([&value[..]]) {
            prop_assert!(token.is_ascii() && !token.is_empty());
            drop(UnverifiedToken::parse(token));
        }
    }

    #[test]
    fn arbitrary_headers_never_panic(
        header in concat!(
            "\\{(\"(alg|typ|kid|crit|b64|x)\":",
            "(\"(RS256|JWT|\\PC{0,9})\"|[0-9]{1,3}|\\[\\]|null),?){0,5}\\}"
        ),
    ) {
        if let Ok(header) = header::read(header.as_bytes()) {
            prop_assert!(header.key_id.is_none_or(|id| !id.is_empty()));
        }
    }
}

#[test]
fn only_three_parts_of_base64url_have_the_form_of_a_jwt() {
    let provider = TestProvider::new();
    let claims = forgery::claims(&provider.terms);
    let signed = provider.forge.sign(&forgery::header(), &claims);
    for token in [&*signed, "a.b.c", "a.b.", "A-1_.e30.e30"] {
        assert!(has_jwt_form(token), "{token}");
    }
    for token in [
        "",
        ".",
        "..",
        "a..c",
        ".b.c",
        "a.b",
        "a.b.c.d",
        "a.b.c=",
        "a+.b.c",
        "canary-admin-key-of-32-characters",
    ] {
        assert!(!has_jwt_form(token), "{token}");
    }
}
