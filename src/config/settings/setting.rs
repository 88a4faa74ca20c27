//! The description of one setting.

/// Describes one setting to an operator.
#[derive(Debug)]
pub struct Setting {
    /// The name of the environment variable (in Azure: app setting).
    pub name: &'static str,
    /// The value used where the setting is absent, or `–`.
    pub default: &'static str,
    /// The meaning, format and bounds of the value.
    pub meaning: &'static str,
    /// The setting is a secret: its value may also come from a file (`<name>_FILE`) or from Key
    /// Vault (`<name>_SECRET_NAME`).
    pub is_secret: bool,
}

/// Describes a setting that has a default.
pub(super) const fn with_default(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        default,
        meaning,
        is_secret: false,
    }
}

/// Describes a setting without a default.
pub(super) const fn optional(name: &'static str, meaning: &'static str) -> Setting {
    with_default(name, "–", meaning)
}

/// Describes a secret.
pub(super) const fn secret(name: &'static str, meaning: &'static str) -> Setting {
    Setting {
        is_secret: true,
        ..optional(name, meaning)
    }
}
