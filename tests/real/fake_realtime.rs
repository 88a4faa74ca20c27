//! A fake of both vendors' Realtime services with its controls: `peers/js/fake_realtime.mjs`.

use serde_json::{Value, json};

use crate::fake::Fake;

/// The API key that the fake accepts by default.
pub const API_KEY: &str = "realtime-key-of-the-fake";
/// The models of the fake: the first is OpenAI's, the second Azure's deployment.
pub const MODEL: &str = "gpt-realtime-2.1";
pub const DEPLOYMENT: &str = "voice-deployment";
/// The text in every error of the fake.
pub const CANARY: &str = "upstream-canary-7c3a";

/// A fake on a loopback address for this test only.
pub struct FakeRealtime {
    fake: Fake,
    /// Azure's endpoint for roomkey's setting.
    pub url: String,
    /// OpenAI's base URL for roomkey's setting.
    pub openai_url: String,
}

impl FakeRealtime {
    /// Starts the fake.
    pub fn start() -> Self {
        let (fake, [url]) = Fake::start("fake_realtime.mjs", &[]);
        let openai_url = format!("{url}/v1");
        Self {
            fake,
            url,
            openai_url,
        }
    }

    /// Returns the settings with which roomkey mints at its Azure side, except the credential.
    pub fn azure_settings(&self) -> [(&'static str, &str); 2] {
        [
            ("AZURE_OPENAI_ENDPOINT", &self.url),
            ("AZURE_OPENAI_DEPLOYMENT", DEPLOYMENT),
        ]
    }

    /// Returns the settings with which roomkey mints at its OpenAI side, except the credential.
    pub fn openai_settings(&self) -> [(&'static str, &str); 2] {
        [
            ("OPENAI_BASE_URL", &self.openai_url),
            ("ROOMKEY_OPENAI_MODEL", MODEL),
        ]
    }

    /// Returns the URL of its controls.
    pub fn controls(&self) -> &str {
        self.fake.controls()
    }

    /// Sets the accepted API keys. Entra's tokens are accepted as before.
    pub async fn accept_keys(&self, keys: &[&str]) {
        self.fake.control("accept", &json!({ "keys": keys })).await;
    }

    /// Sets its behaviour for mints with valid credentials. `{}` is the usual one.
    pub async fn order(&self, order: Value) {
        self.fake.control("mint", &order).await;
    }

    /// Returns one of its counters: `asked`, `mints`, `models`, `refused`, `others`, `connections`,
    /// `abandoned`.
    pub async fn count(&self, counter: &str) -> u64 {
        self.fake.counts().await[counter].as_u64().unwrap()
    }

    /// Returns the last request for a mint: method, url, headers, and the body as JSON.
    pub async fn last_mint(&self) -> Value {
        let mut last = self.fake.last().await;
        last["body"] = serde_json::from_str(last["body"].as_str().unwrap()).unwrap();
        last
    }
}
