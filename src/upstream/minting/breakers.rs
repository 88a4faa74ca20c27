//! The circuit breakers of one upstream, one for each model, so that a model that fails does not
//! block the others. An upstream without models has one breaker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::clock::Clock;
use crate::domain::limits::breaker::{
    Breaker, BreakerOpen, BreakerPermit, BreakerState, CallOutcome,
};
use crate::domain::realtime::session::ModelOrVoice;

type BreakersByModel = HashMap<Option<ModelOrVoice>, Breaker>;

/// The breakers of all models that were asked for.
pub(in crate::upstream) struct ModelBreakers {
    provider: &'static str,
    clock: Arc<dyn Clock>,
    by_model: Mutex<BreakersByModel>,
}

impl ModelBreakers {
    /// Creates breakers that are all closed.
    pub(super) fn new(provider: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self {
            provider,
            clock,
            by_model: Mutex::default(),
        }
    }

    /// Requests permission to call the upstream for a model.
    ///
    /// # Errors
    /// [`BreakerOpen`] while the model's breaker is open.
    pub(super) fn admit(
        self: &Arc<Self>,
        model: Option<&ModelOrVoice>,
    ) -> Result<OutcomeReport, BreakerOpen> {
        let now = self.clock.now();
        let model = model.cloned();
        let permit = self.lock().entry(model.clone()).or_default().admit(now)?;
        Ok(OutcomeReport {
            breakers: Arc::clone(self),
            model,
            permit,
            outcome: CallOutcome::Unknown,
        })
    }

    /// Returns the worst state of all breakers.
    pub(super) fn worst_state(&self, now: SystemTime) -> BreakerState {
        let breakers = self.lock();
        let states = breakers.values().map(|breaker| breaker.state(now));
        states.max().unwrap_or(BreakerState::Closed)
    }

    pub(in crate::upstream) fn lock(&self) -> MutexGuard<'_, BreakersByModel> {
        self.by_model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_change(&self, model: Option<&ModelOrVoice>, before: BreakerState, after: BreakerState) {
        let (provider, model) = (self.provider, model.map(ModelOrVoice::as_str));
        match (before, after) {
            (BreakerState::Closed | BreakerState::HalfOpen, BreakerState::Open) => {
                tracing::warn!(
                    provider,
                    model,
                    "the provider does not answer; it is not called for 30 s"
                );
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(provider, model, "the provider answers again");
            }
            _ => {}
        }
    }
}

/// Reports the outcome of one call to the model's breaker when it is dropped. A permit that is
/// never used is thus returned, which matters while the breaker admits a single probe.
pub(super) struct OutcomeReport {
    breakers: Arc<ModelBreakers>,
    model: Option<ModelOrVoice>,
    permit: BreakerPermit,
    outcome: CallOutcome,
}

impl OutcomeReport {
    /// Reports the outcome of the call.
    pub(super) fn report(mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for OutcomeReport {
    fn drop(&mut self) {
        let now = self.breakers.clock.now();
        let mut breakers = self.breakers.lock();
        let Some(breaker) = breakers.get_mut(&self.model) else {
            return;
        };
        let before = breaker.state(now);
        breaker.report(self.permit, self.outcome, now);
        let after = breaker.state(now);
        drop(breakers);
        self.breakers.log_change(self.model.as_ref(), before, after);
    }
}
