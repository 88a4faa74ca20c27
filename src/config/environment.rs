//! The environment variables of this process, or of a test.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::settings::{self, server::ROUTE_PREFIX};

/// The beginning of the names of roomkey's own settings.
const PREFIX: &str = "ROOMKEY_";

/// Holds the environment variables by name. The values of variables that are not settings of
/// roomkey are dropped: some are credentials of other programs.
#[derive(Default)]
pub struct Environment(BTreeMap<String, Option<OsString>>);

impl Environment {
    /// Reads the environment that this process was started with.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one reader of the environment"
    )]
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// Returns whether the variable is set, even to an empty value.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the names of all variables.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the value of a setting.
    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name)?.as_deref()
    }

    /// Returns the variables that look like settings of roomkey but are none, except those that
    /// Kubernetes sets.
    pub(super) fn unknown_settings(&self) -> impl Iterator<Item = &str> {
        let in_kubernetes = self.is_set("KUBERNETES_SERVICE_HOST");
        self.0
            .keys()
            .map(String::as_str)
            .filter(|name| is_own(name) && !settings::is_known(name))
            .filter(move |name| !(in_kubernetes && is_service_link(name)))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variable = |(name, value): (N, V)| {
            let name = canonical(name.into().to_string_lossy().into_owned());
            let value = settings::is_known(&name).then(|| value.into());
            (name, value)
        };
        Self(variables.into_iter().map(variable).collect())
    }
}

/// Returns whether a name is meant as a setting of roomkey, in any case: a name that is not in
/// upper case is not read.
fn is_own(name: &str) -> bool {
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Returns the name as the table spells it. The Functions host reads its own settings in any case,
/// and with `:` in place of `__`.
fn canonical(name: String) -> String {
    if name.replace(':', "__").eq_ignore_ascii_case(ROUTE_PREFIX) {
        ROUTE_PREFIX.to_owned()
    } else {
        name
    }
}

/// Returns whether Kubernetes sets this variable for a Service whose name begins with `roomkey`.
/// It sets such variables in every pod of the namespace.
///
/// # Source
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str) -> bool {
    let is_port_suffix = |rest: &str| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        ["", "_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            rest.strip_prefix(protocol)
                .is_some_and(|part| ["", "_PROTO", "_PORT", "_ADDR"].contains(&part))
        })
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name
            .rmatch_indices("_PORT_")
            .any(|(at, matched)| name.get(at + matched.len()..).is_some_and(is_port_suffix))
}
