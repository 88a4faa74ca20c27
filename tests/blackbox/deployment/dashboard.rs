//! The dashboard in `ops/grafana/`, held to the metrics of the program and to Prometheus' language.

use std::collections::BTreeSet;

use regex::Regex;
use roomkey::metrics::catalogue::METRICS;
use serde_json::{Value, json};

use super::prometheus::{checked, promtool};
use super::{each_text, json};

/// A query of the dashboard.
pub struct Target {
    /// The title of its panel.
    pub title: String,
    /// The unit in which the panel shows it.
    unit: String,
    expression: String,
    legend: String,
}

/// Returns all queries of the dashboard.
pub fn targets() -> Vec<Target> {
    let dashboard = json("ops/grafana/roomkey.json");
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{value}"))
            .to_owned()
    };
    let of_panel = |panel: &Value| {
        let config = &panel["fieldConfig"];
        let target = |target: &Value| {
            let overrides = config["overrides"].as_array().unwrap().iter();
            let mut own = overrides
                .filter(|one| one["matcher"]["options"] == target["refId"])
                .flat_map(|one| one["properties"].as_array().unwrap())
                .filter(|property| property["id"] == "unit");
            let unit = own
                .next()
                .map_or(&config["defaults"]["unit"], |unit| &unit["value"]);
            Target {
                title: text(&panel["title"]),
                unit: text(unit),
                expression: text(&target["expr"]),
                legend: text(&target["legendFormat"]),
            }
        };
        panel["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(target)
            .collect::<Vec<_>>()
    };
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.flat_map(of_panel).collect()
}

impl Target {
    /// Returns the expression as Grafana sends it.
    pub fn query(&self) -> String {
        self.expression
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".*")
            .replace("$job", "roomkey")
    }

    /// Returns the labels that the legend shows.
    pub fn legend_labels(&self) -> BTreeSet<String> {
        let label = Regex::new(r"\{\{(\w+)\}\}").unwrap();
        let labels = label.captures_iter(&self.legend);
        labels.map(|found| found[1].to_owned()).collect()
    }
}

#[test]
fn dashboard_shows_every_metric_and_names_no_other() {
    let mut shown = BTreeSet::new();
    for target in targets() {
        let names = checked(&target.title, &target.expression);
        assert!(!names.is_empty(), "{}", target.title);
        shown.extend(names);
    }
    let all: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, all);
}

#[test]
fn dashboard_panels_are_explained_and_show_the_unit_of_what_they_count() {
    for target in targets() {
        let (title, expression) = (&target.title, &target.expression);
        let units: &[&str] = if expression.contains("_seconds") {
            &["s"]
        } else if expression.contains("_bytes{") {
            &["bytes"]
        } else if expression.contains("rate(") {
            &["reqps", "cps", "ops"]
        } else {
            &["short"]
        };
        assert!(
            units.contains(&target.unit.as_str()),
            "{title}: {}",
            target.unit
        );
        // Another environment in the same Prometheus is another job.
        let selectors = expression.matches('{').count();
        for variable in [r#"job="$job""#, r#"instance=~"$instance""#] {
            assert_eq!(
                expression.matches(variable).count(),
                selectors,
                "{title}: {variable}"
            );
        }
    }
    for panel in json("ops/grafana/roomkey.json")["panels"]
        .as_array()
        .unwrap()
    {
        assert_ne!(panel["description"], "", "{}", panel["title"]);
        // Grafana paints a number from 80 on red where nothing else is said.
        let steps = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"];
        assert!(
            panel["type"] != "stat" || steps.is_array(),
            "{}",
            panel["title"]
        );
    }
}

#[test]
fn dashboard_expressions_are_what_prometheus_accepts() {
    let targets = targets();
    let rules = targets.iter().enumerate().map(|(index, target)| {
        let query = json!(target.query());
        format!("  - record: panel:{index}\n    expr: {query}\n")
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    std::fs::write(
        &file,
        format!(
            "groups:\n- name: panels\n  rules:\n{}",
            rules.collect::<String>()
        ),
    )
    .unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn dashboard_panels_lie_side_by_side_and_have_their_own_ids() {
    let dashboard = json("ops/grafana/roomkey.json");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for (x, y) in (side("x")..side("x") + side("w"))
            .flat_map(|x| (side("y")..side("y") + side("h")).map(move |y| (x, y)))
        {
            assert!(
                x < 24 && taken.insert((x, y)),
                "{} lies on another panel or leaves the page",
                panel["title"]
            );
        }
    }
    let variables: Vec<_> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    let variable = Regex::new(r"\$\{?(\w+)").unwrap();
    each_text(&dashboard["panels"], "", &mut |at, text| {
        for found in variable.captures_iter(text) {
            assert!(
                variables.contains(&json!(&found[1])) || found[1].starts_with("__"),
                "{at}: {text}"
            );
        }
    });
}
