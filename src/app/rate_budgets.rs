//! The rate budgets of callers and addresses.

use crate::domain::limits::rate_limit::{Budget, RateLimit};

const TOKENS: &str = "token";
const MINTS: &str = "realtime";
const REFUSED_BEARERS: &str = "refused-bearer";
const WRONG_KEYS: &str = "wrong-key";

/// The names of all budgets. The metrics have a line for each, even if it is turned off.
pub(super) const NAMES: [&str; 4] = [TOKENS, MINTS, REFUSED_BEARERS, WRONG_KEYS];

/// The budgets of each caller, and of each address that sends wrong credentials.
pub struct RateBudgets {
    /// Requests for tokens, per caller. `None` means no limit.
    pub tokens: Option<Budget>,
    /// Realtime client secrets, per caller. `None` means no limit.
    pub mints: Option<Budget>,
    /// Refused bearer tokens, per address. Beyond it tokens are refused as before, but write no log
    /// line and cause no fetch of keys.
    pub refused_bearers: Budget,
    /// Wrong operator keys, per address.
    pub wrong_keys: Budget,
}

impl RateBudgets {
    /// Creates the budgets from the operator's limits. `None` turns a budget off.
    #[must_use]
    pub fn new(tokens: Option<RateLimit>, mints: Option<RateLimit>) -> Self {
        Self {
            tokens: tokens.map(|limit| budget(TOKENS, limit)),
            mints: mints.map(|limit| budget(MINTS, limit)),
            refused_bearers: budget(REFUSED_BEARERS, RateLimit::REFUSED_BEARERS),
            wrong_keys: budget(WRONG_KEYS, RateLimit::WRONG_KEYS),
        }
    }
}

fn budget(name: &'static str, limit: RateLimit) -> Budget {
    Budget { name, limit }
}
