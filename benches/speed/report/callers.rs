//! What the report says about callers: a table, its targets, and how they were measured.

use std::fmt::Write;

use super::{Report, median, thousands};
use crate::callers::{ALONE, Callers, MANY, TOKENS};
use crate::micro::LIMITER;
use crate::peers::FASTIFY_JOSE;

impl Report {
    /// The median over all rounds.
    fn of_callers(&self, of: fn(&Callers) -> f64) -> f64 {
        median(self.callers.iter().map(of).collect())
    }

    pub(super) fn callers_table(&self) -> String {
        let mut table = "| callers | requests/s |\n|---|---|\n".to_owned();
        let mut row = |who: &str, of: fn(&Callers) -> f64| {
            writeln!(table, "| {who} | {:.0} |", self.of_callers(of)).unwrap();
        };
        row("roomkey, anonymous callers", |round| round.anonymous);
        row("roomkey, one bearer sent again and again", |round| {
            round.seen
        });
        row("roomkey, another RS256 bearer with each request", |round| {
            round.first_seen
        });
        row(
            &format!(
                "{}, another RS256 bearer with each request",
                FASTIFY_JOSE.name
            ),
            |round| round.jose,
        );
        let (memory, redis) = (
            self.of_callers(|round| round.memory_p50_ms),
            self.of_callers(|round| round.redis_p50_ms),
        );
        writeln!(table, "\nThe p50 of a lone request is {memory:.3} ms with limits in memory and {redis:.3} ms with limits in Redis.")
            .unwrap();
        table
    }

    /// Each target, what was measured, and whether that reaches it.
    pub(super) fn callers_targets(&self) -> [(String, String, bool); 5] {
        let jose = FASTIFY_JOSE.name;
        let seen = self.of_callers(|round| round.seen / round.anonymous);
        let first_seen = self.of_callers(|round| round.first_seen / round.jose);
        let limiter = self
            .steps
            .iter()
            .find(|step| step.name == LIMITER)
            .map(|step| step.nanoseconds);
        let added = self.of_callers(|round| round.redis_p50_ms - round.memory_p50_ms);
        let resident = self.callers_mb;
        [
            (
                "a bearer seen before: at least 0.7 × the requests/s of anonymous callers".into(),
                format!("{seen:.2} ×"),
                seen >= 0.7,
            ),
            (
                format!("a bearer not seen before: at least 4 × the requests/s of {jose}"),
                format!("{first_seen:.2} ×"),
                first_seen >= 4.0,
            ),
            (
                "a limit in memory costs under 1 µs".into(),
                limiter.map_or("not measured".into(), |nanoseconds| {
                    format!("{nanoseconds:.0} ns")
                }),
                limiter.is_some_and(|nanoseconds| nanoseconds < 1_000.0),
            ),
            (
                "a limit in Redis adds under 1 ms to the p50".into(),
                format!("{added:.2} ms"),
                added < 1.0,
            ),
            (
                format!(
                    "under 48 MB resident after {} callers",
                    thousands(MANY.into())
                ),
                format!("{resident:.1} MB"),
                resident < 48.0,
            ),
        ]
    }

    pub(super) fn callers_method() -> String {
        format!(
            "- roomkey counts every request against a limit that none reaches. Bearers are RS256 with 2048 bits, of one caller, \
             {tokens} of them signed ahead; where each is sent once, the load ends with the last. {jose} verifies each, as it does by \
             itself; roomkey remembers those that it has verified. Redis shares the core of the program that sends requests, and its p50 is of \
             {alone} requests one after the other. The {many} callers are addresses behind a trusted proxy.\n",
            tokens = thousands(TOKENS.try_into().unwrap()),
            jose = FASTIFY_JOSE.name,
            alone = thousands(ALONE),
            many = thousands(MANY.into()),
        )
    }
}
