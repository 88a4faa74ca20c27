//! The settings of project keys: the store, and the keys that encrypt it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::number::seconds;
use super::oidc::PROJECTS_CLAIM;
use super::rate_limits::{HASH_KEY, REDIS_URL};
use super::reader::SettingsReader;
use super::secret::read_checked;
use super::settings::kek_version_of;
use super::settings::projects::{FIRST_KEK, KEK_PREFIX};
use crate::domain::digits::parse_digits;
use crate::domain::limits::rate_limit::RateLimit;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::azure::ContainerUrl;
use crate::domain::settings::secrets::SecretSource;
use crate::domain::vault::anonymous_projects::AnonymousProjects;
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKey};

/// The setting with the address of the store. It ends dev mode.
pub const STORE: &str = "ROOMKEY_STORE";
const KEK_VERSION: &str = "ROOMKEY_KEK_VERSION";

const ANONYMOUS: &str = "ROOMKEY_ANONYMOUS_PROJECTS";
const RATE_LIMIT: &str = "ROOMKEY_PROJECT_RATE_LIMIT";
const DAILY: &str = "ROOMKEY_PROJECT_DAILY_SESSIONS";
const CONCURRENCY: &str = "ROOMKEY_PROJECT_CONCURRENCY";
const LIFETIME: &str = "ROOMKEY_SESSION_SECONDS";
const INSTRUCTIONS: &str = "ROOMKEY_PROJECT_INSTRUCTIONS";
const SESSION_SETTINGS: [&str; 6] = [
    ANONYMOUS,
    RATE_LIMIT,
    DAILY,
    CONCURRENCY,
    LIFETIME,
    INSTRUCTIONS,
];

const DEFAULT_CONCURRENCY: u32 = 5;
/// The longest call of OpenAI.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(1);

/// The beginning of the address of a SQLite file.
const SQLITE: &str = "sqlite:";
/// The folder of the store and of its keys in dev mode.
const DEV_FOLDER: &str = ".roomkey";
const DEV_STORE: &str = "store.db";
const DEV_KEYS: &str = "store.keys";

/// The configuration of project keys.
#[derive(Debug)]
pub struct ProjectSettings {
    /// The store.
    pub store: StoreLocation,
    /// The keys that seal project keys.
    pub keks: KekSettings,
    /// The rules of sessions.
    pub sessions: SessionSettings,
}

/// The rules of the sessions of projects.
#[derive(Debug)]
pub struct SessionSettings {
    /// The projects of anonymous callers.
    pub anonymous: AnonymousProjects,
    /// The limit that the callers of a project share. `None` means that the operator has turned it
    /// off.
    pub rate_limit: Option<RateLimit>,
    /// The most sessions of a project per day. `None` means any number.
    pub daily_sessions: Option<u32>,
    /// The most sessions of a project at the same time.
    pub concurrency: u32,
    /// The longest time for which a session counts.
    pub lifetime: Duration,
    /// Callers may send instructions.
    pub allows_client_instructions: bool,
}

/// The place of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// A SQLite file, for one machine.
    Sqlite(PathBuf),
    /// A container in Azure Blob Storage, for any number of instances.
    Blob(ContainerUrl),
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "{SQLITE}{}", path.display()),
            Self::Blob(container) => container.as_url().fmt(formatter),
        }
    }
}

/// The source of the key-encryption keys.
#[derive(Debug)]
pub enum KekSettings {
    /// The operator's keys.
    Configured {
        /// The keys, lowest version first.
        keys: Vec<(KekVersion, SecretSource)>,
        /// The version that seals new project keys.
        sealing: KekVersion,
    },
    /// In dev mode, a file that is created with the first use.
    LocalFile(PathBuf),
}

impl ProjectSettings {
    /// Describes the store and its keys in `--check` and at the start.
    #[must_use]
    pub fn summary(&self) -> String {
        let store = &self.store;
        match &self.keks {
            KekSettings::LocalFile(_) => format!("keys in {store}, sealed with a local key"),
            KekSettings::Configured { keys, sealing } => {
                let others: Vec<_> = keys
                    .iter()
                    .filter(|(version, _)| version != sealing)
                    .map(|(version, _)| version.to_string())
                    .collect();
                let others = if others.is_empty() {
                    String::new()
                } else {
                    format!(" ({} opens too)", others.join(", "))
                };
                format!("keys in {store}, sealed with {sealing}{others}")
            }
        }
    }
}

/// Returns the setting of projects that shows a deployment, if one is present.
#[must_use]
pub fn first_set(reader: &SettingsReader<'_>) -> Option<&'static str> {
    if reader.is_set(STORE) {
        Some(STORE)
    } else if reader.is_set(KEK_VERSION) {
        Some(KEK_VERSION)
    } else if kek_versions(reader).is_empty() {
        None
    } else {
        Some(FIRST_KEK)
    }
}

/// Returns whether projects are configured, right or wrong.
#[must_use]
pub fn is_on(reader: &SettingsReader<'_>) -> bool {
    reader.is_set(STORE)
}

/// Reads the settings. `None` means that there are no projects, or that a fault was recorded.
pub fn read(
    reader: &mut SettingsReader<'_>,
    dev_mode: bool,
    in_azure: bool,
) -> Option<ProjectSettings> {
    if !dev_mode && !is_on(reader) {
        refuse_unused(reader);
        return None;
    }
    let sessions = read_sessions(reader, dev_mode);
    if dev_mode {
        let folder = PathBuf::from(DEV_FOLDER);
        return Some(ProjectSettings {
            store: StoreLocation::Sqlite(folder.join(DEV_STORE)),
            keks: KekSettings::LocalFile(folder.join(DEV_KEYS)),
            sessions,
        });
    }
    let store = reader.parsed(STORE, store_location);
    if in_azure && matches!(store, Some(StoreLocation::Sqlite(_))) {
        reader.fault(
            STORE,
            "cannot be a SQLite file in Azure, whose disks are shared or temporary; use a blob \
             container: https://<account>.blob.core.windows.net/<container>",
        );
    }
    // A fault of its own where Redis needs the key too.
    if !reader.is_secret_set(HASH_KEY) && !reader.is_secret_set(REDIS_URL) {
        reader.fault(
            HASH_KEY,
            format!("must be set with {STORE}: the audit log and fingerprints depend on it"),
        );
    }
    let keks = read_keks(reader);
    Some(ProjectSettings {
        store: store?,
        keks: keks?,
        sessions,
    })
}

/// Records a fault for each setting that has no effect without a store.
fn refuse_unused(reader: &mut SettingsReader<'_>) {
    let mut unused: Vec<String> = kek_versions(reader).into_iter().map(kek_setting).collect();
    for name in [KEK_VERSION, PROJECTS_CLAIM]
        .into_iter()
        .chain(SESSION_SETTINGS)
    {
        if reader.is_set(name) {
            unused.push(name.to_owned());
        }
    }
    for name in unused {
        reader.fault(
            &name,
            format!("has no effect without {STORE}; set both or remove it"),
        );
    }
}

/// Reads the rules of sessions. A wrong setting is recorded as a fault and replaced by its default.
fn read_sessions(reader: &mut SettingsReader<'_>, dev_mode: bool) -> SessionSettings {
    let anonymous = if dev_mode {
        AnonymousProjects::All
    } else {
        AnonymousProjects::Listed(Vec::new())
    };
    SessionSettings {
        anonymous: reader
            .parsed_or(ANONYMOUS, anonymous.clone(), AnonymousProjects::parse)
            .unwrap_or(anonymous),
        rate_limit: reader
            .parsed_or(
                RATE_LIMIT,
                Some(RateLimit::default()),
                RateLimit::parse_or_off,
            )
            .flatten(),
        daily_sessions: reader.parsed(DAILY, daily_sessions).flatten(),
        concurrency: reader
            .parsed(CONCURRENCY, concurrency)
            .unwrap_or(DEFAULT_CONCURRENCY),
        lifetime: reader
            .parsed(LIFETIME, |text| seconds(text, 60..=7_200))
            .unwrap_or(DEFAULT_LIFETIME),
        allows_client_instructions: reader
            .parsed(INSTRUCTIONS, allows_client_instructions)
            .unwrap_or_default(),
    }
}

fn daily_sessions(text: &str) -> Result<Option<u32>, Requirement> {
    if text == "off" {
        return Ok(None);
    }
    parse_digits(text)
        .filter(|sessions| (1..=1_000_000).contains(sessions))
        .map(Some)
        .ok_or_else(|| "must be off, or a whole number from 1 to 1000000".into())
}

fn concurrency(text: &str) -> Result<u32, Requirement> {
    parse_digits(text)
        .filter(|sessions| (1..=1_000).contains(sessions))
        .ok_or_else(|| "must be a whole number from 1 to 1000".into())
}

fn allows_client_instructions(text: &str) -> Result<bool, Requirement> {
    match text {
        "client" => Ok(true),
        "server" => Ok(false),
        _ => Err("must be server or client".into()),
    }
}

fn read_keks(reader: &mut SettingsReader<'_>) -> Option<KekSettings> {
    let versions = kek_versions(reader);
    let Some(highest) = versions.last().copied() else {
        reader.fault(
            FIRST_KEK,
            format!("must be set with {STORE}: it seals the keys in the store"),
        );
        // A wrong version is reported too.
        reader.parsed(KEK_VERSION, KekVersion::parse);
        return None;
    };
    let sealing = reader.parsed_or(KEK_VERSION, highest, |text| {
        let version = KekVersion::parse(text)?;
        if versions.contains(&version) {
            Ok(version)
        } else {
            Err(format!("names a version without {}", kek_setting(version)).into())
        }
    });
    let mut keys = Vec::with_capacity(versions.len());
    for version in &versions {
        let source = read_checked(reader, &kek_setting(*version), |value| {
            KeyEncryptionKey::parse(value).map(|_| ())
        });
        keys.extend(source.map(|source| (*version, source)));
    }
    (keys.len() == versions.len()).then_some(())?;
    Some(KekSettings::Configured {
        keys,
        sealing: sealing?,
    })
}

/// Returns the versions for which a key is configured, lowest first.
fn kek_versions(reader: &SettingsReader<'_>) -> Vec<KekVersion> {
    let mut versions: Vec<_> = reader.names().filter_map(kek_version_of).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

fn kek_setting(version: KekVersion) -> String {
    format!("{KEK_PREFIX}{}", version.number())
}

fn store_location(text: &str) -> Result<StoreLocation, Requirement> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) {
        return ContainerUrl::parse(text).map(StoreLocation::Blob);
    }
    let rule = "must be sqlite: and the path of a file, such as \
                sqlite:/var/lib/roomkey/store.db, or the address of a blob container, such as \
                https://my-account.blob.core.windows.net/my-container";
    let path = text.strip_prefix(SQLITE).ok_or(rule)?;
    // SQLite reads these as something else than the path of a file.
    let is_path = !path.is_empty()
        && !path.starts_with("//")
        && !path.starts_with(':')
        && !path.starts_with("file:")
        && !path.ends_with(std::path::is_separator)
        && !path.contains(['?', '#', '\0']);
    if is_path {
        Ok(StoreLocation::Sqlite(path.into()))
    } else {
        Err(rule.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;
    use crate::config::reader::read_settings;
    use crate::config::{dev_mode, hosting, livekit};

    const KEK: &str = "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg";
    const GOOD: [(&str, &str); 3] = [
        (STORE, "sqlite:/var/lib/roomkey/store.db"),
        ("ROOMKEY_KEK_V1", KEK),
        (HASH_KEY, "canary-hash-key-of-at-least-32-bytes"),
    ];

    fn read_all(settings: &[(&str, &str)]) -> (Option<ProjectSettings>, Vec<String>) {
        read_settings(settings, |reader| {
            let hosting = hosting::read(reader, None);
            let pair = livekit::read_key_pair(reader);
            let dev_mode = dev_mode::decide(reader, None, &pair);
            read(reader, dev_mode.is_on, hosting.in_azure)
        })
    }

    fn with(changed: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        GOOD.into_iter()
            .filter(|(name, _)| changed.iter().all(|(other, _)| name != other))
            .chain(changed.iter().copied())
            .collect()
    }

    #[test]
    fn each_bad_value_is_refused_by_name_and_not_repeated() {
        for (name, values) in [
            (
                STORE,
                &[
                    "",
                    "canary",
                    "/canary.db",
                    "sqlite",
                    "sqlite:",
                    "sqlite::memory:",
                    "sqlite:file:canary.db",
                    "sqlite://canary.db",
                    "sqlite:canary/",
                    "sqlite:canary.db?mode=ro",
                    "SQLITE:canary.db",
                    "postgres://canary",
                    "https://canary.blob.core.windows.net",
                    "https://a.blob.core.windows.net/keys?sig=canary",
                ][..],
            ),
            (
                "ROOMKEY_KEK_V1",
                &["", "canary", "changeme-changeme-changeme-changeme-changem"],
            ),
            (KEK_VERSION, &["", "1", "v0", "v2", "canary", "V1"]),
        ] {
            for value in values {
                let (projects, faults) = read_all(&with(&[(name, value)]));
                assert_eq!(faults.len(), 1, "{name}={value:?} {faults:?}");
                assert!(projects.is_none(), "{name}={value:?}");
                assert!(
                    faults[0].starts_with(&format!("{name}: ")) && !faults[0].contains("canary"),
                    "{faults:?}"
                );
            }
        }
    }

    #[test]
    fn a_store_needs_a_key_that_seals_and_one_that_hashes() {
        let (projects, faults) = read_all(&GOOD[..1]);
        assert!(projects.is_none());
        let named: Vec<_> = faults
            .iter()
            .map(|fault| fault.split(':').next().unwrap())
            .collect();
        assert_eq!(named.len(), 2, "{faults:?}");
        assert!(named.contains(&HASH_KEY) && named.contains(&"ROOMKEY_KEK_V1"));
    }

    #[test]
    fn keys_without_a_store_are_faults() {
        let livekit = ("LIVEKIT_URL", "wss://livekit.example.com");
        for name in ["ROOMKEY_KEK_V1", "ROOMKEY_KEK_V7", KEK_VERSION] {
            let (projects, faults) = read_all(&[livekit, (name, KEK)]);
            assert!(projects.is_none() && faults.len() == 1, "{faults:?}");
            assert!(faults[0].starts_with(name) && faults[0].contains(STORE));
        }
    }

    #[test]
    fn a_sqlite_file_is_refused_in_azure() {
        let (_, faults) = read_all(&with(&[("WEBSITE_INSTANCE_ID", "1")]));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("ROOMKEY_STORE: cannot be a SQLite file"));
        let container = "https://a.blob.core.windows.net/keys";
        let settings = with(&[("WEBSITE_INSTANCE_ID", "1"), (STORE, container)]);
        let (projects, faults) = read_all(&settings);
        assert_eq!(
            projects.unwrap_or_else(|| panic!("{faults:?}")).summary(),
            "keys in https://a.blob.core.windows.net/keys, sealed with v1"
        );
    }

    #[test]
    fn the_highest_version_seals_unless_another_is_named() {
        let more = with(&[("ROOMKEY_KEK_V10", KEK), ("ROOMKEY_KEK_V2", KEK)]);
        let sealing = |settings: &[(&str, &str)]| {
            let (projects, faults) = read_all(settings);
            let projects = projects.unwrap_or_else(|| panic!("{faults:?}"));
            assert!(!format!("{projects:?}").contains("Y2Fu"), "{projects:?}");
            let KekSettings::Configured { keys, sealing } = projects.keks else {
                panic!("a local file")
            };
            let keys: Vec<_> = keys
                .iter()
                .map(|(version, _)| version.to_string())
                .collect();
            (keys.join(" "), sealing.to_string())
        };
        assert_eq!(sealing(&GOOD), ("v1".to_owned(), "v1".to_owned()));
        assert_eq!(sealing(&more), ("v1 v2 v10".to_owned(), "v10".to_owned()));
        let named: Vec<_> = more.into_iter().chain([(KEK_VERSION, "v2")]).collect();
        assert_eq!(sealing(&named), ("v1 v2 v10".to_owned(), "v2".to_owned()));
        assert_eq!(
            read_all(&named).0.unwrap().summary(),
            "keys in sqlite:/var/lib/roomkey/store.db, sealed with v2 (v1, v10 opens too)"
        );
    }

    #[test]
    fn dev_mode_has_a_local_store_and_a_setting_of_projects_ends_it() {
        let (projects, faults) = read_all(&[]);
        assert!(faults.is_empty(), "{faults:?}");
        let projects = projects.unwrap();
        assert_eq!(
            projects.summary(),
            "keys in sqlite:.roomkey/store.db, sealed with a local key"
        );
        for name in [STORE, KEK_VERSION, "ROOMKEY_KEK_V3", "ROOMKEY_KEK_V3_FILE"] {
            let environment: Environment = [(name, "x")].into_iter().collect();
            let reader = SettingsReader::new(&environment);
            assert!(first_set(&reader).is_some(), "{name}");
        }
        for name in [
            "ROOMKEY_KEK_V",
            "ROOMKEY_KEK_V0",
            "ROOMKEY_KEK_V1_X",
            "ROOMKEY_KEK_V01",
        ] {
            assert_eq!(kek_version_of(name), None, "{name}");
        }
    }

    #[test]
    fn each_bad_rule_of_sessions_is_refused_by_name() {
        for (name, values) in [
            (ANONYMOUS, &["", "a b", "*", "a,,b"][..]),
            (RATE_LIMIT, &["", "0/15m", "100", "OFF"]),
            (DAILY, &["", "0", "-1", "1000001", "10/24h", "OFF"]),
            (CONCURRENCY, &["", "0", "1001", "off", "5.0"]),
            (LIFETIME, &["", "59", "7201", "1h"]),
            (INSTRUCTIONS, &["", "Client", "on"]),
        ] {
            for value in values {
                let (_, faults) = read_all(&with(&[(name, value)]));
                assert_eq!(faults.len(), 1, "{name}={value:?} {faults:?}");
                assert!(faults[0].starts_with(&format!("{name}: ")), "{faults:?}");
            }
            let livekit = ("LIVEKIT_URL", "wss://livekit.example.com");
            let (_, faults) = read_all(&[livekit, (name, "x")]);
            assert_eq!(faults.len(), 1, "{name} without a store {faults:?}");
        }
    }

    #[test]
    fn sessions_have_defaults() {
        let sessions = read_all(&GOOD).0.unwrap().sessions;
        assert_eq!(sessions.anonymous, AnonymousProjects::Listed(Vec::new()));
        assert_eq!(sessions.rate_limit, Some(RateLimit::default()));
        assert_eq!((sessions.daily_sessions, sessions.concurrency), (None, 5));
        assert_eq!(sessions.lifetime, Duration::from_hours(1));
        assert!(!sessions.allows_client_instructions);
        assert_eq!(
            read_all(&[]).0.unwrap().sessions.anonymous,
            AnonymousProjects::All
        );
        let set = with(&[
            (DAILY, "7"),
            (RATE_LIMIT, "off"),
            (CONCURRENCY, "1000"),
            (LIFETIME, "60"),
            (INSTRUCTIONS, "client"),
        ]);
        let sessions = read_all(&set).0.unwrap().sessions;
        assert_eq!(
            (sessions.daily_sessions, sessions.concurrency),
            (Some(7), 1_000)
        );
        assert_eq!(
            (sessions.rate_limit, sessions.lifetime),
            (None, Duration::from_mins(1))
        );
        assert!(sessions.allows_client_instructions);
    }
}
