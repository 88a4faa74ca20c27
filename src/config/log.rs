//! The settings of log lines.

use tracing::Level;

use super::reader::SettingsReader;
use crate::domain::requests::fields::Requirement;
use crate::domain::settings::log_format::LogFormat;

/// The log lines to write.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// The lowest level of roomkey's own lines that is written.
    pub level: Level,
    /// The format of lines. `None` means `text` on a terminal, otherwise `json`.
    pub format: Option<LogFormat>,
}

/// Reads the settings.
pub fn read(reader: &mut SettingsReader<'_>) -> LogSettings {
    LogSettings {
        level: reader.parsed("ROOMKEY_LOG", level).unwrap_or(Level::INFO),
        format: reader.parsed("ROOMKEY_LOG_FORMAT", LogFormat::parse),
    }
}

fn level(text: &str) -> Result<Level, Requirement> {
    match text {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        // The levels are not named here: the Functions host logs a line on stderr that contains
        // "warn" as a warning instead of an error.
        _ => Err("must be one of the four levels in docs/settings.md".into()),
    }
}
