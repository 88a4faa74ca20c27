//! An identity provider on a loopback address that counts what it is asked, and roomkey that trusts it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use warp::Filter;

use crate::forgery::{Forge, Terms, changed, claims, header};
use crate::harness::{NOW, Setup, TestApp};

/// What roomkey is told to accept.
pub const AUDIENCE: &str = "api://roomkey";
pub const TENANT: &str = "aaaaaaaa-2222-3333-4444-555555555555";
pub const SCOPE: &str = "rooms.join";

/// Keys are slow to make, and no test changes them.
pub static FORGE: LazyLock<Forge> = LazyLock::new(Forge::new);

/// A provider; it ends with the test.
pub struct Issuer {
    pub terms: Terms,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<AtomicUsize> = Arc::default();
        let counting = Arc::clone(&asked);
        let discovery = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
        let keys = FORGE.key_set();
        let documents = warp::path::full().map(move |path: warp::path::FullPath| {
            counting.fetch_add(1, Ordering::SeqCst);
            warp::reply::json(if path.as_str() == "/keys" { &keys } else { &discovery })
        });
        let serving = tokio::spawn(warp::serve(documents).incoming(listener).run());
        let terms = Terms { issuer, audience: AUDIENCE.to_owned(), tenant: TENANT.to_owned(), now: NOW.cast_signed() };
        Self { terms, asked, serving }
    }

    /// How many documents were asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A good token with claims changed; null takes one away.
    pub fn token(&self, claims_changed: Value) -> String {
        FORGE.sign(&header(), &changed(&claims(&self.terms), claims_changed))
    }

    /// roomkey for callers with a token of this provider.
    pub fn app(&self, settings: &[(&str, &str)]) -> TestApp {
        let base = [
            ("ROOMKEY_CALLER_AUTH", "oidc"),
            ("ROOMKEY_OIDC_ISSUER", self.terms.issuer.as_str()),
            ("ROOMKEY_OIDC_AUDIENCE", AUDIENCE),
            ("ROOMKEY_OIDC_TENANTS", TENANT),
            ("ROOMKEY_OIDC_SCOPE", SCOPE),
        ];
        Setup { settings: &[&base, settings].concat(), ..Setup::default() }.spawn()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
