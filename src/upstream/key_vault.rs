//! Reads secrets from Key Vault (REST API 2025-07-01), one at a time and never for a request that
//! waits.
//!
//! The library checks that the vault's challenge speaks for the vault's own host before it shows a
//! token. Its errors carry answers and URLs; only a word of ours leaves this file.

use std::time::{Duration, SystemTime};

use azure_core::error::ErrorKind;
use azure_security_keyvault_secrets::{ResourceExt, SecretClient, SecretClientOptions};
use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::client;
use super::entra::{EntraCredential, client_options};
use crate::domain::settings::azure::{Identity, VaultUrl};
use crate::domain::settings::secrets::SecretName;

/// A value is there within this time, or the read has failed.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// One version of a secret.
#[derive(Debug, Clone)]
pub struct SecretVersion {
    /// The value, not yet checked.
    pub value: SecretString,
    /// Changes with each new value; not a secret.
    pub version: String,
    /// When it was written, by the vault's clock.
    pub written_at: Option<SystemTime>,
}

/// Why there is no value. The word is for the log; what the other side said is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// The HTTP client could not be set up.
    Client,
    /// Entra ID gives no token.
    NoToken,
    /// The vault has no secret of this name.
    Missing,
    /// The identity may not read it, it is disabled, or the vault's firewall is closed.
    Refused,
    /// The vault is asked too often.
    Throttled,
    /// No connection, no trust in the certificate, or any other answer.
    Failed,
    /// No answer in time.
    Timeout,
    /// The value cannot be this secret.
    Unusable,
    /// Of a key and its secret only one is new.
    HalfRotated,
}

impl ReadError {
    /// One fixed word.
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

/// Where secrets can be read. One is Azure's, one a test's.
pub trait Vault: Send + Sync {
    /// Reads the present version of a secret.
    fn read(
        &self,
        name: &SecretName,
    ) -> impl Future<Output = Result<SecretVersion, ReadError>> + Send;
}

/// A vault in Azure whose client is set up with the first read.
pub struct LazyKeyVault {
    url: VaultUrl,
    identity: Identity,
    vault: OnceCell<KeyVault>,
}

impl LazyKeyVault {
    /// Creates a vault that is asked nothing yet.
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

/// A vault in Azure.
struct KeyVault(SecretClient);

impl KeyVault {
    /// Sets up what it takes to ask; asks nothing yet.
    ///
    /// # Errors
    /// [`ReadError::Client`] or [`ReadError::NoToken`].
    async fn new(url: &VaultUrl, identity: &Identity) -> Result<Self, ReadError> {
        // Without a time limit of its own: a token may take longer than a value, and both are
        // bounded where they are awaited.
        let client = client::build(client::builder())
            .await
            .ok_or(ReadError::Client)?;
        let credential = EntraCredential::new(identity, &client).map_err(|_| ReadError::NoToken)?;
        if let Identity::Managed(_) = identity {
            // While the vault is asked which token it wants, so that the first request need not
            // wait for one after the other. The vault gets it only when its own answer names the
            // scope.
            credential.prefetch(url.token_scope());
        }
        let options = SecretClientOptions {
            client_options: client_options(&client),
            ..SecretClientOptions::default()
        };
        SecretClient::new(url.as_str(), credential.for_library(), Some(options))
            .map(Self)
            .map_err(|_| ReadError::Client)
    }

    async fn ask(&self, name: &SecretName) -> azure_core::Result<SecretVersion> {
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
}

impl KeyVault {
    async fn read(&self, name: &SecretName) -> Result<SecretVersion, ReadError> {
        match tokio::time::timeout(DEADLINE, self.ask(name)).await {
            Ok(asked) => asked.map_err(|error| unread(error.kind())),
            Err(_elapsed) => Err(ReadError::Timeout),
        }
    }
}

fn unread(kind: &ErrorKind) -> ReadError {
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
    fn each_answer_of_a_vault_has_its_word() {
        let answered = |status: u16| ErrorKind::HttpResponse {
            status: status.into(),
            error_code: Some("canary".into()),
            raw_response: None,
        };
        for (kind, word) in [
            (answered(401), "refused"),
            (answered(403), "refused"),
            (answered(404), "missing"),
            (answered(429), "throttled"),
            (answered(500), "failed"),
            (answered(302), "failed"),
            (ErrorKind::Credential, "no_token"),
            (ErrorKind::Connection, "failed"),
            (ErrorKind::DataConversion, "failed"),
        ] {
            assert_eq!(unread(&kind).as_str(), word, "{kind:?}");
        }
    }
}
