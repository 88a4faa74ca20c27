//! Settings of the process: address, `host.json` and log lines.

use super::setting::{Setting, optional, with_default};

/// The app setting that overrides the route prefix of `host.json`.
pub const ROUTE_PREFIX: &str = "AzureFunctionsJobHost__extensions__http__routePrefix";

pub(super) const SERVER: &[Setting] = &[
    with_default(
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "7071",
        "The port to listen on. The Functions host sets it. With 0 roomkey takes a free port and \
         prints it.",
    ),
    with_default(
        "ROOMKEY_BIND",
        "127.0.0.1",
        "The IP address to listen on. The Functions host connects to 127.0.0.1; in a container of \
         your own set 0.0.0.0.",
    ),
    with_default(
        "FUNCTIONS_APP_ROOT_PATH",
        "the working directory",
        "The folder that contains `host.json`, whose `cors` block lists the allowed origins. The \
         Functions host sets it.",
    ),
    with_default(
        ROUTE_PREFIX,
        "`host.json`, else api",
        "The Functions host's own override of `extensions.http.routePrefix` in `host.json`. Leave \
         both out or set them to `api`.",
    ),
    optional(
        "AZURE_FUNCTIONS_ENVIRONMENT",
        "Set by the Functions host. `Development` means Core Tools; then only requests for a \
         loopback host name are served.",
    ),
];

pub(super) const LOG: &[Setting] = &[
    with_default(
        "ROOMKEY_LOG",
        "info",
        "The lowest level of log lines to write: `error`, `warn`, `info` or `debug`.",
    ),
    with_default(
        "ROOMKEY_LOG_FORMAT",
        "json; on a terminal text",
        "The format of log lines: `json` or `text`.",
    ),
];
