//! The projects that callers may use without signing in.

use super::project_id::ProjectId;
use crate::domain::requests::fields::Requirement;

/// The projects of anonymous callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnonymousProjects {
    /// Every project, in dev mode.
    All,
    /// The projects that the operator lists, possibly none.
    Listed(Vec<ProjectId>),
}

impl AnonymousProjects {
    /// Reads a list of project ids, separated by commas.
    ///
    /// # Errors
    /// The requirement that one of them does not meet.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let ids = text.split(',').map(|id| ProjectId::parse(id.trim()));
        ids.collect::<Result<_, _>>()
            .map(Self::Listed)
            .map_err(|_| "must be project ids, separated by commas".into())
    }

    /// Returns whether anonymous callers may use a project.
    #[must_use]
    pub fn contains(&self, project_id: &ProjectId) -> bool {
        match self {
            Self::All => true,
            Self::Listed(ids) => ids.contains(project_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_projects_are_contained() {
        let listed = AnonymousProjects::parse("demo, customer-42").unwrap();
        let contains = |id: &str| listed.contains(&ProjectId::parse(id).unwrap());
        assert!(contains("demo") && contains("customer-42"));
        assert!(!contains("Demo") && !contains("customer-4"));
        for text in ["", ",", "a,", "a b", "*", "demo*"] {
            assert!(AnonymousProjects::parse(text).is_err(), "{text:?}");
        }
    }
}
