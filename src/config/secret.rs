//! Finds a secret in its setting, in a file, or by its name in Key Vault. The requirements on its
//! value are in [`crate::domain::settings::secrets`].

use std::path::Path;

use secrecy::SecretString;

use super::key_vault;
use super::reader::SettingsReader;
use super::regular_file::{self, FileError};
use super::settings::SECRET_SUFFIXES;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::secrets::{SecretCheck, SecretName, SecretSource};
use crate::domain::settings::setting_text;

/// The largest size of a file that holds a secret. Keys are far shorter, so a larger file is the
/// wrong one.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A secret and the setting that it came from.
#[derive(Debug)]
pub struct ConfiguredSecret {
    /// `<NAME>`, `<NAME>_FILE` or `<NAME>_SECRET_NAME`.
    pub setting: String,
    /// The value, or its name in Key Vault.
    pub source: SecretSource,
}

/// Reads a secret from its setting, from the file named by `<name>_FILE`, or as the name in Key
/// Vault that `<name>_SECRET_NAME` contains. More than one of them is a fault.
pub fn read(reader: &mut SettingsReader<'_>, name: &str) -> Option<ConfiguredSecret> {
    let [_, file, in_vault] = SECRET_SUFFIXES.map(|suffix| format!("{name}{suffix}"));
    let places = [name, &file, &in_vault];
    if places.iter().filter(|place| reader.is_set(place)).count() > 1 {
        reader.fault(
            name,
            format!("is set in two places; keep one of {name}, {file} and {in_vault}"),
        );
        return None;
    }
    let (setting, source) = if let Some(value) = reader.text(name) {
        (name.to_owned(), SecretSource::Given(value.into()))
    } else if let Some(value) = reader.parsed(&file, read_file) {
        (file, SecretSource::Given(value))
    } else {
        let secret_name = reader.parsed(&in_vault, SecretName::parse)?;
        if !reader.is_set(key_vault::URL) {
            reader.fault(
                &in_vault,
                format!("names a secret in Key Vault; set {} too", key_vault::URL),
            );
            return None;
        }
        (in_vault, SecretSource::InVault(secret_name))
    };
    Some(ConfiguredSecret { setting, source })
}

/// Reads a secret and checks its value, unless the value is in Key Vault. `None` means absent or
/// wrong; wrong is recorded as a fault.
pub fn read_checked(
    reader: &mut SettingsReader<'_>,
    name: &str,
    check: SecretCheck,
) -> Option<SecretSource> {
    let ConfiguredSecret { setting, source } = read(reader, name)?;
    if let SecretSource::Given(value) = &source
        && let Err(requirement) = check(value)
    {
        reader.fault(&setting, requirement);
        return None;
    }
    Some(source)
}

/// Reads the secret from a file. One line break at the end is removed, since editors and `echo`
/// write one. Other white space around a secret is refused: it would sign tokens that no server
/// accepts.
fn read_file(path: &str) -> Result<SecretString, Requirement> {
    let bytes =
        regular_file::read(Path::new(path), MAX_FILE_BYTES).map_err(|error| match error {
            FileError::Missing => Requirement::from("names a file that does not exist"),
            FileError::NotRegular => {
                "names a folder, pipe or device; put the value into a regular file".into()
            }
            FileError::TooLarge => {
                format!("names a file of more than {MAX_FILE_BYTES} bytes, which is no secret")
                    .into()
            }
            FileError::Unreadable => "names a file that this process may not read".into(),
        })?;
    let text = String::from_utf8(bytes).map_err(|_| "names a file that is not UTF-8 text")?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    if value.is_empty() || value.trim() != value {
        return Err("names a file that is empty or has white space around the secret".into());
    }
    if setting_text::is_in_quotes(value) {
        return Err("names a file whose value is in quotes; write the value alone".into());
    }
    Ok(value.into())
}
