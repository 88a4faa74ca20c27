//! Rate limits per caller by the generic cell rate algorithm (GCRA), as a pure function of the
//! stored state and of the time.
//!
//! One number is stored per caller, the theoretical arrival time (TAT): the moment at which the
//! budget is full again. Each admitted request moves it forward by one spacing. This admits a burst
//! of the whole count and then one request per spacing, and never a double burst at the edge of a
//! window.
//!
//! # Source
//! ITU-T I.371, annex A (GCRA, virtual scheduling).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::digits::parse_digits;
use crate::domain::requests::fields::Requirement;

/// The largest count. With the bounds below, every number is exact in the 53 bits that a Lua script
/// has for it.
const MAX_COUNT: u32 = 1_000_000;
/// The longest span in seconds: one day.
const MAX_SPAN_SECONDS: u64 = 86_400;
/// The largest average number of requests per second. The spacing is rounded up to whole
/// microseconds, which costs less than 1 % up to this rate.
const MAX_PER_SECOND: u64 = 10_000;

/// A count per span, such as 100 per 15 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The number of requests, 1 to 1,000,000.
    count: u32,
    /// The span in seconds, 1 to 86,400.
    span_seconds: u64,
}

impl RateLimit {
    /// The default limit of Realtime client secrets per caller: 20 in 15 minutes.
    pub const MINTS: Self = Self {
        count: 20,
        span_seconds: 900,
    };
    /// The limit of rejected bearer tokens per address: 1,000 in 15 minutes.
    pub const REFUSED_BEARERS: Self = Self {
        count: 1_000,
        span_seconds: 900,
    };
    /// The limit of wrong admin keys per address: 10 per hour.
    pub const WRONG_KEYS: Self = Self {
        count: 10,
        span_seconds: 3_600,
    };

    /// Reads a count, `/` and a span in `s`, `m` or `h`: `100/15m`.
    ///
    /// # Errors
    /// The requirement, for any other text and for limits that cannot be counted exactly.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        Self::read(text).ok_or_else(|| {
            "must be off, or a count, '/' and a span, such as 100/15m: 1 to 1000000 in 1s to 24h, \
             and at most 10000 a second"
                .into()
        })
    }

    /// Reads a limit like [`RateLimit::parse`], or `off` for no limit.
    ///
    /// # Errors
    /// The requirement, as for [`RateLimit::parse`].
    pub fn parse_or_off(text: &str) -> Result<Option<Self>, Requirement> {
        if text == "off" {
            Ok(None)
        } else {
            Self::parse(text).map(Some)
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (count, span) = text.split_once('/')?;
        let unit = span.chars().next_back()?;
        let number: u64 = parse_without_leading_zeros(span.strip_suffix(unit)?)?;
        let seconds_per_unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            _ => return None,
        };
        let count = parse_without_leading_zeros(count)?;
        Self::new(count, number.checked_mul(seconds_per_unit)?)
    }

    /// Returns a limit of a count in a span of seconds; `None` where it cannot be counted exactly.
    #[must_use]
    pub fn new(count: u32, span_seconds: u64) -> Option<Self> {
        let is_exact = (1..=MAX_COUNT).contains(&count)
            && (1..=MAX_SPAN_SECONDS).contains(&span_seconds)
            && u64::from(count) <= span_seconds * MAX_PER_SECOND;
        is_exact.then_some(Self {
            count,
            span_seconds,
        })
    }

    /// Returns the number of requests that a full budget admits at once.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns the number of seconds in which an empty budget fills up.
    #[must_use]
    pub fn span_seconds(self) -> u64 {
        self.span_seconds
    }
}

impl Default for RateLimit {
    /// Returns 100 in 15 minutes.
    fn default() -> Self {
        Self {
            count: 100,
            span_seconds: 900,
        }
    }
}

impl fmt::Display for RateLimit {
    /// Writes the form that [`RateLimit::parse`] reads, in the largest unit that fits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (span, unit) = match self.span_seconds {
            seconds if seconds % 3_600 == 0 => (seconds / 3_600, 'h'),
            seconds if seconds % 60 == 0 => (seconds / 60, 'm'),
            seconds => (seconds, 's'),
        };
        write!(formatter, "{}/{span}{unit}", self.count)
    }
}

fn parse_without_leading_zeros<N: FromStr>(text: &str) -> Option<N> {
    parse_digits(text).filter(|_| text == "0" || !text.starts_with('0'))
}

/// A named limit that each caller has a separate count of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The name in lower-case letters and `-`. It is part of responses, keys of shared counters and
    /// metric labels.
    pub name: &'static str,
    /// The limit of each caller.
    pub limit: RateLimit,
}

/// The number of requests that a decision takes from a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Takes nothing; the decision only says whether a request would be admitted.
    Nothing,
    /// Takes one request, if it is admitted.
    One,
}

/// The decision of a budget about one request. Its numbers include that request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// True if the request is admitted.
    pub allowed: bool,
    /// The number of requests that a full budget admits.
    pub limit: u32,
    /// The number of further requests that it admits now.
    pub remaining: u32,
    /// The time until it admits one more than `remaining`: after a refusal, exactly the time to
    /// wait. Zero while the budget is full.
    pub retry_after: Duration,
    /// The time until the budget is full again.
    pub reset_after: Duration,
}

/// A [`RateLimit`] converted to whole microseconds, ready to decide.
///
/// # Examples
/// ```
/// use roomkey::domain::limits::rate_limit::{Cost, Gcra, RateLimit};
/// use roomkey::domain::requests::fields::Requirement;
///
/// let limit = Gcra::from(RateLimit::parse("2/10s")?);
/// let now_us = 1_800_000_000_000_000;
/// let mut stored = None;
/// for remaining in [1, 0] {
///     let (decision, new) = limit.decide(stored, now_us, Cost::One);
///     assert!(decision.allowed && decision.remaining == remaining);
///     stored = new;
/// }
/// let (decision, _) = limit.decide(stored, now_us, Cost::One);
/// assert!(!decision.allowed);
/// assert_eq!(decision.retry_after.as_secs(), 5);
/// # Ok::<(), Requirement>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    count: u32,
    spacing_us: u64,
}

impl From<RateLimit> for Gcra {
    /// Rounds the spacing up, so that rounding never admits more than the limit says.
    fn from(limit: RateLimit) -> Self {
        let spacing_us = (limit.span_seconds * 1_000_000).div_ceil(u64::from(limit.count));
        Self {
            count: limit.count,
            spacing_us,
        }
    }
}

impl Gcra {
    /// Returns the microseconds between two requests at a steady rate.
    #[must_use]
    pub fn spacing_us(self) -> u64 {
        self.spacing_us
    }

    /// Returns the microseconds in which an empty budget fills up.
    #[must_use]
    pub fn capacity_us(self) -> u64 {
        self.spacing_us * u64::from(self.count)
    }

    /// Decides about one request. Returns the decision, and the TAT to store if the stored one
    /// changes.
    ///
    /// Invariant: a TAT further ahead than a whole budget, which only a clock that was set back or
    /// a lowered limit can leave behind, counts as a budget that has just run out, and is stored as
    /// such. Otherwise its caller would be locked out until the clock reaches it.
    #[must_use]
    pub fn decide(self, tat_us: Option<u64>, now_us: u64, cost: Cost) -> (Decision, Option<u64>) {
        let ahead_us = tat_us.unwrap_or(now_us).saturating_sub(now_us);
        let used_us = ahead_us.min(self.capacity_us());
        let allowed = self.capacity_us() - used_us >= self.spacing_us;
        let taken_us = if allowed && cost == Cost::One {
            self.spacing_us
        } else {
            0
        };
        let used_us = used_us + taken_us;
        let changed = taken_us > 0 || ahead_us > self.capacity_us();
        (
            self.decision(allowed, used_us),
            changed.then(|| now_us.saturating_add(used_us)),
        )
    }

    /// Returns the full decision for a request that was admitted or not and after which the TAT is
    /// `used_us` ahead.
    #[must_use]
    pub fn decision(self, allowed: bool, used_us: u64) -> Decision {
        let free_us = self.capacity_us().saturating_sub(used_us);
        let next_us = if used_us == 0 {
            0
        } else {
            self.spacing_us - free_us % self.spacing_us
        };
        Decision {
            allowed,
            limit: self.count,
            remaining: u32::try_from(free_us / self.spacing_us).unwrap_or(self.count),
            retry_after: Duration::from_micros(next_us),
            reset_after: Duration::from_micros(used_us),
        }
    }
}

/// Returns the whole microseconds since 1970. A clock before that counts as 1970.
#[must_use]
pub fn epoch_micros(now: SystemTime) -> u64 {
    u64::try_from(
        now.duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros(),
    )
    .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An arbitrary moment in 2025.
    const NOW: u64 = 1_750_000_000_000_000;

    fn gcra(text: &str) -> Gcra {
        RateLimit::parse(text).unwrap().into()
    }

    fn rate_limits() -> impl Strategy<Value = RateLimit> {
        (1..=1_000u32, 1..=3_600u64).prop_map(|(count, span_seconds)| RateLimit {
            count,
            span_seconds,
        })
    }

    fn limits() -> impl Strategy<Value = Gcra> {
        rate_limits().prop_map(Gcra::from)
    }

    #[test]
    fn text_that_is_not_a_rate_limit_is_rejected() {
        for text in [
            "",
            "/",
            "100",
            "100/",
            "/15m",
            "100/m",
            "100/15",
            "100/15d",
            "100/15M",
            "100/15ms",
            "0/15m",
            "100/0m",
            "-1/15m",
            "+1/15m",
            "1/+1m",
            "1/-1m",
            " 1/1m",
            "1/1m ",
            "1 /1m",
            "1/1 m",
            "01/1m",
            "1/01m",
            "1.5/1m",
            "1/1.5m",
            "1e3/1m",
            "1/1m/1m",
            "1000001/24h",
            "1/25h",
            "1/1441m",
            "1/86401s",
            "10001/1s",
            "99999999999999999999/1m",
            "1/99999999999999999999m",
            "1/18446744073709551615h",
            "１/1m",
            "1/1µ",
            "OFF",
            "off ",
            "none",
            "unlimited",
        ] {
            assert!(RateLimit::parse(text).is_err(), "{text:?}");
            assert!(RateLimit::parse_or_off(text).is_err(), "{text:?}");
        }
        assert!(RateLimit::parse("off").is_err());
        assert_eq!(RateLimit::parse_or_off("off"), Ok(None));
    }

    #[test]
    fn a_rate_limit_is_a_count_and_a_span() {
        for (text, count, span_seconds) in [
            ("100/15m", 100, 900),
            ("1/1s", 1, 1),
            ("10000/1s", 10_000, 1),
            ("20/24h", 20, 86_400),
            ("1000000/100s", 1_000_000, 100),
            ("7/90s", 7, 90),
        ] {
            let limit = RateLimit::parse(text).unwrap();
            assert_eq!(
                (limit.count(), limit.span_seconds()),
                (count, span_seconds),
                "{text}"
            );
            assert_eq!(limit.to_string(), text);
        }
        assert_eq!(RateLimit::parse("60/60m").unwrap().to_string(), "60/1h");
        assert_eq!(RateLimit::default().to_string(), "100/15m");
    }

    #[test]
    fn a_full_budget_admits_its_count_at_once_and_then_one_per_spacing() {
        let gcra = gcra("100/15m");
        let mut tat = None;
        for remaining in (0..100).rev() {
            let (decision, new) = gcra.decide(tat, NOW, Cost::One);
            assert!(decision.allowed);
            assert_eq!((decision.limit, decision.remaining), (100, remaining));
            assert_eq!(
                decision.reset_after,
                Duration::from_secs(9) * (100 - remaining)
            );
            tat = new;
        }
        let (decision, new) = gcra.decide(tat, NOW + 1, Cost::One);
        assert_eq!(new, None);
        let retry_after = Duration::from_micros(8_999_999);
        assert_eq!(
            decision,
            Decision {
                allowed: false,
                limit: 100,
                remaining: 0,
                retry_after,
                reset_after: Duration::from_micros(899_999_999)
            }
        );
        assert!(gcra.decide(tat, NOW + 9_000_000, Cost::One).0.allowed);
    }

    #[test]
    fn a_decision_of_no_cost_takes_nothing() {
        let gcra = gcra("2/10s");
        let full = Decision {
            allowed: true,
            limit: 2,
            remaining: 2,
            retry_after: Duration::ZERO,
            reset_after: Duration::ZERO,
        };
        assert_eq!(gcra.decide(None, NOW, Cost::Nothing), (full, None));
        assert_eq!(gcra.decide(Some(NOW), NOW, Cost::Nothing), (full, None));
        assert_eq!(gcra.decide(Some(NOW - 1), NOW, Cost::Nothing), (full, None));
        let (decision, new) = gcra.decide(Some(NOW + 10_000_000), NOW, Cost::Nothing);
        assert_eq!(
            (decision.allowed, decision.remaining, new),
            (false, 0, None)
        );
    }

    #[test]
    fn a_clock_that_was_set_back_empties_the_budget_and_locks_nobody_out() {
        let gcra = gcra("100/15m");
        for far in [NOW + 900_000_001, NOW + 86_400_000_000, u64::MAX] {
            for cost in [Cost::One, Cost::Nothing] {
                let (decision, stored) = gcra.decide(Some(far), NOW, cost);
                assert!(!decision.allowed);
                assert_eq!(decision.retry_after, Duration::from_secs(9));
                assert_eq!(stored, Some(NOW + 900_000_000));
            }
        }
    }

    #[test]
    fn the_largest_times_do_not_overflow() {
        let gcra = gcra("1000000/24h");
        assert!(gcra.decide(None, u64::MAX, Cost::One).0.allowed);
        assert!(gcra.decide(Some(u64::MAX), u64::MAX, Cost::One).0.allowed);
        assert_eq!(epoch_micros(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(epoch_micros(UNIX_EPOCH + Duration::from_nanos(1_999)), 1);
    }

    #[test]
    fn rounding_costs_less_than_one_percent() {
        for text in ["10000/1s", "9999/1s", "1000000/101s", "999999/100s", "7/1s"] {
            let limit = RateLimit::parse(text).unwrap();
            let (capacity, span) = (
                Gcra::from(limit).capacity_us(),
                limit.span_seconds() * 1_000_000,
            );
            assert!(capacity >= span && capacity - span <= span / 100, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_a_burst_and_its_share_of_the_rate(
            limit in rate_limits(),
            gaps in prop::collection::vec(
                prop_oneof![Just(0), 0..1_000u64, 0..5_000_000u64, 0..100_000_000u64],
                1..400,
            ),
        ) {
            let gcra = Gcra::from(limit);
            let (mut now, mut tat, mut admitted) = (NOW, None, Vec::new());
            for gap in gaps {
                now += gap;
                let (decision, new) = gcra.decide(tat, now, Cost::One);
                prop_assert_eq!(decision.allowed, new.is_some());
                if decision.allowed {
                    admitted.push(now);
                    tat = new;
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let many = u64::try_from(last - first + 1).unwrap();
                    let (count, span_us) = (u64::from(limit.count), limit.span_seconds * 1_000_000);
                    prop_assert!(many <= count + (to - from) * count / span_us);
                }
            }
        }

        #[test]
        fn a_refused_request_is_admitted_exactly_after_retry_after(
            gcra in limits(),
            ahead in 0..4_000_000_000u64,
        ) {
            let tat = Some(NOW + ahead % (gcra.capacity_us() + 1));
            let (decision, _) = gcra.decide(tat, NOW, Cost::One);
            if !decision.allowed {
                let wait = u64::try_from(decision.retry_after.as_micros()).unwrap();
                prop_assert!(wait > 0);
                prop_assert!(!gcra.decide(tat, NOW + wait - 1, Cost::One).0.allowed);
                prop_assert!(gcra.decide(tat, NOW + wait, Cost::One).0.allowed);
            }
        }

        #[test]
        fn remaining_and_retry_after_are_exact(
            gcra in limits(),
            ahead in 0..4_000_000_000u64,
        ) {
            let tat = NOW + ahead % (gcra.capacity_us() + 1);
            let (decision, _) = gcra.decide(Some(tat), NOW, Cost::Nothing);
            let later = |us| gcra.decide(Some(tat), NOW + us, Cost::Nothing).0.remaining;
            let wait = u64::try_from(decision.retry_after.as_micros()).unwrap();
            if wait > 0 {
                prop_assert_eq!(later(wait - 1), decision.remaining);
                prop_assert_eq!(later(wait), decision.remaining + 1);
            } else {
                prop_assert_eq!(decision.remaining, gcra.count);
            }
            let reset = u64::try_from(decision.reset_after.as_micros()).unwrap();
            prop_assert_eq!(later(reset), gcra.count);
            let (mut stored, mut admitted) = (Some(tat), 0);
            while let (Decision { allowed: true, .. }, new) = gcra.decide(stored, NOW, Cost::One) {
                (stored, admitted) = (new, admitted + 1);
            }
            prop_assert_eq!(admitted, decision.remaining);
        }

        #[test]
        fn waiting_never_reduces_what_is_left(
            gcra in limits(),
            ahead in 0..4_000_000_000u64,
            wait in 0..4_000_000_000u64,
        ) {
            let (early, _) = gcra.decide(Some(NOW + ahead), NOW, Cost::Nothing);
            let (late, _) = gcra.decide(Some(NOW + ahead), NOW + wait, Cost::Nothing);
            prop_assert!(late.remaining >= early.remaining && (late.allowed || !early.allowed));
            prop_assert!(late.reset_after <= early.reset_after);
        }

        #[test]
        fn every_accepted_text_is_read_again_from_its_printed_form(
            text in "\\PC{0,12}|[0-9]{0,8}/[0-9]{0,6}[smhx]?",
        ) {
            if let Ok(limit) = RateLimit::parse(&text) {
                prop_assert_eq!(RateLimit::parse(&limit.to_string()), Ok(limit));
            }
        }
    }
}
