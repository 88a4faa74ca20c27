//! A fake managed identity and Key Vault, and what they can be told to do:
//! `peers/js/fake_azure.mjs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::Fake;

/// The identity header that the fake serves.
pub const IDENTITY_HEADER: &str = "identity-header-of-the-fake-azure";
/// Stands in every error that it answers with.
pub const CANARY: &str = "azure-canary-5e1f";

/// Longer than the shortest time between two reads of a vault, 30 s, with its jitter.
const PATIENCE: Duration = Duration::from_mins(1);

/// A fake of this test's own, on loopback.
pub struct FakeAzure {
    fake: Fake,
    /// `https://kv.vault.localhost:…`, as roomkey's setting has it.
    pub vault: String,
    /// Where tokens of the managed identity are.
    pub identity: String,
    /// The path of the certificate that a client must trust.
    pub authority: String,
    _folder: tempfile::TempDir,
}

impl FakeAzure {
    /// Starts both with an empty vault.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (fake, [vault, identity, authority]) =
            Fake::start("fake_azure.mjs", &[folder.path().to_str().unwrap()]);
        Self {
            fake,
            vault,
            identity,
            authority,
            _folder: folder,
        }
    }

    /// The settings by which roomkey reads this vault with this identity.
    pub fn settings(&self) -> [(&'static str, &str); 4] {
        [
            ("KEY_VAULT_URL", &self.vault),
            ("IDENTITY_ENDPOINT", &self.identity),
            ("IDENTITY_HEADER", IDENTITY_HEADER),
            ("SSL_CERT_FILE", &self.authority),
        ]
    }

    /// The URL of its controls.
    pub fn controls(&self) -> &str {
        self.fake.controls()
    }

    /// A new version of a secret.
    pub async fn set(&self, name: &str, value: &str) {
        self.fake
            .control("set", &json!({ "name": name, "value": value }))
            .await;
    }

    /// Switches a secret off, which is a version of its own.
    pub async fn disable(&self, name: &str) {
        self.fake
            .control("set", &json!({ "name": name, "enabled": false }))
            .await;
    }

    /// What the vault does with requests that have a token; `{}`: as usual.
    pub async fn order_vault(&self, order: Value) {
        self.fake.control("vault", &order).await;
    }

    /// What the identity endpoint does; `{}`: as usual.
    pub async fn order_identity(&self, order: Value) {
        self.fake.control("identity", &order).await;
    }

    /// The vault resets every connection from now on, those that are open included.
    pub async fn stop_vault(&self) {
        self.fake.control("stop", &json!({})).await;
    }

    /// The vault serves again.
    pub async fn start_vault(&self) {
        self.fake.control("start", &json!({})).await;
    }

    /// How often a secret was asked for with a token.
    pub async fn reads(&self, name: &str) -> u64 {
        self.fake.counts().await["secrets"][name]
            .as_u64()
            .unwrap_or(0)
    }

    /// Waits until a secret was asked for so many times in all.
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

    /// How often the identity endpoint was asked.
    pub async fn identity_requests(&self) -> u64 {
        self.fake.counts().await["identity"].as_u64().unwrap()
    }

    /// What the identity endpoint was asked last.
    pub async fn last_identity_request(&self) -> Value {
        self.fake.last().await["identity"].clone()
    }
}
