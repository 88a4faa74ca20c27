//! Minting: what roomkey adds to the upstream's time, what many mints in flight hold, and a start
//! while the vault is slow.

use std::fmt;
use std::time::Duration;

use crate::exchange;
use crate::load::{Clients, Requests, Times, Until};
use crate::machine::{self, Cores, Quiet};
use crate::peers::{PEERS, Peer, ROOMKEY_MINT, WARP_MINT, WIDE_LIMIT};
use crate::server::Server;
use crate::upstream::{API_KEY, DEPLOYMENT, Upstream};
use crate::vault::Vault;
use crate::{STARTS, WARM_UP, report};

/// Callers at once, where times are measured.
pub const CALLERS: usize = 64;
/// What the upstream takes then.
pub const UPSTREAM_TAKES: Duration = Duration::from_millis(50);
/// Mints in flight, where memory is measured.
pub const IN_FLIGHT: usize = 2_000;
/// What the upstream takes then: long enough that all are under way at once.
const UPSTREAM_HOLDS: Duration = Duration::from_secs(1);
/// What the vault takes for a secret while roomkey starts.
pub const VAULT_TAKES: Duration = Duration::from_secs(2);
/// Both ends of all connections are ours or a child's.
const FILES: u64 = 16_384;

/// What one round found.
pub struct Realtime {
    /// The bare call: p50 and p99 in ms.
    pub bare_ms: [f64; 2],
    /// The same through roomkey.
    pub roomkey_ms: [f64; 2],
    /// Connections that roomkey opened to the upstream, and mints that went over them.
    pub connections: u64,
    pub mints: usize,
    /// Most resident memory with very many mints in flight, in MB: of roomkey, and of bare warp and
    /// reqwest.
    pub roomkey_mb: f64,
    pub warp_mb: f64,
    /// Start to first `LiveKit` token while the vault is slow, in ms.
    pub first_token_ms: f64,
}

impl Realtime {
    /// Measures each once.
    pub fn measure(cores: Cores, span: Duration, quiet: &mut Quiet) -> Self {
        rlimit::increase_nofile_limit(FILES).unwrap();
        let upstream = Upstream::start();
        upstream.take(UPSTREAM_TAKES);
        let warm_up = Until::Elapsed(WARM_UP.min(span));

        let mut clients = Clients::connect(
            upstream.address,
            CALLERS,
            Requests::same(upstream.request()),
        );
        clients.run(warm_up);
        let bare_ms = percentiles(&clients.run(Until::Elapsed(span)));
        drop(clients);

        let before = upstream.connections();
        let server = start(&ROOMKEY_MINT, &upstream, cores);
        let mut clients = Clients::connect(
            server.address,
            CALLERS,
            Requests::same(exchange::mint_request()),
        );
        let warm = clients.run(warm_up).count();
        let (times, cost) =
            machine::cost_of(cores, server.id(), || clients.run(Until::Elapsed(span)));
        quiet.note(&cost);
        let (through, connections, mints) = (
            percentiles(&times),
            upstream.connections() - before,
            warm + times.count(),
        );
        drop((clients, server));

        let [roomkey_mb, warp_mb] =
            [&ROOMKEY_MINT, &WARP_MINT].map(|peer| memory_in_flight(peer, &upstream, cores));
        let first_token_ms = first_token_ms(&upstream, cores);
        Self {
            bare_ms,
            roomkey_ms: through,
            connections,
            mints,
            roomkey_mb,
            warp_mb,
            first_token_ms,
        }
    }

    /// What roomkey added, in ms: to the p50 and to the p99.
    pub fn added_ms(&self) -> [f64; 2] {
        [0, 1].map(|which| self.roomkey_ms[which] - self.bare_ms[which])
    }
}

fn settings(upstream: &Upstream) -> [(&'static str, String); 4] {
    [
        ("AZURE_OPENAI_ENDPOINT", upstream.url()),
        ("AZURE_OPENAI_DEPLOYMENT", DEPLOYMENT.to_owned()),
        ("AZURE_OPENAI_API_KEY", API_KEY.to_owned()),
        ("ROOMKEY_REALTIME_RATE_LIMIT", WIDE_LIMIT.to_owned()),
    ]
}

fn start(peer: &Peer, upstream: &Upstream, cores: Cores) -> Server {
    let settings = settings(upstream);
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Server::start_with(peer, &settings, &exchange::mint_request(), cores)
}

fn percentiles(times: &Times) -> [f64; 2] {
    [times.percentile_ms(50), times.percentile_ms(99)]
}

fn memory_in_flight(peer: &Peer, upstream: &Upstream, cores: Cores) -> f64 {
    upstream.take(UPSTREAM_TAKES);
    let server = start(peer, upstream, cores);
    upstream.take(UPSTREAM_HOLDS);
    let mut clients = Clients::connect(
        server.address,
        IN_FLIGHT,
        Requests::same(exchange::mint_request()),
    );
    clients.run(Until::Requests(2 * u64::try_from(IN_FLIGHT).unwrap()));
    upstream.take(UPSTREAM_TAKES);
    machine::memory_mb(server.id(), "VmHWM")
}

fn first_token_ms(upstream: &Upstream, cores: Cores) -> f64 {
    let vault = Vault::start(
        &[("azure-openai-key", API_KEY)],
        VAULT_TAKES,
        Duration::ZERO,
    );
    let url = upstream.url();
    let azure = [
        ("AZURE_OPENAI_ENDPOINT", url.as_str()),
        ("AZURE_OPENAI_DEPLOYMENT", DEPLOYMENT),
        ("AZURE_OPENAI_API_KEY_SECRET_NAME", "azure-openai-key"),
    ];
    let settings = [&vault.settings()[..], &azure].concat();
    let start = || {
        Server::start_with(&PEERS[0], &settings, &exchange::request(), cores)
            .first_token
            .as_secs_f64()
            * 1e3
    };
    // Uncounted: the vault shares the core of the program that asks, and its own first handshake
    // would hold that up.
    start();
    report::median((0..STARTS).map(|_| start()).collect())
}

impl fmt::Display for Realtime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = self.added_ms();
        let Self {
            connections,
            mints,
            roomkey_mb,
            warp_mb,
            first_token_ms,
            ..
        } = self;
        write!(
            formatter,
            "minting adds {p50:.2} ms to the p50 and {p99:.2} ms to the p99, {mints} mints over {connections} connections, "
        )?;
        write!(
            formatter,
            "{roomkey_mb:.1} and {warp_mb:.1} MB in flight, first token beside a slow vault {first_token_ms:.1} ms"
        )
    }
}
