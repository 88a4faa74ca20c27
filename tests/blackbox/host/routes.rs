//! Which function serves a request: the first in the order of names whose route and methods both
//! match.
//!
//! As ASP.NET Core's routing does, it compares the decoded path, whatever its case, and overlooks
//! one slash at the end.

/// All functions of an app.
pub struct Functions(Vec<Function>);

/// One function folder.
pub struct Function {
    pub name: String,
    /// The whole path below `/`, with the prefix.
    pub template: String,
    /// None listed means all.
    pub methods: Option<Vec<String>>,
}

impl Functions {
    pub fn new(mut functions: Vec<Function>) -> Self {
        functions.sort_by_key(|function| function.name.to_ascii_lowercase());
        Self(functions)
    }

    /// Who serves this method and decoded path; nobody means an empty 404.
    pub fn find(&self, method: &str, path: &str) -> Option<&Function> {
        self.0
            .iter()
            .find(|function| function.takes(method) && matches(&function.template, path))
    }
}

impl Function {
    fn takes(&self, method: &str) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|listed| listed.iter().any(|one| one.eq_ignore_ascii_case(method)))
    }
}

fn matches(template: &str, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let mut parts = path.strip_suffix('/').unwrap_or(path).split('/');
    for segment in template.split('/') {
        let part = parts.next();
        if segment.starts_with("{*") {
            // Nothing at all will do, but not a second slash in a row.
            return part != Some("");
        }
        let Some(part) = part else { return false };
        let is_parameter = segment.starts_with('{') && !part.is_empty();
        if !is_parameter && !segment.eq_ignore_ascii_case(part) {
            return false;
        }
    }
    parts.next().is_none()
}

#[test]
fn the_first_function_by_name_that_matches_route_and_method_takes_a_request() {
    let function = |name: &str, template: &str, methods: &[&str]| Function {
        name: name.to_owned(),
        template: template.to_owned(),
        methods: Some(methods.iter().map(|&method| method.to_owned()).collect()),
    };
    let functions = Functions::new(vec![
        function("Web", "api/{*path}", &["get", "post"]),
        function("token", "api/token", &["post"]),
    ]);
    for (method, path, taken_by) in [
        ("POST", "/api/token", Some("token")),
        ("POST", "/API/Token/", Some("token")),
        ("GET", "/api/token", Some("Web")),
        ("POST", "/api/token/x", Some("Web")),
        ("POST", "/api/token//", Some("Web")),
        ("GET", "/api//token", None),
        ("GET", "//api/token", None),
        ("GET", "/api", Some("Web")),
        ("PUT", "/api/token", None),
        ("GET", "/token", None),
        ("GET", "/apix/token", None),
        ("GET", "/", None),
    ] {
        let found = functions
            .find(method, path)
            .map(|function| function.name.as_str());
        assert_eq!(found, taken_by, "{method} {path}");
    }
}
