//! The HTTP API, the only module that serves HTTP and names warp. [`routes`] is the route table,
//! [`dispatch`] has the steps of every request, and each resource has a file of its own.

mod caller;
mod connection;
mod connection_details;
mod cors;
mod diagnostics;
mod dispatch;
pub mod edge;
pub mod error;
mod guard;
mod head;
mod health;
mod host;
mod livekit;
mod metrics;
pub mod openapi;
mod origin;
mod problem;
pub mod rate_limit_headers;
mod realtime;
mod record;
mod reply;
mod request;
mod request_log;
pub mod routes;
pub mod server;
mod token;
mod turn;
mod unlogged;
mod v1_token;
