//! Request bodies: strict JSON, typed fields with all errors at once, and the provider; cursors of
//! listings.

pub mod cursor;
pub mod fields;
pub mod json;
pub mod provider;
pub mod query;
