//! Secrets in the settings: where they may stand, and values that cannot be one.

use std::fs::File;
use std::io::Read;

use secrecy::{ExposeSecret, SecretString};

use super::settings::Reader;
use crate::domain::fields::Rule;

/// A file with a secret may have this many bytes; keys are far shorter, so more is the wrong file.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// A secret and the setting that it came from.
#[derive(Debug)]
pub struct Found {
    /// `<NAME>` or `<NAME>_FILE`.
    pub setting: String,
    /// The value.
    pub value: SecretString,
}

/// Whether the secret's setting is there in either form.
#[must_use]
pub fn is_set(reader: &Reader<'_>, name: &str) -> bool {
    reader.holds(name) || reader.holds(&file_setting(name))
}

/// Takes a secret from its setting or from the file that `<name>_FILE` names; standing in both is a fault.
pub fn read(reader: &mut Reader<'_>, name: &str) -> Option<Found> {
    let file = file_setting(name);
    if reader.holds(name) && reader.holds(&file) {
        reader.fault(name, format!("stands in two places; keep {name} or {file}"));
        return None;
    }
    if let Some(value) = reader.text(name) {
        return Some(Found { setting: name.to_owned(), value: value.into() });
    }
    let value = reader.parsed(&file, read_file)?;
    Some(Found { setting: file, value })
}

/// Says why a value cannot be a secret of an operator's.
///
/// # Errors
/// The rule that it breaks.
pub fn check(value: &SecretString, min_bytes: usize) -> Result<(), Rule> {
    let value = value.expose_secret();
    if value.to_ascii_lowercase().starts_with("@microsoft.keyvault(") {
        return Err("is a Key Vault reference that the platform could not resolve".into());
    }
    if is_placeholder(value) {
        return Err("is a placeholder; put the real value there".into());
    }
    if value.len() < min_bytes {
        return Err(format!("is too short; it must have {min_bytes} bytes or more").into());
    }
    Ok(())
}

fn file_setting(name: &str) -> String {
    format!("{name}_FILE")
}

/// One line break at the end is dropped, since editors and `echo` write one; a key with any other white space around it would
/// sign tokens that nobody accepts.
fn read_file(path: &str) -> Result<SecretString, Rule> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    if read.is_err() {
        return Err("names a file that cannot be read as UTF-8 text".into());
    }
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if value.is_empty() || value.trim() != value || text.len() as u64 > MAX_FILE_BYTES {
        return Err("names a file that does not hold one secret without white space around it".into());
    }
    Ok(value.into())
}

fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let mut characters = value.chars();
    let first = characters.next();
    lower.contains("changeme")
        || lower.starts_with("your-")
        || lower.starts_with("your_")
        || (value.starts_with('<') && value.ends_with('>'))
        || characters.all(|c| Some(c) == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_secret_is_refused() {
        let repeated = "x".repeat(64);
        for value in [
            "",
            "x",
            "changeme",
            "ChangeMe",
            "changeme-changeme-changeme-changeme",
            "your-secret-goes-here-your-secret-goes",
            "YOUR_API_SECRET_OF_AT_LEAST_32_BYTES",
            "<your livekit secret, 32 characters>",
            "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/s)",
            "@microsoft.keyvault(VaultName=v;SecretName=a-name-that-is-long)",
            "31-bytes-is-one-byte-too-short!",
            repeated.as_str(),
        ] {
            assert!(check(&value.into(), 32).is_err(), "{value:?}");
        }
        assert_eq!(check(&"32-bytes-is-exactly-long-enough!".into(), 32), Ok(()));
        assert_eq!(check(&"APIkey".into(), 1), Ok(()));
    }
}
