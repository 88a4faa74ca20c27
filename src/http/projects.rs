//! The routes of project keys, for operators. They exist where a store is configured.

pub mod entity_tag;
pub mod list;
pub mod remove;
pub mod rotate;
pub mod save;
