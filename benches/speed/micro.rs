//! What single steps of a request cost, each called alone.

use std::hint::black_box;
use std::time::Duration;

use roomkey::clock::{Clock, Stopwatch, SystemClock};
use roomkey::domain::audit::{Action, Actor, AuditEvent, IssuedCredential, Outcome};
use roomkey::domain::callers::caller_hash::HashKey;
use roomkey::domain::limits::rate_limit::{Budget, Cost, RateLimit};
use roomkey::domain::livekit::access_token::{Attachments, JoinGrant, Signer};
use roomkey::domain::livekit::lifetime::Validity;
use roomkey::domain::livekit::names::ParticipantIdentity;
use roomkey::domain::livekit::participant_name::ParticipantName;
use roomkey::domain::livekit::token_request::{RequestPolicy, TokenRequest};
use roomkey::domain::requests::fields::Fields;
use roomkey::domain::requests::provider::Provider;
use roomkey::domain::settings::log_format::LogFormat;
use roomkey::entropy::{Entropy, SystemEntropy};
use roomkey::store::counters::Counters;
use roomkey::telemetry::{self, AccessRecord, CorrelationIds};
use tracing::Level;

use crate::exchange;
use crate::peers::WIDE_LIMIT;

/// Batches of each step; the steps take turns.
const BATCHES: usize = 15;
/// Calls in one batch; about 20 ms.
const CALLS: u32 = 10_000;

/// The step that counts a request against a limit in memory.
pub const LIMITER: &str = "count a request against a limit in memory";

/// One step and the median of its batches, in nanoseconds a call.
pub struct Step {
    pub name: &'static str,
    pub nanoseconds: f64,
}

/// Times every step.
pub fn run() -> Vec<Step> {
    let body = exchange::body().to_string();
    let limits = RequestPolicy::default();
    let TokenRequest::LiveKit(wanted) = TokenRequest::parse(body.as_bytes(), &limits).unwrap()
    else {
        unreachable!()
    };
    let validity = Validity::starting_at(SystemClock.now(), wanted.lifetime);
    let grant = JoinGrant {
        room_name: wanted.room_name,
        participant_identity: ParticipantIdentity::parse("alice").unwrap(),
        participant_name: ParticipantName::parse("Alice").unwrap(),
        role: wanted.role,
        attachments: Attachments::default(),
    };
    let signer = Signer::new(exchange::API_KEY.into(), &exchange::API_SECRET.into());
    let entropy: &dyn Entropy = &SystemEntropy;
    let caller = HashKey::new(exchange::API_SECRET.as_bytes()).hash("caller", b"127.0.0.1");
    let ids = CorrelationIds {
        request_id: entropy.uuid(),
        trace_id: None,
    };
    let room_name = grant.room_name.clone();
    let issued = IssuedCredential::Token(entropy.uuid());
    let event = AuditEvent {
        actor: Actor::Caller(caller),
        action: Action::IssueToken,
        provider: Some(Provider::LiveKit.as_str()),
        target: Some(&room_name),
        outcome: Outcome::Issued(&issued),
        occurred_at: SystemClock.now(),
    };
    let Counters::Memory(counters) = Counters::in_memory() else {
        unreachable!()
    };
    let budget = Budget {
        name: "token",
        limit: RateLimit::parse(WIDE_LIMIT).unwrap(),
    };
    let access = AccessRecord {
        ids,
        method: "POST",
        route: "/api/token",
        status: 200,
        code: None,
        cause: None,
        caller: Some(Actor::Caller(caller)),
        provider: Some("livekit"),
        upstream_id: None,
        duration: Duration::from_micros(21),
    };
    let _lines = tracing::subscriber::set_default(telemetry::subscriber(
        Level::INFO,
        LogFormat::Json,
        std::io::sink,
    ));

    let mut steps: [(&str, &dyn Fn()); 6] = [
        ("parse: the strict JSON pass", &|| {
            drop(black_box(Fields::read(black_box(body.as_bytes()))));
        }),
        ("parse and validate every field", &|| {
            drop(black_box(TokenRequest::parse(
                black_box(body.as_bytes()),
                &limits,
            )));
        }),
        ("sign, with a fresh `jti`", &|| {
            drop(black_box(signer.sign(
                black_box(&grant),
                validity,
                entropy.uuid(),
            )));
        }),
        ("write the access line, to nowhere", &|| {
            telemetry::access(black_box(&access));
        }),
        ("write the audit line, to nowhere", &|| {
            telemetry::audit(ids, black_box(&event));
        }),
        (LIMITER, &|| {
            black_box(counters.decide(&budget, black_box(caller), SystemClock.now(), Cost::One));
        }),
    ];
    let mut batches = steps.map(|_| Vec::new());
    for _ in 0..BATCHES {
        for ((_, step), times) in steps.iter_mut().zip(&mut batches) {
            let stopwatch = Stopwatch::start();
            for _ in 0..CALLS {
                step();
            }
            times.push(stopwatch.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
    }
    steps
        .iter()
        .zip(batches)
        .map(|((name, _), times)| Step {
            name,
            nanoseconds: crate::report::median(times),
        })
        .collect()
}
