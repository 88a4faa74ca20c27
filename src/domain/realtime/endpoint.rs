//! The addresses of a Realtime upstream. They follow from the operator's setting alone; nothing
//! that a caller sends reaches an address.

use url::Url;

use super::session_request::CallId;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::network_host::{
    describe_parse_error, has_credentials, has_query_or_fragment, is_https_or_loopback,
};

/// The path of the API below a resource of Azure OpenAI.
const AZURE_API: &str = "/openai/v1";
/// The path of `OpenAI`'s API.
const OPENAI_API: &str = "/v1";
/// The endings of the API's operations. An address with one of them is not a base.
const OPERATION_PATHS: [&str; 7] = [
    "/realtime",
    "/client_secrets",
    "/calls",
    "/sessions",
    "/chat/completions",
    "/responses",
    "/models",
];

/// The base of an upstream's API: `https` except on a loopback address, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealtimeEndpoint {
    base: String,
    host: String,
    /// The query that Azure's address for the browser ends with.
    calls_query: &'static str,
}

impl RealtimeEndpoint {
    /// The base of OpenAI's own API.
    pub const OPENAI: &str = "https://api.openai.com/v1";

    /// Reads the address of an Azure OpenAI resource, with or without the API's path.
    ///
    /// # Errors
    /// The requirement that it does not meet.
    pub fn azure(text: &str) -> Result<Self, Requirement> {
        const EXAMPLE: &str = "https://my-resource.openai.azure.com";
        let url = parse_address(text, EXAMPLE)?;
        let path = url.path().trim_end_matches('/').to_ascii_lowercase();
        if !matches!(path.as_str(), "" | "/openai" | AZURE_API) {
            return Err(
                format!("must be the resource alone, like {EXAMPLE}; leave out its path").into(),
            );
        }
        // The filter keeps events with the instructions away from the page. A hostile page can omit
        // it.
        Ok(Self {
            base: format!("{}{AZURE_API}", url.origin().ascii_serialization()),
            host: host_and_port(&url),
            calls_query: "?webrtcfilter=on",
        })
    }

    /// Reads the base of OpenAI's API or of a compatible one.
    ///
    /// # Errors
    /// The requirement that it does not meet.
    pub fn openai(text: &str) -> Result<Self, Requirement> {
        let url = parse_address(text, Self::OPENAI)?;
        let path = url.path().trim_end_matches('/');
        let is_openai_host = url
            .host_str()
            .is_some_and(|host| host == "api.openai.com" || host.ends_with(".api.openai.com"));
        if is_openai_host && path != OPENAI_API {
            return Err(format!(
                "must have the path {OPENAI_API} and no other, like {}",
                Self::OPENAI
            )
            .into());
        }
        let is_operation = OPERATION_PATHS.iter().any(|ending| path.ends_with(ending));
        if path.contains("//") || is_operation {
            return Err(format!(
                "must be the base of the API, like {}; leave out the path of an operation",
                Self::OPENAI
            )
            .into());
        }
        Ok(Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            host: host_and_port(&url),
            calls_query: "",
        })
    }

    /// Returns the URL that hangs up a call.
    #[must_use]
    pub fn hangup_url(&self, call_id: &CallId) -> String {
        format!("{}/realtime/calls/{call_id}/hangup", self.base)
    }

    /// Returns the URL at which client secrets are minted.
    #[must_use]
    pub fn mint_url(&self) -> String {
        format!("{}/realtime/client_secrets", self.base)
    }

    /// Returns the URL of the list of models, which is free of charge.
    #[must_use]
    pub fn models_url(&self) -> String {
        format!("{}/models", self.base)
    }

    /// Returns the URL to which a browser posts its SDP offer.
    #[must_use]
    pub fn calls_url(&self) -> String {
        format!("{}/realtime/calls{}", self.base, self.calls_query)
    }

    /// Returns the host, with the port unless it is the default one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Reads an address to which a key may be sent.
pub(in crate::domain) fn parse_address(text: &str, example: &str) -> Result<Url, Requirement> {
    let wrong = |what: &str| {
        Err(Requirement::from(format!(
            "{what}; write an address like {example}"
        )))
    };
    // In `my-resource.openai.azure.com:443` the host would be parsed as a scheme.
    if !text.contains("://") {
        return wrong("must begin with https://");
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return wrong(describe_parse_error(text, error)),
    };
    if !url.has_host() {
        return wrong("must name a host");
    }
    if !is_https_or_loopback(&url) {
        return wrong(if url.scheme() == "http" {
            "must begin with https://, except on a loopback address"
        } else {
            "must begin with https://"
        });
    }
    if has_credentials(&url) {
        return wrong("must not hold a user or a password");
    }
    if has_query_or_fragment(&url) {
        return wrong("must not hold a query, such as ?api-version=…, or a fragment");
    }
    Ok(url)
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_would_send_a_key_unencrypted_or_elsewhere_are_rejected() {
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
            for read in [RealtimeEndpoint::azure, RealtimeEndpoint::openai] {
                let requirement = read(text).unwrap_err();
                assert!(!requirement.contains("canary"), "{text}: {requirement}");
            }
        }
    }

    #[test]
    fn urls_are_joined_without_a_double_slash() {
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
            let endpoint = RealtimeEndpoint::azure(text).unwrap();
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
        for text in [RealtimeEndpoint::OPENAI, "https://api.openai.com/v1/"] {
            let endpoint = RealtimeEndpoint::openai(text).unwrap();
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
    fn an_address_that_can_never_work_is_rejected_with_a_hint() {
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
                "https://r.openai.azure.com/openai/realtimeapi/sessions?api-version=2025-04-01",
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
            let requirement = RealtimeEndpoint::azure(text).unwrap_err();
            assert!(
                requirement.contains(hint)
                    && requirement.contains("https://my-resource.openai.azure.com"),
                "{text}: {requirement}"
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
            let requirement = RealtimeEndpoint::openai(text).unwrap_err();
            assert!(
                requirement.contains(hint) && requirement.contains(RealtimeEndpoint::OPENAI),
                "{text}: {requirement}"
            );
        }
        for text in [
            "https://eu.api.openai.com/v1",
            "https://gateway.example.com",
            "https://gateway.example.com/openai/v1/",
        ] {
            assert!(RealtimeEndpoint::openai(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_loopback_address_may_use_plain_http() {
        for (text, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:1", "[::1]:1"),
            ("http://localhost", "localhost"),
            ("http://upstream.localhost:9/v1", "upstream.localhost:9"),
        ] {
            assert_eq!(RealtimeEndpoint::openai(text).unwrap().host(), host);
        }
    }
}
