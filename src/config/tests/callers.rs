//! Tests of the authentication of callers.

use super::*;

const OIDC: [(&str, &str); 3] = [
    ("ROOMKEY_CALLER_AUTH", "oidc"),
    ("ROOMKEY_OIDC_ISSUER", "https://id.example.com"),
    ("ROOMKEY_OIDC_AUDIENCE", "api://roomkey"),
];
const AZURE_SIGN_IN: [(&str, &str); 3] = [
    ("ROOMKEY_CALLER_AUTH", "easy-auth"),
    ("WEBSITE_INSTANCE_ID", "i"),
    ("WEBSITE_AUTH_ENABLED", "True"),
];

fn livekit_and(settings: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [URL, KEY, SECRET].iter().chain(settings).copied().collect()
}

#[test]
fn signed_in_callers_require_a_provider_or_the_platform() {
    assert!(read(&livekit_and(&OIDC)).is_ok());
    assert_eq!(
        faulty(&livekit_and(&OIDC[..1])),
        ["ROOMKEY_OIDC_ISSUER", "ROOMKEY_OIDC_AUDIENCE"]
    );
    assert!(read(&livekit_and(&AZURE_SIGN_IN)).is_ok());
    for left_out in 1..3 {
        let settings: Vec<_> = AZURE_SIGN_IN
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != left_out)
            .map(|(_, one)| *one)
            .collect();
        assert_eq!(
            faulty(&livekit_and(&settings)),
            ["ROOMKEY_CALLER_AUTH"],
            "{settings:?}"
        );
    }
    assert_eq!(
        faulty(&livekit_and(&[
            AZURE_SIGN_IN[0],
            AZURE_SIGN_IN[1],
            ("WEBSITE_AUTH_ENABLED", "false")
        ])),
        ["ROOMKEY_CALLER_AUTH"]
    );
}

#[test]
fn an_unused_setting_is_a_fault() {
    for name in [
        "ROOMKEY_OIDC_ISSUER",
        "ROOMKEY_OIDC_AUDIENCE",
        "ROOMKEY_OIDC_TENANTS",
        "ROOMKEY_OIDC_SCOPE",
        "ROOMKEY_IDENTITY_CLAIM",
        "ROOMKEY_ROOMS_CLAIM",
        "ROOMKEY_ROLES_CLAIM",
        "ROOMKEY_OIDC_DISCOVERY_URL",
        "ROOMKEY_ADMIN_ROLE",
    ] {
        assert_eq!(faulty(&with((name, "x"))), [name]);
    }
    for setting in [
        ("ROOMKEY_IDENTITY_CLAIM", "oid"),
        ("ROOMKEY_OIDC_DISCOVERY_URL", "https://x"),
        ("ROOMKEY_TRUSTED_PROXIES", "10.0.0.0/8"),
    ] {
        assert_eq!(
            faulty(&livekit_and(&[&AZURE_SIGN_IN[..], &[setting]].concat())),
            [setting.0]
        );
    }
    let settings: Vec<_> = AZURE_SIGN_IN
        .into_iter()
        .chain([("ROOMKEY_OIDC_ISSUER", "https://id.example.com")])
        .collect();
    assert_eq!(faulty(&livekit_and(&settings)), ["ROOMKEY_OIDC_ISSUER"]);
}

#[test]
fn settings_that_need_claims_are_refused_behind_static_web_apps() {
    let swa = r#"{"platform":{"enabled":true},"identityProviders":{"azureStaticWebApps":{"registration":{"clientId":"x.azurestaticapps.net"}}}}"#;
    let with = |document: &'static str, name: &'static str| {
        livekit_and(
            &[
                &AZURE_SIGN_IN[..],
                &[("WEBSITE_AUTH_V2_CONFIG_JSON", document), (name, "x")],
            ]
            .concat(),
        )
    };
    for name in [
        "ROOMKEY_ROOMS_CLAIM",
        "ROOMKEY_ROLES_CLAIM",
        "ROOMKEY_IDENTITY_CLAIM",
    ] {
        assert_eq!(faulty(&with(swa, name)), [name]);
    }
    for name in ["ROOMKEY_OIDC_SCOPE", "ROOMKEY_ADMIN_ROLE"] {
        assert!(read(&with(swa, name)).is_ok(), "{name}: its roles count");
    }
    assert!(read(&with("{}", "ROOMKEY_ROOMS_CLAIM")).is_ok());
    let off = r#"{"platform":{"enabled":false}}"#;
    assert_eq!(
        faulty(&with(off, "ROOMKEY_ADMIN_ROLE")),
        ["ROOMKEY_CALLER_AUTH"],
        "a variable that the operator has set"
    );
}

#[test]
fn authentication_ends_dev_mode() {
    assert_eq!(faulty(&OIDC), ["LIVEKIT_URL"]);
    assert_eq!(
        faulty(&OIDC[1..2]),
        ["LIVEKIT_URL", "ROOMKEY_CALLER_AUTH"],
        "an issuer alone"
    );
    assert!(read(&[ANONYMOUS]).unwrap().dev_mode);
}

#[test]
fn check_prints_who_may_open_sessions_of_which_projects() {
    let store = [
        ("ROOMKEY_STORE", "sqlite:/var/lib/roomkey/store.db"),
        (
            "ROOMKEY_KEK_V1",
            "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg",
        ),
        ("ROOMKEY_HASH_KEY", "canary-hash-key-of-at-least-32-bytes"),
    ];
    let lines = |settings: &[(&str, &str)]| {
        let all = [&store[..], settings].concat();
        read(&all).unwrap().check_lines().join("\n")
    };
    for (settings, line) in [
        (
            vec![ANONYMOUS],
            "sessions  none: anonymous callers have no project (ROOMKEY_ANONYMOUS_PROJECTS)",
        ),
        (
            vec![
                ANONYMOUS,
                ("ROOMKEY_ANONYMOUS_PROJECTS", "demo,customer-42"),
            ],
            "sessions  of demo, customer-42; per project 5 at once, any number a day, 100/15m",
        ),
        (
            OIDC.to_vec(),
            "sessions  of any project (ROOMKEY_PROJECTS_CLAIM is not set); per project 5 at once",
        ),
        (
            [
                &OIDC[..],
                &[
                    ("ROOMKEY_PROJECTS_CLAIM", "projects"),
                    ("ROOMKEY_PROJECT_DAILY_SESSIONS", "7"),
                    ("ROOMKEY_PROJECT_RATE_LIMIT", "off"),
                ],
            ]
            .concat(),
            "sessions  of the projects in a caller's claim projects; per project 5 at once, 7 a day",
        ),
    ] {
        let lines = lines(&settings);
        assert!(lines.contains(line) && !lines.contains("canary"), "{lines}");
    }
    assert!(
        !read(&OWN)
            .unwrap()
            .check_lines()
            .join("\n")
            .contains("sessions")
    );
}

#[test]
fn check_prints_the_callers_and_their_limits() {
    let lines = |settings: &[(&str, &str)]| read(settings).unwrap().check_lines().join("\n");
    let anonymous = lines(&OWN);
    assert!(
        anonymous.contains("callers   anonymous")
            && anonymous.contains("100/15m per caller; limits are per instance"),
        "{anonymous}"
    );
    let signed_in = lines(&livekit_and(
        &[
            &OIDC[..],
            &[("ROOMKEY_ADMIN_KEYS", "canary-admin-key-0123456789-0123")],
        ]
        .concat(),
    ));
    assert!(
        signed_in.contains("oidc: anyone with an access token of https://id.example.com"),
        "{signed_in}"
    );
    assert!(
        signed_in.contains("and the role Roomkey.Admin") && !signed_in.contains("canary"),
        "{signed_in}"
    );
}
