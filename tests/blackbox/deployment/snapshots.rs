//! The snapshots in `infra/cases/`: every resource of one case as it would be deployed.
//! `make snapshots` writes them with the Bicep compiler; what only Azure knows stays an expression,
//! `[reference(…)]`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::Command;

use serde_json::Value;

use super::{json, path, succeeds};
use crate::attack::report;

/// The compiler that wrote the snapshots.
const COMPILER: (u32, u32) = (0, 49);

/// The parameter files that have a snapshot.
pub const CASES: [&str; 3] = ["livekit", "azure-openai", "everything"];

/// All resources of one case.
pub struct Snapshot {
    pub case: &'static str,
    pub resources: Vec<Value>,
}

impl Snapshot {
    pub fn read(case: &'static str) -> Self {
        let mut snapshot = json(&format!("infra/cases/{case}.snapshot.json"));
        assert_eq!(
            snapshot["diagnostics"].as_array().map_or(0, Vec::len),
            0,
            "{case}: the compiler has something to say"
        );
        let Value::Array(resources) = snapshot["predictedResources"].take() else {
            panic!("{case}: no resources")
        };
        Self { case, resources }
    }

    pub fn all() -> impl Iterator<Item = Self> {
        CASES.into_iter().map(Self::read)
    }

    pub fn of_type<'a, 'k: 'a>(
        &'a self,
        kind: &'k str,
    ) -> impl Iterator<Item = &'a Value> + use<'a, 'k> {
        self.resources
            .iter()
            .filter(move |resource| resource["type"] == kind)
    }

    pub fn only(&self, kind: &str) -> &Value {
        let mut found = self
            .resources
            .iter()
            .filter(|resource| resource["type"] == kind);
        let (Some(only), None) = (found.next(), found.next()) else {
            panic!("{}: not one {kind}", self.case)
        };
        only
    }

    /// Returns the app settings by name.
    pub fn app_settings(&self) -> BTreeMap<String, String> {
        let settings = self.only("Microsoft.Web/sites/config")["properties"]
            .as_object()
            .unwrap();
        settings
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    value
                        .as_str()
                        .unwrap_or_else(|| panic!("{name}"))
                        .to_owned(),
                )
            })
            .collect()
    }
}

/// Says so if the compiler is too old: it would not know the API versions. Its words are "Bicep CLI
/// version 0.49.2 (…)".
fn older_than((major, minor): (u32, u32), said: &str) -> Option<String> {
    let version = said
        .split("version ")
        .nth(1)
        .unwrap_or_else(|| panic!("bicep: {said}"));
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or_default());
    let found = (numbers.next().unwrap(), numbers.next().unwrap());
    (found < (major, minor)).then(|| {
        format!(
            "bicep is {}.{}, older than {major}.{minor}",
            found.0, found.1
        )
    })
}

#[test]
fn deployment_snapshots_are_what_the_sources_say_and_the_linter_finds_nothing() {
    let why = match Command::new("bicep").arg("--version").output() {
        Ok(output) => older_than(COMPILER, &String::from_utf8_lossy(&output.stdout)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some("no bicep on the PATH".to_owned())
        }
        Err(error) => panic!("bicep: {error}"),
    };
    if let Some(why) = why {
        return report(&format!(
            "NOT CHECKED: {why}, so the snapshots in infra/cases were not compared with the sources in infra."
        ));
    }
    for file in ["infra/main.bicep", "infra/static-web-app.bicep"] {
        let found = succeeds(Command::new("bicep").arg("lint").arg(path(file)));
        assert!(!found.contains("Warning"), "{file}: {found}");
    }
    succeeds(Command::new(path("scripts/snapshots")).arg("validate"));
}
