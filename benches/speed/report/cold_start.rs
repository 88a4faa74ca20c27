//! What the report says about the first token of an instance.

use std::fmt::Write;

use super::{Report, median};
use crate::cold_start::{ColdStart, First, IDENTITY_TAKES, VAULT_TAKES};

/// What the first token may cost in all where Key Vault and the identity endpoint come first, in
/// ms.
const TARGET_MS: f64 = 350.0;

impl Report {
    fn of_cold_starts(&self, of: fn(&ColdStart) -> First) -> First {
        First {
            ms: median(self.cold_starts.iter().map(|round| of(round).ms).collect()),
            refused: self
                .cold_starts
                .iter()
                .map(|round| of(round).refused)
                .max()
                .unwrap(),
        }
    }

    pub(super) fn cold_start_table(&self) -> String {
        let mut table =
            "| what has to be fetched first | start to first token, ms | requests refused before it |\n|---|---|---|\n".to_owned();
        let mut row = |what: &str, of: fn(&ColdStart) -> First| {
            let First { ms, refused } = self.of_cold_starts(of);
            writeln!(table, "| {what} | {ms:.1} | {refused} |").unwrap();
        };
        row("nothing: LiveKit's pair is in the settings", |round| {
            round.nothing
        });
        row("LiveKit's pair, from Key Vault", |round| round.vault);
        row("Azure OpenAI's key, from Key Vault", |round| round.key);
        row("a token of Entra ID for Azure OpenAI", |round| round.entra);
        row(
            "the identity provider's keys (it answers at once)",
            |round| round.oidc,
        );
        table
    }

    /// Each target, what was measured, and whether that reaches it.
    pub(super) fn cold_start_targets(&self) -> [(String, String, bool); 2] {
        let First { ms, refused } = self.of_cold_starts(|round| round.vault);
        let (vault, identity) = (VAULT_TAKES.as_millis(), IDENTITY_TAKES.as_millis());
        let all: [fn(&ColdStart) -> First; 5] = [
            |round| round.nothing,
            |round| round.vault,
            |round| round.key,
            |round| round.entra,
            |round| round.oidc,
        ];
        let most = all
            .into_iter()
            .map(|of| self.of_cold_starts(of).refused)
            .max()
            .unwrap_or(refused);
        [
            (
                format!(
                    "at most {TARGET_MS:.0} ms to the first token with the pair in a Key Vault that takes {vault} ms and an identity endpoint that takes {identity} ms"
                ),
                format!("{ms:.0} ms"),
                ms <= TARGET_MS,
            ),
            (
                "no request is refused while something is fetched for the first time".into(),
                format!("{most} refused at most"),
                most == 0,
            ),
        ]
    }

    pub(super) fn cold_start_method() -> String {
        format!(
            "- A cold start is measured from the start of the process, by a client that asks as soon as the port is open and again after \
             each 503. The Key Vault of the tests takes {} ms for a secret and their identity endpoint {} ms for a token.\n",
            VAULT_TAKES.as_millis(),
            IDENTITY_TAKES.as_millis(),
        )
    }
}
