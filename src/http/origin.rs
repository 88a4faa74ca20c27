//! The web pages that may call while a cookie signs callers in (error `origin_forbidden`).
//!
//! A browser sends the cookie of Azure's built-in sign-in with a form or a "simple" request of any
//! page (cross-site request forgery), and names the page in `Origin`, which no page can change.
//! Programs send no `Origin` and are not affected. A page of another site cannot set the headers
//! that name this site either: a browser sends a CORS preflight before it sends them.
//!
//! # Source
//! The Fetch standard, "`Origin` header"; OWASP, Cross-Site Request Forgery Prevention.

use http::HeaderMap;
use http::header::{COOKIE, HOST, HeaderName, HeaderValue, ORIGIN};

use super::host::is_loopback_authority;
use crate::domain::settings::origins::{Cors, Origins};

/// The public host name, if a proxy or the Functions host in proxying mode replaced `Host`.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The URL that the browser used, behind Static Web Apps.
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-ms-original-url");

/// Returns whether the calling page, if there is one, is the site's own or on the list. Several
/// origins, and `null`, are refused.
pub fn is_allowed(cors: &Cors, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    origins.next().is_none()
        && origin
            .to_str()
            .is_ok_and(|origin| is_listed(cors, origin, headers) || is_own(origin, headers))
}

fn is_listed(cors: &Cors, origin: &str, headers: &HeaderMap) -> bool {
    match &cors.origins {
        Origins::NoFile => false,
        Origins::Listed(listed) => listed.iter().any(|one| one == origin),
        // `*` is never combined with credentials, so a page that it allows sends no cookie.
        Origins::Any => !headers.contains_key(COOKIE),
    }
}

/// Returns whether an origin is the site's own. In Azure every site is reached by https; plain http
/// counts only on this machine, for development.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = if let Some(host) = origin.strip_prefix("https://") {
        host
    } else if let Some(host) = origin
        .strip_prefix("http://")
        .filter(|host| is_loopback_authority(host.as_bytes()))
    {
        host
    } else {
        return false;
    };
    let is_host =
        |named: &str| without_default_port(named).eq_ignore_ascii_case(without_default_port(host));
    let original = last(headers, &ORIGINAL_URL)
        .and_then(authority)
        .is_some_and(is_host);
    original
        || [FORWARDED_HOST, HOST]
            .iter()
            .filter_map(|name| last(headers, name))
            .any(is_host)
}

/// Returns the host and port of an absolute URL.
fn authority(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    (scheme.eq_ignore_ascii_case("https") || is_loopback_authority(authority.as_bytes()))
        .then_some(authority)
}

/// Returns the last value of a header, which the nearest proxy wrote.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let value = headers
        .get_all(name)
        .iter()
        .next_back()
        .map(HeaderValue::to_str)?
        .ok()?;
    value
        .rsplit(',')
        .next()
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

fn without_default_port(host: &str) -> &str {
    host.strip_suffix(":443").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: (&str, &str) = ("host", "app.azurewebsites.net");

    fn asks(cors: &Cors, headers: &[(&str, &str)]) -> bool {
        let pair = |(name, value): &(&str, &str)| {
            (
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            )
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(pair) {
            map.append(name, value);
        }
        is_allowed(cors, &map)
    }

    fn listed(origins: &[&str]) -> Cors {
        Cors {
            origins: Origins::Listed(origins.iter().map(|&origin| origin.to_owned()).collect()),
            credentials: false,
        }
    }

    #[test]
    fn only_the_sites_own_pages_ask_where_none_is_listed() {
        for cors in [
            listed(&[]),
            Cors {
                origins: Origins::NoFile,
                credentials: false,
            },
        ] {
            for (origin, own) in [
                ("https://app.azurewebsites.net", true),
                ("https://APP.azurewebsites.net", true),
                ("https://app.azurewebsites.net:443", true),
                ("http://app.azurewebsites.net", false),
                ("https://app.azurewebsites.net:8443", false),
                ("https://app.azurewebsites.net.evil.example", false),
                ("https://evil.example", false),
                ("https://evil.app.azurewebsites.net", false),
                ("https://azurewebsites.net", false),
                ("https://app.azurewebsites.net/", false),
                ("https://user@app.azurewebsites.net", false),
                ("app.azurewebsites.net", false),
                ("capacitor://app.azurewebsites.net", false),
                (
                    "https://app.azurewebsites.net, https://app.azurewebsites.net",
                    false,
                ),
                ("https://app.azurewebsites.net https://evil.example", false),
                ("null", false),
                ("https://", false),
                ("", false),
            ] {
                assert_eq!(asks(&cors, &[SITE, ("origin", origin)]), own, "{origin}");
            }
            assert!(asks(&cors, &[SITE]), "a program sends no origin");
            assert!(
                !asks(&cors, &[("origin", "https://app.azurewebsites.net")]),
                "no host"
            );
            assert!(
                !asks(&cors, &[("host", ""), ("origin", "https://")]),
                "an empty host is nobody's"
            );
            let twice = [
                SITE,
                ("origin", "https://app.azurewebsites.net"),
                ("origin", "https://app.azurewebsites.net"),
            ];
            assert!(!asks(&cors, &twice), "two origins");
        }
    }

    #[test]
    fn the_site_is_known_by_the_name_that_the_browser_used() {
        let cors = listed(&[]);
        let behind_the_host = [
            ("host", "127.0.0.1:4711"),
            ("x-forwarded-host", "app.azurewebsites.net"),
        ];
        let behind_swa = [
            SITE,
            (
                "x-ms-original-url",
                "https://calm-sea-1.2.azurestaticapps.net/api/token?x=https://evil.example",
            ),
        ];
        for (headers, origin, own) in [
            (&behind_the_host[..], "https://app.azurewebsites.net", true),
            (&behind_the_host, "https://evil.example", false),
            (
                &behind_swa,
                "https://calm-sea-1.2.azurestaticapps.net",
                true,
            ),
            (&behind_swa, "https://evil.example", false),
            (
                &[
                    SITE,
                    (
                        "x-ms-original-url",
                        "http://calm-sea-1.2.azurestaticapps.net/",
                    ),
                ],
                "https://calm-sea-1.2.azurestaticapps.net",
                false,
            ),
            (
                &[
                    SITE,
                    ("x-ms-original-url", "calm-sea-1.2.azurestaticapps.net"),
                ],
                "https://calm-sea-1.2.azurestaticapps.net",
                false,
            ),
            (
                &[SITE, ("x-forwarded-host", "a.example, b.example")],
                "https://b.example",
                true,
            ),
            (
                &[SITE, ("x-forwarded-host", "a.example, b.example")],
                "https://a.example",
                false,
            ),
            (
                &[("host", "a.example"), ("host", "b.example")],
                "https://b.example",
                true,
            ),
            (&[("host", "127.0.0.1:7071")], "http://127.0.0.1:7071", true),
            (&[("host", "localhost:7071")], "http://localhost:7071", true),
            (
                &[("host", "localhost:7071")],
                "http://localhost:4200",
                false,
            ),
            (&[("host", "10.0.0.1:7071")], "http://10.0.0.1:7071", false),
        ] {
            assert_eq!(
                asks(&cors, &[headers, &[("origin", origin)]].concat()),
                own,
                "{origin} {headers:?}"
            );
        }
    }

    #[test]
    fn listed_pages_ask_and_a_star_lists_those_without_cookies() {
        let cors = listed(&[
            "https://page.example",
            "http://localhost:4200",
            "capacitor://localhost",
        ]);
        for (origin, may) in [
            ("https://page.example", true),
            ("http://localhost:4200", true),
            ("capacitor://localhost", true),
            ("https://page.example:8443", false),
            ("http://page.example", false),
            ("https://PAGE.example", false),
            ("null", false),
        ] {
            assert_eq!(
                asks(
                    &cors,
                    &[
                        SITE,
                        ("origin", origin),
                        ("cookie", "AppServiceAuthSession=x")
                    ]
                ),
                may,
                "{origin}"
            );
        }
        let any = Cors {
            origins: Origins::Any,
            credentials: false,
        };
        assert!(asks(&any, &[SITE, ("origin", "https://page.example")]));
        assert!(!asks(
            &any,
            &[
                SITE,
                ("origin", "https://page.example"),
                ("cookie", "AppServiceAuthSession=x")
            ]
        ));
    }
}
