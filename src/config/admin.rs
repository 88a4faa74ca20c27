//! The operators' keys.

use secrecy::ExposeSecret;

use super::secret::{self, Found};
use super::settings::Reader;
use crate::domain::admin_key::{AdminKeys, MIN_CHARACTERS};
use crate::domain::fields::Rule;

const KEYS: &str = "ROOMKEY_ADMIN_KEYS";

/// Reads the keys. None means that nobody can show one; a fault is noted for what cannot be a key.
pub fn read(reader: &mut Reader<'_>) -> AdminKeys {
    let Some(Found { setting, value }) = secret::read(reader, KEYS) else { return AdminKeys::default() };
    parse(value.expose_secret()).unwrap_or_else(|rule| {
        reader.fault(&setting, rule);
        AdminKeys::default()
    })
}

fn parse(text: &str) -> Result<AdminKeys, Rule> {
    for key in text.split(',') {
        secret::check(&key.into(), MIN_CHARACTERS)?;
    }
    AdminKeys::parse(text)
}
