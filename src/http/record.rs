//! The facts about a request that its handler collects for the log lines, the metrics and the
//! headers of the response.
//!
//! The record outlives the handler, so a request that was refused, timed out or panicked is logged
//! with the facts collected until then.

use std::time::SystemTime;

use crate::domain::audit::{Action, Actor, AuditEvent, IssuedCredential, Outcome};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Decision};
use crate::domain::livekit::names::RoomName;
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::domain::requests::provider::Provider;

/// The code of a request whose caller hung up while its secret was minted.
pub const ABANDONED: &str = "abandoned";

/// A provider that an operator probed, and the minted credential or the error's code.
pub type ProbeResult = (Provider, Result<IssuedCredential, &'static str>);

/// The facts about one request.
#[derive(Default)]
pub struct Record {
    /// The caller or operator, once identified.
    pub actor: Option<Actor<CallerHash>>,
    /// The action for the audit log, and the request's one clock reading.
    pub action: Option<(Action, SystemTime)>,
    /// The provider of the credential.
    pub provider: Option<&'static str>,
    /// The room that the credential opens.
    pub room_name: Option<RoomName>,
    /// True if a secret is being minted, so that the request is logged even if the caller hangs up.
    pub mints: bool,
    /// The id of the credential that was issued.
    pub issued: Option<IssuedCredential>,
    /// The results of an operator's probes, once they are over.
    pub probe_results: Option<Vec<ProbeResult>>,
    /// The upstream's own id of its response.
    pub upstream_id: Option<UpstreamId>,
    /// The last decision of a budget, with the time of it.
    pub limit: Option<(Budget, Decision, SystemTime)>,
    /// True if the handler read the body or at least waited for it.
    pub has_read_body: bool,
    /// The name of the used-up budget that refused the request, which is therefore not logged on
    /// its own.
    pub unlogged_budget: Option<&'static str>,
}

impl Record {
    /// Records the provider and the room of a valid request.
    pub fn set_target(&mut self, provider: Provider, room_name: Option<&RoomName>) {
        self.provider = Some(provider.as_str());
        self.room_name = room_name.cloned();
    }

    /// Returns the events for the audit log: one for each provider that was probed, else at most
    /// one. `code` is the error's, if there is one.
    pub fn audit(
        &self,
        code: Option<&'static str>,
    ) -> impl Iterator<Item = AuditEvent<'_, CallerHash>> {
        let of_request = self
            .probe_results
            .is_none()
            .then(|| match (&self.issued, code) {
                (Some(issued), None) => (self.provider, Outcome::Issued(issued)),
                (_, code) => (
                    self.provider,
                    Outcome::Refused {
                        code: code.unwrap_or("internal"),
                    },
                ),
            });
        let of_probes =
            self.probe_results
                .iter()
                .flatten()
                .map(|(provider, result)| match result {
                    Ok(issued) => (Some(provider.as_str()), Outcome::Issued(issued)),
                    Err(code) => (Some(provider.as_str()), Outcome::Refused { code }),
                });
        let actor = self.actor.unwrap_or(Actor::Unknown);
        of_request
            .into_iter()
            .chain(of_probes)
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
