//! Which agents a caller may send into a room.

use crate::domain::requests::fields::Requirement;

/// Longest name of an agent or a deployment in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The agents that an operator allows, each with the deployments of it that may be named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedAgents(Vec<AllowedAgent>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct AllowedAgent {
    name: String,
    /// Empty: the agent's default deployment.
    deployment: String,
}

impl AllowedAgents {
    /// Reads a list of `name` or `name@deployment`, separated by commas.
    ///
    /// # Errors
    /// The rule, when an entry is neither.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        text.split(',').map(|entry| AllowedAgent::parse(entry.trim())).collect::<Option<_>>().map(Self).ok_or_else(|| {
            "must be agents, each 'name' or 'name@deployment' of 1 to 128 letters, digits, '.', '_' or '-', separated by commas".into()
        })
    }

    /// Returns whether the agent may be dispatched. An empty `deployment` is the agent's default
    /// one, which an entry without `@` allows.
    #[must_use]
    pub fn admit(&self, name: &str, deployment: &str) -> bool {
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
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_name_no_agent_are_refused() {
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
    fn an_agent_is_admitted_with_the_deployments_that_are_listed_and_no_other() {
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
                allowed.admit(name, deployment),
                admitted,
                "{name}@{deployment}"
            );
        }
        assert_eq!(
            allowed.entries().collect::<Vec<_>>(),
            ["notes", "notes@prod", "helper@staging"]
        );
        assert!(!AllowedAgents::default().admit("", ""));
    }
}
