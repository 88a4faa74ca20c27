//! What the host reads from an unpacked app: `host.json`, and every folder with a `function.json`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Mode;
use super::headers::Headers;
use super::routes::{Function, Functions};

/// An app, as far as a custom handler with HTTP triggers goes.
pub struct AppFolder {
    /// The text of `host.json`.
    pub host_json: String,
    pub root: PathBuf,
    pub executable: PathBuf,
    pub arguments: Vec<String>,
    pub working_directory: PathBuf,
    pub initialization_timeout: Duration,
    pub function_timeout: Duration,
    /// Added to every answer, the host's own too, that does not have them.
    pub custom_headers: Headers,
    pub functions: Functions,
}

impl AppFolder {
    /// Reads an app for a host that passes requests on in the given mode.
    pub fn read(root: &Path, mode: Mode) -> Self {
        let host_json = std::fs::read_to_string(root.join("host.json")).unwrap();
        let host: Value = serde_json::from_str(&host_json).unwrap();
        let (handler, http) = (&host["customHandler"], &host["extensions"]["http"]);
        let switch = match mode {
            Mode::Forwarding => "enableForwardingHttpRequest",
            Mode::Proxying => "enableProxyingHttpRequest",
        };
        assert_eq!(
            handler[switch], true,
            "without {switch} the host posts an envelope to the function's name, which is not simulated"
        );
        let description = &handler["description"];
        let mut custom_headers = Headers::default();
        for (name, value) in http["customHeaders"].as_object().into_iter().flatten() {
            custom_headers.append(name, text(value));
        }
        Self {
            host_json,
            executable: root.join(text(&description["defaultExecutablePath"])),
            arguments: texts(&description["arguments"]),
            working_directory: root
                .join(description["workingDirectory"].as_str().unwrap_or_default()),
            initialization_timeout: time_span(
                handler["initializationTimeout"]
                    .as_str()
                    .unwrap_or("00:00:30"),
            ),
            function_timeout: time_span(host["functionTimeout"].as_str().unwrap_or("00:30:00")),
            custom_headers,
            functions: functions(root, http["routePrefix"].as_str().unwrap_or("api")),
            root: root.to_owned(),
        }
    }
}

fn functions(root: &Path, prefix: &str) -> Functions {
    let folders = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    Functions::new(
        folders
            .filter(|folder| folder.join("function.json").exists())
            .map(|folder| function(&folder, prefix))
            .collect(),
    )
}

fn function(folder: &Path, prefix: &str) -> Function {
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let function = json(&folder.join("function.json"));
    let [trigger, output] = function["bindings"].as_array().unwrap().as_slice() else {
        panic!("{name}: not two bindings")
    };
    let (types, level) = (
        (text(&trigger["type"]), text(&output["type"])),
        text(&trigger["authLevel"]),
    );
    assert_eq!(
        (types, level),
        (("httpTrigger", "http"), "anonymous"),
        "{name}: envelopes and function keys are not simulated"
    );
    let route = trigger["route"].as_str().unwrap_or(&name);
    let template = if prefix.is_empty() {
        route.to_owned()
    } else {
        format!("{prefix}/{route}")
    };
    Function {
        template,
        methods: trigger.get("methods").map(texts),
        name,
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|value| text(value).to_owned())
        .collect()
}

/// `hh:mm:ss`, with a fraction of a second where a test needs one.
fn time_span(span: &str) -> Duration {
    Duration::from_secs_f64(span.split(':').fold(0.0, |seconds, part| {
        seconds * 60.0 + part.parse::<f64>().unwrap()
    }))
}
