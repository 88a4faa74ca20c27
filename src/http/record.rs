//! What becomes known of a request while it is served: for its log lines, the metrics and the
//! headers of its answer.
//!
//! It outlives the handler, so that a request that was refused, ran out of time or ended in a panic
//! is told as far as it got.

use std::time::SystemTime;

use crate::domain::audit::{Action, Actor, AuditEvent, IssuedCredential, Outcome};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Decision};
use crate::domain::livekit::names::RoomName;
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::domain::requests::provider::Provider;

/// The code of a request whose caller hung up while its secret was being minted.
pub const ABANDONED: &str = "abandoned";

/// A provider that an operator tried, and what was minted or the error's code.
pub type ProbeResult = (Provider, Result<IssuedCredential, &'static str>);

/// Filled in as a request goes on.
#[derive(Default)]
pub struct Record {
    /// Who asks, as far as that is known.
    pub actor: Option<Actor<CallerHash>>,
    /// What is to be written to the audit log, and the request's one clock reading.
    pub action: Option<(Action, SystemTime)>,
    /// Who is to give the key.
    pub provider: Option<Provider>,
    /// Which room it opens.
    pub room_name: Option<RoomName>,
    /// A secret is being minted for it, so that it leaves its lines even where the caller hangs up.
    pub mints: bool,
    /// By what the key that was issued is known.
    pub issued: Option<IssuedCredential>,
    /// What came of an operator's trials, once they are over.
    pub trials: Option<Vec<ProbeResult>>,
    /// By what the upstream knows its answer.
    pub upstream_id: Option<UpstreamId>,
    /// What the budget said that was asked last, and when.
    pub limit: Option<(Budget, Decision, SystemTime)>,
    /// Whether the body was read, or at least waited for.
    pub has_read_body: bool,
    /// Name of the used-up budget that refused the request, which therefore writes no lines of its
    /// own.
    pub unlogged_budget: Option<&'static str>,
}

impl Record {
    /// Notes what is asked for, once that follows the rules.
    pub fn asked_for(&mut self, provider: Provider, room_name: Option<&RoomName>) -> &mut Self {
        self.provider = Some(provider);
        self.room_name = room_name.cloned();
        self
    }

    /// What the audit log has to say, if anything: `code` is the error's, where there is one. A
    /// trial of providers has an event for each, everything else one.
    pub fn audit(
        &self,
        code: Option<&'static str>,
    ) -> impl Iterator<Item = AuditEvent<'_, CallerHash>> {
        let of_request = self.trials.is_none().then(|| match (&self.issued, code) {
            (Some(issued), None) => (self.provider, Outcome::Issued(issued)),
            (_, code) => (
                self.provider,
                Outcome::Refused {
                    code: code.unwrap_or("internal"),
                },
            ),
        });
        let of_trials = self
            .trials
            .iter()
            .flatten()
            .map(|(provider, outcome)| match outcome {
                Ok(issued) => (Some(*provider), Outcome::Issued(issued)),
                Err(code) => (Some(*provider), Outcome::Refused { code }),
            });
        let actor = self.actor.unwrap_or(Actor::Unknown);
        of_request
            .into_iter()
            .chain(of_trials)
            .filter_map(move |(provider, outcome)| {
                let (action, occurred_at) = self.action?;
                Some(AuditEvent {
                    actor,
                    action,
                    provider,
                    target: self.room_name.as_ref(),
                    outcome,
                    occurred_at,
                })
            })
    }
}
