//! A fake of both vendors' Realtime services, and what it can be told to do:
//! `peers/js/fake_realtime.mjs`.

use serde_json::{Value, json};

use crate::fake::Fake;

/// The API key that the fake takes until it is told otherwise.
pub const API_KEY: &str = "realtime-key-of-the-fake";
/// What it has: the first as OpenAI's model, the second as Azure's deployment.
pub const MODEL: &str = "gpt-realtime-2.1";
pub const DEPLOYMENT: &str = "voice-deployment";
/// Stands in every error that it answers with.
pub const CANARY: &str = "upstream-canary-7c3a";

/// A fake of this test's own, on loopback.
pub struct FakeRealtime {
    fake: Fake,
    /// Azure's endpoint, as roomkey's setting has it.
    pub url: String,
    /// OpenAI's base URL, as roomkey's setting has it.
    pub openai_url: String,
}

impl FakeRealtime {
    /// Starts it.
    pub fn start() -> Self {
        let (fake, [url]) = Fake::start("fake_realtime.mjs", &[]);
        let openai_url = format!("{url}/v1");
        Self {
            fake,
            url,
            openai_url,
        }
    }

    /// The settings by which roomkey mints at its Azure side, but for the credential.
    pub fn azure_settings(&self) -> [(&'static str, &str); 2] {
        [
            ("AZURE_OPENAI_ENDPOINT", &self.url),
            ("AZURE_OPENAI_DEPLOYMENT", DEPLOYMENT),
        ]
    }

    /// The settings by which roomkey mints at its OpenAI side, but for the credential.
    pub fn openai_settings(&self) -> [(&'static str, &str); 2] {
        [
            ("OPENAI_BASE_URL", &self.openai_url),
            ("ROOMKEY_OPENAI_MODEL", MODEL),
        ]
    }

    /// The URL of its controls.
    pub fn controls(&self) -> &str {
        self.fake.controls()
    }

    /// Takes these API keys only, and Entra's tokens as before.
    pub async fn accept_keys(&self, keys: &[&str]) {
        self.fake.control("accept", &json!({ "keys": keys })).await;
    }

    /// What it does with mints that have good credentials; `{}`: as usual.
    pub async fn order(&self, order: Value) {
        self.fake.control("mint", &order).await;
    }

    /// One of its counters: `asked`, `mints`, `models`, `refused`, `others`, `connections`,
    /// `abandoned`.
    pub async fn count(&self, counter: &str) -> u64 {
        self.fake.counts().await[counter].as_u64().unwrap()
    }

    /// The last request for a mint: method, url, headers, and the body as JSON.
    pub async fn last_mint(&self) -> Value {
        let mut last = self.fake.last().await;
        last["body"] = serde_json::from_str(last["body"].as_str().unwrap()).unwrap();
        last
    }
}
