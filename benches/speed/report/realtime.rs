//! What the report says about minting: a table, its targets, and how they were measured.

use std::fmt::Write;

use super::{Report, median, thousands};
use crate::peers::WARP_MINT;
use crate::realtime::{CALLERS, IN_FLIGHT, Realtime, UPSTREAM_TAKES, VAULT_TAKES};

impl Report {
    /// The median over all rounds.
    fn of_realtime(&self, of: fn(&Realtime) -> f64) -> f64 {
        median(self.realtime.iter().map(of).collect())
    }

    pub(super) fn realtime_table(&self) -> String {
        let in_flight = in_flight();
        let mut table = format!(
            "| | p50, ms | p99, ms | most resident with {in_flight} mints in flight, MB |\n|---|---|---|---|\n"
        );
        let [bare, roomkey]: [[f64; 2]; 2] = [
            [
                self.of_realtime(|round| round.bare_ms[0]),
                self.of_realtime(|round| round.bare_ms[1]),
            ],
            [
                self.of_realtime(|round| round.roomkey_ms[0]),
                self.of_realtime(|round| round.roomkey_ms[1]),
            ],
        ];
        let (roomkey_mb, warp_mb) = (
            self.of_realtime(|round| round.roomkey_mb),
            self.of_realtime(|round| round.warp_mb),
        );
        writeln!(
            table,
            "| the upstream, called directly | {:.2} | {:.2} | |",
            bare[0], bare[1]
        )
        .unwrap();
        writeln!(
            table,
            "| roomkey | {:.2} | {:.2} | {roomkey_mb:.1} |",
            roomkey[0], roomkey[1]
        )
        .unwrap();
        writeln!(table, "| {} | | | {warp_mb:.1} |", WARP_MINT.name).unwrap();
        table
    }

    /// Each target, what was measured, and whether that reaches it.
    pub(super) fn realtime_targets(&self) -> [(String, String, bool); 5] {
        let [p50, p99] = [
            self.of_realtime(|round| round.added_ms()[0]),
            self.of_realtime(|round| round.added_ms()[1]),
        ];
        let memory = self.of_realtime(|round| round.roomkey_mb / round.warp_mb);
        let most = self
            .realtime
            .iter()
            .max_by_key(|round| round.connections)
            .unwrap();
        let bound = u64::try_from(2 * CALLERS).unwrap();
        let first_token = self.of_realtime(|round| round.first_token_ms);
        let warp = WARP_MINT.name;
        [
            (
                format!("a mint takes under 1 ms more at the p50, with {CALLERS} callers"),
                format!("{p50:.2} ms"),
                p50 < 1.0,
            ),
            (
                format!("a mint takes under 3 ms more at the p99, with {CALLERS} callers"),
                format!("{p99:.2} ms"),
                p99 < 3.0,
            ),
            (
                format!(
                    "connections to the upstream are used again: at most {bound} for {CALLERS} callers"
                ),
                format!(
                    "{} for {} mints at most",
                    most.connections,
                    thousands(most.mints.try_into().unwrap())
                ),
                most.connections <= bound,
            ),
            (
                format!(
                    "at most 1.3 × the memory of {warp} with {} mints in flight",
                    in_flight()
                ),
                format!("{memory:.2} ×"),
                memory <= 1.3,
            ),
            (
                format!(
                    "under 20 ms to the first LiveKit token while Key Vault takes {} s",
                    VAULT_TAKES.as_secs()
                ),
                format!("{first_token:.1} ms"),
                first_token < 20.0,
            ),
        ]
    }

    pub(super) fn realtime_method() -> String {
        format!(
            "- The Realtime upstream is a program of a few lines on the core of the program that sends requests; it takes {takes} ms for an answer, \
             and long enough for {in_flight} mints to be in flight at once where memory is measured. The time that roomkey adds is the \
             difference of the percentiles of {CALLERS} callers, with it and without it between. \"{warp}\" reads the request, asks the \
             upstream and replies. Most resident memory is the kernel's value `VmHWM`. The slow Key Vault is the one of the tests.\n",
            takes = UPSTREAM_TAKES.as_millis(),
            in_flight = in_flight(),
            warp = WARP_MINT.name,
        )
    }
}

fn in_flight() -> String {
    thousands(IN_FLIGHT.try_into().unwrap())
}
