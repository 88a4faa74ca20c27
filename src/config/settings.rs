//! The table of all settings, from which `docs/settings.md` is generated.
//!
//! The table describes settings; the other files of this folder read them. A test fails when the
//! page differs from the table.

mod callers;
mod livekit;
mod open_telemetry;
pub mod projects;
mod realtime;
mod requests;
pub mod server;
pub mod setting;
mod turn;

use std::borrow::Cow;

use self::setting::Setting;
use crate::domain::vault::kek::KekVersion;

/// The endings of a secret's setting: the value itself, a file that holds it, or its name in Key
/// Vault.
pub const SECRET_SUFFIXES: [&str; 3] = ["", "_FILE", "_SECRET_NAME"];

/// The settings by subject, in the order of `docs/settings.md`.
const SETTINGS: [&[Setting]; 10] = [
    server::SERVER,
    livekit::LIVEKIT,
    livekit::KEY_VAULT,
    realtime::REALTIME,
    turn::TURN,
    requests::REQUESTS,
    callers::CALLERS,
    projects::PROJECTS,
    server::LOG,
    open_telemetry::OPEN_TELEMETRY,
];

/// Returns all settings in the order of `docs/settings.md`.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.into_iter().flatten()
}

/// Returns whether a setting of this name exists.
#[must_use]
pub fn is_known(name: &str) -> bool {
    let name = listed_name(name);
    all().any(|setting| match name.strip_prefix(setting.name) {
        Some("") => true,
        Some(suffix) => setting.is_secret && SECRET_SUFFIXES.contains(&suffix),
        None => false,
    })
}

/// Returns the place of a setting in the table, or `None` for a name that is not in it.
#[must_use]
pub fn position(name: &str) -> Option<usize> {
    let name = listed_name(name);
    all().position(|setting| {
        name.strip_prefix(setting.name)
            .is_some_and(|suffix| SECRET_SUFFIXES.contains(&suffix))
    })
}

/// Returns the name under which the table lists a setting. The key-encryption keys of all versions
/// are listed as the first.
fn listed_name(name: &str) -> Cow<'_, str> {
    match kek_version_of(name) {
        Some(_) => {
            let suffix = name.trim_start_matches(|c: char| !c.is_ascii_digit());
            let suffix = suffix.trim_start_matches(|c: char| c.is_ascii_digit());
            Cow::Owned(format!("{}{suffix}", projects::FIRST_KEK))
        }
        None => Cow::Borrowed(name),
    }
}

/// Returns the version of the key that a setting holds: `v12` for `ROOMKEY_KEK_V12_FILE`.
#[must_use]
pub fn kek_version_of(name: &str) -> Option<KekVersion> {
    let number = name.strip_prefix(projects::KEK_PREFIX)?;
    let length = number.find(|c: char| !c.is_ascii_digit());
    let (digits, suffix) = number.split_at(length.unwrap_or(number.len()));
    let version = KekVersion::parse(&format!("v{digits}")).ok()?;
    SECRET_SUFFIXES.contains(&suffix).then_some(version)
}

/// Returns the `ROOMKEY_*` setting whose name is closest to a mistyped one, in any case.
#[must_use]
pub fn closest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&name, known);
    all()
        .map(|setting| setting.name)
        .filter(|known| known.starts_with("ROOMKEY_"))
        .min_by_key(|known| distance(known))
        .filter(|known| distance(known) <= 3)
}
