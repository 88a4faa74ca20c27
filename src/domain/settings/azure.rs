//! Azure, as far as settings speak of it: a vault's address, and who this process is to Entra ID.

use url::Url;
use uuid::Uuid;

use super::network_host::describe_parse_error;
use crate::domain::requests::fields::Requirement;

/// The address of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultUrl(String);

impl VaultUrl {
    /// Reads an address: https and a host, and nothing behind it.
    ///
    /// # Errors
    /// The rule, for anything else.
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
                "must not hold a path, such as that of a secret (its name belongs into the setting that ends in _SECRET_NAME)",
            );
        }
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return wrong("must not hold a user, a password, a query or a fragment");
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// Returns the scope of tokens for this vault: its domain without the vault's own name, as all
    /// of Azure's clouds have it (`https://vault.azure.net/.default`).
    #[must_use]
    pub fn token_scope(&self) -> String {
        let host = self.0.strip_prefix("https://").unwrap_or(&self.0);
        let host = host.rsplit_once(':').map_or(host, |(host, _port)| host);
        let domain = host.split_once('.').map_or(host, |(_vault, domain)| domain);
        format!("https://{domain}/.default")
    }

    /// The address in its normal form, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who this process is to Entra ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The identity that Azure gave to the app, or the user-assigned one with this client id.
    Managed(Option<Uuid>),
    /// Whoever has signed in to the Azure CLI or the Azure Developer CLI on this machine.
    Developer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_is_asked_over_tls_and_nowhere_else() {
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
    fn a_text_that_is_no_address_is_refused_with_a_hint() {
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
            let rule = VaultUrl::parse(text).unwrap_err();
            assert!(rule.contains(hint), "{text}: {rule}");
        }
    }

    #[test]
    fn tokens_are_for_the_domain_of_the_vault() {
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
