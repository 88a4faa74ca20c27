//! A setting that is wrong, and what to do about it.

use std::fmt;
use std::net::SocketAddr;

use crate::domain::requests::fields::Requirement;

/// Reports one setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name of the setting, or `host.json`.
    pub setting: String,
    /// The change to make, without the value.
    pub remedy: Requirement,
}

impl Fault {
    /// Creates a fault of one setting.
    #[must_use]
    pub fn new(setting: &str, remedy: impl Into<Requirement>) -> Self {
        Self {
            setting: setting.to_owned(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.setting, self.remedy)
    }
}

/// Reports every setting that is wrong.
#[derive(Debug)]
pub struct Faults {
    /// At least one, in the order of `docs/settings.md`.
    pub faults: Vec<Fault>,
    /// The address to listen on, if its settings are right. A start also reports a port in use.
    pub address: Option<SocketAddr>,
}
