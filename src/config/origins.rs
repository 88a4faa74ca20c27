//! Origins of web pages and apps, as browsers and web views send them.

use std::num::NonZeroU16;

use url::Url;

use crate::domain::requests::fields::Requirement;

/// Longest host of an app's own origin; a browser extension's has 32 to 36 characters.
const MAX_HOST_BYTES: usize = 255;
/// Schemes that no page's `Origin` has: browsers write `null` for them, or they are not for pages.
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

impl Origins {
    /// Reads a list; `None` is an item that is no text.
    ///
    /// # Errors
    /// The rule that an item breaks.
    pub fn parse<'t>(items: impl Iterator<Item = Option<&'t str>>) -> Result<Self, Requirement> {
        let mut listed = Vec::new();
        let mut any = false;
        for item in items {
            match item {
                Some("*") => any = true,
                Some("null") => return Err("must not list null, which every sandboxed page sends; list the page's own origin".into()),
                Some(text) if is_origin(text) => listed.push(text.to_owned()),
                _ => {
                    return Err(
                        "must list origins as browsers send them, such as https://app.example.com or capacitor://localhost: a scheme, \
                                '://' and a host in lower case, without the scheme's own port, a path, a slash at the end or a wildcard"
                            .into(),
                    );
                }
            }
        }
        Ok(if any { Self::Any } else { Self::Listed(listed) })
    }
}

/// Only the exact form can ever equal an `Origin` header, so anything else is a mistake that would
/// stay unnoticed.
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

/// A scheme that an app registers with its web view, in the lower case that browsers write (RFC
/// 3986 §3.1).
fn is_app_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        && !WITHOUT_ORIGIN.contains(&scheme)
}

/// A host as the app named it, which browsers do not change: Safari's extensions have upper-case
/// letters. And a port, if any.
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
    fn what_no_browser_sends_is_refused() {
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
    fn pages_and_apps_are_listed_as_they_are() {
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
