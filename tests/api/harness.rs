//! A roomkey in the test's own thread, whose every response is checked against the OpenAPI
//! document.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, StatusCode};
use roomkey::app::App;
use roomkey::clock::Clock;
use roomkey::config::Config;
use roomkey::config::environment::Environment;
use roomkey::domain::settings::log_format::LogFormat;
use roomkey::entropy::Entropy;
use roomkey::http::edge::ConnectionLimits;
use roomkey::http::openapi::DOCUMENT;
use roomkey::http::{routes, server};
use roomkey::telemetry;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::log_capture::LogCapture;

/// The time of the fixed clock in whole seconds: 2023-11-14T22:13:20.123Z.
pub const NOW: u64 = 1_700_000_000;
pub const API_KEY: &str = "APIcanarykey";
pub const ADMIN_KEY: &str = "canary-admin-key-of-32-characters";
/// The setting that shows that the Functions host started the process.
pub const UNDER_HOST: &str = "FUNCTIONS_CUSTOMHANDLER_WORKER_ID";
pub const API_SECRET: &str = "canary-secret-of-at-least-32-bytes";

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(NOW * 1_000 + 123)
    }
}

/// A generator of the same numbers in every run (`SplitMix64`).
struct Seeded(Mutex<u64>);

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for byte in bytes {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
    }
}

/// A running roomkey. It stops when this is dropped.
pub struct TestApp {
    pub address: SocketAddr,
    client: reqwest::Client,
    log: LogCapture,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
    _logging: tracing::subscriber::DefaultGuard,
}

/// A response, read completely.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// The differences of a test's instance from the default one.
#[derive(Default)]
pub struct Setup<'a> {
    pub settings: &'a [(&'a str, &'a str)],
    /// Default settings that are left out.
    pub left_out: &'a [&'a str],
    pub host_json: Option<&'a str>,
    pub bounds: ConnectionLimits,
    /// A clock to use instead of the fixed one.
    pub clock: Option<Arc<dyn Clock>>,
    /// A source of randomness to use instead of the seeded one.
    pub entropy: Option<Arc<dyn Entropy>>,
    /// Changes what no setting can.
    pub change: Option<&'a dyn Fn(&mut Config)>,
}

/// Starts roomkey with further settings, in a folder with the given `host.json`.
pub fn spawn_app_with(settings: &[(&str, &str)], host_json: Option<&str>) -> TestApp {
    Setup {
        settings,
        host_json,
        ..Setup::default()
    }
    .spawn()
}

impl Setup<'_> {
    /// Starts roomkey.
    pub fn spawn(self) -> TestApp {
        let root = tempfile::tempdir().unwrap();
        if let Some(text) = self.host_json {
            std::fs::write(root.path().join("host.json"), text).unwrap();
        }
        let base = [
            ("FUNCTIONS_APP_ROOT_PATH", root.path().to_str().unwrap()),
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "0"),
            // Simulates a Functions host, so that the `Host` of requests does not matter.
            (UNDER_HOST, "3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
            ("LIVEKIT_URL", "wss://livekit.example.com"),
            ("LIVEKIT_API_KEY", API_KEY),
            ("LIVEKIT_API_SECRET", API_SECRET),
            ("ROOMKEY_CALLER_AUTH", "anonymous"),
            ("ROOMKEY_RATE_LIMIT", "off"),
            ("ROOMKEY_ADMIN_KEYS", ADMIN_KEY),
        ];
        let wanted = base
            .iter()
            .filter(|(name, _)| !self.left_out.contains(name));
        let environment: Environment = wanted.chain(self.settings).copied().collect();
        let mut config = Config::read(&environment).unwrap_or_else(|faults| panic!("{faults:?}"));
        if let Some(change) = self.change {
            change(&mut config);
        }

        // The guard covers this thread only, and a `tokio::test` runs everything on it.
        let log = LogCapture::default();
        let subscriber = telemetry::subscriber(config.log.level, LogFormat::Json, log.writer());
        let logging = tracing::subscriber::set_default(subscriber);

        let listener =
            tokio::net::TcpListener::from_std(server::bind(config.address).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let clock = self.clock.unwrap_or(Arc::new(FixedClock));
        let entropy = self
            .entropy
            .unwrap_or_else(|| Arc::new(Seeded(Mutex::new(7))));
        let app = App::new(config, clock, entropy).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server::serve(listener, Arc::new(app), self.bounds, async {
            let _ = stopped.await;
        }));
        // A request on a pooled connection fails if the server closes it at that moment.
        let client = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        TestApp {
            address,
            client,
            log,
            stop: Some(stop),
            serving,
            _logging: logging,
        }
    }
}

/// Starts roomkey with the default settings.
pub fn spawn_app() -> TestApp {
    spawn_app_with(
        &[],
        Some(r#"{"cors":{"allowedOrigins":["https://app.example.com"]}}"#),
    )
}

impl TestApp {
    /// Sends a request and checks the rules for every response.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Option<&[u8]>,
    ) -> Answer {
        let mut request = self
            .client
            .request(method.clone(), format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, http::HeaderValue::from_bytes(value).unwrap());
        }
        if let Some(body) = body {
            request = request.body(body.to_vec());
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let answer = Answer {
            status,
            headers,
            text: response.text().await.unwrap(),
        };
        answer.check(&method, path, body);
        answer
    }

    /// Sends a POST request with a JSON body.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(
            Method::POST,
            path,
            &[("content-type", b"application/json")],
            Some(body.as_bytes()),
        )
        .await
    }

    /// Scrapes the metrics as an operator.
    pub async fn metrics(&self) -> Answer {
        let key = [("x-admin-api-key", ADMIN_KEY.as_bytes())];
        self.send(Method::GET, "/api/metrics", &key, None).await
    }

    /// Sends a GET request.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// Requests a stop, as a signal does.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has stopped.
    pub async fn stopped(self) {
        self.serving.await.unwrap();
    }

    /// Returns all log lines so far.
    pub fn log(&self) -> String {
        self.log.text()
    }
}

impl Answer {
    /// Returns the text of a header, empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Parses the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Returns the code of the error.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }

    /// Returns the names of the fields that the error lists.
    pub fn fields(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    }

    fn check(&self, method: &Method, path: &str, body: Option<&[u8]>) {
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert_eq!(self.header("referrer-policy"), "no-referrer");
        assert!(uuid::Uuid::try_parse(self.header("x-request-id")).is_ok());
        if self.text.is_empty() {
            return;
        }
        let is_json = self.header("content-type").ends_with("json");
        let json = if is_json {
            self.json()
        } else {
            Value::from(self.text.as_str())
        };
        if matches!(self.status.as_u16(), 429 | 503) {
            assert!(self.header("retry-after").parse::<u32>().unwrap() >= 1);
        }
        if self.header("content-type") == "application/problem+json" {
            assert_eq!(json["requestId"], self.header("x-request-id"));
            assert_eq!(json["status"], self.status.as_u16());
            assert_valid(&json!({ "$ref": "#/components/schemas/Problem" }), &json);
        }
        let path = path.split('?').next().unwrap();
        if routes::ROUTES
            .iter()
            .any(|route| route.path == path && route.method == method)
        {
            self.check_against_document(method, path, body, &json);
        }
    }

    fn check_against_document(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        json: &Value,
    ) {
        let operation = &document()["paths"][path][method.as_str().to_lowercase()];
        let media_type = self.header("content-type");
        let response = resolved(&operation["responses"][self.status.as_str()]);
        let schema = &response["content"][media_type]["schema"];
        assert!(
            schema.is_object(),
            "{method} {path}: {} {media_type} is not documented",
            self.status
        );
        for name in self.headers.keys().filter(|name| {
            name.as_str().contains("ratelimit") || name.as_str() == "www-authenticate"
        }) {
            let named = response["headers"]
                .as_object()
                .into_iter()
                .flatten()
                .any(|(documented, _)| name == documented.as_str());
            assert!(
                named,
                "{method} {path}: {} has {name}, which is not documented",
                self.status
            );
        }
        assert_valid(schema, json);
        let takes_body = operation["requestBody"].is_object();
        if let (true, Some(body)) = (
            self.status.is_success() && takes_body,
            body.filter(|body| !body.is_empty()),
        ) {
            let request = resolved(&operation["requestBody"]);
            assert_valid(
                &request["content"]["application/json"]["schema"],
                &serde_json::from_slice(body).unwrap(),
            );
        }
    }
}

/// The parsed OpenAPI document.
pub fn document() -> &'static Value {
    static PARSED: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(DOCUMENT).unwrap());
    &PARSED
}

/// Replaces a reference by the component that it names.
fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => document()
            .pointer(reference.trim_start_matches('#'))
            .unwrap(),
        None => value,
    }
}

/// Checks that a value is valid by a schema of the document.
pub fn is_valid(schema: &Value, value: &Value) -> bool {
    validator(schema).is_valid(value)
}

fn assert_valid(schema: &Value, value: &Value) {
    if let Err(error) = validator(schema).validate(value) {
        panic!("{error} at {}\n{value:#}", error.instance_path());
    }
}

/// The compiled schemas. Compiling one costs more than a hundred requests.
fn validator(schema: &Value) -> Arc<jsonschema::Validator> {
    static COMPILED: LazyLock<Mutex<HashMap<String, Arc<jsonschema::Validator>>>> =
        LazyLock::new(Mutex::default);
    let compile = || {
        let schema = json!({ "allOf": [schema], "components": document()["components"] });
        Arc::new(jsonschema::validator_for(&schema).unwrap())
    };
    Arc::clone(
        COMPILED
            .lock()
            .unwrap()
            .entry(schema.to_string())
            .or_insert_with(compile),
    )
}

/// Verifies a token with the test's secret, and returns its header and claims.
pub fn claims(token: &str) -> (Value, Value) {
    let key = jsonwebtoken::DecodingKey::from_secret(API_SECRET.as_bytes());
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation)
        .unwrap()
        .claims;
    let header = URL_SAFE_NO_PAD
        .decode(token.split('.').next().unwrap())
        .unwrap();
    (serde_json::from_slice(&header).unwrap(), claims)
}
