//! The address of the Redis server that instances share. It is a secret, since it may contain a
//! password.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::network_host::has_query_or_fragment;
use super::secrets;
use super::setting_text;
use crate::domain::digits::parse_digits;
use crate::domain::requests::fields::Requirement;

const EXAMPLE: &str = "write an address like rediss://:password@my-cache.example.com:6380 or \
                       redis://localhost:6379/0";
const ENCODE: &str = "holds a character that must be percent-encoded in a user or password: / as \
                      %2F, # as %23, ? as %3F, @ as %40, : as %3A, [ as %5B, ] as %5D, % as %25, \
                      a space as %20";
/// The parts of a .NET connection string that an address never contains.
const DOT_NET_OPTIONS: [&str; 4] = [",password=", ",ssl=", ",user=", ",abortconnect="];

/// Checks the address of a Redis server. It must be one that the client library accepts, without a
/// query or a fragment, since one of those can turn off certificate checks.
///
/// # Errors
/// The requirement that it does not meet.
pub fn check(value: &SecretString) -> Result<(), Requirement> {
    secrets::check(value, 1)?;
    let text = value.expose_secret();
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("redis-cli") {
        return Err(format!("is a command; {EXAMPLE}").into());
    }
    if DOT_NET_OPTIONS.iter().any(|option| lower.contains(option)) {
        return Err(format!(
            "is a connection string of .NET's; {EXAMPLE}, with the password percent-encoded (/ as \
             %2F, = may stay)"
        )
        .into());
    }
    let Some((scheme, rest)) = text
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "redis" | "rediss"))
    else {
        return Err(format!("must begin with rediss:// or redis://; {EXAMPLE}").into());
    };
    // The text before the last @ can only be meant as a user and a password.
    if let Some((credentials, _)) = rest.rsplit_once('@') {
        check_credentials(credentials)?;
    }
    let url =
        Url::parse(text).map_err(|_| format!("is not an address after {scheme}://; {EXAMPLE}"))?;
    if has_query_or_fragment(&url) {
        return Err(format!("must not hold a query or a fragment; {EXAMPLE}").into());
    }
    let database = url.path().strip_prefix('/').unwrap_or(url.path());
    let is_database = database.len() <= 4 && parse_digits::<u16>(database).is_some();
    if !(database.is_empty() || is_database) {
        return Err(
            format!("must not hold a path other than the number of a database; {EXAMPLE}").into(),
        );
    }
    // The parser does not know the scheme `redis`, so it accepts an empty host and a wildcard
    // address.
    let host = url
        .host_str()
        .filter(|host| !matches!(*host, "" | "0.0.0.0" | "[::]"));
    if host.is_none() || url.port() == Some(0) {
        return Err(format!("must name a host, and a port other than 0 if any; {EXAMPLE}").into());
    }
    Ok(())
}

/// Checks the user and the password: they must be percent-encoded, and the password real.
fn check_credentials(credentials: &str) -> Result<(), Requirement> {
    let has_delimiter = credentials.contains(['/', '#', '?', '@', '[', ']', ' ', '\\']);
    if has_delimiter || percent_decode(credentials).is_none() {
        return Err(ENCODE.into());
    }
    let password = credentials
        .split_once(':')
        .and_then(|(_user, password)| percent_decode(password));
    if password.is_some_and(|password| setting_text::is_placeholder(&password)) {
        return Err(
            "has a placeholder in the place of the password; put the real password there, \
             percent-encoded"
                .into(),
        );
    }
    Ok(())
}

/// Decodes percent-encoded text. Returns `None` if a `%` is not followed by two hex digits, or if
/// the result is not UTF-8, which the client library requires.
fn percent_decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part
            .get(..2)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        decoded.push(u8::from_str_radix(byte?, 16).ok()?);
        decoded.extend(part.bytes().skip(2));
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_can_never_work_is_rejected_with_a_hint() {
        for (text, hint) in [
            ("redis-cli -u rediss://:canary@h:6380", "is a command"),
            ("redis-cli -h canary -p 6379", "is a command"),
            (
                "canary.redis.cache.windows.net:6380,password=canary=,ssl=True,abortConnect=False",
                "a connection string of .NET's",
            ),
            (
                "rediss://canary:6380,password=canary",
                "a connection string of .NET's",
            ),
            ("canary:6379", "must begin with rediss://"),
            ("http://canary:6379", "must begin with rediss://"),
            ("https://canary", "must begin with rediss://"),
            ("valkey://canary", "must begin with rediss://"),
            ("unix:///canary", "must begin with rediss://"),
            ("rediss:canary", "must begin with rediss://"),
            ("redis://:can/ary@h:6379", "/ as %2F"),
            ("redis://:can#ary@h:6379", "# as %23"),
            ("redis://:can?ary@h:6379", "? as %3F"),
            ("redis://:can@ary@h:6379", "@ as %40"),
            ("redis://:can%ary@h:6379", "% as %25"),
            ("redis://:canary%@h:6379", "% as %25"),
            ("redis://:canary%2@h:6379", "% as %25"),
            ("redis://:canary%ff@h:6379", "% as %25"),
            ("redis://:can[ary@h:6379", "[ as %5B"),
            ("redis://:can ary@h:6379", "a space as %20"),
            ("redis://h:canary", "is not an address"),
            ("redis://h:65536", "is not an address"),
            ("redis://canary/x", "the number of a database"),
            ("redis://canary/12345", "the number of a database"),
            ("redis://canary?insecure", "a query"),
            ("rediss://canary/#insecure", "a query"),
            ("redis://", "must name a host"),
            ("redis:///0", "must name a host"),
            ("redis://:canary@", "is not an address"),
            ("redis://0.0.0.0:6379", "must name a host"),
            ("redis://canary:0", "must name a host"),
            ("\"redis://canary\"", "is in quotes"),
            ("<canary>", "is a placeholder"),
            (
                "rediss://:<password>@canary:6380",
                "a placeholder in the place of the password",
            ),
            (
                "rediss://:%3Cpassword%3E@canary:6380",
                "a placeholder in the place of the password",
            ),
            (
                "rediss://:password@canary:6380",
                "a placeholder in the place of the password",
            ),
            (
                "redis://user:xxxxxxxx@canary",
                "a placeholder in the place of the password",
            ),
        ] {
            let requirement = check(&text.into()).unwrap_err();
            assert!(requirement.contains(hint), "{text}: {requirement}");
            assert!(!requirement.contains("canary"), "{requirement}");
        }
        for text in [
            "redis://localhost",
            "rediss://:p%2Fw%23%3f%40%25=+!*@cache.example.com:6380/15",
            "redis://user:a:b@[::1]:6379",
            "redis://:ä%C3%BC@h",
        ] {
            assert_eq!(check(&text.into()), Ok(()), "{text}");
        }
    }
}
