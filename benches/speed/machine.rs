//! The machine: who gets which core, what else ran meanwhile, and whether it was quiet enough to
//! believe the numbers.

use std::fs;
use std::hint::black_box;

use roomkey::clock::Stopwatch;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A tick of `/proc` in seconds (`USER_HZ` is 100 on Linux, for every architecture that roomkey is
/// packaged for).
const TICK: f64 = 0.01;

/// Two cores: one for the server that is measured, one for this program, which sends the requests
/// and drains the logs.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    pub server: usize,
    pub load: usize,
}

impl Cores {
    /// The last and the first that we may use: never two threads of one core, unless there is only
    /// one.
    pub fn pick() -> Self {
        let allowed = sched_getaffinity(None).unwrap();
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let load = usable.next().unwrap();
        let server = usable
            .next_back()
            .expect("two cores are needed: one for the server, one for the requests");
        Self { server, load }
    }
}

/// Moves the calling thread. Threads and processes that it starts begin there too.
pub fn stay_on(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).unwrap();
}

/// The CPU time in seconds that a process and its descendants have used so far.
fn cpu_seconds(process: u32) -> f64 {
    family(process)
        .iter()
        .map(|process| ticks_of(*process))
        .sum::<f64>()
        * TICK
}

/// A memory line of a process and its descendants, such as `VmRSS`, in MB (10⁶ bytes).
pub fn memory_mb(process: u32, line: &str) -> f64 {
    let kib = |process: &u32| -> f64 {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let value = status
            .lines()
            .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))
            .unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    };
    family(process).iter().map(kib).sum::<f64>() * 1024.0 / 1e6
}

fn family(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    for thread in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let children =
            fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .flat_map(|child| family(child.parse().unwrap())),
        );
    }
    found
}

/// User and system time: fields 14 and 15 of proc(5)'s `stat`, counted from behind the name, which
/// may hold spaces.
fn ticks_of(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum()
}

/// What the two cores did for others, in seconds: user, nice, system and stolen time of
/// `/proc/stat`.
fn busy_seconds(cores: Cores) -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let busy = |core: usize| -> f64 {
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cpu{core} ")))
            .unwrap();
        let ticks: Vec<f64> = line
            .split_whitespace()
            .map(|ticks| ticks.parse().unwrap())
            .collect();
        ticks[0] + ticks[1] + ticks[2] + ticks[7]
    };
    (busy(cores.server) + busy(cores.load)) * TICK
}

/// What a span of load cost.
pub struct Cost {
    /// CPU seconds of the server.
    pub server: f64,
    /// CPU seconds of this program.
    pub load: f64,
    /// The share of both cores that went to anything else, from 0 to 1.
    pub others: f64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Runs something and says what it cost.
pub fn cost_of<T>(cores: Cores, server: u32, work: impl FnOnce() -> T) -> (T, Cost) {
    let ours = std::process::id();
    let now = || {
        (
            cpu_seconds(server),
            ticks_of(ours) * TICK,
            busy_seconds(cores),
        )
    };
    let stopwatch = Stopwatch::start();
    let before = now();
    let done = work();
    let after = now();
    let seconds = stopwatch.elapsed().as_secs_f64();
    let (server, load) = (after.0 - before.0, after.1 - before.1);
    let others = ((after.2 - before.2 - server - load) / (2.0 * seconds)).max(0.0);
    (
        done,
        Cost {
            server,
            load,
            others,
            seconds,
        },
    )
}

/// How quiet the machine was.
#[derive(Default)]
pub struct Quiet {
    /// Seconds of the fixed loop, round by round.
    calibrations: Vec<Vec<f64>>,
    others: Vec<f64>,
}

impl Quiet {
    /// The largest share of both cores that others may take during any one measurement.
    pub const MAX_OTHERS: f64 = 0.03;

    /// Begins a round.
    pub fn begin_round(&mut self) {
        self.calibrations.push(Vec::new());
    }

    /// Times a fixed loop, about 0.1 s, on the server's core.
    pub fn calibrate(&mut self, cores: Cores) {
        stay_on(cores.server);
        let stopwatch = Stopwatch::start();
        let mut state = 1_u64;
        for _ in 0..50_000_000 {
            state = black_box(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            );
        }
        self.calibrations
            .last_mut()
            .unwrap()
            .push(stopwatch.elapsed().as_secs_f64());
        stay_on(cores.load);
    }

    /// Notes what others took during a measurement.
    pub fn note(&mut self, cost: &Cost) {
        self.others.push(cost.others);
    }

    /// How much longer the slowest loop of a round took than its fastest, at most.
    pub fn spread(&self) -> f64 {
        let spread = |round: &Vec<f64>| {
            let slowest = round.iter().copied().fold(0.0, f64::max);
            let fastest = round.iter().copied().fold(f64::INFINITY, f64::min);
            slowest / fastest - 1.0
        };
        self.calibrations.iter().map(spread).fold(0.0, f64::max)
    }

    /// The largest share that others took.
    pub fn others(&self) -> f64 {
        self.others.iter().copied().fold(0.0, f64::max)
    }
}
