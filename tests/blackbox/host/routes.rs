//! Which function serves a request: the first in the order of names whose route and methods both match.
//!
//! As ASP.NET Core's routing does, it compares the decoded path, whatever its case, and overlooks one slash at the end.

use http::Method;

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
    pub fn find(&self, method: &Method, path: &str) -> Option<&Function> {
        self.0.iter().find(|function| function.takes(method) && matches(&function.template, path))
    }
}

impl Function {
    fn takes(&self, method: &Method) -> bool {
        self.methods.as_ref().is_none_or(|listed| listed.iter().any(|one| one.eq_ignore_ascii_case(method.as_str())))
    }
}

fn matches(template: &str, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let mut parts = path.strip_suffix('/').unwrap_or(path).split('/');
    for segment in template.split('/') {
        if segment.starts_with("{*") {
            return true;
        }
        let Some(part) = parts.next() else { return false };
        let is_parameter = segment.starts_with('{') && !part.is_empty();
        if !is_parameter && !segment.eq_ignore_ascii_case(part) {
            return false;
        }
    }
    parts.next().is_none()
}

/// The path as the host's server hands it on: escapes decoded once, all but that of a slash, and none if they are not UTF-8.
pub fn decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let Some(first) = rest.first() {
        let (byte, length) = escaped(rest).filter(|byte| *byte != b'/').map_or((*first, 1), |byte| (byte, 3));
        bytes.push(byte);
        rest = rest.split_at(length).1;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}

fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[test]
fn the_first_function_by_name_that_matches_route_and_method_takes_a_request() {
    let function = |name: &str, template: &str, methods: &[&str]| Function {
        name: name.to_owned(),
        template: template.to_owned(),
        methods: Some(methods.iter().map(|&method| method.to_owned()).collect()),
    };
    let functions = Functions::new(vec![function("Web", "api/{*path}", &["get", "post"]), function("token", "api/token", &["post"])]);
    for (method, path, taken_by) in [
        (Method::POST, "/api/token", Some("token")),
        (Method::POST, "/API/Token/", Some("token")),
        (Method::GET, "/api/token", Some("Web")),
        (Method::POST, "/api/token/x", Some("Web")),
        (Method::GET, "/api", Some("Web")),
        (Method::PUT, "/api/token", None),
        (Method::GET, "/token", None),
        (Method::GET, "/apix/token", None),
        (Method::GET, "/", None),
    ] {
        let found = functions.find(&method, path).map(|function| function.name.as_str());
        assert_eq!(found, taken_by, "{method} {path}");
    }
}

#[test]
fn a_path_is_decoded_once_and_keeps_its_escaped_slashes() {
    for (path, expected) in [("/api/%74oken", "/api/token"), ("/a%2Fb%2fc", "/a%2Fb%2fc"), ("/%2574%", "/%74%"), ("/%ff%74", "/%ff%74")] {
        assert_eq!(decoded(path), expected);
    }
}
