//! Every path and method, and what answers them.
//!
//! One table over the full path instead of warp's path filters, which never send `Allow`.

use http::Method;

use super::edge::Edge;
use super::error::ApiError;
use super::reply::Reply;
use super::request::{BodyStream, Request};
use super::{connection_details, diagnostics, health, metrics, openapi, token, v1_token};
use crate::app::App;

/// One path and method.
#[derive(Debug)]
pub struct Route {
    /// `HEAD` works wherever `GET` does and is not listed.
    pub method: Method,
    /// The whole path, in lower case and without a slash at the end.
    pub path: &'static str,
    endpoint: Endpoint,
}

#[derive(Debug, Clone, Copy)]
enum Endpoint {
    Probe,
    Health,
    Ready,
    OpenApi,
    Token,
    PlainToken,
    ConnectionDetails,
    Metrics,
    Diagnostics,
    DiagnosticsWithMint,
}

/// The host's readiness probe and ping.
pub const PROBE: &str = "/";

/// Whether the process is alive.
pub const HEALTH: &str = "/api/health";

/// The whole surface.
pub const ROUTES: &[Route] = &[
    route(Method::GET, PROBE, Endpoint::Probe),
    route(Method::GET, HEALTH, Endpoint::Health),
    route(Method::GET, "/api/health/ready", Endpoint::Ready),
    route(Method::GET, "/api/openapi.json", Endpoint::OpenApi),
    route(Method::POST, "/api/token", Endpoint::Token),
    route(Method::POST, "/api/v1/token", Endpoint::PlainToken),
    route(
        Method::POST,
        "/api/connection-details",
        Endpoint::ConnectionDetails,
    ),
    route(Method::GET, "/api/metrics", Endpoint::Metrics),
    route(
        Method::GET,
        "/api/diagnostics/realtime",
        Endpoint::Diagnostics,
    ),
    route(
        Method::POST,
        "/api/diagnostics/realtime",
        Endpoint::DiagnosticsWithMint,
    ),
];

const fn route(method: Method, path: &'static str, endpoint: Endpoint) -> Route {
    Route {
        method,
        path,
        endpoint,
    }
}

/// Calls what answers a route.
pub(super) async fn call(
    route: &Route,
    app: &App,
    edge: &Edge,
    request: Request<'_, impl BodyStream>,
) -> Result<Reply, ApiError> {
    // What asks an upstream is boxed, so that the other routes do not carry the space that an HTTP
    // client needs.
    match route.endpoint {
        Endpoint::Probe => Ok(health::probe()),
        Endpoint::Health => health::alive(),
        Endpoint::Ready => health::ready(app, edge),
        Endpoint::OpenApi => Ok(openapi::document()),
        Endpoint::Token => token::issue(app, request).await,
        Endpoint::ConnectionDetails => connection_details::issue(app, request).await,
        Endpoint::PlainToken => Box::pin(v1_token::issue(app, request)).await,
        Endpoint::Diagnostics => Box::pin(diagnostics::probe(app, request)).await,
        Endpoint::DiagnosticsWithMint => Box::pin(diagnostics::probe_and_mint(app, request)).await,
        Endpoint::Metrics => metrics::scrape(app, request).await,
    }
}

/// What a method and a path lead to.
pub(super) enum Target {
    /// A route.
    Route(&'static Route),
    /// `OPTIONS` of a path that exists.
    Options(&'static str),
    /// The path exists, the method does not.
    WrongMethod(&'static str),
    /// No such path.
    Nothing,
}

impl Target {
    /// The path as the table has it, or `none`.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Route(route) => route.path,
            Self::Options(path) | Self::WrongMethod(path) => path,
            Self::Nothing => "none",
        }
    }
}

/// Looks the method and the path up. As in the Functions host, case does not matter and one slash
/// at the end is overlooked; double slashes and encoded ones make another path.
pub(super) fn find(method: &Method, path: &str) -> Target {
    let path = path
        .strip_suffix('/')
        .filter(|path| !path.is_empty() && !path.ends_with('/'))
        .unwrap_or(path);
    let mut known = None;
    for route in ROUTES
        .iter()
        .filter(|route| route.path.eq_ignore_ascii_case(path))
    {
        if serves(route, method) {
            return Target::Route(route);
        }
        known = Some(route.path);
    }
    match known {
        Some(path) if method == Method::OPTIONS => Target::Options(path),
        Some(path) => Target::WrongMethod(path),
        None => Target::Nothing,
    }
}

/// The methods of a path, as `Allow` lists them (RFC 9110 §10.2.1).
#[must_use]
pub fn allow(path: &str) -> String {
    let methods = ROUTES
        .iter()
        .filter(|route| route.path == path)
        .map(|route| &route.method);
    let mut allow = String::new();
    for method in methods {
        allow.push_str(method.as_str());
        allow.push_str(if method == Method::GET {
            ", HEAD, "
        } else {
            ", "
        });
    }
    allow + "OPTIONS"
}

fn serves(route: &Route, method: &Method) -> bool {
    route.method == method || (method == Method::HEAD && route.method == Method::GET)
}
