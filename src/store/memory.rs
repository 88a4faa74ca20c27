//! Counters in memory, with a cache of bounded size for each budget.
//!
//! A full cache evicts the callers of its budget that were not seen for the longest time, and they
//! have a full budget again. A flood of addresses thus locks no caller out, gains nothing (each
//! address had a budget before), and does not affect the other budgets.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Cost, Decision, Gcra, epoch_micros};

/// The number of callers in the cache of each budget: 100,000 busy ones, and room for an uneven
/// distribution over the shards. A full cache takes about 11 MB, the four budgets of today about
/// 50 MB, and the maximum of nine caches less than 100 MB.
const CAPACITY: usize = 1 << 17;
/// The number of budgets with a cache of their own, twice as many as exist; others share one.
const MAX_BUDGETS: usize = 8;

/// The theoretical arrival time of each caller in one budget, in microseconds since 1970.
type ArrivalTimes = Cache<CallerHash, u64>;

/// Counters of this process.
pub struct Memory {
    capacity: usize,
    /// Filled from the front; the first request of a budget creates its cache.
    budgets: Box<[OnceLock<(&'static str, ArrivalTimes)>; MAX_BUDGETS]>,
    overflow: OnceLock<ArrivalTimes>,
}

impl Memory {
    /// Creates counters without any caller.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            budgets: Box::new([const { OnceLock::new() }; MAX_BUDGETS]),
            overflow: OnceLock::new(),
        }
    }

    /// Decides and counts in one atomic step.
    pub fn decide(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        cost: Cost,
    ) -> Decision {
        let gcra = Gcra::from(budget.limit);
        let now_us = epoch_micros(now);
        update(self.callers(budget.name), caller, |tat_us| {
            gcra.decide(tat_us, now_us, cost)
        })
    }

    /// Records the usage that shared counters reported: the budget is full again after
    /// `reset_after`. A higher usage that is already recorded stays.
    pub fn record_shared_usage(
        &self,
        budget: &Budget,
        caller: CallerHash,
        now: SystemTime,
        reset_after: Duration,
    ) {
        if reset_after.is_zero() {
            return; // A caller without an entry has a full budget.
        }
        let tat_us = epoch_micros(now)
            .saturating_add(u64::try_from(reset_after.as_micros()).unwrap_or(u64::MAX));
        update(self.callers(budget.name), caller, |known_us| {
            ((), Some(tat_us.max(known_us.unwrap_or(0))))
        });
    }

    /// Returns the cache of one budget.
    fn callers(&self, budget: &'static str) -> &ArrivalTimes {
        let of_budget = self.budgets.iter().find_map(|slot| {
            let (name, callers) = slot.get_or_init(|| (budget, Cache::new(self.capacity)));
            (*name == budget).then_some(callers)
        });
        of_budget.unwrap_or_else(|| self.overflow.get_or_init(|| Cache::new(self.capacity)))
    }
}

/// Changes the entry of a caller while it is locked.
fn update<T>(
    callers: &ArrivalTimes,
    caller: CallerHash,
    change: impl Fn(Option<u64>) -> (T, Option<u64>),
) -> T {
    let entry = callers.entry(&caller, None, |_, stored| {
        let (outcome, new) = change(Some(*stored));
        *stored = new.unwrap_or(*stored);
        EntryAction::Retain(outcome)
    });
    match entry {
        EntryResult::Retained(outcome) => outcome,
        EntryResult::Vacant(place) => {
            let (outcome, new) = change(None);
            if let Some(new) = new {
                // Fails only if another thread wrote this key meanwhile, but they wait for the
                // lock.
                let _ = place.insert(new);
            }
            outcome
        }
        // These belong to other actions and to a time limit, which are not used here.
        EntryResult::Removed(..) | EntryResult::Replaced(..) | EntryResult::Timeout => {
            change(None).0
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::domain::callers::caller_hash::HashKey;
    use crate::domain::limits::rate_limit::RateLimit;

    fn budget(name: &'static str, limit: &str) -> Budget {
        Budget {
            name,
            limit: RateLimit::parse(limit).unwrap(),
        }
    }

    fn caller(number: u32) -> CallerHash {
        HashKey::new(&[7; 32]).hash("test", &number.to_be_bytes())
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_750_000_000)
    }

    #[test]
    fn each_caller_has_a_budget_of_each_kind() {
        let memory = Memory::new();
        let (token, mint) = (budget("token", "2/1h"), budget("mint", "1/1h"));
        let take = |budget, number| {
            memory
                .decide(budget, caller(number), now(), Cost::One)
                .allowed
        };
        assert_eq!(
            [take(&token, 1), take(&token, 1), take(&token, 1)],
            [true, true, false]
        );
        assert_eq!([take(&mint, 1), take(&mint, 1)], [true, false]);
        assert_eq!(
            [take(&token, 2), take(&token, 2), take(&token, 2)],
            [true, true, false]
        );
    }

    #[test]
    fn a_peek_costs_nothing_and_adds_no_entry() {
        let (memory, budget) = (Memory::new(), budget("token", "1/1h"));
        for _ in 0..3 {
            assert!(
                memory
                    .decide(&budget, caller(1), now(), Cost::Nothing)
                    .allowed
            );
        }
        assert!(memory.callers("token").is_empty());
        assert!(memory.decide(&budget, caller(1), now(), Cost::One).allowed);
        assert!(
            !memory
                .decide(&budget, caller(1), now(), Cost::Nothing)
                .allowed
        );
    }

    #[test]
    fn requests_of_several_threads_are_all_counted() {
        let (memory, budget) = (Memory::new(), budget("token", "1000/24h"));
        for number in 0..20 {
            let admitted = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..250 {
                            if memory
                                .decide(&budget, caller(number), now(), Cost::One)
                                .allowed
                            {
                                admitted.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            assert_eq!(admitted.into_inner(), 1_000);
        }
    }

    #[test]
    fn a_hundred_thousand_callers_are_remembered() {
        let (memory, budget) = (Memory::new(), budget("token", "1/24h"));
        let admitted = |number| {
            memory
                .decide(&budget, caller(number), now(), Cost::One)
                .allowed
        };
        assert!((0..100_000).all(admitted));
        assert!(!(0..100_000).any(admitted));
    }

    #[test]
    fn a_flood_of_callers_is_bounded_and_locks_no_caller_out() {
        let (memory, budget) = (Memory::with_capacity(1_000), budget("token", "2/24h"));
        for number in 0..50_000 {
            assert!(
                memory
                    .decide(&budget, caller(number), now(), Cost::One)
                    .allowed
            );
        }
        let remembered = memory.callers("token").len();
        assert!(remembered <= 1_100, "{remembered}");
        assert!(memory.decide(&budget, caller(0), now(), Cost::One).allowed);
    }

    #[test]
    fn a_flood_against_one_budget_evicts_no_entry_of_another() {
        const NAMES: [&str; MAX_BUDGETS] =
            ["token", "realtime", "wrong-key", "d", "e", "f", "g", "h"];
        let memory = Memory::with_capacity(1_000);
        for name in NAMES {
            assert!(
                memory
                    .decide(&budget(name, "1/24h"), caller(1), now(), Cost::One)
                    .allowed
            );
        }
        let flooded = budget("refused-bearer", "1/24h");
        for number in 0..20_000 {
            for _ in 0..3 {
                memory.decide(&flooded, caller(number), now(), Cost::One);
            }
        }
        for name in NAMES {
            assert!(
                !memory
                    .decide(&budget(name, "1/24h"), caller(1), now(), Cost::One)
                    .allowed,
                "{name}"
            );
        }
        for name in ["i", "j"] {
            let one_too_many = memory.callers(name);
            assert!(
                std::ptr::eq(one_too_many, memory.callers("refused-bearer")),
                "further budgets share one cache"
            );
        }
    }

    #[test]
    fn shared_usage_is_recorded_and_never_lowers_the_local_usage() {
        let (memory, budget) = (Memory::new(), budget("token", "10/100s"));
        memory.record_shared_usage(&budget, caller(1), now(), Duration::ZERO);
        assert!(memory.callers("token").is_empty());
        memory.record_shared_usage(&budget, caller(1), now(), Duration::from_secs(100));
        let refused = memory.decide(&budget, caller(1), now(), Cost::One);
        assert_eq!(
            (refused.allowed, refused.retry_after),
            (false, Duration::from_secs(10))
        );
        memory.record_shared_usage(&budget, caller(1), now(), Duration::from_secs(10));
        assert!(!memory.decide(&budget, caller(1), now(), Cost::One).allowed);
        memory.record_shared_usage(&budget, caller(2), now(), Duration::from_secs(40));
        assert_eq!(
            memory
                .decide(&budget, caller(2), now(), Cost::One)
                .remaining,
            5
        );
    }
}
