//! Measures roomkey beside other servers, on this machine, and writes `docs/benchmarks.md`:
//! `make bench`.
//!
//! Every server has one core and the program that asks has another. Rounds visit the servers in
//! turn, so that what slows the machine for a while slows them all; only ratios within a round are
//! compared.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement stops at the first surprise"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "servers are started with an environment of their own"
)]

mod callers;
mod cold_start;
mod exchange;
mod issuer;
mod load;
mod machine;
mod micro;
mod peers;
mod projects;
mod realtime;
mod redis;
mod report;
mod server;
mod upstream;
mod vault;

use std::time::Duration;

use callers::{Callers, Stage};
use cold_start::ColdStart;
use load::{CONNECTIONS, Clients, Requests, Until};
use machine::{Cores, Quiet};
use peers::{PEERS, Peer};
use projects::Projects;
use realtime::Realtime;
use report::{Report, Turn};
use server::Server;

/// Starts per turn; the last one stays for the load.
const STARTS: usize = 3;
/// Answers that are checked on each connection before any is counted.
const VERIFIED: usize = 8;
/// Uncounted load before the counted one, so that compilers at run time have done their work.
const WARM_UP: Duration = Duration::from_secs(2);
/// The endurance run: so many steps of so many requests.
const STEPS: u64 = 10;
const REQUESTS_PER_STEP: u64 = 100_000;
/// A run with less than this is a trial and leaves the document alone.
const FULL: (usize, u64) = (5, 5);

fn main() {
    // Cargo adds an option of its own.
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse::<u64>().ok());
    let rounds = numbers
        .next()
        .map_or(FULL.0, |rounds| usize::try_from(rounds).unwrap())
        .max(1);
    let seconds = numbers.next().unwrap_or(FULL.1).max(1);

    let cores = Cores::pick();
    machine::stay_on(cores.load);
    let mut report = Report::new(rounds, seconds);

    println!("Single steps …");
    machine::stay_on(cores.server);
    report.steps = micro::run();
    machine::stay_on(cores.load);

    println!("Signing tokens of callers …");
    let stage = Stage::prepare(cores);

    // Once and uncounted, so that no first start waits for the disk.
    for peer in &PEERS {
        Server::start(peer, cores).stop();
    }
    for round in 1..=rounds {
        report.quiet.begin_round();
        for (peer, turns) in PEERS.iter().zip(&mut report.turns) {
            report.quiet.calibrate(cores);
            let turn = measure(peer, cores, Duration::from_secs(seconds), &mut report.quiet);
            println!(
                "Round {round}/{rounds}  {:<10} {:>8.0} requests/s",
                peer.name, turn.requests_per_second
            );
            turns.push(turn);
        }
        report.quiet.calibrate(cores);
        report.callers.push(Callers::measure(
            &stage,
            Duration::from_secs(seconds),
            &mut report.quiet,
        ));
        report.quiet.calibrate(cores);
        println!("Round {round}/{rounds}  {}", report.callers[round - 1]);
        report.realtime.push(Realtime::measure(
            cores,
            Duration::from_secs(seconds),
            &mut report.quiet,
        ));
        report.quiet.calibrate(cores);
        println!("Round {round}/{rounds}  {}", report.realtime[round - 1]);
        report.projects.push(Projects::measure(cores));
        println!("Round {round}/{rounds}  {}", report.projects[round - 1]);
        report.cold_starts.push(ColdStart::measure(&stage, cores));
        println!("Round {round}/{rounds}  {}", report.cold_starts[round - 1]);
    }

    println!("Memory of {} callers …", callers::MANY);
    report.callers_mb = stage.memory_of_many_callers();
    println!("Memory over {} requests …", STEPS * REQUESTS_PER_STEP);
    report.memory = endurance(&PEERS[0], cores);

    report.publish(rounds >= FULL.0 && seconds >= FULL.1);
}

fn measure(peer: &Peer, cores: Cores, span: Duration, quiet: &mut Quiet) -> Turn {
    let mut starts: Vec<f64> = (1..STARTS)
        .map(|_| first_token_ms(&Server::start(peer, cores)))
        .collect();
    let server = Server::start(peer, cores);
    starts.push(first_token_ms(&server));

    let mut clients = Clients::connect(
        server.address,
        CONNECTIONS,
        Requests::same(exchange::request()),
    );
    clients.verify(VERIFIED, peer.check);
    clients.run(Until::Elapsed(WARM_UP.min(span)));
    let (times, cost) = machine::cost_of(cores, server.id(), || clients.run(Until::Elapsed(span)));
    quiet.note(&cost);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let requests = times.count() as f64;
    Turn {
        requests_per_second: times.per_second(),
        p50_ms: times.percentile_ms(50),
        p99_ms: times.percentile_ms(99),
        first_token_ms: report::median(starts),
        resident_mb: machine::memory_mb(server.id(), "VmRSS"),
        cpu_ms: cost.server * 1e3 * 1e4 / requests,
        load_share: cost.load / cost.seconds,
    }
}

fn first_token_ms(server: &Server) -> f64 {
    server.first_token.as_secs_f64() * 1e3
}

/// Resident memory in MB of one process, before any load and after each step.
fn endurance(peer: &Peer, cores: Cores) -> Vec<f64> {
    let server = Server::start(peer, cores);
    let mut clients = Clients::connect(
        server.address,
        CONNECTIONS,
        Requests::same(exchange::request()),
    );
    clients.verify(VERIFIED, peer.check);
    let mut resident = vec![machine::memory_mb(server.id(), "VmRSS")];
    for _ in 0..STEPS {
        clients.run(Until::Requests(REQUESTS_PER_STEP));
        resident.push(machine::memory_mb(server.id(), "VmRSS"));
    }
    resident
}
