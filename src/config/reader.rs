//! Reads settings by name and collects the faults.

use super::environment::Environment;
use super::fault::Fault;
use super::settings;
use crate::domain::requests::fields::{Requirement, sanitize_name};
use crate::domain::settings::secrets::{IN_QUOTES, UNRESOLVED};
use crate::domain::settings::setting_text;

/// Reads settings from an [`Environment`] and records a fault for each that is wrong.
pub struct SettingsReader<'e> {
    environment: &'e Environment,
    faults: Vec<Fault>,
}

impl<'e> SettingsReader<'e> {
    /// Creates a reader without faults.
    #[must_use]
    pub fn new(environment: &'e Environment) -> Self {
        Self {
            environment,
            faults: Vec::new(),
        }
    }

    /// Returns whether the setting is present, right or wrong.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.environment.is_set(name)
    }

    /// Returns whether a secret is present: as a value, as a file, or as a name in Key Vault.
    #[must_use]
    pub fn is_secret_set(&self, name: &str) -> bool {
        settings::SECRET_SUFFIXES
            .iter()
            .any(|suffix| self.is_set(&format!("{name}{suffix}")))
    }

    /// Returns the names of all variables.
    pub fn names(&self) -> impl Iterator<Item = &'e str> {
        self.environment.names()
    }

    /// Returns the value without checking it.
    #[must_use]
    pub fn unchecked(&self, name: &str) -> Option<&'e str> {
        self.environment.value(name)?.to_str()
    }

    /// Returns the value as text. `None` means absent or wrong; wrong is recorded as a fault.
    pub fn text(&mut self, name: &str) -> Option<&'e str> {
        let value = self.environment.value(name)?;
        match value.to_str() {
            Some("") => self.fault(name, "is empty; set a value or remove the setting"),
            Some(text) if text.trim() != text => self.fault(
                name,
                "begins or ends with white space; write the value without it",
            ),
            Some(text) if setting_text::is_in_quotes(text) => self.fault(name, IN_QUOTES),
            Some(text) if setting_text::is_unresolved_reference(text) => {
                self.fault(name, UNRESOLVED);
            }
            Some(text) => return Some(text),
            None => self.fault(name, "is not UTF-8"),
        }
        None
    }

    /// Returns the parsed value. `None` means absent or wrong; wrong is recorded as a fault.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Requirement>,
    ) -> Option<T> {
        match parse(self.text(name)?) {
            Ok(value) => Some(value),
            Err(requirement) => {
                self.fault(name, requirement);
                None
            }
        }
    }

    /// Returns the parsed value, or the default where the setting is absent. `None` means wrong,
    /// which is recorded as a fault.
    pub fn parsed_or<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Requirement>,
    ) -> Option<T> {
        if self.is_set(name) {
            self.parsed(name, parse)
        } else {
            Some(default)
        }
    }

    /// Records a fault.
    pub fn fault(&mut self, setting: &str, remedy: impl Into<Requirement>) {
        self.faults.push(Fault::new(setting, remedy));
    }

    /// Records a fault for every `ROOMKEY_*` variable that is not a setting, so that a typo never
    /// silently becomes a default.
    pub fn refuse_unknown(&mut self) {
        for name in self.environment.unknown_settings() {
            let remedy = match settings::closest(name) {
                Some(known) => format!("is not a setting of this version; did you mean {known}?"),
                None => "is not a setting of this version; docs/settings.md lists them".to_owned(),
            };
            self.faults.push(Fault::new(&sanitize_name(name), remedy));
        }
    }

    /// Returns the recorded faults in the order of `docs/settings.md`; others come last.
    #[must_use]
    pub fn into_faults(mut self) -> Vec<Fault> {
        self.faults
            .sort_by_key(|fault| settings::position(&fault.setting).unwrap_or(usize::MAX));
        self.faults
    }
}

/// Reads a part of the configuration from these settings, and returns the texts of its faults too.
#[cfg(test)]
pub(super) fn read_settings<T>(
    settings: &[(&str, &str)],
    read: impl FnOnce(&mut SettingsReader<'_>) -> T,
) -> (T, Vec<String>) {
    let environment: Environment = settings.iter().copied().collect();
    let mut reader = SettingsReader::new(&environment);
    let value = read(&mut reader);
    let faults = reader.into_faults();
    (value, faults.iter().map(ToString::to_string).collect())
}
