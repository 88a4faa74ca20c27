//! Sessions of projects: what roomkey adds to the upstream's time, what the routes of operators
//! take, and a start, all with a store in a SQLite file.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::exchange;
use crate::load::{Clients, Requests, Times, Until};
use crate::machine::{self, Cores};
use crate::peers::{PEERS, ROOMKEY_SESSION};
use crate::realtime::UPSTREAM_TAKES;
use crate::server::Server;
use crate::upstream::{API_KEY, Upstream};
use crate::{STARTS, report};

/// The projects in the store.
pub const PROJECTS: usize = 1_000;
/// The sessions that are opened one after the other.
pub const SESSIONS: usize = 200;
/// The projects on one page of a listing.
pub const PAGE: usize = 100;
/// The listings that are requested one after the other.
const LISTINGS: u64 = 100;

const ADMIN: &str = "X-Admin-API-Key: an-admin-key-for-benchmarks-only-0123\r\n";

/// The result of one round, in ms unless it says otherwise.
pub struct Projects {
    /// The p50 of the upstream, called directly.
    pub bare_ms: f64,
    /// The p50 of a session.
    pub session_ms: f64,
    /// The p50 of saving a key.
    pub save_ms: f64,
    /// The p50 of a page of a listing.
    pub list_ms: f64,
    /// All keys, sealed again under another key-encryption key.
    pub rotate_ms: f64,
    /// From the start to the first `LiveKit` token, over a store with all projects.
    pub first_token_ms: f64,
    /// Resident memory after all of it, in MB.
    pub resident_mb: f64,
}

impl Projects {
    /// Measures each once.
    pub fn measure(cores: Cores) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::start();
        let settings = settings(&folder, &upstream);
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let start = |peer, request: &[u8]| Server::start_with(peer, &settings, request, cores);
        let save = |number| {
            let body = json!({ "project_id": format!("p{number}"), "openai_key": API_KEY });
            exchange::post("/api/projects/key", &body, ADMIN)
        };
        let session = |number| {
            let body = json!({ "project_id": format!("p{number}"), "voice": "marin" });
            exchange::post("/api/session", &body, "")
        };

        let server = start(&PEERS[0], &exchange::request());
        let alone =
            |requests: Requests, until| Clients::connect(server.address, 1, requests).run(until);
        let each = |list: Vec<Vec<u8>>| {
            let count = u64::try_from(list.len()).unwrap();
            let list: Arc<[Vec<u8>]> = list.into();
            alone(Requests::each_once(&list), Until::Requests(count))
        };
        let save_ms = p50(&each((0..PROJECTS).map(save).collect()));

        upstream.take(UPSTREAM_TAKES);
        let count = Until::Requests(u64::try_from(SESSIONS).unwrap());
        let mut direct = Clients::connect(upstream.address, 1, Requests::same(upstream.request()));
        let bare_ms = p50(&direct.run(count));
        drop(direct);
        // The first one opens the connection to the upstream.
        each(vec![session(PROJECTS - 1)]);
        let session_ms = p50(&each((0..SESSIONS).map(session).collect()));
        upstream.take(Duration::ZERO);

        let list = exchange::get(&format!("/api/projects?limit={PAGE}"), ADMIN);
        let list_ms = p50(&alone(Requests::same(list), Until::Requests(LISTINGS)));
        // One call goes on for as long as a request may, and this many keys take less.
        let all = json!({ "all": true, "kek_version": "v2" });
        let rotate = exchange::post("/api/projects/key/rotate", &all, ADMIN);
        let rotate_ms = p50(&alone(Requests::same(rotate), Until::Requests(1)));
        let resident_mb = machine::memory_mb(server.id(), "VmRSS");
        drop(server);

        let first_token_ms = report::median(
            (0..STARTS)
                .map(|_| start(&PEERS[0], &exchange::request()).first_token)
                .map(|time| time.as_secs_f64() * 1e3)
                .collect(),
        );
        // A session after it: the store is open, and holds what was saved.
        start(&ROOMKEY_SESSION, &session(0));
        Self {
            bare_ms,
            session_ms,
            save_ms,
            list_ms,
            rotate_ms,
            first_token_ms,
            resident_mb,
        }
    }

    /// What roomkey added to the p50.
    pub fn added_ms(&self) -> f64 {
        self.session_ms - self.bare_ms
    }
}

fn settings(folder: &tempfile::TempDir, upstream: &Upstream) -> [(&'static str, String); 9] {
    let projects: Vec<_> = (0..PROJECTS).map(|number| format!("p{number}")).collect();
    let store = folder.path().join("store.db");
    let kek = |digit: &str| digit.repeat(42) + "A";
    [
        ("ROOMKEY_STORE", format!("sqlite:{}", store.display())),
        ("ROOMKEY_KEK_V1", kek("b")),
        ("ROOMKEY_KEK_V2", kek("c")),
        ("ROOMKEY_KEK_VERSION", "v1".to_owned()),
        ("ROOMKEY_HASH_KEY", exchange::API_SECRET.to_owned()),
        (
            "ROOMKEY_ADMIN_KEYS",
            "an-admin-key-for-benchmarks-only-0123".to_owned(),
        ),
        ("ROOMKEY_ANONYMOUS_PROJECTS", projects.join(",")),
        ("ROOMKEY_REALTIME_RATE_LIMIT", "off".to_owned()),
        ("OPENAI_BASE_URL", format!("{}/v1", upstream.url())),
    ]
}

fn p50(times: &Times) -> f64 {
    times.percentile_ms(50)
}

impl fmt::Display for Projects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            save_ms,
            list_ms,
            rotate_ms,
            first_token_ms,
            resident_mb,
            ..
        } = self;
        let added = self.added_ms();
        write!(
            formatter,
            "a session adds {added:.2} ms, save {save_ms:.2}, list {list_ms:.2}, rotate all \
             {rotate_ms:.0} ms, first token {first_token_ms:.1} ms, {resident_mb:.1} MB"
        )
    }
}
