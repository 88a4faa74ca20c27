//! The rate budgets of callers and addresses.

use crate::config::Config;
use crate::domain::limits::rate_limit::{Budget, RateLimit};

const TOKENS: &str = "token";
const MINTS: &str = "realtime";
const ENDS: &str = "session-end";
const REFUSED_BEARERS: &str = "refused-bearer";
const WRONG_KEYS: &str = "wrong-key";
const PROJECTS: &str = "project";
const PROJECT_SLOTS: &str = "project-concurrency";
const PROJECT_DAYS: &str = "project-day";

/// The names of all budgets. The metrics have a line for each, even if it is turned off.
pub(super) const NAMES: [&str; 8] = [
    TOKENS,
    MINTS,
    ENDS,
    REFUSED_BEARERS,
    WRONG_KEYS,
    PROJECTS,
    PROJECT_SLOTS,
    PROJECT_DAYS,
];

/// The budgets of each caller, and of each address that sends wrong credentials.
pub struct RateBudgets {
    /// Requests for tokens, per caller. `None` means no limit.
    pub tokens: Option<Budget>,
    /// Realtime client secrets, per caller. `None` means no limit.
    pub mints: Option<Budget>,
    /// Requests to end sessions, per caller, as many as those for tokens. Ending must not depend on
    /// what is left for tokens, or a caller could not free the slots that it holds. `None` means no
    /// limit.
    pub ends: Option<Budget>,
    /// Refused bearer tokens, per address. Beyond it tokens are refused as before, but write no log
    /// line and cause no fetch of keys.
    pub refused_bearers: Budget,
    /// Wrong operator keys, per address.
    pub wrong_keys: Budget,
    /// Sessions, per project. `None` means no limit.
    pub projects: Option<Budget>,
    /// Sessions at the same time, per project. The store counts them; this budget only fills the
    /// headers, log and metrics of a refusal.
    pub project_slots: Budget,
    /// Sessions of a day, per project. The store counts them too.
    pub project_days: Budget,
}

impl RateBudgets {
    /// Creates the budgets from the operator's limits. `None` turns a budget off.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let tokens = config.rate_limits.rate_limit;
        let mints = config.realtime.options.rate_limit;
        let sessions = config.projects.as_ref().map(|projects| &projects.sessions);
        let slots = sessions.map(|rules| (rules.concurrency, rules.lifetime.as_secs()));
        let days = sessions.and_then(|rules| rules.daily_sessions);
        let limit = |count: Option<(u32, u64)>| {
            count
                .and_then(|(count, seconds)| RateLimit::new(count, seconds))
                .unwrap_or_default()
        };
        Self {
            tokens: tokens.map(|limit| budget(TOKENS, limit)),
            mints: mints.map(|limit| budget(MINTS, limit)),
            ends: tokens.map(|limit| budget(ENDS, limit)),
            refused_bearers: budget(REFUSED_BEARERS, RateLimit::REFUSED_BEARERS),
            wrong_keys: budget(WRONG_KEYS, RateLimit::WRONG_KEYS),
            projects: sessions
                .and_then(|rules| rules.rate_limit)
                .map(|limit| budget(PROJECTS, limit)),
            project_slots: budget(PROJECT_SLOTS, limit(slots)),
            project_days: budget(PROJECT_DAYS, limit(days.map(|count| (count, 86_400)))),
        }
    }
}

fn budget(name: &'static str, limit: RateLimit) -> Budget {
    Budget { name, limit }
}
