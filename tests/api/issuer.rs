//! An identity provider on a loopback address that counts its requests, and a roomkey that trusts
//! it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use roomkey::clock::Clock;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use warp::Filter;

use crate::forgery::{Forge, Terms, changed, claims, header};
use crate::harness::{NOW, Setup, TestApp};

/// The audience that roomkey accepts.
pub const AUDIENCE: &str = "api://roomkey";
pub const TENANT: &str = "aaaaaaaa-2222-3333-4444-555555555555";
pub const SCOPE: &str = "rooms.join";

/// The keys of all tests, which are slow to generate and never changed.
pub static FORGE: LazyLock<Forge> = LazyLock::new(Forge::new);

/// An identity provider that stops with the test.
pub struct Issuer {
    pub terms: Terms,
    asked: Arc<AtomicUsize>,
    keys: Arc<Mutex<String>>,
    serving: JoinHandle<()>,
}

/// The differences of a provider from a usual one.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// The path and query of the discovery document, if it is not at the usual place.
    pub discovery_at: Option<&'static str>,
    /// The delay of each response.
    pub latency: Duration,
}

impl Issuer {
    pub async fn start() -> Self {
        Self::start_with(Manner::default()).await
    }

    /// Starts an unusual provider.
    pub async fn start_with(manner: Manner) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<AtomicUsize> = Arc::default();
        let keys = Arc::new(Mutex::new(FORGE.key_set().to_string()));
        let discovery =
            json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys?p=x") }).to_string();
        let (counting, published) = (Arc::clone(&asked), Arc::clone(&keys));
        let path = warp::path::full().map(|path: warp::path::FullPath| path.as_str().to_owned());
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        let documents = path.and(query).then(move |path: String, query: String| {
            counting.fetch_add(1, Ordering::SeqCst);
            let asked_for = if query.is_empty() {
                path
            } else {
                format!("{path}?{query}")
            };
            let body = match asked_for.as_str() {
                "/keys?p=x" => published.lock().unwrap().clone(),
                asked_for
                    if asked_for
                        == manner
                            .discovery_at
                            .unwrap_or("/.well-known/openid-configuration") =>
                {
                    discovery.clone()
                }
                _ => String::new(),
            };
            async move {
                tokio::time::sleep(manner.latency).await;
                http::Response::builder()
                    .status(if body.is_empty() { 404 } else { 200 })
                    .body(body)
                    .unwrap()
            }
        });
        let serving = tokio::spawn(warp::serve(documents).incoming(listener).run());
        let terms = Terms {
            issuer,
            audience: AUDIENCE.to_owned(),
            tenant: TENANT.to_owned(),
            now: NOW.cast_signed(),
        };
        Self {
            terms,
            asked,
            keys,
            serving,
        }
    }

    /// Replaces the published key set.
    pub fn publish(&self, keys: String) {
        *self.keys.lock().unwrap() = keys;
    }

    /// Returns the number of requested documents.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns a valid token with changed claims. Null removes a claim.
    pub fn token(&self, claims_changed: Value) -> String {
        FORGE.sign(&header(), &changed(&claims(&self.terms), claims_changed))
    }

    /// Starts a roomkey that trusts this provider.
    pub fn app(&self, settings: &[(&str, &str)]) -> TestApp {
        self.app_with(settings, None)
    }

    /// Starts a roomkey like [`Issuer::app`], with the given clock.
    pub fn app_with(&self, settings: &[(&str, &str)], clock: Option<Arc<dyn Clock>>) -> TestApp {
        let base = [
            ("ROOMKEY_CALLER_AUTH", "oidc"),
            ("ROOMKEY_OIDC_ISSUER", self.terms.issuer.as_str()),
            ("ROOMKEY_OIDC_AUDIENCE", AUDIENCE),
            ("ROOMKEY_OIDC_TENANTS", TENANT),
            ("ROOMKEY_OIDC_SCOPE", SCOPE),
        ];
        Setup {
            settings: &[&base, settings].concat(),
            clock,
            ..Setup::default()
        }
        .spawn()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
