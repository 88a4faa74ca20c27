//! The format of log lines.

use crate::domain::requests::fields::Requirement;

/// Selects how log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}

impl LogFormat {
    /// Parses the name of a format.
    ///
    /// # Errors
    /// The requirement, for any other text.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("must be json or text".into()),
        }
    }
}
