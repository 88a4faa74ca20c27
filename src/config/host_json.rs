//! Reads the `cors` block and the route prefix of `host.json`.
//!
//! The Functions host ignores the `cors` block, so roomkey applies it. The other members configure
//! the host and are not checked. The file is read as the host reads it (Newtonsoft's
//! `JObject.Parse`, then .NET's configuration): comments, trailing commas and single quotes are
//! accepted, and names match in any case.
//!
//! # Source
//! `HostJsonFileConfigurationSource.cs` of Azure/azure-functions-host.

use std::borrow::Cow;
use std::path::Path;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::reader::SettingsReader;
use super::regular_file::{self, FileError};
use super::settings::server::ROUTE_PREFIX;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::origins::{Cors, Origins};

/// The largest accepted file. A usual one has about 1 KB.
const MAX_BYTES: u64 = 1 << 20;
/// The path of the route prefix in .NET's configuration.
const ROUTE_PREFIX_PATH: &str = "extensions:http:routePrefix";
/// The first part of every path of roomkey, and the host's default.
const PREFIX: &str = "api";

/// The members of the file that roomkey uses.
#[derive(Debug, PartialEq, Eq, Default)]
struct HostJson {
    cors: Cors,
    route_prefix: Option<String>,
}

/// Reads `host.json` in the app's folder. A file that cannot be used is recorded as a fault.
pub fn read(reader: &mut SettingsReader<'_>) -> Cors {
    let folder = reader.text("FUNCTIONS_APP_ROOT_PATH").unwrap_or_default();
    let path = Path::new(folder).join("host.json");
    let host_json = read_file(&path).unwrap_or_else(|requirement| {
        reader.fault("host.json", requirement);
        HostJson::default()
    });
    let requirement = format!(
        "must be {PREFIX}, since every path of roomkey begins with /{PREFIX}; write {PREFIX} or \
         leave it out"
    );
    let is_wrong = |prefix: &str| !prefix.eq_ignore_ascii_case(PREFIX);
    // The setting overrides the file.
    match (reader.unchecked(ROUTE_PREFIX), host_json.route_prefix) {
        (Some(prefix), _) if is_wrong(prefix) => reader.fault(ROUTE_PREFIX, requirement),
        (None, Some(prefix)) if is_wrong(&prefix) => reader.fault(
            "host.json",
            format!("extensions.http.routePrefix {requirement}"),
        ),
        _ => {}
    }
    host_json.cors
}

fn read_file(path: &Path) -> Result<HostJson, Requirement> {
    match regular_file::read(path, MAX_BYTES) {
        Ok(bytes) => parse(&bytes),
        Err(FileError::Missing) => Ok(HostJson {
            cors: Cors {
                origins: Origins::NoFile,
                credentials: false,
            },
            route_prefix: None,
        }),
        Err(FileError::NotRegular) => {
            Err("is a folder, pipe or device; it must be a regular file".into())
        }
        Err(FileError::TooLarge) => Err(format!("has more than {MAX_BYTES} bytes").into()),
        Err(FileError::Unreadable) => Err("cannot be read by this process".into()),
    }
}

fn parse(bytes: &[u8]) -> Result<HostJson, Requirement> {
    let text = text(bytes).ok_or("is not text in UTF-8")?;
    let options = ParseOptions {
        allow_missing_commas: false,
        ..ParseOptions::default()
    };
    let parsed = parse_to_ast(&text, &CollectOptions::default(), &options);
    let Ok(Some(Value::Object(root))) = parsed.map(|parsed| parsed.value) else {
        return Err("must be one JSON object; comments and trailing commas are accepted".into());
    };
    let cors = match only_member(&root, "cors").ok_or("contains cors twice")? {
        Some(block) => cors(block).map_err(|requirement| format!("cors {requirement}"))?,
        None => Cors::default(),
    };
    let mut route_prefix = None;
    find_route_prefix(&root, "", &mut route_prefix);
    Ok(HostJson { cors, route_prefix })
}

/// Decodes the file as .NET's `File.ReadAllText` does: as UTF-8, or as the byte order mark says.
/// Editors on Windows write one.
fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let utf16 = |bytes: &[u8], of: fn([u8; 2]) -> u16| {
        let units: Vec<_> = bytes
            .chunks_exact(2)
            .filter_map(|pair| pair.try_into().ok().map(of))
            .collect();
        bytes
            .len()
            .is_multiple_of(2)
            .then(|| String::from_utf16(&units).ok())
            .flatten()
            .map(Cow::Owned)
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(Cow::Borrowed),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
    }
}

/// Returns the member of this name in any case, or `None` where there is more than one: the host
/// uses the last, but the operator may expect the first to count.
#[expect(
    clippy::option_option,
    reason = "more than one member is a third outcome beside none and one"
)]
fn only_member<'a, 'b>(object: &'b Object<'a>, name: &str) -> Option<Option<&'b Value<'a>>> {
    let mut members = object
        .properties
        .iter()
        .filter(|property| property.name.as_str().eq_ignore_ascii_case(name));
    let member = members.next().map(|property| &property.value);
    members.next().is_none().then_some(member)
}

/// Finds the route prefix by joining names with `:`, as .NET's configuration does, so that
/// `"extensions:http"` is found too. The last one counts.
fn find_route_prefix(object: &Object<'_>, parent: &str, found: &mut Option<String>) {
    for property in &object.properties {
        let path = format!("{parent}{}", property.name.as_str());
        match &property.value {
            Value::Object(inner) if path.len() < ROUTE_PREFIX_PATH.len() => {
                find_route_prefix(inner, &format!("{path}:"), found);
            }
            _ if !path.eq_ignore_ascii_case(ROUTE_PREFIX_PATH) => {}
            Value::StringLit(text) => *found = Some(text.value.clone().into_owned()),
            // The host converts these to a text that is not the prefix.
            Value::NumberLit(_)
            | Value::BooleanLit(_)
            | Value::NullKeyword(_)
            | Value::Object(_)
            | Value::Array(_) => {
                *found = Some(String::new());
            }
        }
    }
}

fn cors(block: &Value<'_>) -> Result<Cors, Requirement> {
    const REQUIREMENT: &str = "may only contain allowedOrigins (a list of strings) and \
                               supportCredentials (true or false), each once";
    let Value::Object(block) = block else {
        return Err("must be an object".into());
    };
    let listed = only_member(block, "allowedOrigins").ok_or(REQUIREMENT)?;
    let credentials = only_member(block, "supportCredentials").ok_or(REQUIREMENT)?;
    let known = usize::from(listed.is_some()) + usize::from(credentials.is_some());
    if known != block.properties.len() {
        return Err(REQUIREMENT.into());
    }
    let origins = match listed {
        None => Origins::default(),
        Some(Value::Array(items)) => Origins::parse(
            items
                .elements
                .iter()
                .map(|item| item.as_string_lit().map(|text| text.value.as_ref())),
        )?,
        Some(_) => return Err(REQUIREMENT.into()),
    };
    let credentials = match credentials {
        None => false,
        Some(Value::BooleanLit(value)) => value.value,
        Some(_) => return Err(REQUIREMENT.into()),
    };
    if origins == Origins::Any && credentials {
        return Err(
            "must not combine * with supportCredentials: any page could then act as its visitor"
                .into(),
        );
    }
    Ok(Cors {
        origins,
        credentials,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reader::read_settings;

    #[test]
    fn a_broken_file_is_refused() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            " ",
            "{",
            "[]",
            "null",
            "{} x",
            "{} {}",
            "/* open {}",
            r#"{"version":"2.0" "cors":{}}"#,
            r#"{"cors":1}"#,
            r#"{"cors":null}"#,
            r#"{"cors":{"allowedOrigin":[]}}"#,
            r#"{"cors":{"allowedOrigins":"*"}}"#,
            r#"{"cors":{"allowedOrigins":[1]}}"#,
            r#"{"cors":{"allowedOrigins":["null"]}}"#,
            r#"{"cors":{"allowedOrigins":["https://a.example/"]}}"#,
            r#"{"cors":{"supportCredentials":"true"}}"#,
            r#"{"cors":{"allowedOrigins":["*"],"supportCredentials":true}}"#,
            r#"{"cors":{},"cors":{}}"#,
            r#"{"cors":{},"Cors":{}}"#,
            r#"{"cors":{"allowedOrigins":[],"AllowedOrigins":["https://a.example"]}}"#,
            deep.as_str(),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:.60}");
        }
        for bytes in [&b"{\"a\":\"\xff\"}"[..], b"\xff\xfe{", b"\xff\xfe\x00\xd8"] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }

    fn listed(origins: &[&str], credentials: bool) -> Cors {
        Cors {
            origins: Origins::Listed(origins.iter().map(|&o| o.to_owned()).collect()),
            credentials,
        }
    }

    #[test]
    fn the_cors_block_is_read() {
        let cors = |text: &[u8]| parse(text).unwrap().cors;
        assert_eq!(cors(b"{}"), listed(&[], false));
        assert_eq!(
            cors(b"\xef\xbb\xbf{\"version\":\"2.0\"}"),
            listed(&[], false)
        );
        let text = br#"{"cors":{"allowedOrigins":["http://localhost:4200","https://app.example.com"],"supportCredentials":true}}"#;
        assert_eq!(
            cors(text),
            listed(&["http://localhost:4200", "https://app.example.com"], true)
        );
        assert_eq!(
            cors(br#"{"cors":{"allowedOrigins":["*"]}}"#),
            Cors {
                origins: Origins::Any,
                credentials: false
            }
        );
    }

    #[test]
    fn the_file_is_read_as_the_host_reads_it() {
        let text = "// the app\n{ /* one */ 'version': \"2.0\", Cors: { \"AllowedOrigins\": [ \"http://localhost:4200\", // dev\n ], \
                    \"supportcredentials\": true, }, } // end";
        let wide = |of: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(0xfeff)
                .chain(text.encode_utf16())
                .flat_map(of)
                .collect()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
        ] {
            assert_eq!(
                parse(&bytes).unwrap().cors,
                listed(&["http://localhost:4200"], true)
            );
        }
    }

    #[test]
    fn the_route_prefix_is_found_wherever_the_host_finds_it() {
        for (text, prefix) in [
            ("{}", None),
            (r#"{"extensions":{"http":{}}}"#, None),
            (r#"{"routePrefix":"v1"}"#, None),
            (r#"{"http":{"routePrefix":"v1"}}"#, None),
            (
                r#"{"extensions":{"http":{"routePrefix":"api"}}}"#,
                Some("api"),
            ),
            (
                r#"{"extensions":{"http":{"routePrefix":"v1"}}}"#,
                Some("v1"),
            ),
            (
                r#"{"Extensions":{"HTTP":{"RoutePrefix":"v1"}}}"#,
                Some("v1"),
            ),
            (r#"{"extensions:http":{"routePrefix":"v1"}}"#, Some("v1")),
            (r#"{"extensions:http:routePrefix":"v1"}"#, Some("v1")),
            (
                r#"{"extensions":{"http":{"routePrefix":"v1","routePrefix":"api"}}}"#,
                Some("api"),
            ),
            (r#"{"extensions":{"http":{"routePrefix":""}}}"#, Some("")),
            (r#"{"extensions":{"http":{"routePrefix":null}}}"#, Some("")),
        ] {
            assert_eq!(
                parse(text.as_bytes()).unwrap().route_prefix.as_deref(),
                prefix,
                "{text}"
            );
        }
    }

    fn faults(host_json: &str, settings: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("host.json"), host_json).unwrap();
        let root = ("FUNCTIONS_APP_ROOT_PATH", folder.path().to_str().unwrap());
        read_settings(&[&[root], settings].concat(), read).1
    }

    #[test]
    fn another_route_prefix_is_a_fault_that_names_it() {
        let with =
            |prefix: &str| format!(r#"{{"extensions":{{"http":{{"routePrefix":"{prefix}"}}}}}}"#);
        for prefix in ["", "v1", "canary/api", "/api", "api/", "apis", " api"] {
            let faults = faults(&with(prefix), &[]);
            assert!(
                faults.len() == 1
                    && faults[0].starts_with("host.json: extensions.http.routePrefix must be api"),
                "{prefix:?} {faults:?}"
            );
            assert!(!faults[0].contains("canary"));
        }
        for prefix in ["api", "API"] {
            assert_eq!(faults(&with(prefix), &[]), [""; 0]);
        }
        for name in [
            "AzureFunctionsJobHost__extensions__http__routePrefix",
            "AZUREFUNCTIONSJOBHOST__EXTENSIONS__HTTP__ROUTEPREFIX",
            "AzureFunctionsJobHost:extensions:http:routePrefix",
        ] {
            for prefix in ["", "canary"] {
                let faults = faults(&with("api"), &[(name, prefix)]);
                assert!(
                    faults.len() == 1
                        && faults[0].starts_with(&format!("{ROUTE_PREFIX}: must be api")),
                    "{name} {faults:?}"
                );
                assert!(!faults[0].contains("canary"));
            }
            assert_eq!(
                faults(&with("v1"), &[(name, "api")]),
                [""; 0],
                "the setting overrides the file"
            );
        }
    }

    #[test]
    fn a_host_json_that_is_not_a_regular_file_is_a_fault_and_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("host.json")).unwrap();
        let root = ("FUNCTIONS_APP_ROOT_PATH", folder.path().to_str().unwrap());
        assert_eq!(
            read_settings(&[root], read).1,
            ["host.json: is a folder, pipe or device; it must be a regular file"]
        );
    }
}
