//! Who can be asked for a key, and whom this service can ask.

use super::fields::Requirement;

/// A service that gives keys to browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// A LiveKit server; its access tokens are signed here.
    #[serde(rename = "livekit")]
    LiveKit,
    /// Azure OpenAI; its Realtime client secrets are minted there.
    #[serde(rename = "azure-openai")]
    AzureOpenAi,
    /// OpenAI itself; likewise.
    #[serde(rename = "openai")]
    OpenAi,
}

impl Provider {
    /// All of them, whether this service has them or not.
    pub const ALL: [Self; 3] = [Self::LiveKit, Self::AzureOpenAi, Self::OpenAi];
    /// Those that mint Realtime client secrets, in the order in which one is chosen for a client
    /// that names none.
    pub const REALTIME: [Self; 2] = [Self::AzureOpenAi, Self::OpenAi];

    /// The name, as it stands in requests, settings, log lines and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LiveKit => "livekit",
            Self::AzureOpenAi => "azure-openai",
            Self::OpenAi => "openai",
        }
    }
}

/// The providers that are configured, and the one of a request that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Providers {
    configured: Vec<Provider>,
    default: Provider,
}

impl Providers {
    /// The default is the operator's wish, else the only one configured, else `livekit`.
    #[must_use]
    pub fn new(configured: Vec<Provider>, wish: Option<Provider>) -> Self {
        let only = if let [only] = configured.as_slice() {
            Some(*only)
        } else {
            None
        };
        Self {
            default: wish.or(only).unwrap_or(Provider::LiveKit),
            configured,
        }
    }

    /// Whether the provider is configured.
    #[must_use]
    pub fn has(&self, provider: Provider) -> bool {
        self.configured.contains(&provider)
    }

    /// All that are configured.
    #[must_use]
    pub fn configured(&self) -> &[Provider] {
        &self.configured
    }

    /// The provider of a request that names none. It need not be configured, in which case such a
    /// request lacks its `provider`.
    #[must_use]
    pub fn default_provider(&self) -> Provider {
        self.default
    }

    /// The provider for a client that knows only Realtime: the default if it is one, else the first
    /// that is configured.
    #[must_use]
    pub fn realtime(&self) -> Option<Provider> {
        [self.default]
            .into_iter()
            .chain(Provider::REALTIME)
            .find(|provider| Provider::REALTIME.contains(provider) && self.has(*provider))
    }

    /// Reads a provider's name as it stands in requests and settings.
    ///
    /// # Errors
    /// The rule, when this service has no such provider.
    pub fn parse(&self, text: &str) -> Result<Provider, Requirement> {
        self.configured
            .iter()
            .copied()
            .find(|provider| provider.as_str() == text)
            .ok_or_else(|| {
                let names: Vec<_> = self
                    .configured
                    .iter()
                    .map(|provider| provider.as_str())
                    .collect();
                format!(
                    "must be a provider that this service has: {}",
                    names.join(", ")
                )
                .into()
            })
    }
}

impl Default for Providers {
    /// LiveKit alone.
    fn default() -> Self {
        Self::new(vec![Provider::LiveKit], None)
    }
}

#[cfg(test)]
mod tests {
    use super::Provider::{AzureOpenAi, LiveKit, OpenAi};
    use super::*;

    #[test]
    fn only_a_configured_provider_can_be_named_and_the_rule_lists_those() {
        let providers = Providers::new(vec![LiveKit, OpenAi], None);
        assert_eq!(providers.parse("openai"), Ok(OpenAi));
        for text in ["azure-openai", "OpenAI", "", "livekit "] {
            assert_eq!(
                providers.parse(text).unwrap_err(),
                "must be a provider that this service has: livekit, openai"
            );
        }
    }

    #[test]
    fn the_default_is_the_wish_or_the_only_one_or_livekit() {
        for (configured, wish, default, realtime) in [
            (vec![LiveKit], None, LiveKit, None),
            (vec![OpenAi], None, OpenAi, Some(OpenAi)),
            (vec![AzureOpenAi, OpenAi], None, LiveKit, Some(AzureOpenAi)),
            (
                vec![AzureOpenAi, OpenAi],
                Some(OpenAi),
                OpenAi,
                Some(OpenAi),
            ),
            (vec![LiveKit, OpenAi], None, LiveKit, Some(OpenAi)),
            (
                vec![LiveKit, AzureOpenAi, OpenAi],
                Some(LiveKit),
                LiveKit,
                Some(AzureOpenAi),
            ),
            (
                vec![LiveKit, AzureOpenAi, OpenAi],
                Some(OpenAi),
                OpenAi,
                Some(OpenAi),
            ),
        ] {
            let providers = Providers::new(configured, wish);
            assert_eq!(
                (providers.default_provider(), providers.realtime()),
                (default, realtime),
                "{providers:?}"
            );
        }
    }

    #[test]
    fn every_name_is_read_as_the_provider_that_has_it() {
        let providers = Providers::new(Provider::ALL.to_vec(), None);
        for provider in Provider::ALL {
            assert_eq!(providers.parse(provider.as_str()), Ok(provider));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
        }
    }
}
