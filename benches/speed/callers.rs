//! What it costs to know who asks and how often: bearers seen before and not, limits in Redis, and
//! very many callers.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::issuer::{AUDIENCE, Issuer, SCOPE};
use crate::load::{CONNECTIONS, Clients, Requests, Times, Until};
use crate::machine::{self, Cores, Quiet};
use crate::peers::{FASTIFY_JOSE, PEERS, Peer};
use crate::redis::Redis;
use crate::server::Server;
use crate::{VERIFIED, WARM_UP, exchange};

/// Tokens that are signed ahead. A load that sends each once ends with the last one.
pub const TOKENS: usize = 40_000;
/// Of them, those that are sent before any is counted.
const WARM_UP_TOKENS: u64 = 4_000;
/// Callers whose memory is measured, each with an address of his own.
pub const MANY: u32 = 100_000;
/// Requests for one p50 with Redis and without, one after the other: what Redis adds must not hide
/// in a queue.
pub const ALONE: u64 = 5_000;

/// What all rounds share.
pub struct Stage {
    cores: Cores,
    issuer: Issuer,
    /// The request with each of the tokens.
    bearers: Arc<[Vec<u8>]>,
}

/// What one round found.
pub struct Callers {
    /// Requests/s of anonymous callers.
    pub anonymous: f64,
    /// Requests/s with one bearer, sent again and again.
    pub seen: f64,
    /// Requests/s with another bearer each time.
    pub first_seen: f64,
    /// The same of Fastify + jose.
    pub jose: f64,
    /// p50 of one connection with limits in memory, in ms.
    pub memory_p50_ms: f64,
    /// The same with limits in Redis.
    pub redis_p50_ms: f64,
}

impl Stage {
    /// Starts the issuer and signs.
    pub fn prepare(cores: Cores) -> Self {
        let issuer = Issuer::start();
        let with = |token| exchange::request_with(&format!("Authorization: Bearer {token}\r\n"));
        let bearers = issuer.tokens(TOKENS).map(with).collect();
        Self {
            cores,
            issuer,
            bearers,
        }
    }

    /// Resident memory of roomkey in MB after one request of each of very many callers.
    pub fn memory_of_many_callers(&self) -> f64 {
        let settings = [("ROOMKEY_TRUSTED_PROXIES", "127.0.0.1/32")];
        let server = Server::start_with(&PEERS[0], &settings, &exchange::request(), self.cores);
        let address =
            |number: u32| Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number);
        let each = (0..MANY)
            .map(|number| {
                exchange::request_with(&format!("X-Forwarded-For: {}\r\n", address(number)))
            })
            .collect();
        let mut clients = Clients::connect(server.address, CONNECTIONS, Requests::each_once(&each));
        let times = clients.run(Until::Requests(MANY.into()));
        assert_eq!(times.count(), usize::try_from(MANY).unwrap());
        machine::memory_mb(server.id(), "VmRSS")
    }

    /// Starts a server for signed-in callers.
    pub fn server(&self, peer: &Peer) -> Server {
        let settings = [
            ("ROOMKEY_CALLER_AUTH", "oidc"),
            ("ROOMKEY_OIDC_ISSUER", &self.issuer.url),
            ("ROOMKEY_OIDC_AUDIENCE", AUDIENCE),
            ("ROOMKEY_OIDC_SCOPE", SCOPE),
        ];
        Server::start_with(peer, &settings, &self.bearers[0], self.cores)
    }

    fn per_second(
        &self,
        server: &Server,
        requests: Requests,
        warm_up: Until,
        until: Until,
        quiet: &mut Quiet,
    ) -> f64 {
        let mut clients = Clients::connect(server.address, CONNECTIONS, requests);
        clients.verify(VERIFIED, exchange::check_token);
        clients.run(warm_up);
        let (times, cost) = machine::cost_of(self.cores, server.id(), || clients.run(until));
        quiet.note(&cost);
        times.per_second()
    }
}

impl Callers {
    /// Measures each way once.
    pub fn measure(stage: &Stage, span: Duration, quiet: &mut Quiet) -> Self {
        let (warm_up, until) = (Until::Elapsed(WARM_UP.min(span)), Until::Elapsed(span));
        let anonymous = Server::start(&PEERS[0], stage.cores);
        let anonymous = stage.per_second(
            &anonymous,
            Requests::same(exchange::request()),
            warm_up,
            until,
            quiet,
        );
        let seen = stage.server(&PEERS[0]);
        let seen = stage.per_second(
            &seen,
            Requests::same(stage.bearers[0].clone()),
            warm_up,
            until,
            quiet,
        );
        let [first_seen, jose] = [&PEERS[0], &FASTIFY_JOSE].map(|peer| {
            let each = Requests::each_once(&stage.bearers);
            stage.per_second(
                &stage.server(peer),
                each,
                Until::Requests(WARM_UP_TOKENS),
                until,
                quiet,
            )
        });
        let (memory_p50_ms, redis_p50_ms) = alone_with_and_without_redis(stage.cores);
        Self {
            anonymous,
            seen,
            first_seen,
            jose,
            memory_p50_ms,
            redis_p50_ms,
        }
    }
}

/// The p50 in ms of one connection: with limits in memory, and in Redis.
fn alone_with_and_without_redis(cores: Cores) -> (f64, f64) {
    let p50 = |settings: &[(&str, &str)]| {
        let server = Server::start_with(&PEERS[0], settings, &exchange::request(), cores);
        let mut clients = Clients::connect(server.address, 1, Requests::same(exchange::request()));
        clients.run(Until::Requests(ALONE));
        let times: Times = clients.run(Until::Requests(ALONE));
        times.percentile_ms(50)
    };
    let in_memory = p50(&[]);
    let redis = Redis::start();
    let in_redis = p50(&[
        ("ROOMKEY_REDIS_URL", &redis.url()),
        (
            "ROOMKEY_HASH_KEY",
            "a-hash-key-for-benchmarks-only-0123456789",
        ),
    ]);
    // Else the p50 would be of the limit that stands in for Redis.
    assert!(redis.scripts_run().unwrap() >= ALONE, "Redis was not asked");
    (in_memory, in_redis)
}

impl fmt::Display for Callers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            anonymous,
            seen,
            first_seen,
            jose,
            ..
        } = self;
        let added = self.redis_p50_ms - self.memory_p50_ms;
        write!(
            formatter,
            "anonymous {anonymous:.0}, seen {seen:.0}, first seen {first_seen:.0}, jose {jose:.0} requests/s, "
        )?;
        write!(formatter, "Redis adds {added:.2} ms")
    }
}
