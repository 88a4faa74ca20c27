//! Settings as an operator sets them, right and wrong.

mod callers;

use super::*;
use crate::domain::admin_key::AdminKeys;
use crate::domain::secrets::{PairSource, Source};

const URL: (&str, &str) = ("LIVEKIT_URL", "wss://livekit.example.com");
const KEY: (&str, &str) = ("LIVEKIT_API_KEY", "APIcanary");
const SECRET: (&str, &str) = ("LIVEKIT_API_SECRET", "canary-secret-of-at-least-32-bytes");
const ANONYMOUS: (&str, &str) = ("ROOMKEY_CALLER_AUTH", "anonymous");
const OWN: [(&str, &str); 4] = [URL, KEY, SECRET, ANONYMOUS];

/// Reads settings in a folder without a host.json.
fn read(settings: &[(&str, &str)]) -> Result<Config, Faults> {
    let root = [("FUNCTIONS_APP_ROOT_PATH", concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    Config::read(&root.iter().chain(settings).copied().collect())
}

fn faulty(settings: &[(&str, &str)]) -> Vec<String> {
    let faults = read(settings).err().unwrap_or_else(|| panic!("accepted: {settings:?}")).faults;
    faults.into_iter().map(|fault| fault.setting).collect()
}

fn server_url(settings: &[(&str, &str)]) -> String {
    read(settings).unwrap().livekit.unwrap().server_url
}

fn with(one: (&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
    OWN.into_iter().filter(|(name, _)| *name != one.0).chain([one]).collect()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    OWN.into_iter().filter(|(other, _)| *other != name).collect()
}

#[test]
fn each_bad_value_is_refused_by_name() {
    for (name, values) in [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", &["", "x", "-1", "65536", "70 71", "7071 ", "+7071"][..]),
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
        ("LIVEKIT_API_KEY", &["", " ", "changeme", "your-key", "<key>", "@Microsoft.KeyVault(x)", "key\n"]),
        (
            "LIVEKIT_API_SECRET",
            &["", "short", "secret", "canary-secret-of-at-least-32-bytes\n", "@Microsoft.KeyVault(SecretUri=https://v.example/s)"],
        ),
        ("ROOMKEY_DEFAULT_PROVIDER", &["", "openai", "LiveKit"]),
        ("ROOMKEY_ROOM_PATTERN", &["", "(", ")|("]),
        ("ROOMKEY_MAX_TOKEN_SECONDS", &["", "59", "86401", "1h"]),
        ("ROOMKEY_AGENTS", &["", ",", "a,,b", "a b", "ä", "a@", "@b", "a@b@c"]),
        ("ROOMKEY_CALLER_AUTH", &["", "easy-auth", "none", "Anonymous"]),
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
    assert_eq!(faulty(&[("LIVEKIT_URL", "wss://h"), ANONYMOUS]), ["LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"]);
}

#[test]
fn a_default_provider_must_be_configured() {
    let openai = [("OPENAI_API_KEY", "sk-canary-openai-key-0123"), ("ROOMKEY_DEFAULT_PROVIDER", "openai")];
    let config = read(&[&OWN[..], &openai].concat()).unwrap();
    assert_eq!((config.limits.providers.default_provider(), config.limits.providers.configured().len()), (Provider::OpenAi, 2));
    assert_eq!(faulty(&[&OWN[..], &openai[..1], &[("ROOMKEY_DEFAULT_PROVIDER", "azure-openai")]].concat()), ["ROOMKEY_DEFAULT_PROVIDER"]);
    let lines = config.check_lines().join("\n");
    assert!(lines.contains("provider  openai at api.openai.com, model gpt-realtime-2.1, with a key"), "{lines}");
    assert!(lines.contains("secrets   20/15m for each caller, for 60 s"), "{lines}");
    assert!(!format!("{config:?} {lines}").contains("canary"));
}

#[test]
fn a_realtime_provider_ends_dev_mode_since_its_secrets_cost_money() {
    assert!(faulty(&[("OPENAI_API_KEY", "sk-canary-openai-key-0123")]).contains(&"ROOMKEY_CALLER_AUTH".to_owned()));
}

#[test]
fn outside_dev_mode_the_operator_must_say_who_may_ask() {
    assert_eq!(faulty(&without("ROOMKEY_CALLER_AUTH")), ["ROOMKEY_CALLER_AUTH"]);
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
        ["FUNCTIONS_CUSTOMHANDLER_PORT", "ROOMKEY_BIND", "LIVEKIT_URL", "LIVEKIT_API_SECRET", "ROOMKEY_CALLER_AUTH", "ROOMKEY_LOGG"]
    );
    let lines = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
    assert!(!lines.contains("canary"), "{lines}");
    assert_eq!(lines.lines().count(), faults.len());
}

#[test]
fn a_setting_that_does_not_exist_is_refused_with_the_nearest_name() {
    let fault = |name| read(&[(name, "x")]).unwrap_err().faults.remove(0).to_string();
    assert_eq!(fault("ROOMKEY_LOGG"), "ROOMKEY_LOGG: is not a setting of this version; did you mean ROOMKEY_LOG?");
    assert_eq!(
        fault("ROOMKEY_PROJECTS_DATABASE"),
        "ROOMKEY_PROJECTS_DATABASE: is not a setting of this version; docs/settings.md lists them"
    );
    assert_eq!(faulty(&[("ROOMKEY_A\nB", "x")]), ["ROOMKEY_A_B"]);
}

const VAULT: (&str, &str) = ("KEY_VAULT_URL", "https://v.example");

fn with_all(settings: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    OWN.into_iter().filter(|(name, _)| settings.iter().all(|(other, _)| name != other)).chain(settings.iter().copied()).collect()
}

fn names_in_vault(settings: &[(&str, &str)]) -> [Option<String>; 2] {
    match read(settings).unwrap().livekit.unwrap().pair {
        PairSource::Given(..) => [None, None],
        PairSource::InVault(key, secret) => [key, secret].map(|name| Some(name.as_str().to_owned())),
    }
}

#[test]
fn each_bad_setting_of_the_vault_is_refused_by_name() {
    for (name, values) in [
        ("KEY_VAULT_URL", &["", "v", "http://v.example", "https://v.example/secrets", "https://u:p@v.example", "https://v.example?x"][..]),
        ("ROOMKEY_SECRET_REFRESH_SECONDS", &["", "29", "86401", "1h", "+60", "60.0"]),
        ("AZURE_CLIENT_ID", &["", "me", "{11111111-2222-3333-4444-555555555555}"]),
        ("ROOMKEY_ADMIN_KEYS_SECRET_NAME", &["", "a/b", "../keys/x", "a_b", "a b"]),
    ] {
        for value in values {
            assert_eq!(faulty(&with_all(&[VAULT, (name, value)])), [name], "{name}={value:?}");
        }
    }
    assert_eq!(faulty(&with(("ROOMKEY_SECRET_REFRESH_SECONDS", "60"))), ["ROOMKEY_SECRET_REFRESH_SECONDS"], "without a vault");
}

#[test]
fn livekits_pair_stands_in_the_vault_where_it_stands_nowhere_else() {
    let default = ["livekit-api-key", "livekit-api-secret"].map(|name| Some(name.to_owned()));
    assert_eq!(names_in_vault(&[URL, VAULT, ANONYMOUS]), default);
    assert_eq!(names_in_vault(&with(VAULT)), [None, None]);
    let named = [URL, VAULT, ANONYMOUS, ("LIVEKIT_API_KEY_SECRET_NAME", "k"), ("LIVEKIT_API_SECRET_SECRET_NAME", "s")];
    assert_eq!(names_in_vault(&named), ["k", "s"].map(|name| Some(name.to_owned())));
    assert_eq!(faulty(&[URL, KEY, VAULT, ANONYMOUS, named[4]]), ["LIVEKIT_API_KEY"], "a pair that stands in two places cannot be rotated");
    assert_eq!(faulty(&[URL, SECRET, VAULT, ANONYMOUS, named[3]]), ["LIVEKIT_API_SECRET"]);
    assert_eq!(faulty(&[URL, KEY, VAULT, ANONYMOUS]), ["LIVEKIT_API_SECRET"], "half a pair has no default");
    assert_eq!(faulty(&[URL, VAULT, ANONYMOUS, named[3]]), ["LIVEKIT_API_SECRET"]);
    assert_eq!(faulty(&[VAULT, ANONYMOUS]), ["LIVEKIT_URL"], "no provider");
}

#[test]
fn a_secret_in_the_vault_needs_the_vault_and_stands_nowhere_else() {
    let in_vault = ("LIVEKIT_API_SECRET_SECRET_NAME", "s");
    assert_eq!(faulty(&[URL, KEY, ANONYMOUS, in_vault]), ["LIVEKIT_API_SECRET_SECRET_NAME"]);
    assert_eq!(faulty(&with_all(&[VAULT, in_vault])), ["LIVEKIT_API_SECRET"]);
    let admin = [("ROOMKEY_ADMIN_KEYS", "canary-admin-key-0123456789-0123"), ("ROOMKEY_ADMIN_KEYS_SECRET_NAME", "a")];
    assert_eq!(faulty(&with_all(&[VAULT, admin[0], admin[1]])), ["ROOMKEY_ADMIN_KEYS"]);
    assert!(matches!(read(&with_all(&[VAULT, admin[1]])).unwrap().admin_keys, AdminKeySource::InVault(_)));
}

#[test]
fn what_callers_are_counted_by_may_stand_in_the_vault() {
    let [hash, redis] = [("ROOMKEY_HASH_KEY_SECRET_NAME", "h"), ("ROOMKEY_REDIS_URL_SECRET_NAME", "r")];
    let limiting = read(&with_all(&[VAULT, hash, redis])).unwrap().limiting;
    assert!(matches!((&limiting.hash_key, &limiting.redis_url), (Some(Source::InVault(_)), Some(Source::InVault(_)))), "{limiting:?}");
    assert_eq!(limiting.summary(), "100/15m for each caller, shared through Redis");
    assert_eq!(faulty(&with_all(&[VAULT, redis])), ["ROOMKEY_HASH_KEY"]);
    assert_eq!(faulty(&with_all(&[hash])), ["ROOMKEY_HASH_KEY_SECRET_NAME"], "without a vault");
    assert_eq!(faulty(&with_all(&[VAULT, hash, ("ROOMKEY_HASH_KEY", "canary-hash-key-of-at-least-32-bytes")])), ["ROOMKEY_HASH_KEY"]);
}

#[test]
fn a_start_says_whose_identity_reads_the_vault() {
    let says = |settings: &[(&'static str, &'static str)], what: &str| {
        let lines = read(&with_all(settings)).unwrap().check_lines().join("\n");
        assert!(lines.contains(what), "{lines}");
    };
    says(&[], "vault     none");
    says(&[VAULT], "https://v.example as your own sign-in (az or azd), read every 600 s");
    says(&[VAULT, ("IDENTITY_ENDPOINT", "x"), ("ROOMKEY_SECRET_REFRESH_SECONDS", "60")], "as the app's own identity, read every 60 s");
    let client_id = ("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555");
    says(&[VAULT, ("WEBSITE_INSTANCE_ID", "x"), client_id], "as the identity that AZURE_CLIENT_ID names");
    says(&[VAULT, client_id], "as the identity that AZURE_CLIENT_ID names");
}

#[test]
fn dev_mode_needs_loopback_no_azure_and_no_key_of_the_operators() {
    let dev_pair = [("LIVEKIT_API_KEY", "devkey"), ("LIVEKIT_API_SECRET", "secret")];
    assert!(read(&[]).unwrap().dev_mode);
    assert!(read(&dev_pair).unwrap().dev_mode);
    assert!(read(&[("ROOMKEY_BIND", "::1"), ANONYMOUS]).unwrap().dev_mode);
    assert_eq!(server_url(&[]), "ws://localhost:7880");
    assert_eq!(server_url(&[dev_pair[0], dev_pair[1], ("LIVEKIT_URL", "ws://127.0.0.1:17880/")]), "ws://127.0.0.1:17880");
    for (text, normal) in [("wss:h", "wss://h"), ("WSS://H.example/", "wss://h.example"), ("wss://h/a b", "wss://h/a%20b")] {
        assert_eq!(server_url(&with(("LIVEKIT_URL", text))), normal);
    }
    assert!(!read(&OWN).unwrap().dev_mode);
    assert_eq!(faulty(&[dev_pair[0], dev_pair[1], URL, VAULT, ANONYMOUS]), ["LIVEKIT_API_SECRET"], "a vault ends dev mode");
    for marker in [("WEBSITE_INSTANCE_ID", "x"), ("CONTAINER_NAME", "x"), ("LEGION_SERVICE_HOST", "x"), ("ROOMKEY_BIND", "0.0.0.0")] {
        assert_eq!(faulty(&[marker]), ["LIVEKIT_URL", "ROOMKEY_CALLER_AUTH"]);
        assert_eq!(faulty(&[marker, ANONYMOUS]), ["LIVEKIT_URL"]);
        assert_eq!(faulty(&[marker, dev_pair[0], dev_pair[1], URL, ANONYMOUS]), ["LIVEKIT_API_SECRET"]);
    }
}

#[test]
fn a_secret_may_stand_in_a_file_but_not_in_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good", &format!("{}\r\n", SECRET.1));
    let from_file = |path: &str| {
        let settings = [URL, KEY, ANONYMOUS, ("LIVEKIT_API_SECRET_FILE", path)];
        read(&settings).map_err(|faults| faults.faults.into_iter().map(|fault| fault.setting).collect::<Vec<_>>())
    };
    let PairSource::Given(_, value) = from_file(&good).unwrap().livekit.unwrap().pair else { panic!() };
    assert_eq!(secrecy::ExposeSecret::expose_secret(&value), SECRET.1);
    for bad in [
        file("short", "short"),
        file("space", &format!(" {}", SECRET.1)),
        file("empty", ""),
        file("large", &"xy".repeat(9_000)),
        "/nowhere".to_owned(),
    ] {
        assert_eq!(from_file(&bad).unwrap_err(), ["LIVEKIT_API_SECRET_FILE"], "{bad}");
    }
    assert_eq!(faulty(&with(("LIVEKIT_API_SECRET_FILE", "x"))), ["LIVEKIT_API_SECRET"]);
}

fn admin_keys(settings: &[(&str, &str)]) -> AdminKeys {
    let AdminKeySource::Given(keys) = read(settings).unwrap().admin_keys else { panic!() };
    keys
}

#[test]
fn an_operator_may_have_several_keys_or_none() {
    let keys = admin_keys(&with(("ROOMKEY_ADMIN_KEYS", "canary-admin-key-0123456789-0123,canary-admin-key-0123456789-0124")));
    assert_eq!(keys.ids().count(), 2);
    assert!(keys.find(b"canary-admin-key-0123456789-0124").is_some());
    assert_eq!(admin_keys(&OWN).ids().count(), 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, "canary-admin-key-0123456789-0123\n").unwrap();
    let settings = [URL, KEY, SECRET, ANONYMOUS, ("ROOMKEY_ADMIN_KEYS_FILE", path.to_str().unwrap())];
    assert_eq!(admin_keys(&settings).ids().next(), keys.ids().next());
    std::fs::write(&path, "short").unwrap();
    assert_eq!(faulty(&settings), ["ROOMKEY_ADMIN_KEYS_FILE"]);
}

#[test]
fn the_whole_config_can_be_printed_without_a_secret() {
    let config = read(&with(("ROOMKEY_ADMIN_KEYS", "canary-admin-key-0123456789-0123"))).unwrap();
    let printed = format!("{config:?} {config:#?} {:?} {:?}", config.start_lines(config.address), config.check_lines());
    assert!(printed.contains("livekit.example.com"));
    assert!(!printed.contains("canary"), "{printed}");
}
