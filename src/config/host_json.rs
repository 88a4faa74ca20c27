//! The `cors` block of `host.json`: the one list of web pages that may call.
//!
//! The Functions host itself ignores that block, so the handler makes it true. The same file configures the host, so only this
//! block is read and the rest is left alone.

use std::io::ErrorKind;
use std::path::Path;

use url::Url;

use super::settings::Reader;
use crate::domain::fields::{Fields, Refused, Rule, object};
use crate::domain::json::Json;

/// Which web pages may call (the Fetch standard's CORS protocol).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    /// The pages' origins.
    pub origins: Origins,
    /// Whether they may send cookies and TLS client certificates.
    pub credentials: bool,
}

/// A list of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// There is no host.json, so nobody is listed.
    NoFile,
    /// Exactly these, each as a browser writes it in `Origin`.
    Listed(Vec<String>),
    /// `*`.
    Any,
}

impl Default for Origins {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// Reads `host.json` in the app's folder; notes a fault when it is there and cannot be used.
pub fn read(reader: &mut Reader<'_>) -> Cors {
    let folder = reader.text("FUNCTIONS_APP_ROOT_PATH").unwrap_or_default();
    let parsed = match std::fs::read(Path::new(folder).join("host.json")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Cors { origins: Origins::NoFile, credentials: false },
        Err(_) => Err("cannot be read".into()),
        Ok(text) => parse(&text),
    };
    parsed.unwrap_or_else(|rule| {
        reader.fault("host.json", rule);
        Cors::default()
    })
}

fn parse(text: &[u8]) -> Result<Cors, Rule> {
    // Editors on Windows write a byte order mark, and the Functions host accepts it.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let strict = || Rule::from("is not one JSON object (no comments, no key twice)");
    if text.is_empty() {
        return Err(strict());
    }
    let mut fields = Fields::read(text).map_err(|_| strict())?;
    let cors = fields.value("cors", cors);
    match fields.finish(|| cors) {
        Ok(cors) => Ok(cors.unwrap_or_default()),
        Err(Refused::Invalid(errors)) => {
            Err(errors.into_iter().next().map_or_else(strict, |error| format!("cors {}", error.message).into()))
        }
        Err(Refused::Malformed) => Err(strict()),
    }
}

fn cors(value: Json<'_>) -> Result<Cors, Rule> {
    let mut cors = Cors::default();
    for (key, value) in object(value)? {
        match (key.as_ref(), value) {
            ("allowedOrigins", Json::Array(items)) => cors.origins = origins(&items)?,
            ("supportCredentials", Json::Bool(value)) => cors.credentials = value,
            _ => return Err("may only hold allowedOrigins (a list of texts) and supportCredentials (true or false)".into()),
        }
    }
    if cors.origins == Origins::Any && cors.credentials {
        return Err("must not join * with supportCredentials: any page could then act as its visitor".into());
    }
    Ok(cors)
}

fn origins(items: &[Json<'_>]) -> Result<Origins, Rule> {
    let mut listed = Vec::new();
    let mut any = false;
    for item in items {
        match item {
            Json::Text(text) if text == "*" => any = true,
            Json::Text(text) if is_origin(text) => listed.push(text.clone().into_owned()),
            _ => {
                return Err(
                    "must list origins as browsers send them: https://app.example.com, without a path or a slash at the end, in lower case"
                        .into(),
                );
            }
        }
    }
    Ok(if any { Origins::Any } else { Origins::Listed(listed) })
}

/// Only the exact form can ever equal a browser's `Origin`, so anything else is a mistake that would stay unnoticed.
fn is_origin(text: &str) -> bool {
    Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && !text.contains('*') && url.origin().ascii_serialization() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[]",
            "null",
            "// comment\n{}",
            "{} x",
            r#"{"cors":1}"#,
            r#"{"cors":null}"#,
            r#"{"cors":{"allowedOrigin":[]}}"#,
            r#"{"cors":{"allowedOrigins":"*"}}"#,
            r#"{"cors":{"allowedOrigins":[1]}}"#,
            r#"{"cors":{"allowedOrigins":["null"]}}"#,
            r#"{"cors":{"allowedOrigins":["https://a.example/"]}}"#,
            r#"{"cors":{"allowedOrigins":["https://a.example/app"]}}"#,
            r#"{"cors":{"allowedOrigins":["https://A.example"]}}"#,
            r#"{"cors":{"allowedOrigins":["https://a.example:443"]}}"#,
            r#"{"cors":{"allowedOrigins":["a.example"]}}"#,
            r#"{"cors":{"allowedOrigins":["https://*.example"]}}"#,
            r#"{"cors":{"allowedOrigins":["file:///tmp"]}}"#,
            r#"{"cors":{"supportCredentials":"true"}}"#,
            r#"{"cors":{"allowedOrigins":["*"],"supportCredentials":true}}"#,
            r#"{"cors":{},"cors":{}}"#,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_block_is_read_as_it_stands() {
        let listed = |origins: &[&str], credentials| {
            Ok(Cors { origins: Origins::Listed(origins.iter().map(|&o| o.to_owned()).collect()), credentials })
        };
        assert_eq!(parse(b"{}"), listed(&[], false));
        assert_eq!(parse(b"\xef\xbb\xbf{\"version\":\"2.0\"}"), listed(&[], false));
        let text = br#"{"cors":{"allowedOrigins":["http://localhost:4200","https://app.example.com"],"supportCredentials":true}}"#;
        assert_eq!(parse(text), listed(&["http://localhost:4200", "https://app.example.com"], true));
        assert_eq!(parse(br#"{"cors":{"allowedOrigins":["*"]}}"#), Ok(Cors { origins: Origins::Any, credentials: false }));
    }
}
