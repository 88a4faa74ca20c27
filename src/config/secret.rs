//! Secrets in the settings: where they may stand. What their values must be says
//! [`crate::domain::settings::secrets`].

use std::path::Path;

use secrecy::SecretString;

use super::key_vault;
use super::reader::SettingsReader;
use super::regular_file::{self, Unreadable};
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::secrets::{SecretName, SecretSource};
use crate::domain::settings::setting_text;

/// A file with a secret may have this many bytes; keys are far shorter, so more is the wrong file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What a secret's setting may have behind its name: nothing, or where else the value stands.
pub const SUFFIXES: [&str; 3] = ["", "_FILE", "_SECRET_NAME"];

/// A secret and the setting that it came from.
#[derive(Debug)]
pub struct ConfiguredSecret {
    /// `<NAME>`, `<NAME>_FILE` or `<NAME>_SECRET_NAME`.
    pub setting: String,
    /// The value, or where it is.
    pub source: SecretSource,
}

/// Whether the secret's setting is there in any form.
#[must_use]
pub fn is_set(reader: &SettingsReader<'_>, name: &str) -> bool {
    SUFFIXES
        .iter()
        .any(|suffix| reader.holds(&format!("{name}{suffix}")))
}

/// Takes a secret from its setting, from the file that `<name>_FILE` names, or the name that it has
/// in Key Vault; standing in two of them is a fault.
pub fn read(reader: &mut SettingsReader<'_>, name: &str) -> Option<ConfiguredSecret> {
    let [_, file, in_vault] = SUFFIXES.map(|suffix| format!("{name}{suffix}"));
    if [name, &file, &in_vault]
        .into_iter()
        .filter(|setting| reader.holds(setting))
        .count()
        > 1
    {
        reader.fault(
            name,
            format!("stands in two places; keep one of {name}, {file} and {in_vault}"),
        );
        return None;
    }
    if let Some(value) = reader.text(name) {
        return Some(ConfiguredSecret {
            setting: name.to_owned(),
            source: SecretSource::Given(value.into()),
        });
    }
    if let Some(value) = reader.parsed(&file, read_file) {
        return Some(ConfiguredSecret {
            setting: file,
            source: SecretSource::Given(value),
        });
    }
    let secret_name = reader.parsed(&in_vault, SecretName::parse)?;
    if !reader.holds(key_vault::URL) {
        reader.fault(
            &in_vault,
            format!("names a secret in Key Vault; set {} too", key_vault::URL),
        );
        return None;
    }
    Some(ConfiguredSecret {
        setting: in_vault,
        source: SecretSource::InVault(secret_name),
    })
}

/// Takes a secret and checks its value if that is here already. `None`: there is none, or a fault
/// was noted.
pub fn checked(
    reader: &mut SettingsReader<'_>,
    name: &str,
    check: impl Fn(&SecretString) -> Result<(), Requirement>,
) -> Option<SecretSource> {
    let ConfiguredSecret { setting, source } = read(reader, name)?;
    if let SecretSource::Given(value) = &source
        && let Err(rule) = check(value)
    {
        reader.fault(&setting, rule);
        return None;
    }
    Some(source)
}

/// One line break at the end is dropped, since editors and `echo` write one; a key with any other
/// white space around it would sign tokens that nobody accepts.
fn read_file(path: &str) -> Result<SecretString, Requirement> {
    let bytes =
        regular_file::read(Path::new(path), MAX_FILE_BYTES).map_err(
            |unreadable| match unreadable {
                Unreadable::Missing => Requirement::from("names a file that does not exist"),
                Unreadable::NotRegular => {
                    "names a folder, pipe or device; put the value into a regular file".into()
                }
                Unreadable::TooLarge => format!(
                    "names a file of more than {MAX_FILE_BYTES} bytes, which cannot be a secret"
                )
                .into(),
                Unreadable::Failed => "names a file that this process may not read".into(),
            },
        )?;
    let text = String::from_utf8(bytes).map_err(|_| "names a file that is not UTF-8 text")?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    if value.is_empty() || value.trim() != value {
        return Err(
            "names a file that does not hold one secret without white space around it".into(),
        );
    }
    if setting_text::is_in_quotes(value) {
        return Err("names a file whose value is in quotes; write the value alone".into());
    }
    Ok(value.into())
}
