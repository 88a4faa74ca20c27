//! The list of web pages and apps that may call: their origins, as browsers send them.

use std::num::NonZeroU16;

use url::Url;

use crate::domain::requests::fields::Requirement;

/// The longest host in an app's own origin. That of a browser extension has 32 to 36 characters.
const MAX_HOST_BYTES: usize = 255;
const NULL_ORIGIN: &str = "must not list null, which every sandboxed page sends; list the page's \
                           own origin";
const NOT_AN_ORIGIN: &str = "must list origins as browsers send them, such as \
                             https://app.example.com or capacitor://localhost: a scheme, '://' and \
                             a host in lower case, without the default port, a path, a slash at \
                             the end or a wildcard";
/// Schemes that never occur in an `Origin`: browsers send `null` for them, or do not use them for
/// pages.
const WITHOUT_ORIGIN: [&str; 9] = [
    "about",
    "blob",
    "data",
    "file",
    "filesystem",
    "ftp",
    "javascript",
    "ws",
    "wss",
];

/// Controls which web pages may call (the Fetch standard's CORS protocol).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    /// The origins of the pages.
    pub origins: Origins,
    /// True if they may send cookies and TLS client certificates.
    pub credentials: bool,
}

/// Lists the allowed origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// No host.json exists, so no origin is allowed.
    NoFile,
    /// Exactly these, each as a browser sends it in `Origin`.
    Listed(Vec<String>),
    /// `*`.
    Any,
}

impl Default for Origins {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Origins {
    /// Parses a list. `None` stands for an item that is not a string.
    ///
    /// # Errors
    /// The requirement that an item does not meet.
    pub fn parse<'t>(items: impl Iterator<Item = Option<&'t str>>) -> Result<Self, Requirement> {
        let mut listed = Vec::new();
        let mut any = false;
        for item in items {
            match item {
                Some("*") => any = true,
                Some("null") => return Err(NULL_ORIGIN.into()),
                Some(text) if is_origin(text) => listed.push(text.to_owned()),
                _ => return Err(NOT_AN_ORIGIN.into()),
            }
        }
        Ok(if any { Self::Any } else { Self::Listed(listed) })
    }
}

/// Returns whether the text can equal an `Origin` header. Anything else is a mistake that nobody
/// would notice.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    match scheme {
        "http" | "https" => {
            !text.contains('*')
                && Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
        }
        _ => is_app_scheme(scheme) && is_app_authority(authority),
    }
}

/// Returns whether this is a scheme that an app registers with its web view, in lower case as
/// browsers send it (RFC 3986 §3.1).
fn is_app_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        && !WITHOUT_ORIGIN.contains(&scheme)
}

/// Returns whether this is a host of an app, with or without a port. Browsers do not change its
/// case: Safari's extensions have upper-case letters.
fn is_app_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_port = |port: &str| !port.starts_with(['0', '+']) && port.parse::<NonZeroU16>().is_ok();
    (1..=MAX_HOST_BYTES).contains(&host.len())
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
        && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_no_browser_sends_is_refused() {
        for text in [
            "",
            "null",
            "NULL",
            "app.example.com",
            "//app.example.com",
            "https://",
            "https:app.example.com",
            "https://a.example/",
            "https://a.example/app",
            "https://a.example?x",
            "https://a.example#x",
            "https://u@a.example",
            "https://A.example",
            "HTTPS://a.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://a.example:",
            "https://a.example:0443",
            "https://*.example",
            "https://bücher.example",
            " https://a.example",
            "capacitor://",
            "capacitor:localhost",
            "capacitor://localhost/",
            "capacitor://localhost/index.html",
            "Capacitor://localhost",
            "capacitor://localhost:",
            "capacitor://localhost:0",
            "capacitor://localhost:080",
            "capacitor://localhost:65536",
            "capacitor://localhost:80:80",
            "capacitor://u@localhost",
            "capacitor://local host",
            "capacitor://localhost\n",
            "chrome-extension://*",
            "1app://localhost",
            "my_app://localhost",
            "file://",
            "file://localhost",
            "data://x",
            "blob://x",
            "ws://localhost:4200",
            "wss://a.example",
            "javascript://x",
        ] {
            assert!(
                Origins::parse([Some(text)].into_iter()).is_err(),
                "{text:?}"
            );
        }
        assert!(Origins::parse([None].into_iter()).is_err());
    }

    #[test]
    fn origins_of_pages_and_apps_are_listed_unchanged() {
        let origins = [
            "http://localhost:4200",
            "https://app.example.com",
            "https://app.example.com:8443",
            "https://xn--bcher-kva.example",
            "http://[::1]:3000",
            "http://127.0.0.1",
            "https://localhost",
            "capacitor://localhost",
            "ionic://localhost",
            "ionic://app.example.com",
            "tauri://localhost",
            "http://tauri.localhost",
            "https://tauri.localhost",
            "app://.",
            "app://localhost",
            "app://obsidian.md",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
            "safari-web-extension://2C127FA4-62C7-7E4F-90E5-472B45EECFDC",
            "vscode-webview://1p8ca5d4k3tqkr0m0qk1gj5kfg8h6hn5h3ku1e2qtqbe3b4lkv5p",
            "vscode-file://vscode-app",
            "com.example.app://localhost:8080",
            "ms-appx-web://example.app",
        ];
        let listed = Origins::parse(origins.into_iter().map(Some)).unwrap();
        assert_eq!(listed, Origins::Listed(origins.map(str::to_owned).into()));
        assert_eq!(
            Origins::parse(["https://a.example", "*"].into_iter().map(Some)),
            Ok(Origins::Any)
        );
        assert_eq!(
            Origins::parse(std::iter::empty()),
            Ok(Origins::Listed(Vec::new()))
        );
    }
}
