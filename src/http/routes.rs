//! The route table: every path and method, and the handler that serves it.
//!
//! It is matched over the whole path, since warp's path filters never send `Allow`.

use std::sync::LazyLock;

use futures_util::future::BoxFuture;
use http::Method;

use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use super::{
    audit_logs, audit_verify, connection_details, diagnostics, health, metrics, openapi, projects,
    session, session_end, token, turn, v1_token, vault_health,
};
use crate::app::App;

const DELETE: Method = Method::DELETE;
const GET: Method = Method::GET;
const POST: Method = Method::POST;

/// Path of the Functions host's readiness probe and ping.
pub const PROBE: &str = "/";

/// Path that tells whether the process is alive.
pub const HEALTH: &str = "/api/health";

/// All routes. `HEAD` works wherever `GET` does and is not listed.
pub static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    vec![
        route(GET, PROBE, health::probe),
        route(GET, HEALTH, health::alive),
        route(GET, "/api/health/ready", health::ready),
        route(GET, "/api/openapi.json", openapi::document),
        route(POST, "/api/token", token::issue),
        route(POST, "/api/v1/token", v1_token::issue).with(Feature::Realtime),
        route(POST, "/api/connection-details", connection_details::issue).with(Feature::LiveKit),
        route(GET, "/api/turn-credentials", turn::issue).with(Feature::Turn),
        route(POST, "/api/session", session::open).with_store(),
        route(POST, "/api/session/end", session_end::end).with_store(),
        route(POST, "/api/projects/key", projects::save::save_key).with_store(),
        route(DELETE, "/api/projects/key", projects::remove::delete_key).with_store(),
        route(
            POST,
            "/api/projects/key/rotate",
            projects::rotate::rotate_key,
        )
        .with_store(),
        route(GET, "/api/projects", projects::list::list).with_store(),
        route(GET, "/api/health/vault", vault_health::check).with_store(),
        route(GET, "/api/audit-logs", audit_logs::page).with_store(),
        route(GET, "/api/audit-logs/verify", audit_verify::verify).with_store(),
        route(GET, "/api/metrics", metrics::scrape),
        route(GET, "/api/diagnostics/realtime", diagnostics::probe),
        route(
            POST,
            "/api/diagnostics/realtime",
            diagnostics::probe_and_mint,
        ),
    ]
});

/// One path and method with its handler.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The whole path, in lower case and without a slash at the end.
    pub path: &'static str,
    /// The feature without which the route does not exist.
    pub needs: Option<Feature>,
    /// Serves a request. The future is boxed, so that all routes have one type and the memory of a
    /// request is what its own handler needs.
    pub(super) serve: Box<Serve>,
}

/// A part of the service that exists only where it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A LiveKit server.
    LiveKit,
    /// A provider of Realtime client secrets.
    Realtime,
    /// The store of project keys.
    Store,
    /// TURN servers.
    Turn,
}

type Serve =
    dyn for<'a> Fn(&'a App, Request<'a>) -> BoxFuture<'a, Result<Reply, ApiError>> + Send + Sync;

/// A handler: an `async fn(&App, Request<'_>) -> Result<Reply, ApiError>`.
trait Handler<'a> {
    /// The future that the function returns.
    type Future: Future<Output = Result<Reply, ApiError>> + Send + 'a;

    fn handle(&self, app: &'a App, request: Request<'a>) -> Self::Future;
}

impl<'a, F, R> Handler<'a> for F
where
    F: Fn(&'a App, Request<'a>) -> R,
    R: Future<Output = Result<Reply, ApiError>> + Send + 'a,
{
    type Future = R;

    fn handle(&self, app: &'a App, request: Request<'a>) -> R {
        self(app, request)
    }
}

fn route<H>(method: Method, path: &'static str, handler: H) -> Route
where
    H: for<'a> Handler<'a> + Send + Sync + 'static,
{
    Route {
        method,
        path,
        needs: None,
        serve: Box::new(move |app, request| Box::pin(handler.handle(app, request))),
    }
}

/// The result of a look-up in the route table.
pub(super) enum Target {
    /// A route.
    Route(&'static Route),
    /// `OPTIONS` of a path that exists.
    Options(&'static str),
    /// A path that exists, with a method that does not.
    WrongMethod(&'static str),
    /// A path that does not exist.
    Unknown,
}

impl Target {
    /// Returns the path as it is in the table.
    pub(super) fn path(&self) -> Option<&'static str> {
        match self {
            Self::Route(route) => Some(route.path),
            Self::Options(path) | Self::WrongMethod(path) => Some(path),
            Self::Unknown => None,
        }
    }
}

/// Finds the target of a method and a path. As in the Functions host, case does not matter and one
/// slash at the end is ignored; double slashes and encoded slashes make another path. A route does
/// not exist without the feature that it needs.
pub(super) fn find(method: &Method, path: &str, has: impl Fn(Feature) -> bool) -> Target {
    let path = path
        .strip_suffix('/')
        .filter(|path| !path.is_empty() && !path.ends_with('/'))
        .unwrap_or(path);
    let mut known = None;
    for route in ROUTES
        .iter()
        .filter(|route| route.needs.is_none_or(&has))
        .filter(|route| route.path.eq_ignore_ascii_case(path))
    {
        if route.serves(method) {
            return Target::Route(route);
        }
        known = Some(route.path);
    }
    match known {
        Some(path) if method == Method::OPTIONS => Target::Options(path),
        Some(path) => Target::WrongMethod(path),
        None => Target::Unknown,
    }
}

/// Returns the methods of a path in the form of `Allow` (RFC 9110 §10.2.1).
#[must_use]
pub fn allow(path: &str) -> String {
    let mut methods = Vec::new();
    for route in ROUTES.iter().filter(|route| route.path == path) {
        methods.push(route.method.as_str());
        if route.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.push("OPTIONS");
    methods.join(", ")
}

impl Route {
    fn with_store(self) -> Self {
        self.with(Feature::Store)
    }

    fn with(self, feature: Feature) -> Self {
        Self {
            needs: Some(feature),
            ..self
        }
    }

    fn serves(&self, method: &Method) -> bool {
        self.method == method || (method == Method::HEAD && self.method == Method::GET)
    }
}
