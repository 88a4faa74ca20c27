//! The headers of a rate limit: those of the IETF's current draft, the older ones in wide use, and
//! `Retry-After` on a refusal.
//!
//! All of them report how much of a budget is left and when one more request is available. `t`,
//! `X-RateLimit-Reset` and `Retry-After` are that moment, in whole seconds from now or since 1970,
//! rounded up. (A budget refills steadily, so it is never reset as a whole.)
//!
//! # Source
//! draft-ietf-httpapi-ratelimit-headers (Structured Fields, RFC 9651); RFC 9110 §10.2.3 for
//! `Retry-After`.

use std::time::SystemTime;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};

use crate::domain::limits::rate_limit::{Budget, Decision, epoch_micros};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

const MICROS: u64 = 1_000_000;

/// Adds the headers of a budget's decision to a response, and replaces those of another budget.
pub fn add(headers: &mut HeaderMap, decision: &Decision, budget: &Budget, now: SystemTime) {
    let wait_us = u64::try_from(decision.retry_after.as_micros()).unwrap_or(u64::MAX);
    // After a refusal the wait is never zero, so `Retry-After` is 1 or more.
    let seconds = wait_us.div_ceil(MICROS);
    let reset_at = epoch_micros(now).saturating_add(wait_us).div_ceil(MICROS);
    let policy = [
        ("q", decision.limit.into()),
        ("w", budget.limit.span_seconds()),
    ];
    let left = [("r", decision.remaining.into()), ("t", seconds)];
    for (name, text) in [
        (RATE_LIMIT_POLICY, structured(budget.name, policy)),
        (RATE_LIMIT, structured(budget.name, left)),
        (LEGACY_LIMIT, decision.limit.to_string()),
        (LEGACY_REMAINING, decision.remaining.to_string()),
        (LEGACY_RESET, reset_at.to_string()),
    ] {
        // Names of budgets are visible ASCII, so there is always a value.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    if !decision.allowed {
        headers.insert(RETRY_AFTER, seconds.into());
    }
}

/// Returns `"name";a=1;b=2`. Names of budgets need no escapes.
fn structured(name: &str, [(a, first), (b, second)]: [(&str, u64); 2]) -> String {
    let (first, second) = (first.to_string(), second.to_string());
    ["\"", name, "\";", a, "=", &first, ";", b, "=", &second].concat()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;
    use crate::domain::limits::rate_limit::{Cost, Gcra, RateLimit};

    fn budget(limit: &str) -> Budget {
        Budget {
            name: "token",
            limit: RateLimit::parse(limit).unwrap(),
        }
    }

    fn shown(decision: &Decision, budget: &Budget, now: SystemTime) -> HeaderMap {
        let mut headers = HeaderMap::new();
        add(&mut headers, decision, budget, now);
        headers
    }

    fn number(headers: &HeaderMap, name: &str) -> u64 {
        headers
            .get(name)
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// The second at which the cases of the table begin.
    const SECOND: u64 = 1_750_000_000;

    /// The used part of a budget in ms, the time past the second in ms, whether the request is
    /// allowed, `RateLimit`, the reset, `Retry-After`, and the reason.
    type Case = (u64, u64, bool, &'static str, u64, Option<u64>, &'static str);

    const CASES: [Case; 10] = [
        (
            0,
            0,
            true,
            "\"token\";r=100;t=0",
            SECOND,
            None,
            "a full budget",
        ),
        (
            9_000,
            0,
            true,
            "\"token\";r=99;t=9",
            SECOND + 9,
            None,
            "one taken",
        ),
        (
            9_001,
            0,
            true,
            "\"token\";r=98;t=1",
            SECOND + 1,
            None,
            "a moment before the next one",
        ),
        (
            12_500,
            0,
            true,
            "\"token\";r=98;t=4",
            SECOND + 4,
            None,
            "3.5 s, rounded up",
        ),
        (
            12_500,
            600,
            true,
            "\"token\";r=98;t=4",
            SECOND + 5,
            None,
            "4.1 s past the second, rounded up",
        ),
        (
            900_000,
            0,
            true,
            "\"token\";r=0;t=9",
            SECOND + 9,
            None,
            "the last one taken",
        ),
        (
            899_500,
            0,
            false,
            "\"token\";r=0;t=9",
            SECOND + 9,
            Some(9),
            "refused",
        ),
        (
            891_001,
            0,
            false,
            "\"token\";r=0;t=1",
            SECOND + 1,
            Some(1),
            "refused by a millisecond",
        ),
        (
            891_001,
            999,
            false,
            "\"token\";r=0;t=1",
            SECOND + 1,
            Some(1),
            "the same at the end of a second",
        ),
        (
            891_002,
            999,
            false,
            "\"token\";r=0;t=1",
            SECOND + 2,
            Some(1),
            "the same past its end",
        ),
    ];

    #[test]
    fn all_headers_report_the_same() {
        let budget = budget("100/15m");
        for (used_ms, now_ms, allowed, left, reset_at, retry_after, why) in CASES {
            let decision = Gcra::from(budget.limit).decision(allowed, used_ms * 1_000);
            let now = UNIX_EPOCH + Duration::from_secs(SECOND) + Duration::from_millis(now_ms);
            let headers = shown(&decision, &budget, now);
            assert_eq!(
                headers["ratelimit-policy"], "\"token\";q=100;w=900",
                "{why}"
            );
            assert_eq!(headers["ratelimit"], left, "{why}");
            assert_eq!(number(&headers, "x-ratelimit-limit"), 100, "{why}");
            assert_eq!(
                number(&headers, "x-ratelimit-remaining"),
                u64::from(decision.remaining),
                "{why}"
            );
            assert_eq!(number(&headers, "x-ratelimit-reset"), reset_at, "{why}");
            assert_eq!(
                headers
                    .get("retry-after")
                    .map(|_| number(&headers, "retry-after")),
                retry_after,
                "{why}"
            );
        }
    }

    #[test]
    fn the_last_decision_is_the_one_that_is_shown() {
        let (token, mint) = (
            budget("100/15m"),
            Budget {
                name: "mint",
                ..budget("20/15m")
            },
        );
        let mut headers = HeaderMap::new();
        add(
            &mut headers,
            &Gcra::from(token.limit).decision(true, 0),
            &token,
            UNIX_EPOCH,
        );
        add(
            &mut headers,
            &Gcra::from(mint.limit).decision(true, 0),
            &mint,
            UNIX_EPOCH,
        );
        assert_eq!(headers.len(), 5);
        assert_eq!(headers["ratelimit"], "\"mint\";r=20;t=0");
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_is_admitted_and_nobody_is_told_to_wait_a_second_too_long(
            (count, span) in (1..=500u32, 1..=3_600u32),
            ahead_us in 0..4_000_000_000u64,
            now_us in 0..10_000_000u64,
        ) {
            let budget = budget(&format!("{count}/{span}s"));
            let gcra = Gcra::from(budget.limit);
            let tat_us = now_us + ahead_us % (gcra.capacity_us() + 1);
            let decision = gcra.decide(Some(tat_us), now_us, Cost::Nothing).0;
            let headers = shown(&decision, &budget, UNIX_EPOCH + Duration::from_micros(now_us));
            let reset_us = number(&headers, "x-ratelimit-reset") * 1_000_000;
            if headers.contains_key("retry-after") {
                let wait = number(&headers, "retry-after");
                let is_allowed_at = |us| gcra.decide(Some(tat_us), us, Cost::One).0.allowed;
                prop_assert!(wait >= 1);
                prop_assert!(is_allowed_at(now_us + wait * 1_000_000));
                prop_assert!(is_allowed_at(reset_us));
                prop_assert!(!is_allowed_at(now_us + (wait - 1) * 1_000_000));
            }
            prop_assert_eq!(headers.get("retry-after").is_none(), decision.allowed);
        }
    }
}
