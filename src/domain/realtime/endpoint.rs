//! Where a Realtime upstream is reached. Only the operator's setting decides; nothing that a caller
//! sends reaches an address.

use url::Url;

use crate::domain::requests::fields::Requirement;
use crate::domain::settings::network_host::{describe_parse_error, is_loopback};

/// The path below a resource of Azure OpenAI.
const AZURE_API: &str = "/openai/v1";
/// The path of `OpenAI`'s API.
const OPENAI_API: &str = "/v1";
/// What the operations of the API end with, which belong to no base.
const OPERATIONS: [&str; 7] = [
    "/realtime",
    "/client_secrets",
    "/calls",
    "/sessions",
    "/chat/completions",
    "/responses",
    "/models",
];

/// The base of an upstream's API, `https` except on a loopback address, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
    host: String,
    /// What Azure's address for the browser has at its end.
    calls_query: &'static str,
}

impl Endpoint {
    /// OpenAI's own API.
    pub const OPENAI: &str = "https://api.openai.com/v1";

    /// Reads the address of a resource of Azure OpenAI, with or without the API's path.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn azure(text: &str) -> Result<Self, Requirement> {
        const EXAMPLE: &str = "https://my-resource.openai.azure.com";
        let url = address(text, EXAMPLE)?;
        let path = url.path().trim_end_matches('/').to_ascii_lowercase();
        if !matches!(path.as_str(), "" | "/openai" | AZURE_API) {
            return Err(
                format!("must be the resource alone, like {EXAMPLE}; leave out its path").into(),
            );
        }
        // The filter keeps events that carry the instructions from reaching the page; a hostile
        // page can leave it out.
        Ok(Self {
            base: format!("{}{AZURE_API}", url.origin().ascii_serialization()),
            host: named(&url),
            calls_query: "?webrtcfilter=on",
        })
    }

    /// Reads the base of OpenAI's API, or of one that looks like it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn openai(text: &str) -> Result<Self, Requirement> {
        let url = address(text, Self::OPENAI)?;
        let path = url.path().trim_end_matches('/');
        let is_vendors_own = url
            .host_str()
            .is_some_and(|host| host == "api.openai.com" || host.ends_with(".api.openai.com"));
        if is_vendors_own && path != OPENAI_API {
            return Err(format!(
                "must have the path {OPENAI_API} and no other, like {}",
                Self::OPENAI
            )
            .into());
        }
        if path.contains("//") || OPERATIONS.iter().any(|operation| path.ends_with(operation)) {
            return Err(format!(
                "must be the base of the API, like {}; leave out the path of an operation",
                Self::OPENAI
            )
            .into());
        }
        Ok(Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            host: named(&url),
            calls_query: "",
        })
    }

    /// Where client secrets are minted.
    #[must_use]
    pub fn mint_url(&self) -> String {
        format!("{}/realtime/client_secrets", self.base)
    }

    /// What costs nothing to ask.
    #[must_use]
    pub fn models_url(&self) -> String {
        format!("{}/models", self.base)
    }

    /// Where a browser posts its SDP offer.
    #[must_use]
    pub fn calls_url(&self) -> String {
        format!("{}/realtime/calls{}", self.base, self.calls_query)
    }

    /// Host and, where it is not the usual one, port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Reads an address to which a key may be sent.
fn address(text: &str, example: &str) -> Result<Url, Requirement> {
    let wrong = |what: &str| {
        Err(Requirement::from(format!(
            "{what}; write an address like {example}"
        )))
    };
    // `my-resource.openai.azure.com:443` would be read as a scheme of its own.
    if !text.contains("://") {
        return wrong("must begin with https://");
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return wrong(describe_parse_error(text, error)),
    };
    let Some(host) = url.host() else {
        return wrong("must name a host");
    };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&host) => {}
        "http" => return wrong("must begin with https://, except on a loopback address"),
        _ => return wrong("must begin with https://"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold a user or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must not hold a query, such as ?api-version=…, or a fragment");
    }
    Ok(url)
}

fn named(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_would_send_a_key_in_the_clear_or_elsewhere_are_refused() {
        for text in [
            "",
            "canary",
            "canary.openai.azure.com",
            "http://canary.openai.azure.com",
            "http://localhost.canary.example",
            "http://10.0.0.1",
            "https://u:p@canary",
            "https://canary?api-version=1",
            "https://canary#x",
            "ftp://canary",
            "https://",
        ] {
            for read in [Endpoint::azure, Endpoint::openai] {
                let rule = read(text).unwrap_err();
                assert!(!rule.contains("canary"), "{text}: {rule}");
            }
        }
    }

    #[test]
    fn every_address_is_joined_without_a_double_slash() {
        for text in [
            "https://r.openai.azure.com",
            "https://r.openai.azure.com/",
            "https://r.openai.azure.com/openai",
            "https://r.openai.azure.com/openai/",
            "https://r.openai.azure.com/openai/v1",
            "https://r.openai.azure.com/openai/v1/",
            "https://r.openai.azure.com/OpenAI/V1",
            "https://r.openai.azure.com:443",
            "https://R.openai.azure.com//",
        ] {
            let endpoint = Endpoint::azure(text).unwrap();
            assert_eq!(
                endpoint.mint_url(),
                "https://r.openai.azure.com/openai/v1/realtime/client_secrets",
                "{text}"
            );
            assert_eq!(
                endpoint.calls_url(),
                "https://r.openai.azure.com/openai/v1/realtime/calls?webrtcfilter=on"
            );
            assert_eq!(
                (endpoint.models_url().as_str(), endpoint.host()),
                (
                    "https://r.openai.azure.com/openai/v1/models",
                    "r.openai.azure.com"
                )
            );
        }
        for text in [Endpoint::OPENAI, "https://api.openai.com/v1/"] {
            let endpoint = Endpoint::openai(text).unwrap();
            assert_eq!(
                endpoint.mint_url(),
                "https://api.openai.com/v1/realtime/client_secrets",
                "{text}"
            );
            assert_eq!(
                endpoint.calls_url(),
                "https://api.openai.com/v1/realtime/calls"
            );
        }
    }

    #[test]
    fn an_address_that_can_never_work_is_refused_with_a_hint() {
        for (text, hint) in [
            ("r.openai.azure.com", "must begin with https://"),
            ("r.openai.azure.com:443", "must begin with https://"),
            (
                "wss://r.openai.azure.com/openai/v1/realtime",
                "must begin with https://",
            ),
            ("http://r.openai.azure.com", "except on a loopback address"),
            (
                "https://r.openai.azure.com/openai/deployments/voice",
                "leave out its path",
            ),
            (
                "https://r.openai.azure.com/openai/v1/realtime",
                "leave out its path",
            ),
            (
                "https://r.openai.azure.com/openai/realtimeapi/sessions?api-version=2025-04-01-preview",
                "query",
            ),
            ("https://r.openai.azure.com/v1", "leave out its path"),
            (
                "https://r.services.ai.azure.com/api/projects/p",
                "leave out its path",
            ),
            ("https://r.openai.azure.com/openai/v2", "leave out its path"),
            ("https://u:p@r.openai.azure.com", "user"),
            (
                "https://<resource>.openai.azure.com",
                "a character that no host name has",
            ),
            (
                "https://my resource.openai.azure.com",
                "a character that no host name has",
            ),
            ("https://", "must name a host"),
            ("https://r.openai.azure.com:port", "its port"),
        ] {
            let rule = Endpoint::azure(text).unwrap_err();
            assert!(
                rule.contains(hint) && rule.contains("https://my-resource.openai.azure.com"),
                "{text}: {rule}"
            );
        }
        for (text, hint) in [
            ("https://api.openai.com", "must have the path /v1"),
            ("https://api.openai.com/", "must have the path /v1"),
            ("https://eu.api.openai.com", "must have the path /v1"),
            (
                "https://api.openai.com/v1/realtime",
                "must have the path /v1",
            ),
            ("https://api.openai.com/v1/v1", "must have the path /v1"),
            (
                "https://gateway.example.com/v1/realtime/client_secrets",
                "leave out the path of an operation",
            ),
            (
                "https://gateway.example.com/v1/chat/completions/",
                "leave out the path of an operation",
            ),
            (
                "https://gateway.example.com//v1",
                "leave out the path of an operation",
            ),
            ("api.openai.com/v1", "must begin with https://"),
            ("wss://api.openai.com/v1", "must begin with https://"),
        ] {
            let rule = Endpoint::openai(text).unwrap_err();
            assert!(
                rule.contains(hint) && rule.contains(Endpoint::OPENAI),
                "{text}: {rule}"
            );
        }
        for text in [
            "https://eu.api.openai.com/v1",
            "https://gateway.example.com",
            "https://gateway.example.com/openai/v1/",
        ] {
            assert!(Endpoint::openai(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_loopback_address_may_do_without_encryption() {
        for (text, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:1", "[::1]:1"),
            ("http://localhost", "localhost"),
            ("http://upstream.localhost:9/v1", "upstream.localhost:9"),
        ] {
            assert_eq!(Endpoint::openai(text).unwrap().host(), host);
        }
    }
}
