//! The environment, and the reader that takes settings from it by name and collects the faults.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::Fault;
use super::secret;
use super::settings::{ROUTE_PREFIX, SETTINGS};
use crate::domain::requests::fields::{Requirement, sanitize_name};
use crate::domain::settings::secrets::{IN_QUOTES, UNRESOLVED};
use crate::domain::settings::setting_text;

/// The process's environment, or a test's. Values of foreign settings are dropped on the way in:
/// some are credentials.
#[derive(Default)]
pub struct Environment(BTreeMap<String, Option<OsString>>);

impl Environment {
    /// The environment that this process was started with.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one reader of the environment"
    )]
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// Whether the setting is there, whatever its value.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let named = pairs.into_iter().map(|(name, value)| {
            (
                canonical(name.into().to_string_lossy().into_owned()),
                value.into(),
            )
        });
        Self(
            named
                .map(|(name, value)| {
                    let ours = is_ours(&name);
                    (name, ours.then_some(value))
                })
                .collect(),
        )
    }
}

/// The host reads its own settings in any case, and with `:` in place of `__`.
fn canonical(name: String) -> String {
    if name.replace(':', "__").eq_ignore_ascii_case(ROUTE_PREFIX) {
        ROUTE_PREFIX.to_owned()
    } else {
        name
    }
}

/// Whether Kubernetes has set a variable for a Service whose name begins with `roomkey`, as it does
/// in every pod beside it.
///
/// # Source
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str) -> bool {
    let of_port = |rest: &str| {
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
            .any(|(at, found)| name.get(at + found.len()..).is_some_and(of_port))
}

fn is_ours(name: &str) -> bool {
    SETTINGS
        .iter()
        .any(|setting| match name.strip_prefix(setting.name) {
            Some("") => true,
            Some(suffix) => setting.secret && secret::SUFFIXES.contains(&suffix),
            None => false,
        })
}

/// Takes settings by name and collects the faults.
pub struct SettingsReader<'e> {
    environment: &'e Environment,
    faults: Vec<Fault>,
}

impl<'e> SettingsReader<'e> {
    /// Starts without faults.
    #[must_use]
    pub fn new(environment: &'e Environment) -> Self {
        Self {
            environment,
            faults: Vec::new(),
        }
    }

    /// Whether the setting is there, right or wrong.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.environment.holds(name)
    }

    /// Returns the value as it stands, without a check and without a note.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'e str> {
        self.environment.0.get(name)?.as_ref()?.to_str()
    }

    /// The value as text. Absent and wrong are both `None`; the latter is noted.
    pub fn text(&mut self, name: &str) -> Option<&'e str> {
        let value = self.environment.0.get(name)?.as_ref()?;
        match value.to_str() {
            Some("") => self.fault(name, "is empty; give it a value or unset it"),
            Some(text) if text.trim() != text => self.fault(
                name,
                "begins or ends with white space; write the value alone",
            ),
            Some(text) if setting_text::is_in_quotes(text) => self.fault(name, IN_QUOTES),
            Some(text) if setting_text::is_unresolved_reference(text) => {
                self.fault(name, UNRESOLVED)
            }
            Some(text) => return Some(text),
            None => self.fault(name, "is not UTF-8"),
        }
        None
    }

    /// The value as `parse` reads it. Absent and wrong are both `None`; the latter is noted.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Requirement>,
    ) -> Option<T> {
        match parse(self.text(name)?) {
            Ok(value) => Some(value),
            Err(rule) => {
                self.fault(name, rule);
                None
            }
        }
    }

    /// As [`SettingsReader::parsed`], with a value for absent ones: `None` means wrong.
    pub fn parsed_or<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Requirement>,
    ) -> Option<T> {
        if self.holds(name) {
            self.parsed(name, parse)
        } else {
            Some(default)
        }
    }

    /// Notes a fault.
    pub fn fault(&mut self, setting: &str, remedy: impl Into<Requirement>) {
        self.faults.push(Fault {
            setting: setting.to_owned(),
            remedy: remedy.into(),
        });
    }

    /// Refuses every `ROOMKEY_*` name that does not exist, so that a typo never silently becomes a
    /// default.
    pub fn refuse_unknown(&mut self) {
        let in_kubernetes = self.environment.holds("KUBERNETES_SERVICE_HOST");
        let is_foreign = |name: &&String| in_kubernetes && is_service_link(name);
        for name in self
            .environment
            .0
            .keys()
            .filter(|name| name.starts_with("ROOMKEY_") && !is_ours(name) && !is_foreign(name))
        {
            let remedy = match nearest(name) {
                Some(known) => format!("is not a setting of this version; did you mean {known}?"),
                None => "is not a setting of this version; docs/settings.md lists them".to_owned(),
            };
            self.faults.push(Fault {
                setting: sanitize_name(name),
                remedy: remedy.into(),
            });
        }
    }

    /// What was noted, in the order of [`SETTINGS`]; others come last.
    #[must_use]
    pub fn into_faults(mut self) -> Vec<Fault> {
        let place = |fault: &Fault| {
            let is_of = |name: &str| {
                fault
                    .setting
                    .strip_prefix(name)
                    .is_some_and(|suffix| secret::SUFFIXES.contains(&suffix))
            };
            SETTINGS
                .iter()
                .position(|setting| is_of(setting.name))
                .unwrap_or(SETTINGS.len())
        };
        self.faults.sort_by_key(place);
        self.faults
    }
}

/// The known name that a typo most likely meant.
fn nearest(name: &str) -> Option<&'static str> {
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    let ours = SETTINGS
        .iter()
        .map(|setting| setting.name)
        .filter(|known| known.starts_with("ROOMKEY_"));
    ours.min_by_key(|known| distance(known))
        .filter(|known| distance(known) <= 3)
}
