//! A fake managed identity and Key Vault with their controls: `peers/js/fake_azure.mjs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::Fake;

/// The identity header that the fake serves.
pub const IDENTITY_HEADER: &str = "identity-header-of-the-fake-azure";
/// The text in every error of the fake.
pub const CANARY: &str = "azure-canary-5e1f";

/// A time longer than the shortest interval between two reads of a vault, 30 s, with its jitter.
const PATIENCE: Duration = Duration::from_mins(1);

/// A fake on a loopback address for this test only.
pub struct FakeAzure {
    fake: Fake,
    /// The vault's address for roomkey's setting: `https://kv.vault.localhost:…`.
    pub vault: String,
    /// The address of the managed identity's endpoint.
    pub identity: String,
    /// The path of the certificate that a client must trust.
    pub authority: String,
    /// The folder with `vault.pem` and `vault.key`, the certificate for the vault and for Azurite.
    pub folder: tempfile::TempDir,
}

impl FakeAzure {
    /// Starts the fake with an empty vault.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (fake, [vault, identity, authority]) =
            Fake::start("fake_azure.mjs", &[folder.path().to_str().unwrap()]);
        Self {
            fake,
            vault,
            identity,
            authority,
            folder,
        }
    }

    /// Returns the settings with which roomkey reads this vault.
    pub fn settings(&self) -> [(&'static str, &str); 4] {
        let [endpoint, header, authority] = self.identity_settings();
        [("KEY_VAULT_URL", &self.vault), endpoint, header, authority]
    }

    /// Returns the settings with which roomkey has this identity and trusts this authority.
    pub fn identity_settings(&self) -> [(&'static str, &str); 3] {
        [
            ("IDENTITY_ENDPOINT", &self.identity),
            ("IDENTITY_HEADER", IDENTITY_HEADER),
            ("SSL_CERT_FILE", &self.authority),
        ]
    }

    /// Returns the URL of its controls.
    pub fn controls(&self) -> &str {
        self.fake.controls()
    }

    /// Adds a new version of a secret.
    pub async fn set(&self, name: &str, value: &str) {
        self.fake
            .control("set", &json!({ "name": name, "value": value }))
            .await;
    }

    /// Disables a secret, which adds a version.
    pub async fn disable(&self, name: &str) {
        self.fake
            .control("set", &json!({ "name": name, "enabled": false }))
            .await;
    }

    /// Sets the vault's behaviour for requests that have a token. `{}` is the usual one.
    pub async fn order_vault(&self, order: Value) {
        self.fake.control("vault", &order).await;
    }

    /// Sets the behaviour of the identity endpoint. `{}` is the usual one.
    pub async fn order_identity(&self, order: Value) {
        self.fake.control("identity", &order).await;
    }

    /// Makes the vault reset every connection, open ones included.
    pub async fn stop_vault(&self) {
        self.fake.control("stop", &json!({})).await;
    }

    /// Makes the vault serve again.
    pub async fn start_vault(&self) {
        self.fake.control("start", &json!({})).await;
    }

    /// Returns the number of reads of a secret with a token.
    pub async fn reads(&self, name: &str) -> u64 {
        self.fake.counts().await["secrets"][name]
            .as_u64()
            .unwrap_or(0)
    }

    /// Waits until the reads of a secret reach a number.
    pub async fn until_read(&self, name: &str, reads: u64) {
        let parameters = json!({ "name": name, "reads": reads });
        let asked = self.fake.control("await", &parameters);
        let in_time = tokio::time::timeout(PATIENCE, asked).await;
        assert!(
            in_time.is_ok(),
            "{name} is not read {reads} times but {}",
            self.reads(name).await
        );
    }

    /// Returns the number of requests to the identity endpoint.
    pub async fn identity_requests(&self) -> u64 {
        self.fake.counts().await["identity"].as_u64().unwrap()
    }

    /// Returns the last request to the identity endpoint.
    pub async fn last_identity_request(&self) -> Value {
        self.fake.last().await["identity"].clone()
    }
}
