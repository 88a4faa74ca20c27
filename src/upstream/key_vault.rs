//! Reads secrets from Key Vault (REST API 2025-07-01).
//!
//! The library checks that the vault's challenge names the vault's own host before it sends a
//! token. Its errors contain responses and URLs, so only a [`ReadError`] leaves this file.

use std::time::{Duration, SystemTime};

use azure_core::error::ErrorKind;
use azure_security_keyvault_secrets::{ResourceExt, SecretClient, SecretClientOptions};
use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::entra::{EntraTokenError, LibraryAccess};
use crate::domain::settings::azure::{Identity, VaultUrl};
use crate::domain::settings::secrets::SecretName;

/// The time limit for one read.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// A version of a secret.
#[derive(Debug, Clone)]
pub struct SecretVersion {
    /// The unchecked value.
    pub value: SecretString,
    /// The version's id, which changes with each new value. It is not a secret.
    pub version: String,
    /// When the version was written, by the vault's clock.
    pub written_at: Option<SystemTime>,
}

/// A reason why a secret could not be read. It repeats nothing that the vault sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum ReadError {
    /// The HTTP client or the credential could not be set up.
    Client,
    /// Entra ID returned no token.
    NoToken,
    /// The vault has no secret with this name.
    Missing,
    /// The identity may not read it, it is disabled, or the vault's firewall refuses.
    Refused,
    /// The vault limits the rate of requests (429).
    Throttled,
    /// The connection failed, its certificate is not trusted, or the response is another error.
    Failed,
    /// No response arrived in time.
    Timeout,
    /// The value does not pass the check of this secret.
    Unusable,
    /// Only one half of a pair has been replaced so far.
    HalfRotated,
}

impl ReadError {
    /// Returns the value of the log field `cause`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::NoToken => "no_token",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Unusable => "unusable",
            Self::HalfRotated => "half_rotated",
        }
    }
}

impl From<EntraTokenError> for ReadError {
    fn from(error: EntraTokenError) -> Self {
        match error {
            EntraTokenError::Client => Self::Client,
            EntraTokenError::Refused | EntraTokenError::Timeout | EntraTokenError::Failed => {
                Self::NoToken
            }
        }
    }
}

/// A store of secrets: Key Vault, or a fake in tests.
pub trait Vault: Send + Sync {
    /// Reads the current version of a secret.
    fn read(
        &self,
        name: &SecretName,
    ) -> impl Future<Output = Result<SecretVersion, ReadError>> + Send;
}

/// A Key Vault whose client is set up by the first read.
pub struct LazyKeyVault {
    url: VaultUrl,
    identity: Identity,
    vault: OnceCell<KeyVault>,
}

impl LazyKeyVault {
    /// Creates a vault that has sent nothing yet.
    #[must_use]
    pub fn new(url: VaultUrl, identity: Identity) -> Self {
        Self {
            url,
            identity,
            vault: OnceCell::new(),
        }
    }
}

impl Vault for LazyKeyVault {
    async fn read(&self, name: &SecretName) -> Result<SecretVersion, ReadError> {
        let set_up = async || KeyVault::new(&self.url, &self.identity).await;
        self.vault.get_or_try_init(set_up).await?.read(name).await
    }
}

/// A Key Vault and its client.
struct KeyVault(SecretClient);

impl KeyVault {
    /// Sets up the client.
    ///
    /// # Errors
    /// [`ReadError::Client`].
    async fn new(url: &VaultUrl, identity: &Identity) -> Result<Self, ReadError> {
        // The token is fetched while the vault sends its challenge, so that the first read waits
        // for the slower of the two only. The vault gets the token only if its challenge names
        // this scope.
        let access = LibraryAccess::new(identity, url.token_scope()).await?;
        let options = SecretClientOptions {
            client_options: access.options,
            ..SecretClientOptions::default()
        };
        SecretClient::new(url.as_str(), access.credential, Some(options))
            .map(Self)
            .map_err(|_| ReadError::Client)
    }

    async fn fetch(&self, name: &SecretName) -> azure_core::Result<SecretVersion> {
        let secret = self.0.get_secret(name.as_str(), None).await?.into_model()?;
        let version = secret
            .resource_id()?
            .version
            .ok_or(ErrorKind::DataConversion.into_error())?;
        let written_at = secret
            .attributes
            .and_then(|attributes| attributes.created)
            .map(SystemTime::from);
        Ok(SecretVersion {
            value: secret.value.unwrap_or_default().into(),
            version,
            written_at,
        })
    }

    async fn read(&self, name: &SecretName) -> Result<SecretVersion, ReadError> {
        match tokio::time::timeout(DEADLINE, self.fetch(name)).await {
            Ok(secret) => secret.map_err(|error| classify(error.kind())),
            Err(_elapsed) => Err(ReadError::Timeout),
        }
    }
}

/// Maps an error of the library to its reason.
fn classify(kind: &ErrorKind) -> ReadError {
    match kind {
        ErrorKind::Credential => ReadError::NoToken,
        ErrorKind::HttpResponse { status, .. } => match u16::from(*status) {
            404 => ReadError::Missing,
            401 | 403 => ReadError::Refused,
            429 => ReadError::Throttled,
            _ => ReadError::Failed,
        },
        ErrorKind::Connection | ErrorKind::Io | ErrorKind::DataConversion | ErrorKind::Other => {
            ReadError::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_response_of_a_vault_has_its_cause() {
        let response = |status: u16| ErrorKind::HttpResponse {
            status: status.into(),
            error_code: Some("canary".into()),
            raw_response: None,
        };
        for (kind, cause) in [
            (response(401), "refused"),
            (response(403), "refused"),
            (response(404), "missing"),
            (response(429), "throttled"),
            (response(500), "failed"),
            (response(302), "failed"),
            (ErrorKind::Credential, "no_token"),
            (ErrorKind::Connection, "failed"),
            (ErrorKind::DataConversion, "failed"),
        ] {
            assert_eq!(classify(&kind).as_str(), cause, "{kind:?}");
        }
    }
}
