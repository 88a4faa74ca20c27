//! The accepted issuer: an address (`OpenID` Connect Discovery 1.0 §4), and the special rules of
//! Entra ID.
//!
//! - The issuer of any provider, including one tenant of Entra or External ID, is the `iss` of its
//!   tokens.
//! - `https://login.microsoftonline.com/{tenant}` means version 1, whose tokens have the `iss`
//!   `https://sts.windows.net/{tid}/`.
//! - `https://login.microsoftonline.com/organizations/v2.0` means version 2 for many tenants, whose
//!   tokens have the `iss` `https://login.microsoftonline.com/{tid}/v2.0`.
//!
//! Source: <https://learn.microsoft.com/entra/identity-platform/access-tokens>

use std::borrow::Cow;

use url::Url;
use uuid::Uuid;

use crate::domain::requests::fields::Requirement;
use crate::domain::settings::network_host::{has_credentials, is_https_or_loopback};

/// Entra's hosts, public and sovereign, each with the beginning of its version 1 issuers.
const ENTRA_HOSTS: [(&str, &str); 3] = [
    ("login.microsoftonline.com", "https://sts.windows.net/"),
    ("login.microsoftonline.us", "https://sts.windows.net/"),
    (
        "login.partner.microsoftonline.cn",
        "https://sts.chinacloudapi.cn/",
    ),
];
/// The ending of External ID's hosts.
const EXTERNAL_ID_HOSTS: &str = ".ciamlogin.com";
/// The last path segment of Entra's version 2 issuers.
const VERSION_2: &str = "v2.0";
/// The path segments that Entra accepts in place of a tenant and that mean any tenant of a kind.
const ANY_TENANT: [&str; 3] = ["common", "organizations", "consumers"];
/// The placeholder for the tenant in Entra's discovery documents for many tenants.
const TENANT_PLACEHOLDER: &str = "{tenantid}";
/// An example of a tenant id for error messages.
const EXAMPLE_TENANT: &str = "11111111-2222-3333-4444-555555555555";

/// The one issuer that an operator accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    configured: String,
    accepted: AcceptedIssuer,
    /// The address of the discovery document, if it is not below the issuer.
    discovery_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AcceptedIssuer {
    /// Exactly this text.
    Exactly(String),
    /// The text before and after the tenant.
    PerTenant(String, &'static str),
}

impl Issuer {
    /// Reads the address. It must be in its normal form, since it is compared as text.
    ///
    /// # Errors
    /// The requirement, if it is not `https://…` (`http://…` on a loopback address), contains a
    /// user, a query or a fragment, or cannot be in any token.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        if text.contains("/.well-known/") {
            return Err(
                "is the address of a document; write what stands before /.well-known/ (the \
                 document's own address belongs in ROOMKEY_OIDC_DISCOVERY_URL)"
                    .into(),
            );
        }
        let requirement = || {
            Requirement::from(
                "must be an address like https://id.example.com/path, or http:// on a loopback \
                 address",
            )
        };
        let url = Url::parse(text)
            .ok()
            .filter(|url| is_fetchable(url) && url.query().is_none())
            .ok_or_else(requirement)?;
        // `https://id.example` and `https://id.example/` are one address but two issuers, so the
        // text is kept unchanged.
        let normal = url.as_str();
        if normal != text && normal.strip_suffix('/') != Some(text) {
            return Err(requirement());
        }
        Ok(Self {
            configured: text.to_owned(),
            accepted: accepted_issuer(&url, text)?,
            discovery_url: None,
        })
    }

    /// Sets the address of the discovery document, for providers that keep it elsewhere. Azure AD
    /// B2C, for one, has the policy in the query.
    ///
    /// # Errors
    /// The requirement, as for [`Issuer::discovery_address`].
    pub fn with_discovery_at(self, address: &str) -> Result<Self, Requirement> {
        Ok(Self {
            discovery_url: Some(Self::discovery_address(address)?),
            ..self
        })
    }

    /// Reads the address of a discovery document, independent of the issuer.
    ///
    /// # Errors
    /// The requirement, if it is not `https://…` (`http://…` on a loopback address) or contains a
    /// user or a fragment.
    pub fn discovery_address(text: &str) -> Result<String, Requirement> {
        let url = Url::parse(text).ok().filter(is_fetchable);
        url.map(String::from).ok_or_else(|| {
            "must be an address like https://id.example.com/.well-known/openid-configuration, or \
             http:// on a loopback address"
                .into()
        })
    }

    /// Reports whether tokens of several tenants come from this issuer, so that the operator must
    /// list the tenants.
    #[must_use]
    pub fn has_many_tenants(&self) -> bool {
        matches!(self.accepted, AcceptedIssuer::PerTenant(..))
    }

    /// Reports whether the tokens are of Entra ID or of External ID.
    #[must_use]
    pub fn is_entra(&self) -> bool {
        let url = Url::parse(&self.configured).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        host.ends_with(EXTERNAL_ID_HOSTS)
            || ENTRA_HOSTS
                .iter()
                .any(|(entra, version_1)| host == *entra || self.configured.starts_with(version_1))
    }

    /// Returns the one tenant of Entra ID or of External ID whose tokens have this issuer, if the
    /// issuer names one.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match &self.accepted {
            AcceptedIssuer::Exactly(issuer) => issuer.split('/').find(|part| is_tenant_id(part)),
            AcceptedIssuer::PerTenant(..) => None,
        }
    }

    /// Returns the address of the discovery document.
    #[must_use]
    pub fn discovery_url(&self) -> String {
        self.discovery_url.clone().unwrap_or_else(|| {
            let issuer = self.configured.trim_end_matches('/');
            format!("{issuer}/.well-known/openid-configuration")
        })
    }

    /// Returns the `issuer` that the discovery document must name.
    #[must_use]
    pub fn published(&self) -> Cow<'_, str> {
        match &self.accepted {
            AcceptedIssuer::Exactly(issuer) => issuer.into(),
            AcceptedIssuer::PerTenant(before, after) => {
                format!("{before}{TENANT_PLACEHOLDER}{after}").into()
            }
        }
    }

    /// Reports whether the provider's keys may be fetched from an address: it must be as secure as
    /// that of the discovery document. The host may differ, as it does for large providers.
    #[must_use]
    pub fn may_have_keys_at(&self, address: &str) -> bool {
        let discovery = self.discovery_url.as_ref().unwrap_or(&self.configured);
        let must_be_https = discovery.starts_with("https:");
        Url::parse(address)
            .is_ok_and(|url| is_fetchable(&url) && (url.scheme() == "https" || !must_be_https))
    }

    /// Reports whether a token may have this `iss`. `tenant` is one that the operator listed.
    pub(super) fn accepts(&self, issuer: &str, tenant: Option<&str>) -> bool {
        match (&self.accepted, tenant) {
            (AcceptedIssuer::Exactly(accepted), _) => issuer == accepted,
            (AcceptedIssuer::PerTenant(before, after), Some(tenant)) => {
                issuer
                    .strip_prefix(before.as_str())
                    .and_then(|rest| rest.strip_suffix(after))
                    == Some(tenant)
            }
            (AcceptedIssuer::PerTenant(..), None) => false,
        }
    }

    /// Reports whether a key that is assigned to `key_issuer` may sign for this `iss`: Entra's key
    /// sets for many tenants also contain keys of single ones. Source:
    /// <https://learn.microsoft.com/entra/identity-platform/access-tokens>, "validate the signing
    /// key issuer".
    pub(super) fn key_may_sign_for(
        &self,
        issuer: &str,
        tenant: Option<&str>,
        key_issuer: Option<&str>,
    ) -> bool {
        match (key_issuer, tenant) {
            (Some(key_issuer), Some(tenant)) if self.has_many_tenants() => {
                key_issuer.replace(TENANT_PLACEHOLDER, tenant) == issuer
            }
            _ => true,
        }
    }
}

/// Reports whether a document may be fetched from a URL.
fn is_fetchable(url: &Url) -> bool {
    is_https_or_loopback(url) && !has_credentials(url) && url.fragment().is_none()
}

/// Returns the values of `iss` that follow from the setting.
///
/// # Errors
/// The requirement, if the address is one of Entra's and no token of Entra's can follow from it.
fn accepted_issuer(url: &Url, text: &str) -> Result<AcceptedIssuer, Requirement> {
    check_version_1_issuer(text)?;
    let exactly = || AcceptedIssuer::Exactly(text.to_owned());
    let Some((host, version_1)) = ENTRA_HOSTS
        .into_iter()
        .find(|(host, _)| url.host_str() == Some(host))
    else {
        return Ok(exactly());
    };
    let path = url.path().strip_prefix('/').unwrap_or(url.path());
    let (tenant, rest) = path
        .split_once('/')
        .map_or((path, None), |(tenant, rest)| (tenant, Some(rest)));
    let is_any_tenant = ANY_TENANT.contains(&tenant);
    if !is_any_tenant && !is_tenant_id(tenant) {
        return Err(format!(
            "must hold the tenant's id in lower case (or organizations, common or consumers) \
             behind the host; write it like https://{host}/{EXAMPLE_TENANT}/{VERSION_2}"
        )
        .into());
    }
    match rest {
        Some(VERSION_2) if is_any_tenant => Ok(AcceptedIssuer::PerTenant(
            format!("https://{host}/"),
            "/v2.0",
        )),
        Some(VERSION_2) => Ok(exactly()),
        None | Some("") if is_any_tenant => {
            Ok(AcceptedIssuer::PerTenant(version_1.to_owned(), "/"))
        }
        None | Some("") => Ok(AcceptedIssuer::Exactly(format!("{version_1}{tenant}/"))),
        Some(_) => Err(format!(
            "must end with /{VERSION_2} without a slash at its end, or with the tenant for tokens \
             of version 1; write it like https://{host}/{EXAMPLE_TENANT}/{VERSION_2}"
        )
        .into()),
    }
}

/// Checks an issuer of Entra's version 1, which ends with the tenant's id and a slash.
fn check_version_1_issuer(text: &str) -> Result<(), Requirement> {
    for (_, version_1) in ENTRA_HOSTS {
        if let Some(tenant) = text.strip_prefix(version_1)
            && !tenant.strip_suffix('/').is_some_and(is_tenant_id)
        {
            return Err(format!(
                "must hold the tenant's id in lower case and a slash at its end; write it like \
                 {version_1}{EXAMPLE_TENANT}/"
            )
            .into());
        }
    }
    Ok(())
}

/// Reports whether a text is a tenant's id as Entra writes it into tokens, which are compared as
/// text.
fn is_tenant_id(text: &str) -> bool {
    Uuid::try_parse(text).is_ok_and(|id| id.hyphenated().to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn addresses_that_cannot_be_an_issuer_are_rejected() {
        for text in [
            "",
            "id.example.com",
            "http://id.example.com",
            "http://10.0.0.1",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "https://",
            "https://u@id.example.com",
            "https://u:p@id.example.com",
            "https://id.example.com?x=1",
            "https://id.example.com/#x",
            "HTTPS://id.example.com",
            "https://ID.example.com",
            "https://id.example.com:443",
            "https://id.example.com/a/../b",
            "https://id.example.com/a b",
        ] {
            assert!(Issuer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_issuer_that_no_token_can_have_is_rejected_with_a_hint() {
        let upper = TENANT.replace("1111", "AAAA");
        for (text, hint) in [
            (
                "https://id.example.com/realms/x/.well-known/openid-configuration",
                "before /.well-known/",
            ),
            (
                "https://id.example.com/.well-known/openid-configuration?p=B2C_1_x",
                "ROOMKEY_OIDC_DISCOVERY_URL",
            ),
            (
                &format!("https://login.microsoftonline.com/{TENANT}/v2.0/"),
                "/v2.0 without a slash at its end",
            ),
            (
                &format!("https://login.microsoftonline.com/{TENANT}/V2.0"),
                "/v2.0 without a slash at its end",
            ),
            (
                &format!("https://login.microsoftonline.com/{TENANT}/oauth2/v2.0"),
                "/v2.0 without a slash at its end",
            ),
            (
                &format!("https://login.microsoftonline.us/{TENANT}/v2.0/x"),
                "/v2.0 without a slash at its end",
            ),
            (
                &format!("https://login.microsoftonline.com/{TENANT}//"),
                "/v2.0 without a slash at its end",
            ),
            (
                "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0",
                "the tenant's id in lower case",
            ),
            (
                "https://login.microsoftonline.com/contoso.onmicrosoft.com",
                "the tenant's id in lower case",
            ),
            (
                "https://login.partner.microsoftonline.cn/contoso/v2.0",
                "the tenant's id in lower case",
            ),
            (
                "https://login.microsoftonline.com/Common/v2.0",
                "the tenant's id in lower case",
            ),
            (
                &format!("https://login.microsoftonline.com/{upper}/v2.0"),
                "the tenant's id in lower case",
            ),
            (
                "https://login.microsoftonline.com",
                "the tenant's id in lower case",
            ),
            (
                &format!("https://sts.windows.net/{TENANT}"),
                "a slash at its end",
            ),
            (
                &format!("https://sts.windows.net/{TENANT}/v2.0"),
                "a slash at its end",
            ),
            (
                "https://sts.chinacloudapi.cn/contoso/",
                "a slash at its end",
            ),
            (
                "https://login.microsoftonline.com/v2.0",
                "the tenant's id in lower case",
            ),
        ] {
            let requirement = Issuer::parse(text).unwrap_err();
            assert!(requirement.contains(hint), "{text}: {requirement}");
        }
    }

    #[test]
    fn each_setting_determines_the_published_issuer() {
        let v2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        let v1 = format!("https://sts.windows.net/{TENANT}/");
        let external = format!("https://{TENANT}.ciamlogin.com/{TENANT}/v2.0");
        for (setting, published, many) in [
            ("https://id.example.com", "https://id.example.com", false),
            ("https://id.example.com/", "https://id.example.com/", false),
            (
                "https://id.example.com/realms/x",
                "https://id.example.com/realms/x",
                false,
            ),
            ("http://127.0.0.1:1234", "http://127.0.0.1:1234", false),
            ("http://[::1]:1234", "http://[::1]:1234", false),
            ("http://localhost:1234", "http://localhost:1234", false),
            (
                "http://id.localhost:8080",
                "http://id.localhost:8080",
                false,
            ),
            (&v2, &v2, false),
            (&v1, &v1, false),
            (&external, &external, false),
            (
                &format!("https://login.microsoftonline.com/{TENANT}"),
                &v1,
                false,
            ),
            (
                "https://login.microsoftonline.com/organizations/v2.0",
                "https://login.microsoftonline.com/{tenantid}/v2.0",
                true,
            ),
            (
                "https://login.microsoftonline.us/common/v2.0",
                "https://login.microsoftonline.us/{tenantid}/v2.0",
                true,
            ),
            (
                "https://login.microsoftonline.com/common",
                "https://sts.windows.net/{tenantid}/",
                true,
            ),
            (
                "https://login.microsoftonline.com/organizations/",
                "https://sts.windows.net/{tenantid}/",
                true,
            ),
            (
                "https://login.example.com/organizations/v2.0",
                "https://login.example.com/organizations/v2.0",
                false,
            ),
        ] {
            let issuer = Issuer::parse(setting)
                .unwrap_or_else(|requirement| panic!("{setting}: {requirement}"));
            assert_eq!(
                (issuer.published().as_ref(), issuer.has_many_tenants()),
                (published, many),
                "{setting}"
            );
        }
    }

    #[test]
    fn the_discovery_document_is_below_the_issuer_by_default() {
        let url = |text| Issuer::parse(text).unwrap().discovery_url();
        assert_eq!(
            url("https://id.example.com/a/"),
            "https://id.example.com/a/.well-known/openid-configuration"
        );
        assert_eq!(
            url("https://id.example.com"),
            "https://id.example.com/.well-known/openid-configuration"
        );
    }

    #[test]
    fn the_discovery_document_may_be_elsewhere() {
        let issuer = || Issuer::parse("https://id.example.com/a").unwrap();
        for address in [
            "https://other.example/x?p=B2C_1_x",
            "http://127.0.0.1:1/x",
            "http://localhost/x",
        ] {
            let moved = issuer().with_discovery_at(address).unwrap();
            assert_eq!(
                (moved.discovery_url().as_str(), moved.published().as_ref()),
                (address, "https://id.example.com/a")
            );
            assert_eq!(
                moved.may_have_keys_at("http://127.0.0.1:2/jwks"),
                address.starts_with("http:"),
                "{address}"
            );
            assert!(!moved.may_have_keys_at("http://192.0.2.1/jwks"));
        }
        for address in [
            "",
            "x",
            "http://id.example.com/x",
            "ftp://127.0.0.1",
            "https://u@x",
            "https://x#y",
            "file:///etc/passwd",
        ] {
            assert!(issuer().with_discovery_at(address).is_err(), "{address}");
        }
    }

    #[test]
    fn keys_are_never_fetched_over_a_weaker_connection_than_the_issuers() {
        let secure = Issuer::parse("https://id.example.com").unwrap();
        let local = Issuer::parse("http://127.0.0.1:1").unwrap();
        for (address, at_secure, at_local) in [
            ("https://keys.example.net/jwks", true, true),
            ("https://keys.example.net/jwks?x=1", true, true),
            ("http://127.0.0.1:2/jwks", false, true),
            ("http://id.example.com/jwks", false, false),
            ("http://169.254.169.254/", false, false),
            ("file:///etc/passwd", false, false),
            ("https://u:p@id.example.com/", false, false),
            ("/jwks", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                (
                    secure.may_have_keys_at(address),
                    local.may_have_keys_at(address)
                ),
                (at_secure, at_local),
                "{address}"
            );
        }
    }
}
