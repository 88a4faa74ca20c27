//! Azure's values in settings: the address of a Key Vault, and this process's identity in Entra ID.

use url::Url;
use uuid::Uuid;

use super::network_host::{describe_parse_error, has_credentials, has_query_or_fragment};
use crate::domain::requests::fields::Requirement;

/// The address of a Key Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultUrl(String);

impl VaultUrl {
    /// Reads an address: `https://`, a host, and nothing after it.
    ///
    /// # Errors
    /// The requirement, for anything else.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let wrong = |what: &str| {
            Err(Requirement::from(format!(
                "{what}; write the vault's address like https://my-vault.vault.azure.net"
            )))
        };
        let url = match Url::parse(text) {
            Ok(url) if text.contains("://") => url,
            Ok(_) => return wrong("must begin with https://"),
            Err(error) => return wrong(describe_parse_error(text, error)),
        };
        if url.scheme() != "https" || !url.has_host() {
            return wrong("must begin with https://");
        }
        if url.path() != "/" {
            return wrong(
                "must not hold a path, such as that of a secret (its name belongs into the \
                 setting that ends in _SECRET_NAME)",
            );
        }
        if has_credentials(&url) || has_query_or_fragment(&url) {
            return wrong("must not hold a user, a password, a query or a fragment");
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// Returns the scope of tokens for this vault: its domain without the vault's own name, as in
    /// every Azure cloud (`https://vault.azure.net/.default`).
    #[must_use]
    pub fn token_scope(&self) -> String {
        let host = self.0.strip_prefix("https://").unwrap_or(&self.0);
        let host = host.rsplit_once(':').map_or(host, |(host, _port)| host);
        let domain = host.split_once('.').map_or(host, |(_vault, domain)| domain);
        format!("https://{domain}/.default")
    }

    /// Returns the address in its normal form, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The identity of this process in Entra ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The system-assigned identity of the app, or the user-assigned one with this client id.
    Managed(Option<Uuid>),
    /// The user who is signed in to the Azure CLI or the Azure Developer CLI on this machine.
    Developer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_https_address_of_a_vault_is_accepted() {
        for text in [
            "",
            "my-vault",
            "my-vault.vault.azure.net",
            "http://my-vault.vault.azure.net",
            "https://",
            "https://u:p@v.example",
            "https://u@v.example",
            "https://v.example/secrets",
            "https://v.example?x",
            "https://v.example/#x",
        ] {
            assert!(VaultUrl::parse(text).is_err(), "{text:?}");
        }
        for (text, normal) in [
            (
                "https://my-vault.vault.azure.net/",
                "https://my-vault.vault.azure.net",
            ),
            ("HTTPS://V.example:443", "https://v.example"),
            (
                "https://kv.vault.localhost:8443",
                "https://kv.vault.localhost:8443",
            ),
        ] {
            assert_eq!(VaultUrl::parse(text).unwrap().as_str(), normal);
        }
    }

    #[test]
    fn a_text_that_is_not_an_address_is_rejected_with_a_hint() {
        for (text, hint) in [
            (
                "https://<vault>.vault.azure.net",
                "a character that no host name has",
            ),
            (
                "https://my vault.vault.azure.net",
                "a character that no host name has",
            ),
            ("https://", "must name a host"),
            ("https://v.example:port", "its port"),
            ("http://<vault>.vault.azure.net", "must begin with https://"),
            ("my-vault", "must begin with https://"),
        ] {
            let requirement = VaultUrl::parse(text).unwrap_err();
            assert!(requirement.contains(hint), "{text}: {requirement}");
        }
    }

    #[test]
    fn the_token_scope_is_the_domain_of_the_vault() {
        for (url, scope) in [
            (
                "https://kv.vault.azure.net",
                "https://vault.azure.net/.default",
            ),
            (
                "https://kv.vault.azure.cn/",
                "https://vault.azure.cn/.default",
            ),
            (
                "https://kv.vault.localhost:8443",
                "https://vault.localhost/.default",
            ),
        ] {
            assert_eq!(VaultUrl::parse(url).unwrap().token_scope(), scope);
        }
    }
}
