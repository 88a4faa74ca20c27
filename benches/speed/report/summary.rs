//! The first lines of the document: the result in one sentence, and how far to trust it.

use super::{CPU, FIRST_TOKEN, REQUESTS, RESIDENT, Report, Turn, median, thousands};
use crate::machine::Quiet;
use crate::peers::{FASTAPI, FASTIFY, GO, ROOMKEY, SIGN};

/// The ratios of one pair of servers may differ by this much of their median between the rounds.
/// Five runs on idle virtual machines of two cores stayed below it.
const MAX_RATIO_SPREAD: f64 = 0.25;

impl Report {
    pub(super) fn summary(&self) -> String {
        let of_roomkey =
            |of: fn(&Turn) -> f64| median(self.turns_of(ROOMKEY).iter().map(of).collect());
        format!(
            "On one core roomkey issues about {requests} LiveKit tokens per second: \
             {go:.1} times as many as the same endpoint in Go, {fastify:.1} times as many as in \
             Node.js (Fastify) and {fastapi:.0} times as many as in Python (FastAPI). It needs \
             {resident:.0} MB of memory and answers its first request {first:.0} ms after its \
             start. A warp server that only parses, signs and replies, and so is the limit of this \
             design, reaches {sign:.2} times its rate and needs {sign_cpu:.2} times its CPU.",
            requests = thousands(whole_thousands(of_roomkey(REQUESTS.of))),
            go = median(self.ratios_to(GO, &REQUESTS)),
            fastify = median(self.ratios_to(FASTIFY, &REQUESTS)),
            fastapi = median(self.ratios_to(FASTAPI, &REQUESTS)),
            resident = of_roomkey(RESIDENT.of),
            first = of_roomkey(FIRST_TOKEN.of),
            sign = 1.0 / median(self.ratios_to(SIGN, &REQUESTS)),
            sign_cpu = 1.0 / median(self.ratios_to(SIGN, &CPU)),
        )
    }

    /// Judges the noise by what it did to the ratios, since only ratios are compared, and names
    /// what disturbed the machine.
    pub(super) fn steadiness(&self) -> String {
        let (worst, spread) = [SIGN, GO, FASTIFY, FASTAPI]
            .map(|name| (name, ratio_spread(&self.ratios_to(name, &REQUESTS))))
            .into_iter()
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .unwrap();
        let others = self.quiet.others();
        let verdict = if spread <= MAX_RATIO_SPREAD && others <= Quiet::MAX_OTHERS {
            "**The ratios are steady.**"
        } else {
            "**The ratios are noisy: repeat the run on an idle machine before you rely on them.**"
        };
        format!(
            "{verdict} Between the rounds the ratio of requests/s to {worst} differed by \
             {spread:.0} % of its median, the most of all servers (steady: at most {max_spread:.0} \
             %). Other programs and the hypervisor took at most {others:.1} % of both cores during \
             a measurement (steady: at most {max_others:.0} %). The clock of the machine is not \
             constant: a fixed loop took up to {clock:.0} % longer at one time of a round than at \
             another. The load average before the run was {load_average}.",
            spread = spread * 100.0,
            max_spread = MAX_RATIO_SPREAD * 100.0,
            others = others * 100.0,
            max_others = Quiet::MAX_OTHERS * 100.0,
            clock = self.quiet.spread() * 100.0,
            load_average = self.load_average,
        )
    }
}

/// Returns the distance between the lowest and the highest ratio as a share of the median.
fn ratio_spread(ratios: &[f64]) -> f64 {
    let low = ratios.iter().copied().fold(f64::MAX, f64::min);
    let high = ratios.iter().copied().fold(0.0, f64::max);
    (high - low) / median(ratios.to_vec())
}

/// Rounds to thousands, since the next digits differ from run to run.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count far below 2^52"
)]
fn whole_thousands(number: f64) -> u64 {
    (number / 1e3).round() as u64 * 1_000
}
