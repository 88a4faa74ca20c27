//! Who can be asked for a key.

use super::fields::Rule;

/// A service that gives keys to browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// A LiveKit server; its access tokens are signed here.
    #[serde(rename = "livekit")]
    LiveKit,
}

impl Provider {
    /// The name, as it stands in requests, settings, log lines and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LiveKit => "livekit",
        }
    }

    /// Reads a provider's name as it stands in requests and settings.
    ///
    /// # Errors
    /// The rule, when this service has no such provider.
    pub fn parse(text: &str) -> Result<Self, Rule> {
        match text {
            "livekit" => Ok(Self::LiveKit),
            _ => Err("must be a provider that this service has: livekit".into()),
        }
    }
}
