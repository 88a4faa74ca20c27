//! Where a Realtime upstream is reached. Only the operator's setting decides; nothing that a caller sends reaches an address.

use std::net::IpAddr;

use url::{Host, Url};

use super::fields::Rule;

/// The path below a resource of Azure OpenAI.
const AZURE_API: &str = "/openai/v1";

/// The base of an upstream's API, `https` save on a loopback address, without a slash at its end.
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
    pub fn azure(text: &str) -> Result<Self, Rule> {
        let base = base(text, "https://my-resource.openai.azure.com")?;
        let resource = base.0.strip_suffix(AZURE_API).unwrap_or(&base.0);
        // The filter keeps events that carry the instructions from reaching the page; a hostile page can leave it out.
        Ok(Self { base: format!("{resource}{AZURE_API}"), host: base.1, calls_query: "?webrtcfilter=on" })
    }

    /// Reads the base of OpenAI's API, or of one that looks like it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn openai(text: &str) -> Result<Self, Rule> {
        let (base, host) = base(text, Self::OPENAI)?;
        Ok(Self { base, host, calls_query: "" })
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

fn base(text: &str, example: &str) -> Result<(String, String), Rule> {
    let rule =
        || Rule::from(format!("must be an address like {example}: https, or http on a loopback address, without user, query or fragment"));
    let url = Url::parse(text).map_err(|_| rule())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    let host = url.host().ok_or_else(rule)?;
    let safe = match url.scheme() {
        "https" => true,
        "http" => is_loopback(&host),
        _ => false,
    };
    if !(plain && safe) {
        return Err(rule());
    }
    let named = url.port().map_or(host.to_string(), |port| format!("{host}:{port}"));
    Ok((url.as_str().trim_end_matches('/').to_owned(), named))
}

/// Names at or below `localhost` are loopback by RFC 6761 §6.3.
fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => IpAddr::V4(*ip).is_loopback(),
        Host::Ipv6(ip) => IpAddr::V6(*ip).is_loopback(),
    }
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
            "https://r.openai.azure.com/openai/v1/",
            "https://R.openai.azure.com//",
        ] {
            let endpoint = Endpoint::azure(text).unwrap();
            assert_eq!(endpoint.mint_url(), "https://r.openai.azure.com/openai/v1/realtime/client_secrets", "{text}");
            assert_eq!(endpoint.calls_url(), "https://r.openai.azure.com/openai/v1/realtime/calls?webrtcfilter=on");
            assert_eq!(
                (endpoint.models_url().as_str(), endpoint.host()),
                ("https://r.openai.azure.com/openai/v1/models", "r.openai.azure.com")
            );
        }
        for text in [Endpoint::OPENAI, "https://api.openai.com/v1/"] {
            let endpoint = Endpoint::openai(text).unwrap();
            assert_eq!(endpoint.mint_url(), "https://api.openai.com/v1/realtime/client_secrets", "{text}");
            assert_eq!(endpoint.calls_url(), "https://api.openai.com/v1/realtime/calls");
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
