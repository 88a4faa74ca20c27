//! The agents that a caller may dispatch into a room.

use crate::domain::requests::fields::Requirement;

/// The most bytes of the name of an agent or a deployment.
const MAX_NAME_BYTES: usize = 128;

/// The agents that an operator allows, each with its allowed deployments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedAgents(Vec<AllowedAgent>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct AllowedAgent {
    name: String,
    /// The deployment, or an empty text for the agent's default one.
    deployment: String,
}

impl AllowedAgents {
    /// Reads a list of `name` or `name@deployment`, separated by commas.
    ///
    /// # Errors
    /// The requirement, if an entry is neither.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let entries = text.split(',');
        let agents: Option<_> = entries
            .map(|entry| AllowedAgent::parse(entry.trim()))
            .collect();
        agents.map(Self).ok_or_else(|| {
            "must be agents, each 'name' or 'name@deployment' of 1 to 128 letters, digits, '.', \
             '_' or '-', separated by commas"
                .into()
        })
    }

    /// Reports whether an agent may be dispatched. An empty `deployment` is the agent's default
    /// one, which an entry without `@` allows.
    #[must_use]
    pub fn contains(&self, name: &str, deployment: &str) -> bool {
        self.0
            .iter()
            .any(|allowed| allowed.name == name && allowed.deployment == deployment)
    }

    /// Returns the entries as the operator wrote them.
    pub fn entries(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(
            |AllowedAgent { name, deployment }| match deployment.as_str() {
                "" => name.clone(),
                deployment => format!("{name}@{deployment}"),
            },
        )
    }
}

impl AllowedAgent {
    fn parse(entry: &str) -> Option<Self> {
        let (name, deployment) = match entry.split_once('@') {
            Some((name, deployment)) => (name, is_name(deployment).then_some(deployment)?),
            None => (entry, ""),
        };
        is_name(name).then(|| Self {
            name: name.to_owned(),
            deployment: deployment.to_owned(),
        })
    }
}

fn is_name(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_name_no_agent_are_rejected() {
        let long = "a".repeat(129);
        for text in [
            "",
            ",",
            "a,,b",
            "a b",
            "ä",
            "@",
            "@prod",
            "a@",
            "a@b@c",
            "a@b c",
            long.as_str(),
        ] {
            assert!(AllowedAgents::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_agent_is_allowed_only_with_its_listed_deployments() {
        let allowed = AllowedAgents::parse("notes, notes@prod,helper@staging").unwrap();
        for (name, deployment, admitted) in [
            ("notes", "", true),
            ("notes", "prod", true),
            ("notes", "staging", false),
            ("helper", "staging", true),
            ("helper", "", false),
            ("helper", "prod", false),
            ("other", "", false),
            ("Notes", "", false),
            ("", "", false),
            ("notes@prod", "", false),
        ] {
            assert_eq!(
                allowed.contains(name, deployment),
                admitted,
                "{name}@{deployment}"
            );
        }
        assert_eq!(
            allowed.entries().collect::<Vec<_>>(),
            ["notes", "notes@prod", "helper@staging"]
        );
        assert!(!AllowedAgents::default().contains("", ""));
    }
}
