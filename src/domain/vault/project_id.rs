//! The id of a project, which callers, operators and stores use.

use std::fmt;

use crate::domain::requests::fields::Requirement;

/// The most bytes of a project id.
const MAX_BYTES: usize = 64;

/// The id of a project: 1 to 64 bytes of `[A-Za-z0-9_-]`, which are safe in file names, blob names
/// and logs.
///
/// ```
/// use roomkey::domain::vault::project_id::ProjectId;
///
/// let project = ProjectId::parse("customer-42").unwrap();
/// assert_eq!(project.as_str(), "customer-42");
/// assert!(ProjectId::parse("customer 42").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ProjectId(String);

impl ProjectId {
    /// Reads a project id. Case matters.
    ///
    /// # Errors
    /// The requirement, for any other text.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 64 letters, digits, '-' or '_'".into())
        }
    }

    /// Returns the id under which the vault's health check seals its probe. It is not a valid id,
    /// so the check never touches a project.
    #[must_use]
    pub fn health_probe() -> Self {
        Self("@health".to_owned())
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_project_id_is_refused() {
        let long = "a".repeat(65);
        for text in [
            "",
            " ",
            "a b",
            "a|b",
            "a/b",
            "../a",
            "a.b",
            "a\n",
            "\na",
            "a\0",
            "ä",
            "а",
            "%61",
            "a\u{200b}",
            "@health",
            &long,
            &"x".repeat(10_000),
        ] {
            let rule = ProjectId::parse(text).unwrap_err();
            assert_eq!(
                rule.to_string(),
                "must be 1 to 64 letters, digits, '-' or '_'",
                "{text:?}"
            );
        }
        for text in ["a", "A", "0", "-", "_", "customer-42", &long[..64]] {
            assert_eq!(ProjectId::parse(text).unwrap().as_str(), text);
        }
        assert_ne!(ProjectId::parse("a"), ProjectId::parse("A"));
    }

    proptest! {
        #[test]
        fn only_the_published_pattern_is_a_project_id(text in "\\PC{0,70}") {
            let pattern = regex::Regex::new(r"\A[A-Za-z0-9_-]{1,64}\z").unwrap();
            prop_assert_eq!(ProjectId::parse(&text).is_ok(), pattern.is_match(&text));
        }
    }
}
