//! From turns to tables: medians, ratios within a round, and what was to be reached.

mod callers;
mod cold_start;
mod picture;
mod projects;
mod realtime;
mod summary;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use roomkey::clock::{Clock, SystemClock};
use roomkey::domain::livekit::lifetime::Rfc3339;

use crate::callers::Callers;
use crate::cold_start::ColdStart;
use crate::load::CONNECTIONS;
use crate::machine::Quiet;
use crate::micro::Step;
use crate::peers::{CEILING, FASTAPI, FASTIFY, FASTIFY_JOSE, GO, PEERS, ROOMKEY, WARP_MINT};
use crate::projects::Projects;
use crate::realtime::Realtime;
use crate::{REQUESTS_PER_STEP, STARTS, STEPS, VERIFIED, WARM_UP};

/// What one server did in one round.
#[derive(Clone, Copy)]
pub struct Turn {
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub first_token_ms: f64,
    pub resident_mb: f64,
    /// CPU of 10,000 requests.
    pub cpu_ms: f64,
    /// The share of its core that asking took, from 0 to 1.
    pub load_share: f64,
}

/// One column of the tables. Of all but the first, less is better.
struct Column {
    title: &'static str,
    digits: usize,
    of: fn(&Turn) -> f64,
}

const REQUESTS: Column = Column {
    title: "requests/s",
    digits: 0,
    of: |turn| turn.requests_per_second,
};
const RESIDENT: Column = Column {
    title: "resident, MB",
    digits: 1,
    of: |turn| turn.resident_mb,
};
const CPU: Column = Column {
    title: "CPU per 10,000 requests, ms",
    digits: 0,
    of: |turn| turn.cpu_ms,
};
const FIRST_TOKEN: Column = Column {
    title: "start to first token, ms",
    digits: 1,
    of: |turn| turn.first_token_ms,
};
const COLUMNS: [Column; 6] = [
    REQUESTS,
    Column {
        title: "p50, ms",
        digits: 2,
        of: |turn| turn.p50_ms,
    },
    Column {
        title: "p99, ms",
        digits: 2,
        of: |turn| turn.p99_ms,
    },
    FIRST_TOKEN,
    RESIDENT,
    CPU,
];

/// Past the first step of the endurance run the resident memory may grow by so much, in MB.
const FLAT_MB: f64 = 0.5;

/// Everything that was measured.
pub struct Report {
    rounds: usize,
    seconds: u64,
    load_average: String,
    pub quiet: Quiet,
    pub steps: Vec<Step>,
    /// One list per server, one turn per round.
    pub turns: [Vec<Turn>; PEERS.len()],
    pub memory: Vec<f64>,
    /// One a round.
    pub callers: Vec<Callers>,
    /// Resident memory after a request of each of very many callers, in MB.
    pub callers_mb: f64,
    /// One a round.
    pub realtime: Vec<Realtime>,
    /// One a round.
    pub projects: Vec<Projects>,
    /// One a round.
    pub cold_starts: Vec<ColdStart>,
}

impl Report {
    pub fn new(rounds: usize, seconds: u64) -> Self {
        let load_average = fs::read_to_string("/proc/loadavg").unwrap();
        let load_average = load_average.split(' ').next().unwrap().to_owned();
        Self {
            rounds,
            seconds,
            load_average,
            quiet: Quiet::default(),
            steps: Vec::new(),
            turns: Default::default(),
            memory: Vec::new(),
            callers: Vec::new(),
            callers_mb: 0.0,
            realtime: Vec::new(),
            projects: Vec::new(),
            cold_starts: Vec::new(),
        }
    }

    /// Writes the document, or beside the build where the run was only a trial.
    pub fn publish(&self, is_full: bool) {
        let file = if is_full {
            "docs/benchmarks.md"
        } else {
            "target/benchmarks.md"
        };
        let text = self.text();
        fs::write(file, &text).unwrap();
        fs::write(Path::new(file).with_extension("svg"), self.picture()).unwrap();
        println!("\n{text}\nWritten to {file}.");
        if !is_full {
            println!("This was a trial; a full run, `make bench`, writes docs/benchmarks.md.");
        }
    }

    fn text(&self) -> String {
        format!(
            "# Benchmarks\n\n{summary}\n\n\
             ![Bars: tokens per second, CPU, memory and start of each server](benchmarks.svg)\n\n\
             Written by `make bench ROUNDS={rounds} SECONDS={seconds}` on {date}, on {cores} cores of \
             {processor}, Linux {kernel}.\n\n\
             {steadiness}\n\n\
             ## Side by side\n\nMedians of {rounds} rounds of {seconds} s.\n\n{medians}\n\
             ## roomkey ÷ other\n\nEach number is the median of the ratios within a round; in brackets the lowest and the highest. \
             Above 1 is better for requests/s, below 1 for all else.\n\n{ratios}\n\
             ## Load by kind of caller\n\n{callers}\n\
             ## Minting at a Realtime upstream\n\n{realtime}\n\
             ## Sessions of projects\n\n{projects}\n\
             ## The first token of an instance\n\n{cold_starts}\n\
             ## Targets\n\n{targets}\n\
             ## Single steps of a request\n\n{steps}\n\
             ## Memory over {million} requests\n\n{memory}\n\
             ## How it is measured\n\n{method}",
            rounds = self.rounds,
            seconds = self.seconds,
            date = Rfc3339::of(SystemClock.now())
                .to_string()
                .split('T')
                .next()
                .unwrap(),
            cores = cores(),
            processor = processor(),
            kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap()
                .split('-')
                .next()
                .unwrap(),
            summary = self.summary(),
            steadiness = self.steadiness(),
            medians = self.medians(),
            ratios = self.ratios(),
            callers = self.callers_table(),
            realtime = self.realtime_table(),
            projects = self.projects_table(),
            cold_starts = self.cold_start_table(),
            targets = self.targets(),
            steps = self.steps(),
            million = thousands(STEPS * REQUESTS_PER_STEP),
            memory = self.memory(),
            method = self.method(),
        )
    }

    fn medians(&self) -> String {
        let mut table = header("server");
        for (peer, turns) in PEERS.iter().zip(&self.turns) {
            write!(table, "| {} |", peer.name).unwrap();
            for column in &COLUMNS {
                write!(
                    table,
                    " {:.*} |",
                    column.digits,
                    median(turns.iter().map(column.of).collect())
                )
                .unwrap();
            }
            table.push('\n');
        }
        table
    }

    fn ratios(&self) -> String {
        let mut table = header("other");
        for peer in PEERS.iter().skip(1) {
            write!(table, "| {} |", peer.name).unwrap();
            for column in &COLUMNS {
                let ratios = self.ratios_to(peer.name, column);
                let (low, high) = (
                    ratios.iter().copied().fold(f64::MAX, f64::min),
                    ratios.iter().copied().fold(0.0, f64::max),
                );
                write!(
                    table,
                    " {} ({}–{}) |",
                    short(median(ratios)),
                    short(low),
                    short(high)
                )
                .unwrap();
            }
            table.push('\n');
        }
        table
    }

    fn turns_of(&self, name: &str) -> &[Turn] {
        PEERS
            .iter()
            .zip(&self.turns)
            .find_map(|(peer, turns)| (peer.name == name).then_some(turns))
            .unwrap()
    }

    fn ratios_to(&self, name: &str, column: &Column) -> Vec<f64> {
        self.turns_of(ROOMKEY)
            .iter()
            .zip(self.turns_of(name))
            .map(|(ours, theirs)| (column.of)(ours) / (column.of)(theirs))
            .collect()
    }

    fn targets(&self) -> String {
        let mut table = "| target | measured | |\n|---|---|---|\n".to_owned();
        let mut row = |target: &str, measured: &str, is_met: bool| {
            writeln!(
                table,
                "| {target} | {measured} | {} |",
                if is_met { "met" } else { "**missed**" }
            )
            .unwrap();
        };
        for (other, least) in [(CEILING, 0.75), (GO, 1.8), (FASTIFY, 6.0), (FASTAPI, 17.0)] {
            let ratio = median(self.ratios_to(other, &REQUESTS));
            row(
                &format!("at least {least} × the requests/s of {other}"),
                &format!("{ratio:.2} ×"),
                ratio >= least,
            );
        }
        let ratio = median(self.ratios_to(CEILING, &CPU));
        row(
            &format!("at most 1.6 × the CPU per request of {CEILING}"),
            &format!("{ratio:.2} ×"),
            ratio <= 1.6,
        );
        for other in [GO, FASTIFY, FASTAPI] {
            let is_behind = |column: &&Column| {
                let ratio = median(self.ratios_to(other, column));
                if column.title == REQUESTS.title {
                    ratio <= 1.0
                } else {
                    ratio >= 1.0
                }
            };
            let behind: Vec<_> = COLUMNS
                .iter()
                .filter(is_behind)
                .map(|column| column.title)
                .collect();
            let measured = if behind.is_empty() {
                "in all".to_owned()
            } else {
                format!("behind in {}", behind.join("; "))
            };
            row(
                &format!("ahead of {other} in every column"),
                &measured,
                behind.is_empty(),
            );
        }
        for (target, measured, is_met) in self
            .callers_targets()
            .into_iter()
            .chain(self.realtime_targets())
            .chain(self.projects_targets())
            .chain(self.cold_start_targets())
        {
            row(&target, &measured, is_met);
        }
        let resident = self
            .turns_of(ROOMKEY)
            .iter()
            .map(RESIDENT.of)
            .fold(0.0, f64::max);
        row(
            &format!("under 10 MB resident at {CONNECTIONS} connections"),
            &format!("{resident:.1} MB at most"),
            resident < 10.0,
        );
        let growth = self.growth();
        row(
            &format!(
                "memory flat over {} requests",
                thousands(STEPS * REQUESTS_PER_STEP)
            ),
            &format!("{growth:+.2} MB"),
            growth <= FLAT_MB,
        );
        table
    }

    /// How much the resident memory grew past the first step of the endurance run, in MB.
    fn growth(&self) -> f64 {
        let settled = self.memory[1];
        self.memory.iter().skip(1).copied().fold(settled, f64::max) - settled
    }

    fn steps(&self) -> String {
        let mut table = "| step | ns |\n|---|---|\n".to_owned();
        for Step { name, nanoseconds } in &self.steps {
            writeln!(table, "| {name} | {nanoseconds:.0} |").unwrap();
        }
        table
    }

    fn memory(&self) -> String {
        let mut table = "| requests | resident, MB |\n|---|---|\n".to_owned();
        for (step, resident) in (0..).zip(&self.memory) {
            writeln!(
                table,
                "| {} | {resident:.2} |",
                thousands(step * REQUESTS_PER_STEP)
            )
            .unwrap();
        }
        writeln!(
            table,
            "\nFlat means: past the first {} it grows by at most {FLAT_MB} MB.",
            thousands(REQUESTS_PER_STEP)
        )
        .unwrap();
        table
    }

    fn method(&self) -> String {
        let busiest = self
            .turns
            .iter()
            .flatten()
            .map(|turn| turn.load_share)
            .fold(0.0, f64::max)
            * 100.0;
        let limit = if busiest < 90.0 {
            "it was not the bottleneck"
        } else {
            "it may have been the bottleneck of the fastest"
        };
        let warm_up = WARM_UP.as_secs();
        let mut text = format!(
            "- Every server is one process on one core; no stack uses clustering or several workers. The program that sends the \
             requests and reads the log has another core, of which it used at most {busiest:.0} %: {limit}.\n\
             - Each round starts each server {STARTS} times (from before the process exists to the first response that was checked; files \
             are in memory already), checks {VERIFIED} responses on each connection, sends {warm_up} s of load uncounted and then the \
             counted load: {CONNECTIONS} connections, each sending the next request when it has its response. Under such a load the \
             times of requests follow from requests/s. Resident memory is read with the connections still open.\n\
             - The program that sends requests sleeps while it waits, as a client does, and waking it is part of what a server is charged. On a \
             virtual machine this may cost as much as a token, and it weighs least on a server that is so fast that the program \
             hardly sleeps.\n\
             - All get the same `POST /api/token` and return the same fields; for all but the echo the checks are: the token's \
             signature, issuer, subject, lifetime and grants.\n\
             - roomkey is the packaged program with its default log, a JSON line a request into a pipe that is read as soon as \
             something is in it. The others log nothing, add no request id or security headers, set no limits, and check no more than \
             their framework does by itself.\n\
             {callers}{realtime}{projects}{cold_start}\
             - \"{CEILING}\" is warp reading the same JSON and returning it; its response is shorter than the others'. \"warp, \
             sign\" parses, signs and replies. Both are built as roomkey is. The single steps are run in the program that measures, which \
             is built by the machine's own compiler.\n\
             - Versions:\n",
            callers = Self::callers_method(),
            realtime = Self::realtime_method(),
            projects = Self::projects_method(),
            cold_start = Self::cold_start_method(),
        );
        for peer in PEERS.iter().chain([&FASTIFY_JOSE, &WARP_MINT]) {
            writeln!(text, "  - {}: {}", peer.name, peer.versions()).unwrap();
        }
        text
    }
}

fn header(first: &str) -> String {
    let titles: Vec<_> = COLUMNS.iter().map(|column| column.title).collect();
    format!(
        "| {first} | {} |\n|---{}|\n",
        titles.join(" | "),
        "|---".repeat(COLUMNS.len())
    )
}

fn cores() -> usize {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("an unnamed processor", |(_, name)| name)
        .to_owned()
}

/// Two digits that matter, at least.
fn short(ratio: f64) -> String {
    let digits = if ratio < 0.01 {
        4
    } else if ratio < 0.1 {
        3
    } else {
        2
    };
    format!("{ratio:.digits$}")
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

/// The middle one; of two, their mean.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = numbers[middle];
    if numbers.len() % 2 == 1 {
        upper
    } else {
        f64::midpoint(numbers[middle - 1], upper)
    }
}
