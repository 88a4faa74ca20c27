//! The address of the Redis that instances share: a secret, since it may hold a password.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::fields::Rule;
use super::secrets;

/// Checks the address: one of a Redis server that the client library takes, without query and fragment, since one of those switches
/// certificate checks off.
///
/// # Errors
/// The rule that it breaks.
pub fn check(value: &SecretString) -> Result<(), Rule> {
    secrets::check(value, 1)?;
    let rule = || "must be an address like rediss://:password@my-cache.example.com:6380 or redis://localhost:6379/0".into();
    let url = Url::parse(value.expose_secret()).map_err(|_| rule())?;
    let database = url.path().strip_prefix('/').unwrap_or(url.path());
    let names_database = database.is_empty() || (database.len() <= 4 && database.bytes().all(|b| b.is_ascii_digit()));
    // `redis` is no scheme that the parser knows, so a host may be empty, and a wildcard address is left to us.
    let host = url.host_str().filter(|host| !matches!(*host, "" | "0.0.0.0" | "[::]"));
    let plain = matches!(url.scheme(), "redis" | "rediss") && url.query().is_none() && url.fragment().is_none();
    let ascii = [Some(url.username()), url.password()].into_iter().flatten().all(is_ascii_when_decoded);
    if plain && ascii && names_database && host.is_some() && url.port() != Some(0) { Ok(()) } else { Err(rule()) }
}

/// Whether each `%` begins a byte of ASCII: what is not UTF-8 once decoded could not be used.
fn is_ascii_when_decoded(text: &str) -> bool {
    text.split('%').skip(1).all(|encoded| encoded.starts_with(|digit: char| matches!(digit, '0'..='7')))
}
