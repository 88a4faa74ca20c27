//! Azure's values in settings: the addresses of a Key Vault and of a blob container, and this
//! process's identity in Entra ID.

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
        let url = match https_url(text) {
            Ok(url) => url,
            Err(what) => return wrong(what),
        };
        if url.path() != "/" {
            return wrong(
                "must not hold a path, such as that of a secret (its name belongs into the \
                 setting that ends in _SECRET_NAME)",
            );
        }
        if has_credentials(&url) || has_query_or_fragment(&url) {
            return wrong(NO_EXTRAS);
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

/// The address of a container in Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUrl(Url);

impl ContainerUrl {
    /// Reads an address: `https://`, a host, and the name of a container: 3 to 63 lower-case
    /// letters, digits and hyphens, no hyphen at an end or beside another.
    ///
    /// Source: <https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata>
    ///
    /// # Errors
    /// The requirement, for anything else. A shared access signature is refused like every query:
    /// it is a secret, and the identity of this process needs none.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let wrong = |what: &str| {
            Err(Requirement::from(format!(
                "{what}; write the container's address like \
                 https://my-account.blob.core.windows.net/my-container"
            )))
        };
        let mut url = match https_url(text) {
            Ok(url) => url,
            Err(what) => return wrong(what),
        };
        if has_credentials(&url) || has_query_or_fragment(&url) {
            return wrong(NO_EXTRAS);
        }
        let name = url.path()[1..].to_owned();
        let name = name.strip_suffix('/').unwrap_or(&name);
        if !is_container_name(name) {
            return wrong(
                "must end in the name of one container: 3 to 63 lower-case letters, digits and \
                 single hyphens",
            );
        }
        url.set_path(name);
        Ok(Self(url))
    }

    /// Returns the address.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

fn is_container_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.split('-').all(|part| {
            let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            !part.is_empty() && part.bytes().all(is_allowed)
        })
}

const NO_EXTRAS: &str = "must not hold a user, a password, a query or a fragment";

/// Reads a URL that begins with `https://` and names a host.
fn https_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|error| describe_parse_error(text, error))?;
    if text.contains("://") && url.scheme() == "https" && url.has_host() {
        Ok(url)
    } else {
        Err("must begin with https://")
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
    fn only_the_https_address_of_one_container_is_accepted() {
        for text in [
            "",
            "my-account",
            "http://a.blob.core.windows.net/keys",
            "https:a.blob.core.windows.net/keys",
            "https://a.blob.core.windows.net",
            "https://a.blob.core.windows.net/",
            "https://a.blob.core.windows.net/ab",
            "https://a.blob.core.windows.net/Keys",
            "https://a.blob.core.windows.net/$root",
            "https://a.blob.core.windows.net/-keys",
            "https://a.blob.core.windows.net/keys-",
            "https://a.blob.core.windows.net/my--keys",
            "https://a.blob.core.windows.net/my_keys",
            "https://a.blob.core.windows.net/keys//",
            "https://a.blob.core.windows.net//keys",
            "https://a.blob.core.windows.net/keys/p",
            "https://a.blob.core.windows.net/keys?sv=1&sig=canary",
            "https://a.blob.core.windows.net/keys#x",
            "https://u:p@a.blob.core.windows.net/keys",
            &format!("https://a.blob.core.windows.net/{}", "a".repeat(64)),
        ] {
            let requirement = ContainerUrl::parse(text).expect_err(text);
            assert!(!requirement.contains("canary"));
        }
        for (text, normal) in [
            (
                "https://a.blob.core.windows.net/keys/",
                "https://a.blob.core.windows.net/keys",
            ),
            (
                "HTTPS://a.BLOB.core.chinacloudapi.cn:443/my-keys-2",
                "https://a.blob.core.chinacloudapi.cn/my-keys-2",
            ),
        ] {
            assert_eq!(ContainerUrl::parse(text).unwrap().as_url().as_str(), normal);
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
