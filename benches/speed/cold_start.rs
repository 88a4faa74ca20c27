//! The first token of an instance: how long it takes where something has to be fetched first, and
//! how many requests are refused before it.

use std::fmt;
use std::time::Duration;

use crate::callers::Stage;
use crate::exchange;
use crate::machine::Cores;
use crate::peers::{PEERS, ROOMKEY_MINT};
use crate::server::Server;
use crate::upstream::{API_KEY, DEPLOYMENT, Upstream};
use crate::vault::Vault;
use crate::{STARTS, report};

/// The time that Key Vault takes for a secret.
pub const VAULT_TAKES: Duration = Duration::from_millis(150);
/// The time that the identity endpoint takes for a token.
pub const IDENTITY_TAKES: Duration = Duration::from_millis(60);

/// From the start of the process to the first token, in ms, and requests that were refused before.
#[derive(Clone, Copy)]
pub struct First {
    pub ms: f64,
    pub refused: usize,
}

/// The result of one round.
pub struct ColdStart {
    /// `LiveKit`'s pair is in the settings.
    pub nothing: First,
    /// `LiveKit`'s pair is in Key Vault.
    pub vault: First,
    /// A client secret with Azure OpenAI's key from Key Vault.
    pub key: First,
    /// A client secret with a token of Entra ID.
    pub entra: First,
    /// A token for a signed-in caller, whose provider answers at once.
    pub oidc: First,
}

impl ColdStart {
    /// Measures each once.
    pub fn measure(stage: &Stage, cores: Cores) -> Self {
        let secrets = [
            ("livekit-api-key", exchange::API_KEY),
            ("livekit-api-secret", exchange::API_SECRET),
            ("azure-openai-key", API_KEY),
        ];
        let vault = Vault::start(&secrets, VAULT_TAKES, IDENTITY_TAKES);
        let upstream = Upstream::start();
        let url = upstream.url();
        let azure = [
            ("AZURE_OPENAI_ENDPOINT", url.as_str()),
            ("AZURE_OPENAI_DEPLOYMENT", DEPLOYMENT),
        ];
        let identity: Vec<_> = vault
            .settings()
            .into_iter()
            .filter(|(name, _)| *name != "KEY_VAULT_URL")
            .collect();
        let key = [("AZURE_OPENAI_API_KEY_SECRET_NAME", "azure-openai-key")];
        // An empty value takes a setting away.
        let no_pair = [("LIVEKIT_API_KEY", ""), ("LIVEKIT_API_SECRET", "")];

        let token = |settings: &[(&str, &str)]| {
            first(|| Server::start_with(&PEERS[0], settings, &exchange::request(), cores))
        };
        let mint = |settings: &[(&str, &str)]| {
            first(|| Server::start_with(&ROOMKEY_MINT, settings, &exchange::mint_request(), cores))
        };
        Self {
            nothing: token(&[]),
            vault: token(&[&vault.settings()[..], &no_pair].concat()),
            key: mint(&[&vault.settings()[..], &azure, &key].concat()),
            entra: mint(&[&identity[..], &azure].concat()),
            oidc: first(|| stage.server(&PEERS[0])),
        }
    }
}

/// The median of some starts, after one that does not count.
fn first(start: impl Fn() -> Server) -> First {
    // The fakes share the core of the program that asks, and their first handshake would be
    // counted.
    start();
    let starts: Vec<_> = (0..STARTS).map(|_| start()).collect();
    First {
        ms: report::median(
            starts
                .iter()
                .map(|server| server.first_token.as_secs_f64() * 1e3)
                .collect(),
        ),
        refused: starts.iter().map(|server| server.refused).max().unwrap(),
    }
}

impl fmt::Display for ColdStart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            nothing,
            vault,
            key,
            entra,
            oidc,
        } = self;
        let (nothing, oidc) = (nothing.ms, oidc.ms);
        let (vault, key, entra) = (vault.ms, key.ms, entra.ms);
        write!(
            formatter,
            "first token {nothing:.1} ms, pair in the vault {vault:.0}, key in the vault {key:.0}, Entra {entra:.0}, OIDC {oidc:.0} ms"
        )
    }
}
