//! The durable audit log: its events, and the keyed chain that shows a changed, removed or
//! reordered record.
//!
//! One key per installation makes the whole chain. A key that evolves with each record and is
//! forgotten (forward-secure logging) would protect nothing here: the same process verifies the log
//! on request, and must hold the first key for that. Removing the newest records shows only against
//! the log lines, which carry each record's hash.

pub mod chain;
pub mod entry;
pub mod log_request;
