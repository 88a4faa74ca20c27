//! The providers of credentials, and those of them that this service is configured for.

use super::fields::Requirement;

/// A service whose credentials browsers get from roomkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// A LiveKit server. Its access tokens are signed here.
    #[serde(rename = "livekit")]
    LiveKit,
    /// Azure OpenAI. Its Realtime client secrets are minted there.
    #[serde(rename = "azure-openai")]
    AzureOpenAi,
    /// OpenAI itself. Its Realtime client secrets are minted there.
    #[serde(rename = "openai")]
    OpenAi,
}

impl Provider {
    /// Every provider, configured or not.
    pub const ALL: [Self; 3] = [Self::LiveKit, Self::AzureOpenAi, Self::OpenAi];
    /// The providers that mint Realtime client secrets, in the order in which one is chosen for a
    /// request that names none.
    pub const REALTIME: [Self; 2] = [Self::AzureOpenAi, Self::OpenAi];

    /// Returns the name that requests, settings, log lines and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LiveKit => "livekit",
            Self::AzureOpenAi => "azure-openai",
            Self::OpenAi => "openai",
        }
    }
}

/// The configured providers, and the default for a request that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Providers {
    configured: Vec<Provider>,
    default: Provider,
}

impl Providers {
    /// Creates the list. The default is the operator's choice, else the only one configured, else
    /// `livekit`.
    #[must_use]
    pub fn new(configured: Vec<Provider>, chosen_default: Option<Provider>) -> Self {
        let only = if let [only] = configured.as_slice() {
            Some(*only)
        } else {
            None
        };
        Self {
            default: chosen_default.or(only).unwrap_or(Provider::LiveKit),
            configured,
        }
    }

    /// Reports whether the provider is configured.
    #[must_use]
    pub fn contains(&self, provider: Provider) -> bool {
        self.configured.contains(&provider)
    }

    /// Returns the configured providers.
    #[must_use]
    pub fn configured(&self) -> &[Provider] {
        &self.configured
    }

    /// Returns the provider for a request that names none. If it is not configured, such a request
    /// is refused: `provider` is required.
    #[must_use]
    pub fn default_provider(&self) -> Provider {
        self.default
    }

    /// Returns the provider for a client that knows only Realtime: the default if it is a Realtime
    /// provider, else the first one that is configured.
    #[must_use]
    pub fn realtime(&self) -> Option<Provider> {
        [self.default]
            .into_iter()
            .chain(Provider::REALTIME)
            .find(|provider| Provider::REALTIME.contains(provider) && self.contains(*provider))
    }

    /// Reads a provider's name as requests and settings spell it.
    ///
    /// # Errors
    /// The requirement, if no provider of that name is configured.
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
                if names.is_empty() {
                    return "cannot be set where no provider is configured".into();
                }
                format!(
                    "must be a provider that this service has: {}",
                    names.join(", ")
                )
                .into()
            })
    }
}

impl Default for Providers {
    /// Returns LiveKit alone.
    fn default() -> Self {
        Self::new(vec![Provider::LiveKit], None)
    }
}

#[cfg(test)]
mod tests {
    use super::Provider::{AzureOpenAi, LiveKit, OpenAi};
    use super::*;

    #[test]
    fn a_provider_that_is_not_configured_is_rejected_with_the_list_of_those_that_are() {
        let providers = Providers::new(vec![LiveKit, OpenAi], None);
        assert_eq!(providers.parse("openai"), Ok(OpenAi));
        for text in ["azure-openai", "OpenAI", "", "livekit "] {
            assert_eq!(
                &*providers.parse(text).unwrap_err(),
                "must be a provider that this service has: livekit, openai"
            );
        }
    }

    #[test]
    fn the_default_is_the_chosen_one_or_the_only_one_or_livekit() {
        for (configured, chosen, default, realtime) in [
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
            let providers = Providers::new(configured, chosen);
            assert_eq!(
                (providers.default_provider(), providers.realtime()),
                (default, realtime),
                "{providers:?}"
            );
        }
    }

    #[test]
    fn every_provider_is_parsed_from_its_own_name() {
        let providers = Providers::new(Provider::ALL.to_vec(), None);
        for provider in Provider::ALL {
            assert_eq!(providers.parse(provider.as_str()), Ok(provider));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
        }
    }
}
