//! Settings as an operator sets them, right and wrong.

use super::*;

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
        ("ROOMKEY_AGENTS", &["", ",", "a,,b", "a b", "ä"]),
        ("ROOMKEY_CALLER_AUTH", &["", "oidc", "easy-auth", "none", "Anonymous"]),
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
    assert_eq!(fault("ROOMKEY_RATE_LIMIT"), "ROOMKEY_RATE_LIMIT: is not a setting of this version; docs/settings.md lists them");
    assert_eq!(faulty(&[("ROOMKEY_A\nB", "x")]), ["ROOMKEY_A_B"]);
}

#[test]
fn settings_that_this_version_cannot_honour_stop_the_start() {
    for name in ["KEY_VAULT_URL", "LIVEKIT_API_KEY_SECRET_NAME", "LIVEKIT_API_SECRET_SECRET_NAME"] {
        assert_eq!(faulty(&[(name, "x")]), [name]);
    }
}

#[test]
fn dev_mode_needs_loopback_no_azure_and_no_key_of_the_operators() {
    let dev_pair = [("LIVEKIT_API_KEY", "devkey"), ("LIVEKIT_API_SECRET", "secret")];
    assert!(read(&[]).unwrap().dev_mode);
    assert!(read(&dev_pair).unwrap().dev_mode);
    assert!(read(&[("ROOMKEY_BIND", "::1"), ANONYMOUS]).unwrap().dev_mode);
    assert_eq!(read(&[]).unwrap().livekit.server_url, "ws://localhost:7880");
    assert_eq!(
        read(&[dev_pair[0], dev_pair[1], ("LIVEKIT_URL", "ws://127.0.0.1:17880/")]).unwrap().livekit.server_url,
        "ws://127.0.0.1:17880"
    );
    for (text, normal) in [("wss:h", "wss://h"), ("WSS://H.example/", "wss://h.example"), ("wss://h/a b", "wss://h/a%20b")] {
        assert_eq!(read(&with(("LIVEKIT_URL", text))).unwrap().livekit.server_url, normal);
    }
    assert!(!read(&OWN).unwrap().dev_mode);
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
    assert_eq!(secrecy::ExposeSecret::expose_secret(&from_file(&good).unwrap().livekit.api_secret), SECRET.1);
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

#[test]
fn the_whole_config_can_be_printed_without_a_secret() {
    let config = read(&OWN).unwrap();
    let printed = format!("{config:?} {config:#?} {:?} {:?}", config.start_lines(config.address), config.check_lines());
    assert!(printed.contains("livekit.example.com"));
    assert!(!printed.contains("canary"), "{printed}");
}
