//! The settings of sign-in: the identity provider, and the meaning of its claims.

use super::reader::SettingsReader;
use crate::domain::callers::bearer::{Issuer, TokenPolicy};
use crate::domain::callers::caller::CallerRules;
use crate::domain::requests::fields::Requirement;

/// The default role of operators.
const ADMIN_ROLE: &str = "Roomkey.Admin";
/// The longest claim, scope, role or audience, in bytes.
const MAX_WORD_BYTES: usize = 256;
/// Quotes and brackets. They come from a placeholder or a JSON list and are never part of a claim,
/// scope, role or audience.
const NEVER_IN_WORD: [char; 8] = ['"', '`', '<', '>', '[', ']', '{', '}'];

const ISSUER: &str = "ROOMKEY_OIDC_ISSUER";
const DISCOVERY_URL: &str = "ROOMKEY_OIDC_DISCOVERY_URL";
const AUDIENCE: &str = "ROOMKEY_OIDC_AUDIENCE";
const SCOPE: &str = "ROOMKEY_OIDC_SCOPE";
const TENANTS: &str = "ROOMKEY_OIDC_TENANTS";
const IDENTITY_CLAIM: &str = "ROOMKEY_IDENTITY_CLAIM";
pub(super) const ROOMS_CLAIM: &str = "ROOMKEY_ROOMS_CLAIM";
pub(super) const PROJECTS_CLAIM: &str = "ROOMKEY_PROJECTS_CLAIM";
pub(super) const ROLES_CLAIM: &str = "ROOMKEY_ROLES_CLAIM";
const ADMIN_ROLE_SETTING: &str = "ROOMKEY_ADMIN_ROLE";

/// Reads the settings of `oidc`. `None` means that a fault was recorded.
pub fn read(reader: &mut SettingsReader<'_>) -> Option<TokenPolicy> {
    for name in [ISSUER, AUDIENCE] {
        if !reader.is_set(name) {
            reader.fault(name, "must be set where ROOMKEY_CALLER_AUTH is oidc");
        }
    }
    let issuer = reader.parsed(ISSUER, Issuer::parse);
    let has_many_tenants = issuer.as_ref().is_some_and(Issuer::has_many_tenants);
    let issuer = match issuer {
        Some(issuer) if reader.is_set(DISCOVERY_URL) => {
            reader.parsed(DISCOVERY_URL, |text| issuer.with_discovery_at(text))
        }
        Some(issuer) => Some(issuer),
        // All faults are reported at once, so a wrong URL is reported without an issuer too.
        None => reader
            .parsed(DISCOVERY_URL, Issuer::discovery_address)
            .and(None),
    };
    let audiences = reader.parsed(AUDIENCE, |text| list(text, word));
    let tenants = if !reader.is_set(TENANTS) && has_many_tenants {
        reader.fault(
            TENANTS,
            "must list the tenants: anyone with a Microsoft account gets a token of this issuer",
        );
        None
    } else {
        let own = issuer.as_ref().and_then(Issuer::tenant);
        reader.parsed_or(TENANTS, Vec::new(), |text| tenants(text, own))
    };
    let rules = read_caller_rules(reader);
    let scope = rules
        .as_ref()
        .and_then(|rules| rules.required_scope.as_deref());
    if issuer.as_ref().is_some_and(Issuer::is_entra) && scope.is_some_and(|it| it.contains("://")) {
        reader.fault(
            SCOPE,
            "must be the name of the scope alone, such as rooms.join: Entra writes it into tokens \
             without the address of its API",
        );
    }
    Some(TokenPolicy {
        issuer: issuer?,
        tenants: tenants?,
        audiences: audiences?,
        rules: rules?,
    })
}

/// Reads the rules for signed-in callers, by token or by Easy Auth. `None` means that a fault was
/// recorded.
pub fn read_caller_rules(reader: &mut SettingsReader<'_>) -> Option<CallerRules> {
    let required_scope = reader.parsed_or(SCOPE, None, |text| scope(text).map(Some));
    let identity_claim = reader.parsed_or(IDENTITY_CLAIM, "sub".to_owned(), word);
    let rooms_claim = reader.parsed_or(ROOMS_CLAIM, None, |text| word(text).map(Some));
    let projects_claim = reader.parsed_or(PROJECTS_CLAIM, None, |text| word(text).map(Some));
    let roles_claim = reader.parsed_or(ROLES_CLAIM, None, |text| word(text).map(Some));
    let admin_role = reader.parsed_or(ADMIN_ROLE_SETTING, ADMIN_ROLE.to_owned(), word);
    Some(CallerRules {
        required_scope: required_scope?,
        admin_role: admin_role?,
        identity_claim: identity_claim?,
        rooms_claim: rooms_claim?,
        projects_claim: projects_claim?,
        roles_claim: roles_claim?,
    })
}

/// Returns the first setting of the identity provider that is set.
#[must_use]
pub fn first_set(reader: &SettingsReader<'_>) -> Option<&'static str> {
    [ISSUER, AUDIENCE, SCOPE, TENANTS]
        .into_iter()
        .find(|name| reader.is_set(name))
}

/// Records a fault for each setting that this authentication does not use: the operator expects it
/// to protect.
pub fn refuse_unused(reader: &mut SettingsReader<'_>, easy_auth: bool) {
    let for_tokens = [ISSUER, DISCOVERY_URL, AUDIENCE, TENANTS, IDENTITY_CLAIM];
    let for_sign_in = [
        SCOPE,
        ROOMS_CLAIM,
        PROJECTS_CLAIM,
        ROLES_CLAIM,
        ADMIN_ROLE_SETTING,
    ];
    for name in for_tokens
        .into_iter()
        .chain(for_sign_in.into_iter().filter(|_| !easy_auth))
    {
        if reader.is_set(name) {
            reader.fault(
                name,
                "has no effect with this ROOMKEY_CALLER_AUTH; remove it, or set \
                 ROOMKEY_CALLER_AUTH to oidc",
            );
        }
    }
}

fn list(
    text: &str,
    item: fn(&str) -> Result<String, Requirement>,
) -> Result<Vec<String>, Requirement> {
    text.split(',').map(|part| item(part.trim())).collect()
}

/// Parses the one scope or role that callers need.
fn scope(text: &str) -> Result<String, Requirement> {
    if text.contains(',') {
        Err("must be one scope or role only, without commas".into())
    } else {
        word(text)
    }
}

fn word(text: &str) -> Result<String, Requirement> {
    if text.contains(NEVER_IN_WORD) || text.starts_with('\'') || text.ends_with('\'') {
        return Err("must be the value alone, without quotes or brackets".into());
    }
    if (1..=MAX_WORD_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 256 visible ASCII characters without spaces".into())
    }
}

/// Parses the accepted tenants. The one that the issuer names, if it names one, must be among them.
fn tenants(text: &str, of_issuer: Option<&str>) -> Result<Vec<String>, Requirement> {
    let listed = list(text, tenant)?;
    match of_issuer {
        Some(own) if !listed.iter().any(|tenant| tenant == own) => Err(format!(
            "must list the tenant that {ISSUER} names: no token has that issuer and another \
             tenant; for several tenants write the issuer with organizations in place of the id"
        )
        .into()),
        Some(_) | None => Ok(listed),
    }
}

/// Parses a tenant id into lower case, as in Entra's tokens.
fn tenant(text: &str) -> Result<String, Requirement> {
    let id = uuid::Uuid::try_parse(text)
        .ok()
        .map(|id| id.hyphenated().to_string());
    id.filter(|id| id.eq_ignore_ascii_case(text)).ok_or(
        "must be tenant ids like 11111111-2222-3333-4444-555555555555, separated by commas".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;
    use crate::config::reader::read_settings;

    const TENANT: &str = "aaaaaaaa-2222-3333-4444-555555555555";
    const BASE: [(&str, &str); 2] = [
        (ISSUER, "https://id.example.com"),
        (AUDIENCE, "api://roomkey"),
    ];

    fn with<'a>(settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let kept = BASE
            .iter()
            .filter(|(name, _)| settings.iter().all(|(other, _)| other != name));
        kept.chain(settings).copied().collect()
    }

    fn read_all(settings: &[(&str, &str)]) -> (Option<TokenPolicy>, Vec<String>) {
        read_settings(settings, read)
    }

    #[test]
    fn each_bad_value_is_refused_by_name_and_not_shown() {
        let long = "canary".repeat(50);
        for (name, values) in [
            (
                ISSUER,
                &[
                    "",
                    "canary",
                    "http://canary.example",
                    "https://canary.example?x",
                    "HTTPS://canary.example",
                    "https://u:p@canary",
                ][..],
            ),
            (
                DISCOVERY_URL,
                &[
                    "",
                    "canary",
                    "http://canary.example",
                    "ftp://canary",
                    "https://u:p@canary",
                    "https://canary/#x",
                    "https://canary,https://x#",
                ],
            ),
            (ROLES_CLAIM, &["", "canary canary", &long]),
            (
                AUDIENCE,
                &["", ",", "canary,", "canary canary", &long, "canäry"],
            ),
            (SCOPE, &["", "canary canary", &long]),
            (
                TENANTS,
                &[
                    "",
                    "canary",
                    "aaaaaaaa222233334444555555555555",
                    "{aaaaaaaa-2222-3333-4444-555555555555}",
                    "common",
                    ",",
                ],
            ),
            (IDENTITY_CLAIM, &["", "canary canary", &long]),
            (ROOMS_CLAIM, &["", "canary canary"]),
            (ADMIN_ROLE_SETTING, &["", "canary canary"]),
        ] {
            for value in values {
                let (policy, faults) = read_all(&with(&[(name, value)]));
                assert!(
                    policy.is_none()
                        && faults.len() == 1
                        && faults[0].starts_with(&format!("{name}: ")),
                    "{name}={value:?} {faults:?}"
                );
                assert!(
                    !faults[0].contains("canary") && !faults[0].to_lowercase().contains("warn"),
                    "{}",
                    faults[0]
                );
            }
        }
    }

    #[test]
    fn quotes_and_brackets_are_refused_and_real_values_are_accepted() {
        for name in [
            AUDIENCE,
            SCOPE,
            IDENTITY_CLAIM,
            ROOMS_CLAIM,
            ROLES_CLAIM,
            ADMIN_ROLE_SETTING,
        ] {
            for value in [
                "<canary>",
                "api://<canary>",
                r#"["canary"]"#,
                "{canary}",
                "canary\"",
                "`canary",
                "'canary",
                "canary'",
                "can[0]",
            ] {
                let faults = read_all(&with(&[(name, value)])).1;
                assert!(
                    faults.len() == 1 && faults[0].contains("without quotes or brackets"),
                    "{name}={value} {faults:?}"
                );
            }
            for value in [
                "api://roomkey",
                "https://id.example.com/rooms",
                "urn:roomkey:x",
                "a.b|c",
                "cognito:groups",
                "o'clock",
                "a(b)",
            ] {
                assert_eq!(
                    read_all(&with(&[(name, value)])).1,
                    Vec::<String>::new(),
                    "{name}={value}"
                );
            }
        }
        let faults = read_all(&with(&[(SCOPE, "a,b")])).1;
        assert!(
            faults.len() == 1 && faults[0].contains("one scope or role only"),
            "{faults:?}"
        );
    }

    #[test]
    fn a_wrong_discovery_url_is_reported_without_a_valid_issuer_too() {
        let discovery = (DISCOVERY_URL, "http://canary.example");
        for settings in [
            &with(&[(ISSUER, "canary"), discovery])[..],
            &[BASE[1], discovery],
        ] {
            let faults = read_all(settings).1;
            assert!(
                faults.len() == 2 && faults.iter().any(|fault| fault.starts_with(DISCOVERY_URL)),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn issuer_and_audience_have_no_default() {
        let (policy, faults) = read_all(&[]);
        assert_eq!((policy, faults.len()), (None, 2));
        assert_eq!(read_all(&BASE[..1]).1.len(), 1);
    }

    #[test]
    fn an_issuer_of_many_tenants_requires_a_list_of_tenants() {
        let many = (
            ISSUER,
            "https://login.microsoftonline.com/organizations/v2.0",
        );
        let (policy, faults) = read_all(&with(&[many]));
        assert!(
            policy.is_none() && faults.len() == 1 && faults[0].starts_with(TENANTS),
            "{faults:?}"
        );
        let upper = TENANT.to_uppercase();
        let policy = read_all(&with(&[
            many,
            (
                TENANTS,
                &format!("{upper}, 22222222-2222-3333-4444-555555555555"),
            ),
        ]))
        .0
        .unwrap();
        assert_eq!(
            policy.tenants,
            [TENANT, "22222222-2222-3333-4444-555555555555"]
        );
    }

    #[test]
    fn the_tenant_that_the_issuer_names_must_be_listed() {
        let other = "22222222-2222-3333-4444-555555555555";
        for issuer in [
            &format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
            &format!("https://login.microsoftonline.com/{TENANT}"),
            &format!("https://sts.windows.net/{TENANT}/"),
            &format!("https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"),
        ] {
            let (policy, faults) = read_all(&with(&[(ISSUER, issuer), (TENANTS, other)]));
            assert!(
                policy.is_none() && faults.len() == 1 && faults[0].starts_with(TENANTS),
                "{issuer} {faults:?}"
            );
            let both = format!("{other}, {TENANT}");
            for tenants in [TENANT, &both] {
                let (policy, faults) = read_all(&with(&[(ISSUER, issuer), (TENANTS, tenants)]));
                assert!(policy.is_some(), "{issuer} {tenants} {faults:?}");
            }
        }
        assert!(read_all(&with(&[(TENANTS, other)])).0.is_some());
    }

    #[test]
    fn a_scope_of_entra_is_its_name_alone() {
        for issuer in [
            &format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
            &format!("https://sts.windows.net/{TENANT}/"),
            &format!("https://contoso.ciamlogin.com/{TENANT}/v2.0"),
        ] {
            for scope in ["api://roomkey/rooms.join", "https://roomkey/.default"] {
                let faults = read_all(&with(&[(ISSUER, issuer), (SCOPE, scope)])).1;
                assert!(
                    faults.len() == 1 && faults[0].starts_with(SCOPE),
                    "{issuer} {scope} {faults:?}"
                );
            }
            let settings = with(&[(ISSUER, issuer), (SCOPE, "rooms.join")]);
            assert!(read_all(&settings).1.is_empty(), "{issuer}");
        }
        let elsewhere = with(&[(SCOPE, "https://api.example.com/rooms.join")]);
        assert!(
            read_all(&elsewhere).1.is_empty(),
            "Google's scopes are addresses"
        );
    }

    #[test]
    fn a_discovery_url_does_not_change_the_issuer() {
        let b2c = "https://contoso.b2clogin.com/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration?p=B2C_1_signin";
        let issuer = "https://contoso.b2clogin.com/11111111-2222-3333-4444-555555555555/v2.0/";
        let policy = read_all(&with(&[(ISSUER, issuer), (DISCOVERY_URL, b2c)]))
            .0
            .unwrap();
        assert_eq!(
            (
                policy.issuer.discovery_url().as_str(),
                policy.issuer.published().as_ref()
            ),
            (b2c, issuer)
        );
        let local = read_all(&with(&[(DISCOVERY_URL, "http://127.0.0.1:8080/discovery")]))
            .0
            .unwrap()
            .issuer;
        assert_eq!(local.discovery_url(), "http://127.0.0.1:8080/discovery");
        assert_eq!(
            read_all(&BASE).0.unwrap().issuer.discovery_url(),
            "https://id.example.com/.well-known/openid-configuration"
        );
    }

    #[test]
    fn absent_settings_have_the_strictest_default() {
        let policy = read_all(&BASE).0.unwrap();
        assert_eq!(
            (policy.audiences.as_slice(), policy.tenants.len()),
            (&["api://roomkey".to_owned()][..], 0)
        );
        let CallerRules {
            required_scope,
            admin_role,
            identity_claim,
            rooms_claim,
            projects_claim: _,
            roles_claim,
        } = policy.rules;
        assert_eq!(
            (required_scope, admin_role.as_str(), identity_claim.as_str()),
            (None, "Roomkey.Admin", "sub")
        );
        assert_eq!((rooms_claim, roles_claim), (None, None));
        let set = [
            (SCOPE, "s"),
            (ADMIN_ROLE_SETTING, "r"),
            (IDENTITY_CLAIM, "oid"),
            (ROOMS_CLAIM, "rooms"),
            (ROLES_CLAIM, "realm_access.roles"),
            (AUDIENCE, "a, b"),
        ];
        let policy = read_all(&with(&set)).0.unwrap();
        let rules = CallerRules {
            required_scope: Some("s".into()),
            admin_role: "r".into(),
            identity_claim: "oid".into(),
            rooms_claim: Some("rooms".into()),
            projects_claim: None,
            roles_claim: Some("realm_access.roles".into()),
        };
        assert_eq!(
            (policy.rules, policy.audiences),
            (rules, vec!["a".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn unused_settings_are_refused() {
        let all = [
            ISSUER,
            DISCOVERY_URL,
            AUDIENCE,
            SCOPE,
            TENANTS,
            IDENTITY_CLAIM,
            ROOMS_CLAIM,
            ROLES_CLAIM,
            ADMIN_ROLE_SETTING,
        ];
        let refused = |easy_auth| {
            let environment: Environment = all.iter().map(|name| (*name, "x")).collect();
            let mut reader = SettingsReader::new(&environment);
            refuse_unused(&mut reader, easy_auth);
            reader
                .into_faults()
                .into_iter()
                .map(|fault| fault.setting)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            refused(true),
            [ISSUER, DISCOVERY_URL, AUDIENCE, TENANTS, IDENTITY_CLAIM]
        );
        assert_eq!(refused(false), all);
    }
}
