//! Tests of whole configurations, valid and invalid.

mod callers;

use super::*;
use crate::config::fault::Fault;
use crate::config::settings::server::ROUTE_PREFIX;
use crate::domain::callers::admin_key::AdminKeys;
use crate::domain::requests::provider::Provider;
use crate::domain::settings::secrets::{PairSource, SecretSource};

const URL: (&str, &str) = ("LIVEKIT_URL", "wss://livekit.example.com");
const KEY: (&str, &str) = ("LIVEKIT_API_KEY", "APIcanary");
const SECRET: (&str, &str) = ("LIVEKIT_API_SECRET", "canary-secret-of-at-least-32-bytes");
const ANONYMOUS: (&str, &str) = ("ROOMKEY_CALLER_AUTH", "anonymous");
const OWN: [(&str, &str); 4] = [URL, KEY, SECRET, ANONYMOUS];

/// Reads settings in a folder without a host.json.
fn read(settings: &[(&str, &str)]) -> Result<Config, Faults> {
    let root = [(
        "FUNCTIONS_APP_ROOT_PATH",
        concat!(env!("CARGO_MANIFEST_DIR"), "/src"),
    )];
    Config::read(&root.iter().chain(settings).copied().collect())
}

fn faulty(settings: &[(&str, &str)]) -> Vec<String> {
    let faults = read(settings)
        .err()
        .unwrap_or_else(|| panic!("accepted: {settings:?}"))
        .faults;
    faults.into_iter().map(|fault| fault.setting).collect()
}

fn server_url(settings: &[(&str, &str)]) -> String {
    read(settings).unwrap().livekit.unwrap().server_url
}

fn with(one: (&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
    OWN.into_iter()
        .filter(|(name, _)| *name != one.0)
        .chain([one])
        .collect()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    OWN.into_iter()
        .filter(|(other, _)| *other != name)
        .collect()
}

#[test]
fn each_bad_value_is_refused_by_name() {
    for (name, values) in [
        (
            "FUNCTIONS_CUSTOMHANDLER_PORT",
            &["", "x", "-1", "65536", "70 71", "7071 ", "+7071"][..],
        ),
        ("ROOMKEY_BIND", &["localhost", "127.0.0.1:80", "0.0.0.0/0"]),
        (
            "LIVEKIT_URL",
            &[
                "",
                "livekit.example.com",
                "https://livekit.example.com",
                "ws://",
                "wss://u:p@h",
                "wss://:p@h",
                "wss://u@h",
                "wss://h?x=1",
                "wss://h#x",
                " wss://h",
            ],
        ),
        (
            "LIVEKIT_API_KEY",
            &[
                "",
                " ",
                "changeme",
                "your-key",
                "<key>",
                "@Microsoft.KeyVault(x)",
                "key\n",
            ],
        ),
        (
            "LIVEKIT_API_SECRET",
            &[
                "",
                "short",
                "secret",
                "canary-secret-of-at-least-32-bytes\n",
                "@Microsoft.KeyVault(SecretUri=https://v.example/s)",
            ],
        ),
        ("ROOMKEY_DEFAULT_PROVIDER", &["", "openai", "LiveKit"]),
        ("ROOMKEY_ROOM_PATTERN", &["", "(", ")|("]),
        ("ROOMKEY_MAX_TOKEN_SECONDS", &["", "59", "86401", "1h"]),
        (
            "ROOMKEY_AGENTS",
            &["", ",", "a,,b", "a b", "ä", "a@", "@b", "a@b@c"],
        ),
        (
            "ROOMKEY_CALLER_AUTH",
            &["", "easy-auth", "none", "Anonymous"],
        ),
        (
            "ROOMKEY_ADMIN_KEYS",
            &[
                "",
                "short",
                "changeme-changeme-changeme-changeme",
                "canary-admin-key-0123456789-0123,<your admin key of 32 characters>",
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/s)",
                "canary-admin-key-0123456789-0123,",
                "canary-admin-key-0123456789-0123, canary-admin-key-0123456789-0124",
                "canary-admin-key-0123456789-0123,canary-admin-key-0123456789-0123",
                "canary-admin-key-0123456789-0123\u{e4}",
            ],
        ),
        ("ROOMKEY_RATE_LIMIT", &["", "100", "100/15"]),
        ("ROOMKEY_TRUSTED_PROXIES", &["", "localhost"]),
        ("ROOMKEY_HASH_KEY", &["", "short"]),
        ("ROOMKEY_LOG", &["", "verbose", "INFO", "trace"]),
        ("ROOMKEY_LOG_FORMAT", &["", "xml"]),
    ] {
        for value in values {
            assert_eq!(faulty(&with((name, value))), [name], "{name}={value:?}");
            // The Functions host would take the line for a mere warning.
            let line = read(&with((name, value))).unwrap_err().faults[0].to_string();
            assert!(!line.to_lowercase().contains("warn"), "{line}");
        }
    }
}

#[test]
fn each_missing_part_of_a_provider_is_named() {
    for name in ["LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"] {
        assert_eq!(faulty(&without(name)), [name]);
    }
    assert_eq!(
        faulty(&[("LIVEKIT_URL", "wss://h"), ANONYMOUS]),
        ["LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"]
    );
}

#[test]
fn a_default_provider_must_be_configured() {
    let openai = [
        ("OPENAI_API_KEY", "sk-canary-openai-key-0123"),
        ("ROOMKEY_DEFAULT_PROVIDER", "openai"),
    ];
    let config = read(&[&OWN[..], &openai].concat()).unwrap();
    assert_eq!(
        (
            config.request_policy.providers.default_provider(),
            config.request_policy.providers.configured().len()
        ),
        (Provider::OpenAi, 2)
    );
    assert_eq!(
        faulty(
            &[
                &OWN[..],
                &openai[..1],
                &[("ROOMKEY_DEFAULT_PROVIDER", "azure-openai")]
            ]
            .concat()
        ),
        ["ROOMKEY_DEFAULT_PROVIDER"]
    );
    let lines = config.check_lines().join("\n");
    assert!(
        lines.contains("provider  openai at api.openai.com, model gpt-realtime-2.1, with a key"),
        "{lines}"
    );
    assert!(
        lines.contains("secrets   20/15m per caller, valid for 60 s"),
        "{lines}"
    );
    assert!(!format!("{config:?} {lines}").contains("canary"));
}

#[test]
fn a_realtime_provider_ends_dev_mode_since_its_secrets_cost_money() {
    assert!(
        faulty(&[("OPENAI_API_KEY", "sk-canary-openai-key-0123")])
            .contains(&"ROOMKEY_CALLER_AUTH".to_owned())
    );
}

#[test]
fn turn_servers_end_dev_mode_and_need_no_other_provider() {
    let turn = [
        ("ROOMKEY_TURN_URLS", "turn:turn.example.com:3478"),
        (
            "ROOMKEY_TURN_SECRET",
            "canary-turn-secret-of-at-least-32-bytes",
        ),
    ];
    assert_eq!(faulty(&turn), ["ROOMKEY_CALLER_AUTH"]);
    let config = read(&[&turn[..], &[ANONYMOUS]].concat()).unwrap();
    assert!(!config.dev_mode && config.livekit.is_none() && config.turn.is_some());
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn outside_dev_mode_the_authentication_of_callers_must_be_set() {
    assert_eq!(
        faulty(&without("ROOMKEY_CALLER_AUTH")),
        ["ROOMKEY_CALLER_AUTH"]
    );
}

#[test]
fn all_faults_are_reported_at_once_and_no_value() {
    let settings = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "canary-port"),
        ("ROOMKEY_BIND", "canary-bind"),
        ("LIVEKIT_URL", "canary-url"),
        KEY,
        ("LIVEKIT_API_SECRET", "canary"),
        ("ROOMKEY_CALLER_AUTH", "canary-auth"),
        ("ROOMKEY_LOGG", "canary-log"),
    ];
    let faults = read(&settings).unwrap_err().faults;
    let names: Vec<_> = faults.iter().map(|fault| fault.setting.as_str()).collect();
    assert_eq!(
        names,
        [
            "FUNCTIONS_CUSTOMHANDLER_PORT",
            "ROOMKEY_BIND",
            "LIVEKIT_URL",
            "LIVEKIT_API_SECRET",
            "ROOMKEY_CALLER_AUTH",
            "ROOMKEY_LOGG"
        ]
    );
    let lines = faults
        .iter()
        .map(Fault::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(!lines.contains("canary"), "{lines}");
    assert_eq!(lines.lines().count(), faults.len());
}

#[test]
fn a_setting_that_does_not_exist_is_refused_with_the_nearest_name() {
    let fault = |name| {
        read(&[(name, "x")])
            .unwrap_err()
            .faults
            .remove(0)
            .to_string()
    };
    assert_eq!(
        fault("ROOMKEY_LOGG"),
        "ROOMKEY_LOGG: is not a setting of this version; did you mean ROOMKEY_LOG?"
    );
    assert_eq!(
        fault("ROOMKEY_PROJECTS_DATABASE"),
        "ROOMKEY_PROJECTS_DATABASE: is not a setting of this version; docs/settings.md lists them"
    );
    assert_eq!(
        fault("Roomkey_Rate_Limt"),
        "Roomkey_Rate_Limt: is not a setting of this version; did you mean ROOMKEY_RATE_LIMIT?"
    );
    assert_eq!(faulty(&[("ROOMKEY_A\nB", "x")]), ["ROOMKEY_A_B"]);
}

const VAULT: (&str, &str) = ("KEY_VAULT_URL", "https://v.example");

fn with_all(settings: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    OWN.into_iter()
        .filter(|(name, _)| settings.iter().all(|(other, _)| name != other))
        .chain(settings.iter().copied())
        .collect()
}

fn names_in_vault(settings: &[(&str, &str)]) -> [Option<String>; 2] {
    match read(settings).unwrap().livekit.unwrap().pair {
        PairSource::Given(..) => [None, None],
        PairSource::InVault(key, secret) => {
            [key, secret].map(|name| Some(name.as_str().to_owned()))
        }
    }
}

#[test]
fn each_bad_setting_of_the_vault_is_refused_by_name() {
    for (name, values) in [
        (
            "KEY_VAULT_URL",
            &[
                "",
                "v",
                "http://v.example",
                "https://v.example/secrets",
                "https://u:p@v.example",
                "https://v.example?x",
            ][..],
        ),
        (
            "ROOMKEY_SECRET_REFRESH_SECONDS",
            &["", "29", "86401", "1h", "+60", "60.0"],
        ),
        (
            "AZURE_CLIENT_ID",
            &["", "me", "{11111111-2222-3333-4444-555555555555}"],
        ),
        (
            "ROOMKEY_ADMIN_KEYS_SECRET_NAME",
            &["", "a/b", "../keys/x", "a_b", "a b"],
        ),
    ] {
        for value in values {
            assert_eq!(
                faulty(&with_all(&[VAULT, (name, value)])),
                [name],
                "{name}={value:?}"
            );
        }
    }
    assert_eq!(
        faulty(&with(("ROOMKEY_SECRET_REFRESH_SECONDS", "60"))),
        ["ROOMKEY_SECRET_REFRESH_SECONDS"],
        "without a vault"
    );
}

#[test]
fn livekits_key_pair_is_read_from_the_vault_if_no_setting_names_it() {
    let default = ["livekit-api-key", "livekit-api-secret"].map(|name| Some(name.to_owned()));
    assert_eq!(names_in_vault(&[URL, VAULT, ANONYMOUS]), default);
    assert_eq!(names_in_vault(&with(VAULT)), [None, None]);
    let named = [
        URL,
        VAULT,
        ANONYMOUS,
        ("LIVEKIT_API_KEY_SECRET_NAME", "k"),
        ("LIVEKIT_API_SECRET_SECRET_NAME", "s"),
    ];
    assert_eq!(
        names_in_vault(&named),
        ["k", "s"].map(|name| Some(name.to_owned()))
    );
    assert_eq!(
        faulty(&[URL, KEY, VAULT, ANONYMOUS, named[4]]),
        ["LIVEKIT_API_KEY"],
        "a pair that stands in two places cannot be rotated"
    );
    assert_eq!(
        faulty(&[URL, SECRET, VAULT, ANONYMOUS, named[3]]),
        ["LIVEKIT_API_SECRET"]
    );
    assert_eq!(
        faulty(&[URL, KEY, VAULT, ANONYMOUS]),
        ["LIVEKIT_API_SECRET"],
        "half a pair has no default"
    );
    assert_eq!(
        faulty(&[URL, VAULT, ANONYMOUS, named[3]]),
        ["LIVEKIT_API_SECRET"]
    );
    assert_eq!(faulty(&[VAULT, ANONYMOUS]), ["LIVEKIT_URL"], "no provider");
}

#[test]
fn a_secret_in_the_vault_requires_the_vault_and_no_other_place() {
    let in_vault = ("LIVEKIT_API_SECRET_SECRET_NAME", "s");
    assert_eq!(
        faulty(&[URL, KEY, ANONYMOUS, in_vault]),
        ["LIVEKIT_API_SECRET_SECRET_NAME"]
    );
    assert_eq!(
        faulty(&with_all(&[VAULT, in_vault])),
        ["LIVEKIT_API_SECRET"]
    );
    let admin = [
        ("ROOMKEY_ADMIN_KEYS", "canary-admin-key-0123456789-0123"),
        ("ROOMKEY_ADMIN_KEYS_SECRET_NAME", "a"),
    ];
    assert_eq!(
        faulty(&with_all(&[VAULT, admin[0], admin[1]])),
        ["ROOMKEY_ADMIN_KEYS"]
    );
    assert!(matches!(
        read(&with_all(&[VAULT, admin[1]])).unwrap().admin_keys,
        AdminKeySource::InVault(_)
    ));
}

#[test]
fn the_hash_key_and_the_redis_address_may_be_in_the_vault() {
    let [hash, redis] = [
        ("ROOMKEY_HASH_KEY_SECRET_NAME", "h"),
        ("ROOMKEY_REDIS_URL_SECRET_NAME", "r"),
    ];
    let rate_limits = read(&with_all(&[VAULT, hash, redis])).unwrap().rate_limits;
    assert!(
        matches!(
            (&rate_limits.hash_key, &rate_limits.redis_url),
            (
                Some(SecretSource::InVault(_)),
                Some(SecretSource::InVault(_))
            )
        ),
        "{rate_limits:?}"
    );
    assert_eq!(
        rate_limits.summary(),
        "100/15m per caller, shared through Redis"
    );
    assert_eq!(faulty(&with_all(&[VAULT, redis])), ["ROOMKEY_HASH_KEY"]);
    assert_eq!(
        faulty(&with_all(&[hash])),
        ["ROOMKEY_HASH_KEY_SECRET_NAME"],
        "without a vault"
    );
    assert_eq!(
        faulty(&with_all(&[
            VAULT,
            hash,
            ("ROOMKEY_HASH_KEY", "canary-hash-key-of-at-least-32-bytes")
        ])),
        ["ROOMKEY_HASH_KEY"]
    );
}

#[test]
fn check_prints_the_identity_that_reads_the_vault() {
    let says = |settings: &[(&'static str, &'static str)], what: &str| {
        let lines = read(&with_all(settings)).unwrap().check_lines().join("\n");
        assert!(lines.contains(what), "{lines}");
    };
    says(&[], "vault     none");
    says(
        &[VAULT],
        "https://v.example as your own sign-in (az or azd), read every 600 s",
    );
    says(
        &[
            VAULT,
            ("IDENTITY_ENDPOINT", "x"),
            ("ROOMKEY_SECRET_REFRESH_SECONDS", "60"),
        ],
        "as the app's own identity, read every 60 s",
    );
    let client_id = ("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555");
    says(
        &[VAULT, ("WEBSITE_INSTANCE_ID", "x"), client_id],
        "as the identity in AZURE_CLIENT_ID",
    );
    says(&[VAULT, client_id], "as the identity in AZURE_CLIENT_ID");
}

const DEV_PAIR: [(&str, &str); 2] = [
    ("LIVEKIT_API_KEY", "devkey"),
    ("LIVEKIT_API_SECRET", "secret"),
];

#[test]
fn dev_mode_requires_loopback_no_azure_and_no_key_of_the_operator() {
    let dev_pair = DEV_PAIR;
    assert!(read(&[]).unwrap().dev_mode);
    assert!(read(&dev_pair).unwrap().dev_mode);
    for address in ["::1", "::ffff:127.0.0.1"] {
        assert!(
            read(&[("ROOMKEY_BIND", address), ANONYMOUS])
                .unwrap()
                .dev_mode,
            "{address}"
        );
    }
    assert_eq!(server_url(&[]), "ws://localhost:7880");
    assert_eq!(
        server_url(&[
            dev_pair[0],
            dev_pair[1],
            ("LIVEKIT_URL", "ws://127.0.0.1:17880/")
        ]),
        "ws://127.0.0.1:17880"
    );
    for (text, normal) in [
        ("wss:h", "wss://h"),
        ("WSS://H.example/", "wss://h.example"),
        ("wss://h/a b", "wss://h/a%20b"),
    ] {
        assert_eq!(server_url(&with(("LIVEKIT_URL", text))), normal);
    }
    assert!(!read(&OWN).unwrap().dev_mode);
    assert_eq!(
        faulty(&[dev_pair[0], dev_pair[1], URL, VAULT, ANONYMOUS]),
        ["LIVEKIT_API_SECRET"],
        "a vault ends dev mode"
    );
    for marker in [
        ("WEBSITE_INSTANCE_ID", "x"),
        ("LEGION_SERVICE_HOST", "x"),
        ("CONTAINER_APP_NAME", "x"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("ROOMKEY_BIND", "0.0.0.0"),
        ("ROOMKEY_BIND", "10.0.0.9"),
    ] {
        assert_eq!(faulty(&[marker]), ["LIVEKIT_URL", "ROOMKEY_CALLER_AUTH"]);
        assert_eq!(faulty(&[marker, ANONYMOUS]), ["LIVEKIT_URL"]);
        assert_eq!(
            faulty(&[marker, dev_pair[0], dev_pair[1], URL, ANONYMOUS]),
            ["LIVEKIT_API_SECRET"]
        );
    }
}

#[test]
fn every_setting_of_a_deployment_ends_dev_mode() {
    let in_vault = [VAULT, ("ROOMKEY_ADMIN_KEYS_SECRET_NAME", "a")];
    for (settings, name) in [
        (&[VAULT][..], "KEY_VAULT_URL"),
        (&in_vault, "KEY_VAULT_URL"),
        (
            &[("ROOMKEY_ADMIN_KEYS", "canary-admin-key-0123456789-0123")],
            "ROOMKEY_ADMIN_KEYS",
        ),
        (
            &[("ROOMKEY_ADMIN_KEYS_FILE", "/nowhere")],
            "ROOMKEY_ADMIN_KEYS",
        ),
        (
            &[("ROOMKEY_HASH_KEY", "canary-hash-key-of-at-least-32-bytes")],
            "ROOMKEY_HASH_KEY",
        ),
        (
            &[
                ("ROOMKEY_REDIS_URL", "redis://localhost"),
                ("ROOMKEY_HASH_KEY", "canary-hash-key-of-at-least-32-bytes"),
            ],
            "ROOMKEY_REDIS_URL",
        ),
        (&[("ROOMKEY_CALLER_AUTH", "oidc")], "ROOMKEY_CALLER_AUTH"),
        (
            &[("ROOMKEY_CALLER_AUTH", "easy-auth")],
            "ROOMKEY_CALLER_AUTH",
        ),
        (
            &[("ROOMKEY_OIDC_AUDIENCE", "api://roomkey")],
            "ROOMKEY_OIDC_AUDIENCE",
        ),
    ] {
        let faults = read(settings).unwrap_err().faults;
        let url = faults
            .iter()
            .find(|fault| fault.setting == "LIVEKIT_URL")
            .unwrap_or_else(|| panic!("{settings:?} {faults:?}"));
        assert!(
            url.remedy
                .contains(&format!("dev mode is off ({name} is set)")),
            "{settings:?} {url}"
        );
        assert!(
            faulty(&[settings, &DEV_PAIR].concat()).contains(&"LIVEKIT_API_SECRET".to_owned()),
            "{settings:?}"
        );
    }
    for setting in [
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_URL", "ws://livekit:7880"),
        ("LIVEKIT_URL", "ws://10.0.0.1"),
    ] {
        assert_eq!(
            faulty(&[setting, DEV_PAIR[0], DEV_PAIR[1], ANONYMOUS]),
            ["LIVEKIT_API_SECRET"],
            "{setting:?}"
        );
    }
    for setting in [
        ("LIVEKIT_URL", "ws://localhost:7880"),
        ("LIVEKIT_URL", "ws://[::1]:7880"),
        ("LIVEKIT_URL", "wss://livekit.localhost"),
    ] {
        assert!(
            read(&[setting, DEV_PAIR[0], DEV_PAIR[1]]).unwrap().dev_mode,
            "{setting:?}"
        );
    }
    for settings in [
        &[("ROOMKEY_RATE_LIMIT", "off")][..],
        &[("ROOMKEY_LOG", "debug"), ("ROOMKEY_ROOM_PATTERN", "a+")],
        &[ANONYMOUS],
    ] {
        assert!(read(settings).unwrap().dev_mode, "{settings:?}");
    }
}

#[test]
fn azure_is_recognized_by_its_own_variables_and_not_by_those_of_a_developers_machine() {
    let in_azure = |names: &[&str]| {
        let settings: Vec<_> = OWN
            .into_iter()
            .chain(names.iter().map(|name| (*name, "x")))
            .collect();
        read(&settings).unwrap().hosting.in_azure
    };
    for names in [
        &["WEBSITE_INSTANCE_ID"][..],
        &["LEGION_SERVICE_HOST"],
        &["CONTAINER_NAME", "WEBSITE_SITE_NAME"],
        &["CONTAINER_NAME", "FUNCTIONS_EXTENSION_VERSION"],
        &["CONTAINER_APP_NAME", "FUNCTIONS_EXTENSION_VERSION"],
    ] {
        assert!(in_azure(names), "{names:?}");
    }
    for names in [
        &[][..],
        &["CONTAINER_NAME"],
        &["CONTAINER_APP_NAME"],
        &["WEBSITE_SITE_NAME"],
        &["FUNCTIONS_EXTENSION_VERSION"],
        &["WEBSITE_HOSTNAME"],
        &["CONTAINER_APP_NAME", "WEBSITE_SITE_NAME"],
        &["KUBERNETES_SERVICE_HOST", "CONTAINER_NAME"],
        &[
            "WEBSITE_HOSTNAME",
            "AZURE_FUNCTIONS_ENVIRONMENT",
            "FUNCTIONS_CORETOOLS_ENVIRONMENT",
        ],
    ] {
        assert!(!in_azure(names), "{names:?}");
    }
    assert!(
        read(&[("CONTAINER_NAME", "x")]).unwrap().dev_mode,
        "a dev container"
    );
}

#[test]
fn an_unencrypted_public_address_prints_a_warning() {
    let says = |url: &'static str| {
        let config = read(&with(("LIVEKIT_URL", url))).unwrap();
        let warning = config.start_warning();
        assert_eq!(
            config
                .check_lines()
                .last()
                .filter(|line| line.contains("WARNING"))
                .cloned(),
            warning
        );
        warning
    };
    for url in [
        "ws://livekit.example.com",
        "WS://8.8.8.8:7880",
        "ws://[2001:db8::1]",
    ] {
        let warning = says(url).unwrap_or_else(|| panic!("{url}"));
        assert!(
            warning.starts_with("WARNING: LIVEKIT_URL") && warning.contains("wss://"),
            "{warning}"
        );
    }
    for url in [
        "wss://livekit.example.com",
        "ws://localhost:7880",
        "ws://livekit:7880",
        "ws://10.1.2.3",
        "ws://livekit.internal",
        "ws://[fd00::1]",
    ] {
        assert_eq!(says(url), None, "{url}");
    }
}

#[test]
fn variables_that_kubernetes_sets_for_a_service_are_not_faults() {
    let service = [
        "ROOMKEY_SERVICE_HOST",
        "ROOMKEY_SERVICE_PORT",
        "ROOMKEY_SERVICE_PORT_HTTP",
        "ROOMKEY_PORT",
        "ROOMKEY_PORT_7071_TCP",
        "ROOMKEY_PORT_7071_TCP_PROTO",
        "ROOMKEY_PORT_7071_TCP_PORT",
        "ROOMKEY_PORT_7071_TCP_ADDR",
        "ROOMKEY_CANARY_SERVICE_HOST",
        "ROOMKEY_CANARY_PORT_80_UDP_ADDR",
    ];
    for name in service {
        assert!(
            read(&with_all(&[
                ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
                (name, "tcp://10.0.0.7:7071")
            ]))
            .is_ok(),
            "{name}"
        );
        assert_eq!(
            faulty(&with((name, "tcp://10.0.0.7:7071"))),
            [name],
            "elsewhere it is one"
        );
    }
    for name in [
        "ROOMKEY_PORTS",
        "ROOMKEY_PORT_7071_TCP_CANARY",
        "ROOMKEY_RATE_LIMITS",
    ] {
        assert_eq!(
            faulty(&with_all(&[
                ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
                (name, "x")
            ])),
            [name]
        );
    }
}

#[test]
fn a_value_in_quotes_is_a_fault_in_every_setting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quoted");
    std::fs::write(&path, "\"canary-secret-of-at-least-32-bytes\"\n").unwrap();
    // The first is refused in words of its own; the platform writes the others.
    let others = [
        ROUTE_PREFIX,
        "AZURE_FUNCTIONS_ENVIRONMENT",
        "WEBSITE_AUTH_ENABLED",
        "WEBSITE_AUTH_V2_CONFIG_JSON",
    ];
    for setting in settings::all().filter(|setting| !others.contains(&setting.name)) {
        for quoted in [
            "\"canary\"",
            "'canary'",
            "“canary”",
            "`canary`",
            "\"a\",\"b\"",
        ] {
            // Without a collector the settings of OpenTelemetry are not read.
            let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
            let faults = read(&with_all(&[collector, (setting.name, quoted)]))
                .unwrap_err()
                .faults;
            // Where the setting is of no use with the others, that is its fault.
            let named = faults.iter().any(|fault| {
                let is_known = fault.remedy.contains("is in quotes")
                    || fault.remedy.contains("has no effect")
                    || fault.remedy.contains("must be set");
                fault.setting == setting.name && is_known
            });
            assert!(named, "{}={quoted} {faults:?}", setting.name);
            assert!(
                !faults
                    .iter()
                    .any(|fault| fault.to_string().contains("canary")),
                "{faults:?}"
            );
        }
    }
    assert_eq!(
        faulty(&[
            URL,
            KEY,
            ANONYMOUS,
            ("LIVEKIT_API_SECRET_FILE", path.to_str().unwrap())
        ]),
        ["LIVEKIT_API_SECRET_FILE"]
    );
}

#[test]
fn a_livekit_address_that_can_never_work_is_refused_with_a_hint() {
    for (url, hint) in [
        ("https://canary.livekit.cloud", "in place of https://"),
        ("http://localhost:7880", "in place of http://"),
        ("canary.livekit.cloud", "begins with wss://"),
        ("localhost:7880", "begins with wss://"),
        ("wss://canary.livekit.cloud/rtc", "must not contain /rtc"),
        ("wss://canary.livekit.cloud/rtc/", "must not contain /rtc"),
        ("wss://wss://canary.livekit.cloud", "a second //"),
        ("wss://user:canary@h", "must not contain a user"),
        ("wss://h?access_token=canary", "a query"),
        (
            "@Microsoft.KeyVault(SecretUri=https://canary/s)",
            "could not resolve",
        ),
    ] {
        let faults = read(&with(("LIVEKIT_URL", url))).unwrap_err().faults;
        assert!(
            faults.len() == 1
                && faults[0].remedy.contains(hint)
                && !faults[0].remedy.contains("canary"),
            "{url}: {faults:?}"
        );
    }
    assert_eq!(
        server_url(&with(("LIVEKIT_URL", "wss://h/livekit/"))),
        "wss://h/livekit"
    );
}

#[test]
fn a_secret_in_a_file_that_is_not_regular_is_a_fault_and_does_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(path("fifo"))
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink(path("fifo"), path("to-fifo")).unwrap();
    std::os::unix::fs::symlink("/nowhere", path("to-nothing")).unwrap();
    std::fs::write(path("large"), "xy1".repeat(22_000)).unwrap();
    let remedy = |path: &str| {
        let faults = read(&[URL, KEY, ANONYMOUS, ("LIVEKIT_API_SECRET_FILE", path)])
            .unwrap_err()
            .faults;
        assert_eq!(
            (faults.len(), faults[0].setting.as_str()),
            (1, "LIVEKIT_API_SECRET_FILE"),
            "{path} {faults:?}"
        );
        faults[0].remedy.clone()
    };
    let folder_itself = folder.path().to_str().unwrap().to_owned();
    for not_regular in [
        path("fifo"),
        path("to-fifo"),
        folder_itself,
        "/dev/zero".to_owned(),
        "/dev/null".to_owned(),
    ] {
        assert!(
            remedy(&not_regular).contains("a folder, pipe or device"),
            "{not_regular}"
        );
    }
    assert!(
        remedy(&path("to-nothing")).contains("does not exist")
            && remedy("/nowhere").contains("does not exist")
    );
    assert!(remedy(&path("large")).contains("more than 65536 bytes"));
    // As Kubernetes mounts a secret: a link to a link.
    std::fs::create_dir(path("..2026_11_30")).unwrap();
    std::fs::write(path("..2026_11_30/secret"), SECRET.1).unwrap();
    std::os::unix::fs::symlink("..2026_11_30", path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/secret", path("secret")).unwrap();
    assert!(
        read(&[
            URL,
            KEY,
            ANONYMOUS,
            ("LIVEKIT_API_SECRET_FILE", &path("secret"))
        ])
        .is_ok()
    );
}

#[test]
fn a_secret_may_be_in_a_file_but_not_in_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good", &format!("{}\r\n", SECRET.1));
    let from_file = |path: &str| {
        let settings = [URL, KEY, ANONYMOUS, ("LIVEKIT_API_SECRET_FILE", path)];
        read(&settings).map_err(|faults| {
            faults
                .faults
                .into_iter()
                .map(|fault| fault.setting)
                .collect::<Vec<_>>()
        })
    };
    let PairSource::Given(_, value) = from_file(&good).unwrap().livekit.unwrap().pair else {
        panic!()
    };
    assert_eq!(secrecy::ExposeSecret::expose_secret(&value), SECRET.1);
    for bad in [
        file("short", "short"),
        file("space", &format!(" {}", SECRET.1)),
        file("empty", ""),
        file("large", &"xy".repeat(9_000)),
        "/nowhere".to_owned(),
    ] {
        assert_eq!(
            from_file(&bad).unwrap_err(),
            ["LIVEKIT_API_SECRET_FILE"],
            "{bad}"
        );
    }
    assert_eq!(
        faulty(&with(("LIVEKIT_API_SECRET_FILE", "x"))),
        ["LIVEKIT_API_SECRET"]
    );
}

fn admin_keys(settings: &[(&str, &str)]) -> AdminKeys {
    let AdminKeySource::Given(keys) = read(settings).unwrap().admin_keys else {
        panic!()
    };
    keys
}

#[test]
fn several_admin_keys_or_none_are_accepted() {
    let keys = admin_keys(&with((
        "ROOMKEY_ADMIN_KEYS",
        "canary-admin-key-0123456789-0123,canary-admin-key-0123456789-0124",
    )));
    assert_eq!(keys.ids().count(), 2);
    assert!(keys.find(b"canary-admin-key-0123456789-0124").is_some());
    assert_eq!(admin_keys(&OWN).ids().count(), 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, "canary-admin-key-0123456789-0123\n").unwrap();
    let settings = [
        URL,
        KEY,
        SECRET,
        ANONYMOUS,
        ("ROOMKEY_ADMIN_KEYS_FILE", path.to_str().unwrap()),
    ];
    assert_eq!(admin_keys(&settings).ids().next(), keys.ids().next());
    std::fs::write(&path, "short").unwrap();
    assert_eq!(faulty(&settings), ["ROOMKEY_ADMIN_KEYS_FILE"]);
}

#[test]
fn the_whole_config_can_be_printed_without_a_secret() {
    let config = read(&with((
        "ROOMKEY_ADMIN_KEYS",
        "canary-admin-key-0123456789-0123",
    )))
    .unwrap();
    let printed = format!(
        "{config:?} {config:#?} {:?} {:?}",
        config.start_lines(config.address),
        config.check_lines()
    );
    assert!(printed.contains("livekit.example.com"));
    assert!(!printed.contains("canary"), "{printed}");
}
